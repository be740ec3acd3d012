// SPDX-License-Identifier: Apache-2.0
#include "core/run/hybrid_config.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include <fmt/format.h>

#include "core/run/error.h"
#include "core/run/file_io.h"
#include "core/run/strict_json.h"

namespace flashmorph {

namespace {

constexpr const char* kFormat = "flashmorph-hybrid";

// JSON with sorted keys (nlohmann sorts), two spaces, floats with 9 digits, non-finite numbers
// null.
void dump(const nlohmann::json& json, int indent, std::string& out) {
  const std::string pad(static_cast<size_t>(indent), ' ');
  if (json.is_object()) {
    if (json.empty()) {
      out += "{}";
      return;
    }
    out += "{\n";
    bool first = true;
    for (const auto& [key, value] : json.items()) {
      if (!first) out += ",\n";
      first = false;
      out += pad + "  " +
             nlohmann::json(key).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) +
             ": ";
      dump(value, indent + 2, out);
    }
    out += "\n" + pad + "}";
  } else if (json.is_array()) {
    out += "[";
    for (size_t i = 0; i < json.size(); ++i) {
      if (i > 0) out += ", ";
      dump(json[i], indent + 2, out);
    }
    out += "]";
  } else if (json.is_number_float()) {
    const double value = json.get<double>();
    std::string text = std::isfinite(value) ? fmt::format("{:.9g}", value) : "null";
    if (std::isfinite(value) && text.find_first_of(".e") == std::string::npos) text += ".0";
    out += text;
  } else {
    out += json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }
}

std::string base_name(const std::string& path) {
  const size_t slash = path.find_last_of("/\\");
  return slash == std::string::npos ? path : path.substr(slash + 1);
}

nlohmann::json maybe(const std::optional<std::vector<double>>& values) {
  return values ? nlohmann::json(*values) : nlohmann::json();
}

nlohmann::json with_unknown(nlohmann::json json, const nlohmann::json& unknown) {
  json.update(unknown);
  return json;
}

// What an object of the file holds beside the fields that were fetched.
nlohmann::json rest_of(const StrictFields& fields, const nlohmann::json& json) {
  nlohmann::json rest = nlohmann::json::object();
  for (const std::string& name : fields.rest()) rest[name] = json[name];
  return rest;
}

nlohmann::json to_json(const HybridConfig& c) {
  nlohmann::json locks{{"full", nlohmann::json::array()}, {"linear", nlohmann::json::array()}};
  for (size_t l = 0; l < c.locks.size(); ++l)
    if (c.locks[l] != Lock::free) locks[c.locks[l] == Lock::full ? "full" : "linear"].push_back(l);
  nlohmann::json training = nlohmann::json::array(), lint = nlohmann::json::array();
  for (const HybridStage& s : c.training)
    training.push_back(with_unknown({{"stage", s.stage},
                                     {"tokens", s.tokens},
                                     {"steps", s.steps},
                                     {"seed", s.seed},
                                     {"data_sha256", s.data_sha256}},
                                    s.unknown));
  for (const HybridLint& l : c.lint)
    lint.push_back(with_unknown(
        {{"target", l.target}, {"level", l.level}, {"rule", l.rule}, {"message", l.message}},
        l.unknown));
  nlohmann::json json{
      {"format", kFormat},
      {"version", fmt::format("{}.{}", kHybridMajor, kHybridMinor)},
      {"teacher",
       {{"name", base_name(c.teacher.name)},
        {"config_sha256", c.teacher.config_sha256},
        {"weights_sha256", c.teacher.weights_sha256},
        {"tokenizer_sha256", c.teacher.tokenizer_sha256}}},
      {"plan",
       {{"layers", c.plan.layers},
        {"full", c.plan.full},
        {"budget", c.plan.budget()},
        {"locks", locks}}},
      {"branch",
       {{"kind", c.branch.kind},
        {"heads", c.branch.heads},
        {"head_dim", c.branch.head_dim},
        {"options", c.branch.options},
        {"slopes", maybe(c.branch.slopes)}}},
      {"selection",
       {{"method", c.selection.method},
        {"options", c.selection.options},
        {"score", maybe(c.selection.score)},
        {"gates", maybe(c.selection.gates)},
        {"window", c.selection.window ? nlohmann::json(*c.selection.window) : nlohmann::json()},
        {"seed", c.selection.seed},
        {"data_sha256", c.selection.data_sha256},
        {"tokens", c.selection.tokens},
        {"run_uuid", c.selection.run_uuid},
        {"run_revision", c.selection.run_revision}}},
      {"training", training},
      {"target",
       {{"name", c.target.name},
        {"dtype", c.target.dtype},
        {"norm_rescaled", c.target.norm_rescaled},
        {"tensors",
         {{"norm_max_rel_error", c.target.norm_max_rel_error}, {"count", c.target.count}}}}},
      {"lint", lint},
      {"made_with",
       {{"engine", c.made_with.engine},
        {"torch", c.made_with.torch},
        {"device", c.made_with.device},
        {"command", c.made_with.command},
        {"utc", c.made_with.utc}}}};
  json.update(c.unknown, /*merge_objects=*/true);
  return json;
}

// Fields of one object of the file; what is left over goes into `unknown` under the same key.
class Part {
 public:
  Part(const nlohmann::json& whole, const char* key, const std::string& where,
       nlohmann::json& unknown)
      : key_(key),
        json_(object(whole, key, where)),
        fields_(json_, where + ": " + key, "export", ErrorCode::bad_file),
        unknown_(unknown) {}
  ~Part() {
    for (const std::string& name : fields_.rest()) unknown_[key_][name] = json_[name];
  }
  Part(const Part&) = delete;
  Part& operator=(const Part&) = delete;
  StrictFields* operator->() { return &fields_; }
  const nlohmann::json& any(const char* name) {
    static const nlohmann::json null;
    fields_.skip(name);
    return json_.contains(name) ? json_[name] : null;
  }
  std::optional<std::vector<double>> values(const char* name, size_t most) {
    if (!fields_.has(name)) {
      fields_.skip(name);
      return std::nullopt;
    }
    return fields_.numbers(name, most, true);
  }

