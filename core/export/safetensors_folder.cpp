// SPDX-License-Identifier: Apache-2.0
#include "core/export/safetensors_folder.h"

#include <algorithm>
#include <span>

#include <fmt/format.h>

#include "core/load/file_map.h"
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
      tensor.value.get().detach().to(at::kCPU).to(type_of(tensor, dtype)).contiguous();
  if (!all_finite(value))
    throw Error("export", ErrorCode::export_refused,
                fmt::format("tensor {} holds values that are not finite as {}", tensor.name,
                            c10::toString(value.scalar_type())),
                value.scalar_type() == at::kHalf
                    ? "use --dtype bf16 or f32"
                    : "train again from a checkpoint before the loss broke");
  return value;
}

const char* word_of(at::ScalarType type) {
  return type == at::kFloat ? "F32" : type == at::kHalf ? "F16" : "BF16";
}

// One file, its tensors made one at a time. between: before each, with its bytes.
void write_shard(const std::filesystem::path& path, std::vector<const TargetTensor*> list,
                 at::ScalarType dtype, const std::function<void(int64_t)>& between) {
  // Wide elements first, so that every tensor lies aligned; then by name.
  std::sort(list.begin(), list.end(), [&](const TargetTensor* a, const TargetTensor* b) {
    const auto wide_a = c10::elementSize(type_of(*a, dtype)),
               wide_b = c10::elementSize(type_of(*b, dtype));
    return wide_a != wide_b ? wide_a > wide_b : a->name < b->name;
  });
  nlohmann::json header{{"__metadata__", {{"format", "pt"}}}};
  int64_t end = 0;
  for (const TargetTensor* one : list) {
    const int64_t begin = end;
    end += bytes_of(*one, dtype);
    header[one->name] = {{"dtype", word_of(type_of(*one, dtype))},
                         {"shape", one->value.shape()},
                         {"data_offsets", {begin, end}}};
  }
  AtomicFile file(path);
  const std::string head = safetensors_head(header.dump());
  file.write(std::as_bytes(std::span(head)));
  for (const TargetTensor* one : list) {
    between(bytes_of(*one, dtype));
    const at::Tensor here = rounded(*one, dtype);
    if (here.sizes() != at::IntArrayRef(one->value.shape()))
      throw Error("export", ErrorCode::internal,
                  fmt::format("tensor {} was not made in its shape", one->name));
    file.write({static_cast<const std::byte*>(here.const_data_ptr()),
                static_cast<size_t>(bytes_of(*one, dtype))});
  }
  file.commit();
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
    const std::string file =
        shards.size() == 1 ? "model.safetensors"
                           : fmt::format("model-{:05}-of-{:05}.safetensors", s + 1, shards.size());
    for (const TargetTensor* one : shards[s]) index["weight_map"][one->name] = file;
    write_shard(folder / file, shards[s], dtype, [&](int64_t bytes) {
      told(done, total);
      done += bytes;
    });
  }
  if (shards.size() > 1) write_file_atomic(folder / kIndex, index.dump(2) + "\n");
  told(total, total);
}

LazyTensors read_weights(const std::filesystem::path& folder) {
  LazyTensors tensors;
  const auto take = [&](const std::string& file) {
    const auto open = std::make_shared<const SafetensorsFile>(folder / file);
    for (const auto& [name, entry] : open->entries()) {
      const LazyTensor value(entry.shape, [open, name = name] {
        // A copy, so that the pages can go.
        const at::Tensor copy = open->tensor(name).clone();
        open->release(name);
        return copy;
      });
      if (!tensors.emplace(name, value).second)
        throw Error("export", ErrorCode::bad_file,
                    fmt::format("tensor {} lies in two files", name));
    }
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
