// SPDX-License-Identifier: Apache-2.0
#include "core/export/safetensors_folder.h"

#include <fmt/format.h>

#include "core/load/json_text.h"
#include "core/load/safetensors.h"
#include "core/run/error.h"
#include "core/run/file_io.h"

namespace flashmorph {

namespace {

constexpr const char* kIndex = "model.safetensors.index.json";

at::ScalarType type_of(const TargetTensor& tensor, at::ScalarType dtype) {
  return tensor.keep_float32 ? at::kFloat : dtype;
}

int64_t bytes_of(const TargetTensor& tensor, at::ScalarType dtype) {
  return tensor.value.numel() * static_cast<int64_t>(c10::elementSize(type_of(tensor, dtype)));
}

at::Tensor rounded(const TargetTensor& tensor, at::ScalarType dtype) {
  const at::Tensor value =
      tensor.value.detach().to(at::kCPU).to(type_of(tensor, dtype)).contiguous();
  if (!at::isfinite(value).all().item<bool>())
    throw Error("export", ErrorCode::export_refused,
                fmt::format("tensor {} holds values that are not finite as {}", tensor.name,
                            c10::toString(value.scalar_type())),
                value.scalar_type() == at::kHalf
                    ? "use --dtype bf16 or f32"
                    : "train again from a checkpoint before the loss broke");
  return value;
}

}  // namespace

void write_weights(const std::filesystem::path& folder, const std::vector<TargetTensor>& tensors,
                   at::ScalarType dtype, int64_t max_shard_bytes,
                   const std::function<void(int64_t, int64_t)>& told) {
  std::vector<std::vector<const TargetTensor*>> shards(1);
  int64_t here = 0, total = 0;
  for (const TargetTensor& one : tensors) {
    const int64_t bytes = bytes_of(one, dtype);
    if (!shards.back().empty() && here + bytes > max_shard_bytes) {
      shards.emplace_back();
      here = 0;
    }
    shards.back().push_back(&one);
    here += bytes;
    total += bytes;
  }
  nlohmann::json index{{"metadata", {{"total_size", total}}},
                       {"weight_map", nlohmann::json::object()}};
  int64_t done = 0;
  for (size_t s = 0; s < shards.size(); ++s) {
    told(done, total);
    const std::string file =
        shards.size() == 1 ? "model.safetensors"
                           : fmt::format("model-{:05}-of-{:05}.safetensors", s + 1, shards.size());
    std::vector<std::pair<std::string, at::Tensor>> list;
    for (const TargetTensor* one : shards[s]) {
      list.emplace_back(one->name, rounded(*one, dtype));
      index["weight_map"][one->name] = file;
      done += bytes_of(*one, dtype);
    }
    write_safetensors(folder / file, list, {{"format", "pt"}});
  }
  if (shards.size() > 1) write_file_atomic(folder / kIndex, index.dump(2) + "\n");
  told(total, total);
}

std::map<std::string, at::Tensor> read_weights(const std::filesystem::path& folder) {
  std::map<std::string, at::Tensor> tensors;
  const auto take = [&](const std::string& file) {
    const SafetensorsFile open(folder / file);
    for (const auto& [name, entry] : open.entries())
      if (!tensors.emplace(name, open.tensor(name)).second)
        throw Error("export", ErrorCode::bad_file,
                    fmt::format("tensor {} lies in two files", name));
  };
  if (!std::filesystem::exists(folder / kIndex)) {
    take("model.safetensors");
    return tensors;
  }
  const auto index = parse_json(read_whole_file(folder / kIndex, uint64_t{64} << 20), kIndex,
                                {.bytes = size_t{64} << 20});
  std::map<std::string, std::vector<std::string>> files;
  for (const auto& [name, file] : index.at("weight_map").items())
    files[file.get<std::string>()].push_back(name);
  for (const auto& [file, names] : files) {
    if (file.find('/') != std::string::npos || file.find("..") != std::string::npos)
      throw Error("export", ErrorCode::bad_file,
                  fmt::format("{}: file name {} leaves the folder", kIndex, file.substr(0, 100)));
    take(file);
    for (const std::string& name : names)
      if (!tensors.contains(name))
        throw Error("export", ErrorCode::bad_file,
                    fmt::format("{}: tensor {} is not in {}", kIndex, name, file));
  }
  return tensors;
}

}  // namespace flashmorph
