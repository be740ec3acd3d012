// SPDX-License-Identifier: Apache-2.0
#include "core/run/layer_plan.h"

#include <algorithm>
#include <charconv>
#include <numeric>

#include <fmt/format.h>

#include "core/run/error.h"

namespace flashmorph {

namespace {

constexpr int kMaxLayers = 4096;

[[noreturn]] void refuse(std::string_view text, size_t at, std::string_view what) {
  throw Error("run", ErrorCode::bad_request,
              fmt::format("plan \"{}\": {} at character {}", text.substr(0, 80), what, at + 1),
              "write plans as LAYERS:RANGES, for example 28:1,11-14,16,21");
}

int number(std::string_view text, size_t& at) {
  int value = 0;
  const auto [end, ec] = std::from_chars(text.data() + at, text.data() + text.size(), value);
  if (ec != std::errc() || value < 0) refuse(text, at, "expected a layer number");
  at = static_cast<size_t>(end - text.data());
  return value;
}

}  // namespace

bool LayerPlan::is_full(int layer) const {
  return std::binary_search(full.begin(), full.end(), layer);
}

LayerPlan LayerPlan::all_full(int layers) {
  LayerPlan plan{layers, std::vector<int>(static_cast<size_t>(layers))};
  std::iota(plan.full.begin(), plan.full.end(), 0);
  return plan;
}

LayerPlan LayerPlan::all_linear(int layers) { return {layers, {}}; }

LayerPlan LayerPlan::of(int layers, std::vector<int> full) {
  std::sort(full.begin(), full.end());
  for (size_t i = 0; i < full.size(); ++i) {
    if (full[i] < 0 || full[i] >= layers)
      throw Error("run", ErrorCode::plan_impossible,
                  fmt::format("layer {} is outside 0..{} of a model with {} layers", full[i],
                              layers - 1, layers));
    if (i > 0 && full[i] == full[i - 1])
      throw Error("run", ErrorCode::plan_impossible,
                  fmt::format("layer {} is listed twice", full[i]));
  }
  return {layers, std::move(full)};
}

LayerPlan LayerPlan::parse(std::string_view text) {
  size_t at = 0;
  const int layers = number(text, at);
  if (layers < 1 || layers > kMaxLayers)
    refuse(text, 0, fmt::format("expected 1 to {} layers", kMaxLayers));
  if (at >= text.size() || text[at] != ':') refuse(text, at, "expected ':'");
  ++at;
  std::vector<int> full;
  while (at < text.size()) {
    const size_t start = at;
    const int first = number(text, at);
    int last = first;
    if (at < text.size() && text[at] == '-') last = number(text, ++at);
    if (first > last || last >= layers)
      refuse(text, start, fmt::format("expected a range within 0..{}", layers - 1));
    if (!full.empty() && first <= full.back()) refuse(text, start, "expected rising layer numbers");
    for (int layer = first; layer <= last; ++layer) full.push_back(layer);
    if (at == text.size()) break;
    if (text[at] != ',') refuse(text, at, "expected ',' or '-'");
    if (++at == text.size()) refuse(text, at, "expected a layer number");
  }
  return {layers, std::move(full)};
}

std::string LayerPlan::to_string() const {
  std::string text = fmt::format("{}:", layers);
  for (size_t i = 0; i < full.size();) {
    size_t j = i;
    while (j + 1 < full.size() && full[j + 1] == full[j] + 1) ++j;
    if (i > 0) text += ',';
    text += j > i ? fmt::format("{}-{}", full[i], full[j]) : fmt::format("{}", full[i]);
    i = j + 1;
  }
  return text;
}

}  // namespace flashmorph
