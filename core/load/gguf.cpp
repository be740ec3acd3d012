// SPDX-License-Identifier: Apache-2.0
#include "core/load/gguf.h"

#include <cstring>
#include <limits>

#include <fmt/format.h>

#include "core/load/text.h"

namespace flashmorph {

namespace {

template <typename T>
T number_at(std::span<const std::byte> bytes, size_t index) {
  T value;
  std::memcpy(&value, bytes.data() + index * sizeof(T), sizeof(T));
  return value;
}

// Entry i of an array of a numeric kind, as a whole number or a fraction; false: of another kind.
template <typename To>
bool entry(const GgufArray& array, size_t i, To& out) {
  switch (array.kind) {
    case GgufKind::u8:
      out = static_cast<To>(number_at<uint8_t>(array.bytes, i));
      return true;
    case GgufKind::i8:
      out = static_cast<To>(number_at<int8_t>(array.bytes, i));
      return true;
    case GgufKind::u16:
      out = static_cast<To>(number_at<uint16_t>(array.bytes, i));
      return true;
    case GgufKind::i16:
      out = static_cast<To>(number_at<int16_t>(array.bytes, i));
      return true;
    case GgufKind::u32:
      out = static_cast<To>(number_at<uint32_t>(array.bytes, i));
      return true;
    case GgufKind::i32:
      out = static_cast<To>(number_at<int32_t>(array.bytes, i));
      return true;
    case GgufKind::i64:
      out = static_cast<To>(number_at<int64_t>(array.bytes, i));
      return true;
    case GgufKind::u64: {
      const auto value = number_at<uint64_t>(array.bytes, i);
      out = static_cast<To>(value);
      return value <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    }
    default:
      return false;
  }
}

}  // namespace

GgufFile::GgufFile(const std::filesystem::path& path)
    : map_(path),
      bytes_(map_->bytes()),
      where_(path.native()),
      contents_(parse_gguf(bytes_, where_)) {
  if (integer("split.count").value_or(1) > 1)
    refuse_model(
        where_,
        fmt::format("split.count {}: split GGUF files are not supported", *integer("split.count")),
        "join the parts with gguf-split --merge");
}

GgufFile::GgufFile(std::span<const std::byte> bytes, std::string where)
    : bytes_(bytes), where_(std::move(where)), contents_(parse_gguf(bytes_, where_)) {}

void GgufFile::refuse(const std::string& key, const std::string& reason) const {
  refuse_file(where_, key, reason);
}

const GgufValue* GgufFile::find(const std::string& key) const {
  const auto at = contents_.metadata.find(key);
  return at == contents_.metadata.end() ? nullptr : &at->second;
}

std::optional<int64_t> GgufFile::integer(const std::string& key) const {
  const auto* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* whole = std::get_if<int64_t>(value)) return *whole;
  const auto* whole = std::get_if<uint64_t>(value);
  if (whole == nullptr) refuse(key, "expected a whole number");
  if (*whole > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
    refuse(key, "the number is too large");
  return static_cast<int64_t>(*whole);
}

std::optional<double> GgufFile::number(const std::string& key) const {
  const auto* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* fraction = std::get_if<double>(value)) return *fraction;
  if (!std::holds_alternative<uint64_t>(*value) && !std::holds_alternative<int64_t>(*value))
    refuse(key, "expected a number");
  return static_cast<double>(*integer(key));
}

std::optional<bool> GgufFile::boolean(const std::string& key) const {
  const auto* value = find(key);
  if (value == nullptr) return std::nullopt;
  const auto* truth = std::get_if<bool>(value);
  if (truth == nullptr) refuse(key, "expected true or false");
  return *truth;
}

std::optional<std::string> GgufFile::text(const std::string& key) const {
  const auto* value = find(key);
  if (value == nullptr) return std::nullopt;
  const auto* words = std::get_if<std::string_view>(value);
  if (words == nullptr) refuse(key, "expected a string");
  return std::string(*words);
}

const GgufArray* GgufFile::find_array(const std::string& key, uint64_t max_count) const {
  const auto* value = find(key);
  if (value == nullptr) return nullptr;
  const auto* array = std::get_if<GgufArray>(value);
  if (array == nullptr) refuse(key, "expected an array");
  if (array->count > max_count)
    refuse(key, fmt::format("{} entries, at most {} are read", array->count, max_count));
  return array;
}

std::optional<std::vector<std::string>> GgufFile::texts(const std::string& key,
                                                        uint64_t max_count) const {
  const auto* array = find_array(key, max_count);
  if (array == nullptr) return std::nullopt;
  if (array->kind != GgufKind::string) refuse(key, "expected an array of strings");
  std::vector<std::string> out;
  out.reserve(array->count);
  auto rest = array->bytes;
  for (uint64_t i = 0; i < array->count; ++i) {
    const auto size = number_at<uint64_t>(rest, 0);
    out.emplace_back(reinterpret_cast<const char*>(rest.data()) + sizeof(size), size);
    rest = rest.subspan(sizeof(size) + size);
  }
  return out;
}

std::optional<std::vector<int64_t>> GgufFile::integers(const std::string& key,
                                                       uint64_t max_count) const {
  const auto* array = find_array(key, max_count);
  if (array == nullptr) return std::nullopt;
  std::vector<int64_t> out(array->count);
  for (size_t i = 0; i < out.size(); ++i)
    if (!entry(*array, i, out[i])) refuse(key, "expected an array of whole numbers");
  return out;
}

std::optional<std::vector<double>> GgufFile::numbers(const std::string& key,
                                                     uint64_t max_count) const {
  const auto* array = find_array(key, max_count);
  if (array == nullptr) return std::nullopt;
  std::vector<double> out(array->count);
  for (size_t i = 0; i < out.size(); ++i) {
    if (array->kind == GgufKind::f32)
      out[i] = static_cast<double>(number_at<float>(array->bytes, i));
    else if (array->kind == GgufKind::f64)
      out[i] = number_at<double>(array->bytes, i);
    else if (!entry(*array, i, out[i]))
      refuse(key, "expected an array of numbers");
  }
  return out;
}

void GgufFile::dequantize(const GgufTensor& tensor, int64_t first, std::span<float> out) const {
  const auto& type = *tensor.type;
  const auto count = static_cast<int64_t>(out.size());
  const auto begin = static_cast<size_t>(first / type.elements * type.bytes);
  const auto size = static_cast<size_t>(count / type.elements * type.bytes);
  decode_gguf_blocks(type, tensor.bytes.subspan(begin, size), out);
}

std::vector<float> GgufFile::dequantize(const std::string& name) const {
  const auto at = contents_.tensors.find(name);
  if (at == contents_.tensors.end()) refuse("tensor " + in_quotes(name), "missing");
  std::vector<float> out(static_cast<size_t>(at->second.numbers()));
  dequantize(at->second, 0, out);
  return out;
}

void GgufFile::release(const GgufTensor& tensor, int64_t first, int64_t count) const {
  if (!map_) return;
  const auto& type = *tensor.type;
  const auto start = static_cast<size_t>(tensor.bytes.data() - bytes_.data()) +
                     static_cast<size_t>(first / type.elements * type.bytes);
  map_->release(start, static_cast<size_t>(count / type.elements * type.bytes));
}

}  // namespace flashmorph
