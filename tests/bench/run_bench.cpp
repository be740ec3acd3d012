// SPDX-License-Identifier: Apache-2.0
// Times of core/run that the design counts on: a budget solved per slider event, a run file
// committed between steps.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <random>
#include <vector>

#include "core/run/budget_solver.h"
#include "core/run/gate_rank.h"
#include "core/run/run_file.h"

namespace {

using namespace flashmorph;

// Median and worst of `rounds` calls, in microseconds.
template <typename F>
void report(const char* what, int rounds, F&& work) {
  std::vector<double> times;
  for (int i = 0; i < rounds; ++i) {
    const auto start = std::chrono::steady_clock::now();
    work(i);
    times.push_back(
        std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start)
            .count());
  }
  std::sort(times.begin(), times.end());
  std::printf("%-58s median %10.2f us   99 %% %10.2f us\n", what, times[times.size() / 2],
              times[times.size() * 99 / 100]);
}

}  // namespace

int main() {
  constexpr int kLayers = 64;
  std::mt19937 random(1);
  std::uniform_real_distribution<double> uniform(0, 1);
  std::vector<double> score, tie;
  std::vector<Lock> locks;
  for (int l = 0; l < kLayers; ++l) {
    score.push_back(uniform(random)), tie.push_back(uniform(random));
    locks.push_back(l % 9 == 0 ? Lock::full : l % 11 == 0 ? Lock::linear : Lock::free);
  }
  size_t kept = 0;
  report("solve_budget, 64 layers, locks", 20000,
         [&](int i) { kept += solve_budget(score, tie, i % kLayers, locks).plan.full.size(); });

  RunRecord record = new_run_record("gates", 48);
  for (int s = 1; s <= 2000; ++s) {
    record.steps.step.push_back(static_cast<uint32_t>(s));
    for (int l = 0; l < 48; ++l)
      record.gates.alpha.push_back(static_cast<float>(uniform(random))),
          record.gates.raw.push_back(1.0F);
    record.gates.penalty.push_back(0.1F);
  }
  const GateHistory history = record.gate_history();
  report("rank_gates, 2000 steps x 48 layers", 100,
         [&](int) { kept += rank_gates(history).score.size(); });
  report("gate_notices, 2000 steps x 48 layers, K 12", 50,
         [&](int) { kept += gate_notices(history, 2000, 12).size(); });
  std::string bytes;
  report("run file to bytes, 2000 steps x 48 layers", 20,
         [&](int) { bytes = run_file_bytes(record); });
  std::printf("  %zu bytes\n", bytes.size());
  report("run file to bytes, compressed", 10, [&](int) { bytes = run_file_bytes(record, true); });
  std::printf("  %zu bytes\n", bytes.size());
  report("run file of bytes, compressed", 10,
         [&](int) { kept += run_file_of_bytes(bytes, "bench").rows(); });
  std::printf("(%zu)\n", kept);
}
