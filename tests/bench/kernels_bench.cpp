// SPDX-License-Identifier: Apache-2.0
// Times the recurrences on the CPU: forward without gradients, and forward with backward. One JSON
// object per line, best and median of the repetitions in milliseconds. Arguments: [kind ..],
// default all; the peer is lightning_peer.py.
#include <algorithm>
#include <chrono>
#include <cstdio>

#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include "../kernels/recurrence_cases.h"
#include "kernels/gate_mix.h"
#include "kernels/rms_norm.h"

namespace flashmorph::kernels {
namespace {

struct Timing {
  double best_ms, median_ms;
};

Timing time(const std::function<void()>& work, double budget_s = 1.0) {
  work();
  std::vector<double> ms;
  const auto start = std::chrono::steady_clock::now();
  const auto since = [](std::chrono::steady_clock::time_point then) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - then).count();
  };
  while (ms.size() < 5 || (since(start) < budget_s && ms.size() < 200)) {
    const auto begin = std::chrono::steady_clock::now();
    work();
    ms.push_back(since(begin) * 1e3);
  }
  std::sort(ms.begin(), ms.end());
  return {ms.front(), ms[ms.size() / 2]};
}

void bench(const std::string& kind, Form form, const char* form_name, at::ScalarType type,
           const RecurrenceSizes& n) {
  const RecurrenceCase c = make_recurrence(kind, n);
  std::vector<at::Tensor> x;
  for (size_t i = 0; i < c.leaves.size(); ++i)
    x.push_back(c.leaves[i].to(i < 3 ? type : at::kFloat));
  const Op op = c.op(form);
  const at::Tensor d_output = c.d_output.to(type);
  const Timing forward = time([&] {
    c10::NoGradGuard no_grad;
    op(x);
  });
  for (size_t i = 0; i < x.size(); ++i)
    if (kind != "lightning" || i < 3) x[i].requires_grad_(true);
  const Timing both = time([&] {
    std::vector<at::Tensor> inputs;
    for (const auto& leaf : x)
      if (leaf.requires_grad()) inputs.push_back(leaf);
    torch::autograd::grad({op(x)[0]}, inputs, {d_output}, false, false, true);
  });
  std::printf(
      "{\"op\": \"%s\", \"form\": \"%s\", \"dtype\": \"%s\", \"B\": %ld, \"T\": %ld, \"H\": %ld, "
      "\"K\": %ld, \"threads\": %d, \"forward_best_ms\": %.3f, \"forward_median_ms\": %.3f, "
      "\"both_best_ms\": %.3f, \"both_median_ms\": %.3f}\n",
      kind.c_str(), form_name, c10::toString(type), n.B, n.T, n.H, n.K, at::get_num_threads(),
      forward.best_ms, forward.median_ms, both.best_ms, both.median_ms);
  std::fflush(stdout);
}

void bench_small(at::ScalarType type) {
  at::manual_seed(1);
  const at::Tensor x = at::randn({8, 512, 576}).to(type).requires_grad_(true);
  const at::Tensor y = at::randn({8, 512, 576}).to(type).requires_grad_(true);
  const at::Tensor w = at::randn({576}).to(type), alpha = at::full({}, 0.4).requires_grad_(true);
  const at::Tensor dy = at::randn({8, 512, 576}).to(type);
  const auto report = [&](const char* name, const std::vector<at::Tensor>& inputs,
                          const std::function<at::Tensor()>& op) {
    const Timing forward = time([&] {
      c10::NoGradGuard no_grad;
      op();
    });
    const Timing both =
        time([&] { torch::autograd::grad({op()}, inputs, {dy}, false, false, false); });
    std::printf(
        "{\"op\": \"%s\", \"dtype\": \"%s\", \"B\": 8, \"T\": 512, \"D\": 576, "
        "\"forward_best_ms\": %.3f, "
        "\"both_best_ms\": %.3f}\n",
        name, c10::toString(type), forward.best_ms, both.best_ms);
    std::fflush(stdout);
  };
  report("rms_norm", {x}, [&] { return rms_norm(x, w, 1e-6); });
  report("gate_mix", {alpha, x, y}, [&] { return gate_mix(alpha, x, y); });
}

}  // namespace
}  // namespace flashmorph::kernels

int main(int argc, char** argv) {
  using namespace flashmorph::kernels;
  std::vector<std::string> kinds(argv + 1, argv + argc);
  if (kinds.empty()) {
    kinds = recurrence_kinds();
    kinds.emplace_back("small");
  }
  for (const auto& kind : kinds) {
    if (kind == "small") {
      bench_small(at::kFloat);
      bench_small(at::kBFloat16);
      continue;
    }
    for (const auto type : {at::kFloat, at::kBFloat16})
      for (const int64_t B : {1, 4, 8}) {
        if (kind != "lightning" && B != 4) continue;
        const RecurrenceSizes n{.B = B, .T = 512, .H = 9, .K = 64, .V = 64};
        bench(kind, Form::automatic, "automatic", type, n);
        if (kind == "lightning") bench(kind, Form::chunk, "chunk", type, n);
      }
  }
  return 0;
}
