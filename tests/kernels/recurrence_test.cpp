// SPDX-License-Identifier: Apache-2.0
// The forms of every recurrence against each other: odd lengths, all gradients, hard decays and
// keys, bfloat16, steps.
#include "recurrence_cases.h"

#include <c10/util/Exception.h>

namespace flashmorph::kernels {
namespace {

class Recurrences : public ::testing::TestWithParam<std::string> {};

TEST_P(Recurrences, ChunkEqualsNaiveAtEveryLength) {
  for (const int64_t T : {1, 15, 63, 64, 100, 1000}) {
    const RecurrenceCase c =
        make_recurrence(GetParam(), {.B = T > 100 ? 1 : 2, .T = T, .K = 16, .V = 24});
    const Evaluation naive = c.run(Form::naive);
    // float32; measured: at most 4e-6
    expect_close(c, c.run(Form::chunk), naive, 1e-4, "chunk, T = " + std::to_string(T));
    expect_close(c, c.run(Form::automatic), naive, 1e-4, "automatic, T = " + std::to_string(T));
  }
}

TEST_P(Recurrences, WideHeadsAgree) {
  const RecurrenceCase c =
      make_recurrence(GetParam(), {.B = 1, .T = 130, .H = 2, .K = 64, .V = 64});
  const Evaluation naive = c.run(Form::naive);
  expect_close(c, c.run(Form::chunk), naive, 1e-4, "chunk, K = V = 64");
  expect_close(c, c.run(Form::automatic), naive, 1e-4, "automatic, K = V = 64");
}

TEST_P(Recurrences, DoublePrecisionIsExactToRounding) {
  const RecurrenceCase c = make_recurrence(GetParam(), {.T = 100});
  expect_close(c, c.run(Form::chunk, at::kDouble), c.run(Form::naive, at::kDouble), 1e-12,
               "float64");
}

TEST_P(Recurrences, OddChannelCountsAgree) {
  const RecurrenceCase c = make_recurrence(GetParam(), {.B = 1, .T = 70, .H = 1, .K = 1, .V = 3});
  const Evaluation naive = c.run(Form::naive);
  expect_close(c, c.run(Form::chunk), naive, 1e-4, "chunk, K = 1");
  expect_close(c, c.run(Form::automatic), naive, 1e-4, "automatic, K = 1");
}

TEST_P(Recurrences, OneTokenAtATimeEqualsTheWholeSequence) {
  const RecurrenceCase c = make_recurrence(GetParam(), {.B = 1, .T = 70});
  c10::NoGradGuard no_grad;
  std::vector<at::Tensor> x;
  for (const auto& leaf : c.leaves) x.push_back(leaf.to(at::kFloat));
  const auto whole = c.op(Form::automatic)(x);
  std::vector<at::Tensor> outputs, step = x;
  for (int64_t t = 0; t < 70; ++t) {
    for (size_t i = 0; i < x.size(); ++i)
      if (c.names[i] != "S0" && x[i].dim() > 1) step[i] = x[i].narrow(1, t, 1);
    const auto out = c.op(Form::automatic)(step);
    outputs.push_back(out[0]);
    step[3] = out[1];
  }
  EXPECT_LT(relative_error(at::cat(outputs, 1), whole[0]), 1e-5);  // both are float32
  EXPECT_LT(relative_error(step[3], whole[1]), 1e-5);
}

TEST_P(Recurrences, GradientsFlowThroughACarriedState) {
  const RecurrenceCase c = make_recurrence(GetParam(), {.B = 1, .T = 100});
  const Op whole = c.op(Form::chunk);
  const Op halves = [&](const std::vector<at::Tensor>& x) -> std::vector<at::Tensor> {
    std::vector<at::Tensor> first = x, second = x;
    for (size_t i = 0; i < x.size(); ++i)
      if (c.names[i] != "S0" && x[i].dim() > 1) {
        first[i] = x[i].narrow(1, 0, 37);
        second[i] = x[i].narrow(1, 37, 63);
      }
    const auto a = whole(first);
    second[3] = a[1];
    const auto b = whole(second);
    return {at::cat({a[0], b[0]}, 1), b[1]};
  };
  const std::vector<at::Tensor> weights{c.d_output, c.d_state};
  expect_close(c, kernels::run(halves, c.leaves, weights), kernels::run(whole, c.leaves, weights),
               1e-12, "two halves");
}

TEST_P(Recurrences, OutputIsLinearInTheQueries) {  // sum_t <q_t, dq_t> = sum_t <o_t, do_t>
  RecurrenceCase c = make_recurrence(GetParam(), {.T = 200});
  c.d_state.zero_();
  for (const Form form : {Form::chunk, Form::automatic}) {
    const Evaluation r = c.run(form, form == Form::chunk ? at::kDouble : at::kFloat);
    const at::Tensor o = r.outputs[0].to(at::kDouble);
    const double by_queries = (c.leaves[0] * r.gradients[0].to(at::kDouble)).sum().item<double>();
    const double by_outputs = (o * c.d_output).sum().item<double>();
    // The sums cancel, so the error is measured against their largest possible value.
    const double bound = (o.norm() * c.d_output.norm()).item<double>();
    EXPECT_NEAR(by_queries / bound, by_outputs / bound, form == Form::chunk ? 1e-14 : 1e-7);
  }
}

TEST_P(Recurrences, BfloatInputsCostOneRounding) {
  const RecurrenceCase c = make_recurrence(GetParam(), {.T = 200, .K = 32, .V = 32});
  RecurrenceCase rounded = c;
  for (size_t i = 0; i < 3; ++i) rounded.leaves[i] = c.leaves[i].to(at::kBFloat16).to(at::kDouble);
  rounded.d_output = c.d_output.to(at::kBFloat16).to(at::kDouble);
  const Evaluation truth = rounded.run(Form::naive, at::kDouble);
  // All sums are float32, so only the results are rounded: half a unit of 2^-8, 1.7e-3 as an RMS;
  // measured: at most 1.7e-3
  for (const Form form : {Form::chunk, Form::automatic})
    expect_close(rounded, rounded.run(form, at::kBFloat16), truth, 3e-3, "bfloat16");
}

TEST_P(Recurrences, StrongDecayNeitherOverflowsNorTurnsIntoNan) {
  if (GetParam() == "plain") GTEST_SKIP() << "plain has no decay";
  RecurrenceCase c = make_recurrence(GetParam(), {.T = 100});
  for (size_t i = 0; i < c.names.size(); ++i)
    if (c.names[i] == "log_decay") c.leaves[i] = c.leaves[i] * 400;
  const Evaluation truth = c.run(Form::naive, at::kDouble);
  for (const Form form : {Form::chunk, Form::automatic}) {
    const std::string where = form == Form::chunk ? "chunk" : "automatic";
    Evaluation got = c.run(form);
    // The decay gradient is a difference of <q, dq> and <k, dk> (method 2.4), which here are 1e10
    // times larger than what is left: its error is bounded by theirs.
    for (size_t i = 4; i < c.names.size(); ++i)
      if (c.names[i] == "log_decay") {
        const double scale = (c.leaves[0] * truth.gradients[0]).abs().max().item<double>();
        EXPECT_LT(largest_difference(got.gradients[i], truth.gradients[i]), 1e-4 * scale) << where;
        got.gradients[i] = truth.gradients[i];
      }
    expect_close(c, got, truth, 1e-4, where + ", decays of e^-100 a token");
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, Recurrences, ::testing::ValuesIn(recurrence_kinds()),
                         [](const auto& test) { return test.param; });

// Keys that hardly differ at beta near 2 make (I + A)^-1 large: the solve must not lose digits
// (method 2.4, last rules).
TEST(DeltaRule, NearlyEqualKeysAtBetaTwo) {
  for (const char* kind : {"gdn", "kda"}) {
    RecurrenceCase c = make_recurrence(kind, {.B = 1, .T = 256, .H = 2, .K = 32, .V = 32});
    const at::Tensor base = at::randn({1, 1, 2, 32}, at::kDouble);
    c.leaves[1] = l2_normalize(base + 1e-2 * at::randn({1, 256, 2, 32}, at::kDouble));
    c.leaves[4] = c.leaves[4] * 1e-2;
    c.leaves[5] = at::full_like(c.leaves[5], 1.995);
    const Evaluation truth = c.run(Form::naive, at::kDouble);
    // measured: naive float32 3.5e-6, chunk float32 2.8e-5
    expect_close(c, c.run(Form::naive), truth, 1e-4, "naive float32");
    expect_close(c, c.run(Form::chunk), truth, 1e-4, "chunk float32");
  }
}

TEST(ScalarDecay, FixedDecayHasAGradientOnlyOnRequest) {
  const RecurrenceCase c = make_recurrence("lightning", {.B = 1, .T = 65});
  std::vector<at::Tensor> x;
  for (const auto& leaf : c.leaves) x.push_back(leaf.to(at::kFloat));
  x[0].requires_grad_(true);
  const auto out = c.op(Form::automatic)(x);
  out[0].sum().backward();
  EXPECT_TRUE(x[0].grad().defined());
  EXPECT_FALSE(x[4].grad().defined());
}

TEST(ScalarDecay, ViewsAndTransposedInputsAgree) {
  const RecurrenceCase c =
      make_recurrence("lightning", {.B = 2, .T = 70, .H = 3, .K = 16, .V = 16});
  c10::NoGradGuard no_grad;
  std::vector<at::Tensor> plain, views;
  for (const auto& leaf : c.leaves) {
    plain.push_back(leaf.to(at::kFloat));
    views.push_back(plain.back());
  }
  for (size_t i = 0; i < 3; ++i)  // [B, H, T, K] in memory
    views[i] = plain[i].transpose(1, 2).contiguous().transpose(1, 2);
  for (const Form form : {Form::naive, Form::chunk, Form::automatic})
    EXPECT_LT(relative_error(c.op(form)(views)[0], c.op(form)(plain)[0]), 1e-6);
}

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const c10::Error& error) {
    return error.what_without_backtrace();
  }
  return "nothing was thrown";
}

TEST(RecurrenceChecks, SayWhatWasExpectedAndWhatCame) {
  const at::Tensor q = at::zeros({1, 4, 2, 8}), v = at::zeros({1, 4, 2, 6});
  const auto said = [](const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  said(message_of([&] {
         scalar_decay(q, at::zeros({1, 4, 2, 7}), v, {}, {}, 1.0);
       }),
       "[scalar_decay] k: expected shape [1, 4, 2, 8], got [1, 4, 2, 7]");
  said(message_of([&] { scalar_decay(q, q.to(at::kDouble), v, {}, {}, 1.0); }),
       "[scalar_decay] k: expected the dtype of q, Float, got Double");
  said(message_of([&] { scalar_decay(q, q, v, at::zeros({3}), {}, 1.0); }),
       "[scalar_decay] log_decay: expected shape [2], got [3]");
  said(message_of([&] {
         scalar_decay(q, q, v, at::zeros({4, 2}), {}, 1.0);
       }),
       "[scalar_decay] log_decay: expected shape [H] or [B, T, H], got [4, 2]");
  said(message_of([&] {
         scalar_decay(q, q, v, {}, at::zeros({1, 4, 2}, at::kLong), 1.0);
       }),
       "[scalar_decay] beta: expected a dense floating-point tensor");
  said(message_of([&] {
         channel_decay(q, q, v, at::zeros({1, 4, 2}), {}, 1.0);
       }),
       "[channel_decay] log_decay: expected shape [1, 4, 2, 8], got [1, 4, 2]");
  said(message_of([&] {
         gated_delta_rule(q, q, v, at::zeros({1, 4, 2}), at::zeros({1, 4, 2}), 1.0,
                          at::zeros({1, 2, 6, 8}));
       }),
       "[gated_delta_rule] state: expected shape [1, 2, 8, 6], got [1, 2, 6, 8]");
  said(message_of([&] {
         scalar_decay(at::zeros({1, 0, 2, 8}), at::zeros({1, 0, 2, 8}), v, {}, {}, 1.0);
       }),
       "[scalar_decay] q: expected at least one token");
}

}  // namespace
}  // namespace flashmorph::kernels
