// SPDX-License-Identifier: Apache-2.0
#include "core/load/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/load/text.h"
#include "core/run/error.h"

namespace flashmorph {

namespace {

struct Dtype {
  const char* name;
  at::ScalarType type;
};

constexpr std::array<Dtype, 15> kDtypes = {{{"F32", at::kFloat},
                                            {"F16", at::kHalf},
                                            {"BF16", at::kBFloat16},
                                            {"F64", at::kDouble},
                                            {"I64", at::kLong},
                                            {"I32", at::kInt},
                                            {"I16", at::kShort},
                                            {"I8", at::kChar},
                                            {"U8", at::kByte},
                                            {"U16", at::kUInt16},
                                            {"U32", at::kUInt32},
                                            {"U64", at::kUInt64},
                                            {"BOOL", at::kBool},
                                            {"F8_E4M3", at::kFloat8_e4m3fn},
                                            {"F8_E5M2", at::kFloat8_e5m2}}};

at::ScalarType type_of(const std::string& dtype) {
  for (const auto& known : kDtypes)
    if (dtype == known.name) return known.type;
  throw Error("load", ErrorCode::internal,
              fmt::format("dtype {} has no tensor type", in_quotes(dtype)));
}

const char* name_of(at::ScalarType type) {
  for (const auto& known : kDtypes)
    if (type == known.type) return known.name;
  throw Error("export", ErrorCode::bad_request,
              fmt::format("safetensors files hold no tensors of type {}", at::toString(type)));
}

int64_t product(const std::vector<int64_t>& shape) {
  int64_t numbers = 1;
  for (const int64_t size : shape) numbers *= size;
  return numbers;
}

constexpr int64_t kPieceNumbers = int64_t{1} << 20;  // of a conversion: a few megabytes

}  // namespace

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : map_(std::make_shared<const FileMap>(path)),
      header_(parse_safetensors_header(map_->bytes(), path.native())) {}

const TensorEntry& SafetensorsFile::entry(const std::string& name) const {
  const auto at = header_.entries.find(name);
  if (at == header_.entries.end())
    refuse_file(path().native(), "tensor " + in_quotes(name), "missing");
  return at->second;
}

at::Tensor SafetensorsFile::piece(const TensorEntry& entry, int64_t first, int64_t count) const {
  const auto type = type_of(entry.dtype);
  const auto width = c10::elementSize(type);
  const auto* at = map_->bytes().data() + entry.begin + static_cast<size_t>(first) * width;
  if (count > 0 && reinterpret_cast<uintptr_t>(at) % width == 0)
    return at::from_blob(
        const_cast<std::byte*>(at), {count}, [map = map_](void*) {},
        at::TensorOptions().dtype(type));
  const auto copy = at::empty({count}, type);
  if (count > 0) std::memcpy(copy.data_ptr(), at, static_cast<size_t>(count) * width);
  return copy;
}

at::Tensor SafetensorsFile::tensor(const std::string& name) const {
  const auto& e = entry(name);
  return piece(e, 0, product(e.shape)).view(e.shape);
}

at::Tensor SafetensorsFile::tensor(const std::string& name, at::ScalarType dtype,
                                   at::Device device) const {
  const auto& e = entry(name);
  if (device.is_cpu() && type_of(e.dtype) == dtype) return tensor(name);
  const int64_t numbers = product(e.shape);
  const auto width = c10::elementSize(type_of(e.dtype));
  const auto out = at::empty(e.shape, at::TensorOptions().dtype(dtype).device(device));
  const auto flat = out.view({-1});
  for (int64_t at = 0; at < numbers; at += kPieceNumbers) {
    const int64_t count = std::min(kPieceNumbers, numbers - at);
    flat.narrow(0, at, count).copy_(piece(e, at, count));
    // From the start: reading ahead brings pages back that were let go.
    map_->release(e.begin, static_cast<size_t>(at + count) * width);
  }
  return out;
}

void SafetensorsFile::release(const std::string& name) const {
  const auto& e = entry(name);
  map_->release(e.begin, e.end - e.begin);
}

void write_safetensors(const std::filesystem::path& path,
                       const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  // Wide elements first, so that every tensor lies aligned; then by name.
  std::vector<const std::pair<std::string, at::Tensor>*> order;
  std::set<std::string> names;
  for (const auto& item : tensors) {
    if (!item.second.defined() || item.first == "__metadata__" || !names.insert(item.first).second)
      throw Error("export", ErrorCode::bad_request,
                  fmt::format("{}: tensor {} is undefined or named twice",
                              in_quotes(path.native(), 1024), in_quotes(item.first)));
    order.push_back(&item);
  }
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    const auto wide_a = a->second.element_size(), wide_b = b->second.element_size();
    return wide_a != wide_b ? wide_a > wide_b : a->first < b->first;
  });

  auto header = nlohmann::json::object();
  header["__metadata__"] = metadata;
  header["__metadata__"].emplace("format", "pt");
  uint64_t end = 0;
  for (const auto* item : order) {
    const auto& tensor = item->second;
    const uint64_t begin = end;
    end += static_cast<uint64_t>(tensor.numel()) * static_cast<uint64_t>(tensor.element_size());
    header[item->first] = {{"dtype", name_of(tensor.scalar_type())},
                           {"shape", tensor.sizes().vec()},
                           {"data_offsets", {begin, end}}};
  }
  AtomicFile file(path);
  const std::string head = safetensors_head(header.dump());
  file.write(std::as_bytes(std::span(head)));
  for (const auto* item : order) {
    const auto here = item->second.detach().to(at::kCPU).contiguous();
    file.write({static_cast<const std::byte*>(here.const_data_ptr()),
                static_cast<size_t>(here.numel()) * static_cast<size_t>(here.element_size())});
  }
  file.commit();
}

}  // namespace flashmorph