 private:
  static nlohmann::json object(const nlohmann::json& whole, const char* key,
                               const std::string& where) {
    if (!whole.contains(key)) return nlohmann::json::object();
    if (!whole[key].is_object())
      throw Error(
          "export", ErrorCode::bad_file,
          fmt::format("{}: {}: expected an object, got {}", where, key, type_word(whole[key])));
    return whole[key];
  }
  std::string key_;
  const nlohmann::json json_;
  StrictFields fields_;
  nlohmann::json& unknown_;
};

constexpr size_t kMaxLayers = 4096;
constexpr int64_t kMost = int64_t{1} << 60;

void check_version(const nlohmann::json& json, const std::string& where) {
  if (!json.contains("format") || json["format"] != kFormat)
    throw Error("export", ErrorCode::bad_file, fmt::format("{}: format is not {}", where, kFormat),
                "give a hybrid_config.json");
  const std::string version = json.contains("version") && json["version"].is_string()
                                  ? json["version"].get<std::string>()
                                  : "";
  int major = 0;
  const auto [end, ec] = std::from_chars(version.data(), version.data() + version.size(), major);
  if (ec != std::errc() || end == version.data() + version.size() || *end != '.')
    throw Error("export", ErrorCode::bad_file,
                fmt::format("{}: version {} is not of the form 1.0", where, quote(version)));
  if (major > kHybridMajor)
    throw Error("export", ErrorCode::file_too_new,
                fmt::format("{} has version {}, this program reads up to {}.x", where, version,
                            kHybridMajor),
                "update this program");
}

}  // namespace

std::string write_hybrid_config(const HybridConfig& config) {
  std::string text;
  dump(to_json(config), 0, text);
  return text + "\n";
}

