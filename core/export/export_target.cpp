// SPDX-License-Identifier: Apache-2.0
#include "core/export/export_target.h"

#include <array>

#include <fmt/format.h>

#include "core/run/error.h"

namespace flashmorph {

namespace {

constexpr std::array<std::pair<ExportTarget, const char*>, 5> kTargets{
    {{ExportTarget::transformers, "transformers"},
     {ExportTarget::fla, "fla"},
     {ExportTarget::hypenet, "hypenet"},
     {ExportTarget::gguf, "gguf"},
     {ExportTarget::plan, "plan"}}};
constexpr std::array<std::pair<ExportDtype, const char*>, 4> kDtypes{{{ExportDtype::f32, "f32"},
                                                                      {ExportDtype::bf16, "bf16"},
                                                                      {ExportDtype::f16, "f16"},
                                                                      {ExportDtype::q8_0, "q8_0"}}};

template <typename Table>
auto parse(const Table& table, const std::string& name, const char* what) {
  std::string known;
  for (const auto& [value, word] : table) {
    if (name == word) return value;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", word);
  }
  throw Error("export", ErrorCode::bad_request,
              fmt::format("{} \"{}\" is unknown", what, name.substr(0, 40)),
              "choose one of " + known);
}

template <typename Table, typename Value>
std::string word_of(const Table& table, Value value) {
  for (const auto& [one, word] : table)
    if (one == value) return word;
  return "unknown";
}

}  // namespace

ExportTarget parse_export_target(const std::string& name) {
  return parse(kTargets, name, "export target");
}
std::string to_string(ExportTarget target) { return word_of(kTargets, target); }
const std::vector<ExportTarget>& export_targets() {
  static const std::vector<ExportTarget> all = [] {
    std::vector<ExportTarget> list;
    for (const auto& [target, word] : kTargets) list.push_back(target);
    return list;
  }();
  return all;
}

ExportDtype parse_export_dtype(const std::string& name) {
  return parse(kDtypes, name, "export dtype");
}
std::string to_string(ExportDtype dtype) { return word_of(kDtypes, dtype); }
at::ScalarType scalar_type_of(ExportDtype dtype) {
  return dtype == ExportDtype::bf16  ? at::kBFloat16
         : dtype == ExportDtype::f16 ? at::kHalf
                                     : at::kFloat;
}

bool all_finite(const at::Tensor& values) {
  constexpr int64_t kPiece = int64_t{1} << 20;
  const at::Tensor flat = values.reshape({-1});
  for (int64_t at = 0; at < flat.numel(); at += kPiece)
    if (!at::isfinite(flat.narrow(0, at, std::min(kPiece, flat.numel() - at))).all().item<bool>())
      return false;
  return true;
}

}  // namespace flashmorph
