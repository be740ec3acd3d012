// SPDX-License-Identifier: Apache-2.0
// Kinds of linear branch and their defaults (method 2.2, 2.6), to and from JSON.
#include <array>

#include <fmt/format.h>

#include "core/model/linear_branch.h"
#include "core/run/error.h"

namespace flashmorph {

namespace {

constexpr std::array<std::pair<BranchKind, const char*>, 8> kKinds{{{BranchKind::plain, "plain"},
                                                                    {BranchKind::lightning, "lightning"},
                                                                    {BranchKind::gla, "gla"},
                                                                    {BranchKind::simple, "simple"},
                                                                    {BranchKind::mamba2, "mamba2"},
                                                                    {BranchKind::gdn, "gdn"},
                                                                    {BranchKind::kda, "kda"},
                                                                    {BranchKind::window, "window"}}};

// The one place that knows the serialised fields.
template <typename Options, typename Visitor>
void visit(Options& options, Visitor&& field) {
  field("rope", options.rope);
  field("qk_norm", options.qk_norm);
  field("silu", options.silu);
  field("conv", options.conv);
  field("double_beta", options.double_beta);
  field("spread", options.spread);
  field("layer_scaled", options.layer_scaled);
  field("skip", options.skip);
  field("sink", options.sink);
  field("window", options.window);
}

}  // namespace

BranchKind parse_branch_kind(const std::string& name) {
  std::string known;
  for (const auto& [kind, word] : kKinds) {
    if (name == word) return kind;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", word);
  }
  throw Error("run", ErrorCode::bad_request, fmt::format("branch \"{}\" is unknown", name.substr(0, 40)),
              "choose one of " + known);
}

std::string to_string(BranchKind kind) {
  for (const auto& [one, word] : kKinds)
    if (one == kind) return word;
  return "unknown";
}

BranchOptions BranchOptions::of(BranchKind kind) {
  BranchOptions options;
  options.kind = kind;
  const bool attention_like = kind == BranchKind::plain || kind == BranchKind::lightning || kind == BranchKind::window;
  options.rope = options.qk_norm = attention_like;
  if (kind == BranchKind::gdn || kind == BranchKind::kda) {
    // The form that Qwen3.5, Qwen3-Next and fla share: conv of width 4 and SiLU on q, k, v; beta in (0, 1); no RoPE.
    options.silu = true;
    options.conv = 4;
  }
  return options;
}

nlohmann::json BranchOptions::to_json() const {
  nlohmann::json json{{"kind", to_string(kind)}};
  visit(*this, [&](const char* name, const auto& value) { json[name] = value; });
  return json;
}

BranchOptions BranchOptions::from_json(const nlohmann::json& json) {
  const auto refuse = [](const std::string& what) {
    throw Error("load", ErrorCode::bad_file, "branch options: " + what);
  };
  if (!json.is_object() || !json.contains("kind") || !json["kind"].is_string()) refuse("expected an object with a kind");
  BranchOptions options = of(parse_branch_kind(json["kind"].get<std::string>()));
  size_t known = 1;
  visit(options, [&](const char* name, auto& value) {
    if (!json.contains(name)) return;
    ++known;
    const nlohmann::json& given = json[name];
    if constexpr (std::is_same_v<std::decay_t<decltype(value)>, bool>) {
      if (!given.is_boolean()) refuse(fmt::format("{} must be true or false", name));
      value = given.get<bool>();
    } else {
      if (!given.is_number_integer() || given.get<int64_t>() < 0 || given.get<int64_t>() > 1 << 24)
        refuse(fmt::format("{} must be an integer from 0 to 16777216", name));
      value = given.get<int>();
    }
  });
  if (known != json.size())
    for (const auto& [key, value] : json.items()) {
      bool found = key == "kind";
      visit(options, [&, &wanted = key](const char* name, const auto&) { found = found || wanted == name; });
      if (!found) refuse(fmt::format("unknown key \"{}\"", key.substr(0, 40)));
    }
  if (options.conv != 0 && (options.conv < 2 || options.conv > 16)) refuse("conv must be 0 or 2 to 16");
  if (options.kind == BranchKind::window && options.window < 1) refuse("window must be at least 1");
  return options;
}

}  // namespace flashmorph
