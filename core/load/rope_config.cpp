// SPDX-License-Identifier: Apache-2.0
#include "core/load/rope_config.h"

#include <cmath>

#include <fmt/format.h>

#include "core/load/json_fields.h"
#include "core/load/text.h"

namespace flashmorph {

namespace {

// One dict (rope_scaling or rope_parameters) with what it says and nothing from elsewhere.
struct Spelling {
  RopeConfig rope;
  std::optional<double> theta, partial;
};

Spelling read_dict(const nlohmann::json& dict, const std::string& name, int64_t max_position,
                   std::optional<int64_t> original, const std::string& where) {
  if (!dict.is_object())
    refuse_file(where, name, fmt::format("expected an object, got {}", dict.type_name()));
  for (const auto& [key, value] : dict.items())
    if (value.is_object())
      refuse_model(where,
                   fmt::format("{} holds one rope per kind of layer ({})", name, in_quotes(key)),
                   "models whose layers differ are not supported");
  const JsonFields fields(dict, where, name + ".");
  Spelling out;
  auto& rope = out.rope;
  const auto type = fields.text("rope_type"), old_type = fields.text("type");
  if (type && old_type && *type != *old_type)
    fields.refuse("rope_type",
                  fmt::format("{} disagrees with type {}", in_quotes(*type), in_quotes(*old_type)));
  rope.type = type ? *type : old_type.value_or("default");
  out.theta = fields.number("rope_theta");
  out.partial = fields.number("partial_rotary_factor");
  if (rope.type == "default") return out;
  if (rope.type != "linear" && rope.type != "dynamic" && rope.type != "yarn" &&
      rope.type != "llama3")
    refuse_model(where, fmt::format("{}.rope_type {} is not supported", name, in_quotes(rope.type)),
                 "use a model with rope type default, linear, dynamic, yarn or llama3");
  const auto factor = fields.number("factor");
  if (rope.type == "yarn" || rope.type == "llama3") {
    const auto inner = fields.integer("original_max_position_embeddings");
    if (inner && original && *inner != *original)
      fields.refuse("original_max_position_embeddings",
                    fmt::format("{} disagrees with {} at the top level", *inner, *original));
    rope.original_max_position = inner ? *inner : original.value_or(max_position);
  }
  if (rope.type == "yarn") {
    rope.attention_factor = fields.number("attention_factor").value_or(0);
    rope.beta_fast = fields.number("beta_fast").value_or(32);
    rope.beta_slow = fields.number("beta_slow").value_or(1);
    rope.mscale = fields.number("mscale").value_or(0);
    rope.mscale_all_dim = fields.number("mscale_all_dim").value_or(0);
    rope.truncate = fields.boolean("truncate").value_or(true);
  }
  if (rope.type == "llama3") {
    const auto low = fields.number("low_freq_factor"), high = fields.number("high_freq_factor");
    if (!low) fields.refuse("low_freq_factor", "missing");
    if (!high) fields.refuse("high_freq_factor", "missing");
    rope.low_freq_factor = *low;
    rope.high_freq_factor = *high;
  }
  if (!factor && rope.type == "yarn" && rope.original_max_position > 0)
    rope.factor =
        static_cast<double>(max_position) / static_cast<double>(rope.original_max_position);
  else if (!factor)
    fields.refuse("factor", "missing");
  else
    rope.factor = *factor;
  check_rope(rope, where, name);
  return out;
}

// Keeps the one value that every spelling gives.
void agree(std::optional<double>& kept, const std::optional<double>& given, const std::string& what,
           const std::string& place, const std::string& where) {
  if (!given) return;
  if (kept && *kept != *given)
    refuse_file(where, place + what,
                fmt::format("{} disagrees with {} given elsewhere in the file", *given, *kept),
                "make the spellings of the rope keys agree");
  kept = given;
}

}  // namespace

void check_rope(const RopeConfig& rope, const std::string& where, const std::string& field) {
  const auto refuse = [&](const std::string& reason) { refuse_file(where, field, reason); };
  if (!(rope.theta > 1 && rope.theta <= 1e15))
    refuse(fmt::format("theta {} is outside 1..1e15", rope.theta));
  if (!(rope.factor > 0 && rope.factor <= 1e6))
    refuse(fmt::format("factor {} is outside 0..1e6", rope.factor));
  if (rope.type == "yarn" || rope.type == "llama3") {
    if (rope.original_max_position < 1 || rope.original_max_position > int64_t{1} << 31)
      refuse(fmt::format("original_max_position_embeddings {} is outside 1..2^31",
                         rope.original_max_position));
  }
  if (rope.type == "llama3" &&
      !(rope.low_freq_factor > 0 && rope.high_freq_factor > rope.low_freq_factor))
    refuse(fmt::format("expected 0 < low_freq_factor < high_freq_factor, got {} and {}",
                       rope.low_freq_factor, rope.high_freq_factor));
  if (rope.type == "yarn") {
    if (!(rope.beta_slow > 0 && rope.beta_fast >= rope.beta_slow))
      refuse(fmt::format("expected 0 < beta_slow <= beta_fast, got {} and {}", rope.beta_slow,
                         rope.beta_fast));
    if (rope.attention_factor < 0)
      refuse(fmt::format("attention_factor {} is negative", rope.attention_factor));
    if (rope.mscale < 0 || rope.mscale_all_dim < 0)
      refuse("mscale and mscale_all_dim must not be negative");
  }
}

RopeConfig parse_rope(const nlohmann::json& config, int64_t max_position,
                      const std::string& where) {
  const JsonFields top(config, where);
  if (top.boolean("rope_interleaved").value_or(false))
    refuse_model(where, "rope_interleaved true is not supported",
                 "use a model that rotates halves");
  auto theta = top.number("rope_theta");
  auto partial = top.number("partial_rotary_factor");
  const auto original = top.integer("original_max_position_embeddings");
  std::optional<RopeConfig> rope;
  for (const std::string name : {"rope_parameters", "rope_scaling"}) {
    const auto* dict = top.find(name);
    if (dict == nullptr || (dict->is_object() && dict->empty())) continue;
    const auto said = read_dict(*dict, name, max_position, original, where);
    agree(theta, said.theta, "rope_theta", name + ".", where);
    agree(partial, said.partial, "partial_rotary_factor", name + ".", where);
    if (rope && *rope != said.rope)
      refuse_file(where, name,
                  fmt::format("rope type {} with factor {} disagrees with {} with factor {} of "
                              "rope_parameters, or another "
                              "of their fields does",
                              said.rope.type, said.rope.factor, rope->type, rope->factor),
                  "make the spellings of the rope keys agree");
    rope = said.rope;
  }
  RopeConfig out = rope.value_or(RopeConfig{});
  out.theta = theta.value_or(1e4);
  if (partial.value_or(1.0) != 1.0)
    refuse_model(where, fmt::format("partial_rotary_factor {} is not supported", *partial),
                 "use a model that rotates whole heads");
  check_rope(out, where, "rope_theta");
  return out;
}

}  // namespace flashmorph
