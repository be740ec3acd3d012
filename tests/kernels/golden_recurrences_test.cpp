// SPDX-License-Identifier: Apache-2.0
// Every kind of recurrence against the golden vectors in float64: naive, chunk and step by step,
// outputs and all gradients.
#include <fstream>
#include <map>

#include <nlohmann/json.hpp>

#include "compare.h"
#include "kernels/channel_decay.h"
#include "kernels/gated_delta_rule.h"
#include "kernels/l2_normalize.h"
#include "kernels/scalar_decay.h"

namespace flashmorph::kernels {
namespace {

constexpr double tolerance = 1e-12;  // absolute, what the file of vectors asks for

at::Tensor tensor_of(const nlohmann::json& json) {
  std::vector<int64_t> sizes;
  for (const auto* level = &json; level->is_array(); level = &level->front())
    sizes.push_back(static_cast<int64_t>(level->size()));
  std::vector<double> values;
  const std::function<void(const nlohmann::json&)> flatten = [&](const nlohmann::json& part) {
    if (part.is_array())
      for (const auto& item : part) flatten(item);
    else
      values.push_back(part.get<double>());
  };
  flatten(json);
  return at::tensor(values, at::kDouble).view(sizes);
}

using Named = std::map<std::string, at::Tensor>;

Named tensors_of(const nlohmann::json& json) {
  Named out;
  for (const auto& [name, value] : json.items()) out[name] = tensor_of(value);
  return out;
}

// [T, ..] of one head -> [1, T, 1, ..]
at::Tensor with_heads(const at::Tensor& x) { return x.unsqueeze(0).unsqueeze(2); }

// The operator of a case on inputs as the file names them: o: [T, V], S: [K, V].
std::pair<at::Tensor, at::Tensor> apply(const std::string& kind, const Named& x, double scale,
                                        Form form) {
  const at::Tensor q = with_heads(x.at("q")), k = with_heads(x.at("k")), v = with_heads(x.at("v"));
  const at::Tensor S0 = x.at("S0").unsqueeze(0).unsqueeze(0);
  Recurrence out;
  if (kind == "plain") {
    out = scalar_decay(q, k, v, {}, {}, scale, S0, form);
  } else if (kind == "lightning") {
    out = scalar_decay(q, k, v, x.at("log_decay").view({1}), {}, scale, S0, form);
  } else if (kind == "simple") {
    out = scalar_decay(q, k, v, with_heads(x.at("g")), {}, scale, S0, form);
  } else if (kind == "mamba2") {
    const at::Tensor dt = with_heads(x.at("dt"));
    out = scalar_decay(q, k, v, -x.at("A_log").exp() * dt, dt, scale, S0, form);
    out.output = out.output + x.at("D") * v;
  } else if (kind == "gla") {
    out = channel_decay(q, k, v, with_heads(x.at("g")), {}, scale, S0, form);
  } else {
    out =
        gated_delta_rule(q, k, v, with_heads(x.at("g")), with_heads(x.at("beta")), scale, S0, form);
  }
  return {out.output.squeeze(2).squeeze(0), out.state.squeeze(0).squeeze(0)};
}

// The same, one token after the other with the carried state.
std::pair<at::Tensor, at::Tensor> apply_stepwise(const std::string& kind, const Named& x,
                                                 double scale) {
  Named step = x;
  std::vector<at::Tensor> outputs;
  for (int64_t t = 0; t < x.at("q").size(0); ++t) {
    for (const char* name : {"q", "k", "v", "g", "beta", "dt"})
      if (x.contains(name)) step[name] = x.at(name).narrow(0, t, 1);
    auto [o, S] = apply(kind, step, scale, Form::automatic);
    outputs.push_back(o);
    step["S0"] = S;
  }
  return {at::cat(outputs), step.at("S0")};
}

// raw -> inputs, as `raw_to_inputs` of the case says.
Named activate(const std::string& kind, Named x) {
  const auto softplus = [](const at::Tensor& a) { return at::softplus(a, 1, 1000); };
  if (kind == "gla" || kind == "simple") x["g"] = at::log_sigmoid(x.at("z")) / 16;
  if (kind == "mamba2") x["dt"] = softplus(x.at("dt_raw") + x.at("dt_bias"));
  if (kind == "gdn" || kind == "kda") {
    x["q"] = l2_normalize(x.at("q"));
    x["k"] = l2_normalize(x.at("k"));
    const at::Tensor& raw = kind == "gdn" ? x.at("a_raw") : x.at("f");
    x["g"] = -x.at("A_log").exp() * softplus(raw + x.at("dt_bias"));
    x["beta"] = (kind == "gdn" ? 2.0 : 1.0) * at::sigmoid(x.at("b_raw"));
  }
  return x;
}

class GoldenRecurrences : public ::testing::TestWithParam<std::string> {
 protected:
  static const nlohmann::json& golden() {
    static const nlohmann::json json = [] {
      std::ifstream file(TEST_DATA_DIR "/golden/recurrences.json");
      return nlohmann::json::parse(file);
    }();
    return json;
  }
};

TEST_P(GoldenRecurrences, OutputsStatesAndGradientsAgree) {
  int cases = 0;
  for (const auto& item : golden().at("cases")) {
    const auto kind = item.at("kind").get<std::string>();
    const double scale = item.at("scale").get<double>();
    Named inputs = tensors_of(item.at("inputs"));
    for (auto& [name, value] : inputs) value.requires_grad_(true);
    const auto [o, S] = GetParam() == "stepwise" ? apply_stepwise(kind, inputs, scale)
                                                 : apply(kind, inputs, scale,
                                                         GetParam() == "naive"   ? Form::naive
                                                         : GetParam() == "chunk" ? Form::chunk
                                                                                 : Form::automatic);
    const auto where = item.at("name").get<std::string>() + " " + GetParam();
    EXPECT_LT(largest_difference(o, tensor_of(item.at("o"))), tolerance) << where;
    EXPECT_LT(largest_difference(S, tensor_of(item.at("S_final"))), tolerance) << where;
    (o * tensor_of(item.at("w"))).sum().backward();
    for (const auto& [name, value] : item.at("grads").items())
      EXPECT_LT(largest_difference(inputs.at(name).grad(), tensor_of(value)), tolerance)
          << where << " d" << name;
    ++cases;
  }
  EXPECT_EQ(cases, 14);
}

TEST_P(GoldenRecurrences, GradientsReachTheRawValues) {
  int gradients = 0;
  for (const auto& item : golden().at("cases")) {
    const auto kind = item.at("kind").get<std::string>();
    const Named given = tensors_of(item.at("inputs")), raw = tensors_of(item.at("raw"));
    Named leaves;
    for (const auto& [name, value] : given) leaves[name] = value.clone();
    for (const auto& [name, value] : raw) leaves[name] = value.clone();
    for (auto& [name, value] : leaves) value.requires_grad_(true);
    const Named inputs = activate(kind, leaves);
    for (const auto& [name, value] : given)
      EXPECT_LT(largest_difference(inputs.at(name), value), 1e-14)
          << item.at("name") << " " << name;
    const double scale = item.at("scale").get<double>();
    const auto [o, S] = GetParam() == "stepwise" ? apply_stepwise(kind, inputs, scale)
                                                 : apply(kind, inputs, scale,
                                                         GetParam() == "naive"   ? Form::naive
                                                         : GetParam() == "chunk" ? Form::chunk
                                                                                 : Form::automatic);
    (o * tensor_of(item.at("w"))).sum().backward();
    for (const auto& [name, value] : item.at("grad_raw").items()) {
      EXPECT_LT(largest_difference(leaves.at(name).grad(), tensor_of(value)), tolerance)
          << item.at("name") << " d" << name;
      ++gradients;
    }
  }
  EXPECT_EQ(gradients, 2 * (1 + 1 + 2 + 6 + 6));
}

INSTANTIATE_TEST_SUITE_P(Forms, GoldenRecurrences,
                         ::testing::Values("naive", "chunk", "automatic", "stepwise"),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace flashmorph::kernels
