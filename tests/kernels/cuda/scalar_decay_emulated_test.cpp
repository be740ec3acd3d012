// SPDX-License-Identifier: Apache-2.0
// The scalar-decay CUDA kernels, run by the emulator on the CPU, against the recurrence in double
// precision.
#include <gtest/gtest.h>

#include <random>

#include "kernels/cuda/scalar_decay.cu"
#include "tests/kernels/cuda/emulated_tensors.h"
#include "tests/kernels/cuda/scalar_decay_reference.h"

namespace flashmorph::kernels::cuda {
namespace {
Device emulated_device{1, 9, 227 * 1024};
}
const Device& device() { return emulated_device; }
}  // namespace flashmorph::kernels::cuda

namespace {

using namespace flashmorph::kernels::cuda;

using namespace emulated;

struct Case {
  const char* name;
  int64_t batch, tokens, heads, dim;
  bool per_token, beta, state;
  double strongest;  // log decay of the fastest head
  int multiprocessors;
  int shared_kib = 227;
};

class ScalarDecayEmulated : public testing::TestWithParam<Case> {};

TEST_P(ScalarDecayEmulated, AgreesWithRecurrence) {
  const Case c = GetParam();
  emulated_device = {c.multiprocessors, 9, c.shared_kib * 1024};
  std::mt19937 random(5);
  std::normal_distribution<double> normal;
  auto fill = [&](int64_t count, double sigma) {
    Array a(static_cast<size_t>(count));
    for (double& x : a) x = sigma * normal(random);
    return a;
  };
  const int64_t all = c.batch * c.tokens * c.heads * c.dim, gates = c.batch * c.tokens * c.heads;
  const int64_t states = c.batch * c.heads * c.dim * c.dim;
  Half q = half(fill(all, 1)), k = half(fill(all, .2)), v = half(fill(all, 1)),
       d_output = half(fill(all, 1));
  reference::ScalarDecay truth{c.batch, c.tokens, c.heads, c.dim, .125};
  truth.q = widen(q);
  truth.k = widen(k);
  truth.v = widen(v);
  truth.d_output = widen(d_output);
  std::vector<float> fixed(static_cast<size_t>(c.heads)), log_decay(static_cast<size_t>(gates));
  std::vector<float> beta(static_cast<size_t>(gates), 1.f);
  for (int64_t h = 0; h < c.heads; ++h)
    fixed[static_cast<size_t>(h)] =
        static_cast<float>(-c.strongest * std::pow(.02, static_cast<double>(h)));
  std::uniform_real_distribution<float> uniform(0.f, 2.f);
  for (int64_t i = 0; i < gates; ++i) {
    log_decay[static_cast<size_t>(i)] =
        fixed[static_cast<size_t>(i % c.heads)] * (c.per_token ? uniform(random) : 1.f);
    if (c.beta) beta[static_cast<size_t>(i)] = uniform(random);
  }
  truth.log_decay = widen(log_decay);
  truth.beta = widen(beta);
  truth.state = fill(states, c.state ? 1 : 0);
  truth.d_final_state = fill(states, c.state ? 1 : 0);
  std::vector<float> state = narrow(truth.state), d_final = narrow(truth.d_final_state);
  truth.state = widen(state);
  truth.d_final_state = widen(d_final);
  truth.run();

  const ScalarDecayShape shape{static_cast<int>(c.batch), static_cast<int>(c.tokens),
                               static_cast<int>(c.heads), static_cast<int>(c.dim), .125f};
  ScalarDecayGates given;
  const View gate_view{nullptr, c.tokens * c.heads, c.heads, 1};
  auto gate = [&](std::vector<float>& x) {
    View view = gate_view;
    view.data = x.data();
    return view;
  };
  if (c.per_token)
    given.per_token = gate(log_decay);
  else
    given.fixed = fixed.data();
  if (c.beta) given.beta = gate(beta);

  auto view = [&](Half& h) { return h.view(c.tokens, c.heads, c.dim); };
  Half output = poisoned(q.words.size());
  std::vector<float> final_state(static_cast<size_t>(states), kNaN);
  ScalarDecayForward forward{shape,
                             given,
                             view(q),
                             view(k),
                             view(v),
                             view(output),
                             c.state ? state.data() : nullptr,
                             final_state.data()};
  std::vector<unsigned char> scratch(workspace_bytes(forward) + 256, 0xff);
  ASSERT_EQ(run(forward, scratch.data(), nullptr), 0);
  std::map<std::string, double> error;
  error["output"] = relative_error(widen(output), truth.output);
  error["final_state"] = relative_error(widen(final_state), truth.final_state);

  Half dq = poisoned(q.words.size()), dk = dq, dv = dq;
  std::vector<float> d_state(static_cast<size_t>(states), kNaN),
      d_log_decay(static_cast<size_t>(gates), kNaN);
  std::vector<float> d_beta = d_log_decay;
  ScalarDecayBackward backward{shape, given};
  backward.q = view(q);
  backward.k = view(k);
  backward.v = view(v);
  backward.d_output = view(d_output);
  backward.dq = view(dq);
  backward.dk = view(dk);
  backward.dv = view(dv);
  backward.state = c.state ? state.data() : nullptr;
  backward.d_final_state = c.state ? d_final.data() : nullptr;
  backward.d_state = d_state.data();
  if (c.per_token) backward.d_log_decay = gate(d_log_decay);
  if (c.beta) backward.d_beta = gate(d_beta);
  scratch.assign(workspace_bytes(backward) + 256, 0xff);
  ASSERT_EQ(run(backward, scratch.data(), nullptr), 0);
  error["dq"] = relative_error(widen(dq), truth.dq);
  error["dk"] = relative_error(widen(dk), truth.dk);
  error["dv"] = relative_error(widen(dv), truth.dv);
  error["d_state"] = relative_error(widen(d_state), truth.d_state);
  if (c.per_token) error["d_log_decay"] = relative_error(widen(d_log_decay), truth.d_log_decay);
  if (c.beta) error["d_beta"] = relative_error(widen(d_beta), truth.d_beta);
  for (const auto& [name, value] : error) {
    RecordProperty(name, std::to_string(value));
    printf("  %-12s %.2e\n", name.c_str(), value);
    // bf16 operands round by up to 2^-9: measured 1.5e-3 to 4e-3. The gradient of a decay that
    // forgets within a few tokens is a small difference of such sums: measured 1.1e-2.
    EXPECT_LT(value, name == "d_log_decay" ? 1.5e-2 : 6e-3) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, ScalarDecayEmulated,
    testing::Values(Case{"one_token", 1, 1, 1, 64, false, false, true, .1, 1},
                    Case{"one_segment_odd_length", 2, 100, 1, 64, false, false, true, .05, 1},
                    Case{"warm_up_and_carried_segments", 1, 423, 2, 64, false, false, true, .7, 6},
                    Case{"gates_per_token", 1, 423, 2, 64, true, true, true, .7, 6},
                    Case{"gates_per_token_one_stage", 1, 193, 1, 64, true, true, false, .3, 2, 64},
                    Case{"width_128", 1, 200, 1, 128, true, true, true, .05, 2}),
    [](const auto& given) { return std::string(given.param.name); });

}  // namespace
