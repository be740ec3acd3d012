// SPDX-License-Identifier: Apache-2.0
#include "core/model/hybrid_file.h"

#include <fmt/format.h>

#include "core/load/safetensors.h"
#include "core/run/error.h"

namespace flashmorph {

namespace {

constexpr const char* kFormat = "flashmorph-hybrid";
constexpr const char* kVersion = "1";

[[noreturn]] void refuse(const std::filesystem::path& path, const std::string& what,
                         const char* hint = "") {
  throw Error("load", ErrorCode::bad_file, fmt::format("{} {}", path.string(), what), hint);
}

HybridFileInfo info_of(const SafetensorsFile& file) {
  HybridFileInfo info;
  info.metadata = file.metadata();
  const auto text = [&](const char* key) {
    const auto found = info.metadata.find(key);
    return found == info.metadata.end() ? std::string() : found->second;
  };
  if (text("format") != kFormat)
    refuse(file.path(), "does not hold a hybrid",
           "give a hybrid.safetensors that distill or finetune wrote");
  if (text("version") != kVersion)
    throw Error("load", ErrorCode::file_too_new,
                fmt::format("{} has hybrid format {}, this version reads {}", file.path().string(),
                            text("version").substr(0, 20), kVersion));
  try {
    info.plan = LayerPlan::parse(text("plan"));
    info.part = parse_train_part(text("train_part"));
  } catch (const Error& error) {
    refuse(file.path(), "has impossible metadata: " + error.message());
  }
  const nlohmann::json list =
      nlohmann::json::parse(text("branches"), nullptr, /*allow_exceptions=*/false);
  if (!list.is_array() || list.size() != static_cast<size_t>(info.plan.layers))
    refuse(file.path(), "has metadata `branches` that is no JSON list with one entry a layer");
  for (int l = 0; l < info.plan.layers; ++l) {
    const nlohmann::json& one = list[static_cast<size_t>(l)];
    if (one.is_null() != info.plan.is_full(l))
      refuse(file.path(), fmt::format("disagrees about layer {}: plan or branch", l));
    info.branches.push_back(one.is_null() ? BranchOptions() : BranchOptions::from_json(one));
  }
  return info;
}

}  // namespace

void save_hybrid(const std::filesystem::path& path, const HybridModel& hybrid,
                 const std::map<std::string, std::string>& metadata) {
  std::map<std::string, std::string> all = metadata;
  nlohmann::json branches = nlohmann::json::array();
  for (int l = 0; l < hybrid.layers(); ++l)
    branches.push_back(hybrid.plan().is_full(l) ? nlohmann::json()
                                                : hybrid.branch_options(l).to_json());
  all["format"] = kFormat;
  all["version"] = kVersion;
  all["plan"] = hybrid.plan().to_string();
  all["train_part"] = to_string(hybrid.part());
  all["branches"] = branches.dump();
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const HybridTensor& one : hybrid.tensors())
    if (one.trains) tensors.emplace_back(one.name, one.value.detach());
  write_safetensors(path, tensors, all);
}

HybridFileInfo hybrid_file_info(const std::filesystem::path& path) {
  return info_of(SafetensorsFile(path));
}

HybridModel read_hybrid(const std::filesystem::path& path, std::shared_ptr<const Teacher> teacher,
                        std::optional<TrainPart> part) {
  const SafetensorsFile file(path);
  const HybridFileInfo info = info_of(file);
  if (info.plan.layers != teacher->layers())
    refuse(path,
           fmt::format("is for {} layers, the model has {}", info.plan.layers, teacher->layers()),
           "load the model it was made from");
  // What trained must own memory, so a hybrid whose feed-forwards trained cannot go on with
  // attention alone sharing the teacher's.
  if (part && *part == TrainPart::attention && info.part == TrainPart::all)
    throw Error("load", ErrorCode::bad_request,
                fmt::format("{} was trained in all its weights", path.filename().string()),
                "go on with train_part all");
  HybridModel hybrid(teacher, info.branches, info.plan, part.value_or(info.part), /*seed=*/0);
  size_t found = 0;
  for (const HybridTensor& one : hybrid.tensors()) {
    if (!file.entries().contains(one.name)) {
      // Taken up with more weights to train than the file has: those start as the teacher's.
      if (one.trains &&
          (info.part == TrainPart::all || one.name.find("_attn.") != std::string::npos))
        refuse(path, fmt::format("lacks tensor {}", one.name));
      continue;
    }
    ++found;
    hybrid.load(one.name, file.tensor(one.name).to(teacher->device()));
    file.release(one.name);
  }
  if (found != file.entries().size())
    refuse(path, fmt::format("holds {} tensors, {} of them belong to its plan",
                             file.entries().size(), found));
  return hybrid;
}

HybridModel hybrid_of_branches(const std::filesystem::path& path,
                               std::shared_ptr<const Teacher> teacher, const LayerPlan& plan,
                               TrainPart part) {
  const std::vector<BranchOptions> options = MorphModel::branch_options_of(path);
  if (options.size() != static_cast<size_t>(teacher->layers()))
    refuse(path, fmt::format("has branches for {} layers, the model has {}", options.size(),
                             teacher->layers()));
  const SafetensorsFile file(path);
  HybridModel hybrid(teacher, options, plan, part, /*seed=*/0);
  for (int l = 0; l < plan.layers; ++l) {
    if (plan.is_full(l)) continue;
    for (const auto& [name, value] : hybrid.model().branch(l).parameters()) {
      const std::string stored = fmt::format("layers.{}.{}", l, name);
      if (!file.entries().contains(stored)) refuse(path, fmt::format("lacks tensor {}", stored));
      hybrid.load(fmt::format("model.layers.{}.linear_attn.{}", l, name),
                  file.tensor(stored).to(teacher->device()));
    }
  }
  return hybrid;
}

}  // namespace flashmorph