HybridConfig parse_hybrid_config(const std::string& json_text, const std::string& where) {
  const nlohmann::json json = read_strict_json(json_text, where, "export", ErrorCode::bad_file);
  if (!json.is_object())
    throw Error("export", ErrorCode::bad_file,
                fmt::format("{}: expected an object, got {}", where, type_word(json)));
  check_version(json, where);
  HybridConfig c;
  {
    Part teacher(json, "teacher", where, c.unknown);
    c.teacher = {teacher->text_or("name", ""), teacher->text_or("config_sha256", ""),
                 teacher->text_or("weights_sha256", ""), teacher->text_or("tokenizer_sha256", "")};
  }
  {
    Part plan(json, "plan", where, c.unknown);
    const int64_t layers = plan->integer("layers", 1, static_cast<int64_t>(kMaxLayers));
    std::vector<int> full;
    for (const int64_t layer : plan->integers("full", 0, layers - 1, kMaxLayers))
      full.push_back(static_cast<int>(layer));
    try {
      c.plan = LayerPlan::of(static_cast<int>(layers), std::move(full));
    } catch (const Error& error) {
      plan->refuse("full", error.message());
    }
    const int64_t budget = plan->integer_or("budget", c.plan.budget(), 0, layers);
    if (budget != c.plan.budget())
      plan->refuse("budget", fmt::format("{} layers are listed as full", c.plan.budget()));
    const nlohmann::json& locks = plan.any("locks");
    if (locks.is_object()) {
      std::vector<Lock> kept(static_cast<size_t>(layers), Lock::free);
      bool any = false;
      StrictFields fields(locks, where + ": plan: locks", "export", ErrorCode::bad_file);
      for (const auto& [name, lock] :
           {std::pair{"full", Lock::full}, std::pair{"linear", Lock::linear}})
        if (fields.has(name))
          for (const int64_t layer : fields.integers(name, 0, layers - 1, kMaxLayers)) {
            Lock& one = kept[static_cast<size_t>(layer)];
            if (one != Lock::free && one != lock)
              fields.refuse(name, fmt::format("layer {} is locked both ways", layer));
            one = lock;
            any = true;
          }
        else
          fields.skip(name);
      if (any) c.locks = std::move(kept);
      const nlohmann::json rest = rest_of(fields, locks);
      if (!rest.empty()) c.unknown["plan"]["locks"] = rest;
    }
  }
  {
    Part branch(json, "branch", where, c.unknown);
    c.branch.kind = branch->text_or("kind", "");
    c.branch.heads = static_cast<int>(branch->integer_or("heads", 0, 0, 1 << 20));
    c.branch.head_dim = static_cast<int>(branch->integer_or("head_dim", 0, 0, 1 << 20));
    if (branch->has("options")) c.branch.options = branch.any("options");
    branch->skip("options");
    c.branch.slopes = branch.values("slopes", size_t{1} << 20);
  }
  {
    Part selection(json, "selection", where, c.unknown);
    HybridSelection& s = c.selection;
    s.method = selection->text_or("method", "");
    if (selection->has("options")) s.options = selection.any("options");
    selection->skip("options");
    s.score = selection.values("score", kMaxLayers);
    s.gates = selection.values("gates", kMaxLayers);
    if (selection->has("window")) s.window = selection->number_or("window", 0, 0, 1);
    selection->skip("window");
    s.seed = selection->unsigned_integer_or("seed", 0);
    s.data_sha256 = selection->text_or("data_sha256", "");
    s.tokens = selection->integer_or("tokens", 0, 0, kMost);
    s.run_uuid = selection->text_or("run_uuid", "");
    s.run_revision = selection->unsigned_integer_or("run_revision", 0);
  }
  if (json.contains("training") && json["training"].is_array())
    for (const nlohmann::json& one : json["training"]) {
      StrictFields fields(one, where + ": training", "export", ErrorCode::bad_file);
      c.training.push_back({fields.text_or("stage", ""), fields.integer_or("tokens", 0, 0, kMost),
                            fields.integer_or("steps", 0, 0, kMost),
                            fields.unsigned_integer_or("seed", 0),
                            fields.text_or("data_sha256", ""), nlohmann::json::object()});
      c.training.back().unknown = rest_of(fields, one);
    }
  {
    Part target(json, "target", where, c.unknown);
    c.target.name = target->text_or("name", "");
    c.target.dtype = target->text_or("dtype", "");
    c.target.norm_rescaled = target->boolean_or("norm_rescaled", false);
    const nlohmann::json& tensors = target.any("tensors");
    if (tensors.is_object()) {
      StrictFields fields(tensors, where + ": target: tensors", "export", ErrorCode::bad_file);
      c.target.norm_max_rel_error = fields.number_or("norm_max_rel_error", 0, 0, 1e300);
      c.target.count = fields.integer_or("count", 0, 0, kMost);
      const nlohmann::json rest = rest_of(fields, tensors);
      if (!rest.empty()) c.unknown["target"]["tensors"] = rest;
    }
  }
  if (json.contains("lint") && json["lint"].is_array())
    for (const nlohmann::json& one : json["lint"]) {
      StrictFields fields(one, where + ": lint", "export", ErrorCode::bad_file);
      c.lint.push_back({fields.text_or("target", ""), fields.text_or("level", ""),
                        fields.text_or("rule", ""), fields.text_or("message", ""),
                        nlohmann::json::object()});
      c.lint.back().unknown = rest_of(fields, one);
    }
  {
    Part made(json, "made_with", where, c.unknown);
    c.made_with = {made->text_or("engine", ""), made->text_or("torch", ""),
                   made->text_or("device", ""), made->text_or("command", "", 1 << 16),
                   made->text_or("utc", "")};
  }
  static const std::vector<std::string> kKnown{"format", "version",   "teacher",  "plan",
                                               "branch", "selection", "training", "target",
                                               "lint",   "made_with"};
  for (const auto& [key, value] : json.items())
    if (std::find(kKnown.begin(), kKnown.end(), key) == kKnown.end()) c.unknown[key] = value;
  return c;
}

void save_hybrid_config(const std::filesystem::path& path, const HybridConfig& config) {
  write_file_atomic(path, write_hybrid_config(config));
}

HybridConfig load_hybrid_config(const std::filesystem::path& path) {
  return parse_hybrid_config(read_whole_file(path, uint64_t{16} << 20), path.filename().string());
}

}  // namespace flashmorph
