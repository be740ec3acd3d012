// SPDX-License-Identifier: Apache-2.0
#include "core/load/hf_directory.h"

#include <set>

#include <fmt/format.h>

#include "core/load/json_text.h"
#include "core/load/tensor_table.h"
#include "core/load/text.h"
#include "core/run/error.h"

namespace flashmorph {

namespace {

constexpr size_t kMaxConfig = size_t{4} << 20, kMaxIndex = size_t{16} << 20;  // bytes
constexpr size_t kMaxShards = 4096;

std::string dtype_word(const std::string& dtype) {
  return dtype == "F32"    ? "float32"
         : dtype == "F16"  ? "float16"
         : dtype == "BF16" ? "bfloat16"
                           : "";
}

// A file name that stays in the directory.
bool is_plain_name(const std::string& name) {
  constexpr size_t kLongest = 255;
  return !name.empty() && name.size() <= kLongest && name.find('/') == std::string::npos &&
         name.find('\\') == std::string::npos && name.find('\0') == std::string::npos &&
         name.find("..") == std::string::npos && name.ends_with(".safetensors");
}

}  // namespace

HfDirectory::HfDirectory(const std::filesystem::path& path) : path_(path) {
  const auto file = path / "config.json";
  config_text_ = read_text(file, kMaxConfig);
  config_ = parse_model_config(config_text_, file.native());
  open_files();
  check_tensors();
}

void HfDirectory::open_files() {
  const auto single = path_ / "model.safetensors", index = path_ / "model.safetensors.index.json";
  std::error_code ignored;
  if (std::filesystem::exists(single, ignored)) {
    files_.emplace_back(single);
    for (const auto& [name, entry] : files_.front().entries()) file_of_[name] = 0;
  } else if (std::filesystem::exists(index, ignored)) {
    open_shards(index);
  } else {
    throw Error(
        "load", ErrorCode::not_found,
        fmt::format("{}: neither model.safetensors nor model.safetensors.index.json is there",
                    in_quotes(path_.native(), 1024)),
        "weights in pytorch_model.bin must be converted to safetensors first");
  }
}

void HfDirectory::open_shards(const std::filesystem::path& index) {
  const auto json =
      parse_json(read_text(index, kMaxIndex), index.native(), {.bytes = kMaxIndex, .depth = 8});
  if (!json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object())
    refuse_file(index.native(), "weight_map", "missing or not an object");
  std::map<std::string, size_t> shards;
  for (const auto& [name, file] : json["weight_map"].items()) {
    const std::string field = "weight_map." + in_quotes(name);
    if (!file.is_string()) refuse_file(index.native(), field, "expected a file name");
    const auto& shard = file.get_ref<const std::string&>();
    if (!is_plain_name(shard))
      refuse_file(index.native(), field,
                  fmt::format("{} is not the plain name of a safetensors file", in_quotes(shard)));
    auto at = shards.find(shard);
    if (at == shards.end()) {
      if (shards.size() == kMaxShards)
        refuse_file(index.native(), field, fmt::format("more than {} files", kMaxShards));
      at = shards.emplace(shard, files_.size()).first;
      files_.emplace_back(path_ / shard);
    }
    if (!files_[at->second].entries().contains(name))
      refuse_file(index.native(), field, fmt::format("{} holds no such tensor", in_quotes(shard)));
    file_of_[name] = at->second;
  }
  for (size_t i = 0; i < files_.size(); ++i)
    for (const auto& [name, entry] : files_[i].entries())
      if (const auto at = file_of_.find(name); at == file_of_.end() || at->second != i)
        refuse_file(files_[i].path().native(), "tensor " + in_quotes(name),
                    "the index does not place it in this file");
}

void HfDirectory::check_tensors() {
  std::set<std::string> expected;
  std::map<std::string, uint64_t> bytes_of;  // dtype to bytes
  const auto check = [&](const TensorSpec& spec) {
    const auto at = file_of_.find(spec.name);
    if (at == file_of_.end())
      refuse_file(
          path_.native(), "tensor " + in_quotes(spec.name), "missing",
          spec.name == "lm_head.weight" ? "config.json says tie_word_embeddings false" : "");
    const auto& file = files_[at->second];
    const auto& entry = file.entries().at(spec.name);
    if (entry.shape != spec.shape)
      refuse_file(file.path().native(), "tensor " + in_quotes(spec.name),
                  fmt::format("expected shape {}, got {}", shape_text(spec.shape),
                              shape_text(entry.shape)));
    if (dtype_word(entry.dtype).empty())
      refuse_file(file.path().native(), "tensor " + in_quotes(spec.name),
                  fmt::format("expected dtype F32, F16 or BF16, got {}", entry.dtype));
    bytes_of[entry.dtype] += entry.end - entry.begin;
    expected.insert(spec.name);
  };
  for (const auto& spec : tensor_table(config_)) check(spec);
  if (config_.tied && file_of_.contains("lm_head.weight"))
    check({"lm_head.weight", {config_.vocab, config_.hidden}});
  for (const auto& [name, file] : file_of_)
    if (!expected.contains(name) && !is_ignored_tensor(name))
      refuse_file(files_[file].path().native(), "tensor " + in_quotes(name),
                  fmt::format("a {} model of this config.json has no such tensor", config_.family));
  // What the files hold counts, not what config.json says of them.
  std::string most;
  for (const auto& [dtype, bytes] : bytes_of)
    if (most.empty() || bytes > bytes_of[most]) most = dtype;
  config_.dtype = dtype_word(most);
}

std::vector<std::filesystem::path> HfDirectory::weight_files() const {
  std::set<std::filesystem::path> paths;
  for (const auto& file : files_) paths.insert(file.path());
  return {paths.begin(), paths.end()};
}

at::Tensor HfDirectory::tensor(const std::string& name, at::ScalarType dtype,
                               at::Device device) const {
  return files_[file_of_.at(name)].tensor(name, dtype, device);
}

void HfDirectory::check_tied_head() const {
  const auto at = file_of_.find("lm_head.weight");
  if (!config_.tied || at == file_of_.end()) return;
  const std::string head_name = "lm_head.weight", embedding_name = "model.embed_tokens.weight";
  const auto& file = files_[at->second];
  const auto& other = files_[file_of_.at(embedding_name)];
  const auto head = file.tensor(head_name), embedding = other.tensor(embedding_name);
  const bool same = head.scalar_type() == embedding.scalar_type()
                        ? at::equal(head, embedding)
                        : at::equal(head.to(at::kFloat), embedding.to(at::kFloat));
  file.release(head_name);
  other.release(embedding_name);
  if (!same)
    refuse_file(file.path().native(), "tensor \"lm_head.weight\"",
                "differs from the embedding although config.json says tie_word_embeddings true",
                "set tie_word_embeddings to false if the head is its own");
}

}  // namespace flashmorph
