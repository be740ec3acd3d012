// SPDX-License-Identifier: Apache-2.0
// The table of methods: a new one adds its pair of files and a row here.
#include "core/select/selector.h"

#include <chrono>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/run/error.h"
#include "core/run/gate_rank.h"
#include "core/select/calibration.h"
#include "core/select/exact.h"
#include "core/select/ga_s2.h"
#include "core/select/greedy.h"
#include "core/select/halo.h"
#include "core/select/local_mse.h"
#include "core/select/random_layers.h"
#include "core/select/recall_drop.h"
#include "core/select/swap.h"
#include "core/select/uniform.h"

namespace flashmorph {

namespace {

struct Method {
  const char* id;
  const char* sentence;
  SelectorResult (*run)(const SelectorInput&, Calibration&);
};

constexpr Method kMethods[] = {
    {"uniform", "evenly spaced layers from an offset", select_uniform},
    {"random", "layers drawn by the seed", select_random},
    {"local_mse", "squared difference of branch and softmax output on the teacher's inputs",
     select_local_mse},
    {"local_rel", "the same, relative to the softmax output", select_local_rel},
    {"swap_nll", "rise of the answer NLL when only this layer is linear", select_swap_nll},
    {"swap_kl", "KL from the teacher on text when only this layer is linear", select_swap_kl},
    {"recall_drop", "loss of recall when only this layer is linear", select_recall_drop},
    {"halo", "HALO's ratio of recall drop to control drop", select_halo},
    {"ga_s2", "KL-LS without training: -KL from the teacher when only this layer is restored",
     select_ga_s2},
    {"greedy_add", "from all linear, add the layer that helps most, rescoring each round",
     select_greedy_add},
    {"greedy_drop", "from the teacher, make the least harmful layer linear, rescoring each round",
     select_greedy_drop},
    {"exact", "the best of all plans of this budget", select_exact},
};

nlohmann::json options_of(const SelectorInput& input) {
  return {{"budget", input.budget},
          {"prompts", input.prompts.size()},
          {"text_tokens", input.text ? input.text_tokens : 0},
          {"text_length", input.text ? input.text_length : 0},
          {"offset", input.offset},
          {"quality_floor", input.quality_floor},
          {"local_tokens", input.local_tokens}};
}

}  // namespace

nlohmann::json SelectorResult::to_json() const {
  return {{"method", method},       {"score", score},
          {"ranking", ranking},     {"plan", plan.to_string()},
          {"kept", plan.full},      {"seed", seed},
          {"options", options},     {"evaluations", evaluations},
          {"tokens", tokens},       {"forwards", forwards},
          {"backwards", backwards}, {"flops", flops},
          {"seconds", seconds},     {"detail", detail}};
}

const std::vector<std::pair<std::string, std::string>>& selector_methods() {
  static const std::vector<std::pair<std::string, std::string>> list = [] {
    std::vector<std::pair<std::string, std::string>> all;
    for (const Method& method : kMethods) all.emplace_back(method.id, method.sentence);
    return all;
  }();
  return list;
}

SelectorResult run_selector(const std::string& method, const SelectorInput& input,
                            const ProgressCallback& progress, const StopFlag& stop) {
  const Method* found = nullptr;
  std::vector<std::string> ids;
  for (const Method& one : kMethods) {
    ids.emplace_back(one.id);
    if (method == one.id) found = &one;
  }
  if (!found)
    throw Error("select", ErrorCode::bad_request,
                fmt::format("there is no selector \"{}\"", method.substr(0, 40)),
                fmt::format("methods are {}; gates are trained by `gates`", fmt::join(ids, ", ")));
  if (!input.model)
    throw Error("select", ErrorCode::no_model, "no model is loaded", "load a model first");
  const int L = input.model->layers();
  if (input.budget < 0 || input.budget > L)
    throw Error("select", ErrorCode::plan_impossible,
                fmt::format("budget {} does not fit {} layers", input.budget, L),
                fmt::format("give a budget of 0 to {}", L));

  const auto start = std::chrono::steady_clock::now();
  Calibration calibration(input, progress, stop);
  SelectorResult result = found->run(input, calibration);
  result.method = method;
  result.seed = input.seed;
  result.options = options_of(input);
  for (const double score : result.score)
    if (!std::isfinite(score))
      throw Error("select", ErrorCode::non_finite,
                  fmt::format("{} found a score that is not finite", method),
                  "check the calibration data and the branches");
  result.ranking = rank_order(result.score, {});
  calibration.account(result);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace flashmorph
