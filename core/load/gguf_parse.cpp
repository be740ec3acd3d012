// SPDX-License-Identifier: Apache-2.0
// Reading of GGUF bytes; gguf.cpp answers questions about what was read.
#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "core/load/gguf.h"
#include "core/load/text.h"

namespace flashmorph {

namespace {

constexpr uint64_t kMaxKeys = 1 << 16, kMaxTensors = 1 << 16;
constexpr uint64_t kMaxName = 1 << 12;  // bytes of a key or tensor name
constexpr uint64_t kMaxAlignment = 1 << 20;
constexpr uint32_t kMaxDims = 4;

// Bytes of one value, 0 for strings and arrays.
uint64_t size_of(GgufKind kind) {
  switch (kind) {
    case GgufKind::u8:
    case GgufKind::i8:
    case GgufKind::boolean:
      return 1;
    case GgufKind::u16:
    case GgufKind::i16:
      return 2;
    case GgufKind::u32:
    case GgufKind::i32:
    case GgufKind::f32:
      return 4;
    case GgufKind::u64:
    case GgufKind::i64:
    case GgufKind::f64:
      return 8;
    default:
      return 0;
  }
}

double shortest(float value) {
  if (!std::isfinite(value)) return static_cast<double>(value);
  char text[32];
  const auto written = std::to_chars(text, text + sizeof(text), value);
  double number = 0;
  std::from_chars(text, written.ptr, number);
  return number;
}

// A reader that never leaves the file; `field` is named when the file ends too soon.
class Cursor {
 public:
  Cursor(std::span<const std::byte> file, const std::string& where) : file_(file), where_(where) {}

  size_t at() const { return at_; }
  size_t left() const { return file_.size() - at_; }

  [[noreturn]] void refuse(const std::string& field, const std::string& reason) const {
    refuse_file(where_, field, reason);
  }

  std::span<const std::byte> take(uint64_t size, const std::string& field) {
    if (size > left())
      refuse_file(
          where_, field,
          fmt::format("{} bytes wanted at byte {}, the file has {} more", size, at_, left()),
          "the file may be cut off: download it again");
    const auto out = file_.subspan(at_, size);
    at_ += size;
    return out;
  }

  template <typename T>
  T number(const std::string& field) {
    static_assert(std::endian::native == std::endian::little);
    T value;
    std::memcpy(&value, take(sizeof(T), field).data(), sizeof(T));
    return value;
  }

  std::string_view string(const std::string& field) {
    const auto size = number<uint64_t>(field);
    const auto bytes = take(size, field);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  // A key or tensor name.
  std::string name(const std::string& field) {
    const auto text = string(field);
    if (text.empty()) refuse(field, "an empty name");
    if (text.size() > kMaxName)
      refuse(field, fmt::format("a name of {} bytes, at most {}", text.size(), kMaxName));
    if (text.find('\0') != std::string_view::npos)
      refuse(field, fmt::format("{} holds a NUL", in_quotes(text)));
    return std::string(text);
  }

 private:
  std::span<const std::byte> file_;
  const std::string& where_;
  size_t at_ = 0;
};

GgufKind read_kind(Cursor& in, const std::string& field) {
  const auto kind = in.number<uint32_t>(field);
  if (kind > static_cast<uint32_t>(GgufKind::f64))
    in.refuse(field, fmt::format("value type {} is not known", kind));
  return static_cast<GgufKind>(kind);
}

GgufArray read_array(Cursor& in, const std::string& field) {
  GgufArray array;
  array.kind = read_kind(in, field);
  array.count = in.number<uint64_t>(field);
  if (array.kind == GgufKind::array) in.refuse(field, "arrays of arrays are not supported");
  if (const uint64_t size = size_of(array.kind)) {
    if (array.count > in.left() / size)
      in.refuse(field, fmt::format("{} entries of {} bytes, the file has {} more bytes",
                                   array.count, size, in.left()));
    array.bytes = in.take(array.count * size, field);
    return array;
  }
  constexpr uint64_t kShortest = sizeof(uint64_t);  // an empty string
  if (array.count > in.left() / kShortest)
    in.refuse(field, fmt::format("{} strings, the file has {} more bytes", array.count, in.left()));
  const size_t start = in.at();
  Cursor scan = in;
  for (uint64_t i = 0; i < array.count; ++i) scan.string(field);
  array.bytes = in.take(scan.at() - start, field);
  return array;
}

GgufValue read_value(Cursor& in, const std::string& field) {
  switch (read_kind(in, field)) {
    case GgufKind::u8:
      return uint64_t{in.number<uint8_t>(field)};
    case GgufKind::i8:
      return int64_t{in.number<int8_t>(field)};
    case GgufKind::u16:
      return uint64_t{in.number<uint16_t>(field)};
    case GgufKind::i16:
      return int64_t{in.number<int16_t>(field)};
    case GgufKind::u32:
      return uint64_t{in.number<uint32_t>(field)};
    case GgufKind::i32:
      return int64_t{in.number<int32_t>(field)};
    case GgufKind::f32:
      return shortest(in.number<float>(field));
    case GgufKind::boolean: {
      const auto value = in.number<uint8_t>(field);
      if (value > 1) in.refuse(field, fmt::format("expected true or false, got {}", value));
      return value == 1;
    }
    case GgufKind::string:
      return in.string(field);
    case GgufKind::array:
      return read_array(in, field);
    case GgufKind::u64:
      return in.number<uint64_t>(field);
    case GgufKind::i64:
      return in.number<int64_t>(field);
    case GgufKind::f64:
      return in.number<double>(field);
  }
  in.refuse(field, "value type is not known");
}

// A tensor as listed, before its place in the file is known.
struct Listed {
  std::string name;
  GgufTensor tensor;
  uint64_t offset = 0, size = 0;
};

Listed read_listed(Cursor& in, uint64_t index, const std::string& where) {
  Listed out;
  out.name = in.name(fmt::format("name of tensor {}", index));
  const std::string field = "tensor " + in_quotes(out.name);
  const auto dims = in.number<uint32_t>(field);
  if (dims > kMaxDims) in.refuse(field, fmt::format("{} dimensions, at most {}", dims, kMaxDims));
  uint64_t numbers = 1;
  for (uint32_t i = 0; i < dims; ++i) {
    const auto size = in.number<uint64_t>(field);
    if (size == 0 || size > uint64_t{1} << 40 || __builtin_mul_overflow(numbers, size, &numbers) ||
        numbers > uint64_t{1} << 50)
      in.refuse(field, fmt::format("dimension {} of {} is zero or overflows", i, size));
    out.tensor.shape.push_back(static_cast<int64_t>(size));
  }
  const auto id = in.number<uint32_t>(field);
  out.tensor.type = gguf_type(id);
  if (out.tensor.type == nullptr)
    refuse_model(
        where, fmt::format("{}: block type {} is not supported", field, gguf_type_name(id)),
        "use a file with F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K or Q6_K");
  const auto& type = *out.tensor.type;
  const int64_t row = out.tensor.shape.empty() ? 1 : out.tensor.shape.front();
  if (row % type.elements != 0)
    in.refuse(field, fmt::format("rows of {} are no multiple of the {} numbers of a {} block", row,
                                 type.elements, type.name));
  out.size = numbers / static_cast<uint64_t>(type.elements) * static_cast<uint64_t>(type.bytes);
  out.offset = in.number<uint64_t>(field);
  std::reverse(out.tensor.shape.begin(), out.tensor.shape.end());
  return out;
}

uint64_t aligned(uint64_t at, uint64_t alignment) {
  return (at + alignment - 1) / alignment * alignment;
}

// Tensors must follow each other with no more than padding between them.
void place(std::vector<Listed>& list, GgufContents& out, std::span<const std::byte> file,
           const std::string& where) {
  std::stable_sort(list.begin(), list.end(),
                   [](const auto& a, const auto& b) { return a.offset < b.offset; });
  const uint64_t data_size = file.size() - std::min<uint64_t>(out.data_offset, file.size());
  uint64_t expected = 0;
  for (auto& item : list) {
    const std::string field = "tensor " + in_quotes(item.name);
    if (item.offset > data_size || item.size > data_size - item.offset)
      refuse_file(where, field,
                  fmt::format("{} bytes at offset {} lie outside the {} bytes of data", item.size,
                              item.offset, data_size),
                  "the file may be cut off: download it again");
    if (item.offset != expected)
      refuse_file(where, field,
                  fmt::format("offset {} {} {}", item.offset,
                              item.offset < expected ? "overlaps the tensor before it, expected"
                                                     : "leaves a hole, expected",
                              expected));
    expected = aligned(item.offset + item.size, out.alignment);
    item.tensor.bytes = file.subspan(out.data_offset + item.offset, item.size);
    if (!out.tensors.emplace(item.name, std::move(item.tensor)).second)
      refuse_file(where, field, "appears twice");
  }
}

void check_magic(Cursor& in, const std::string& where) {
  const auto magic = in.take(4, "magic");
  if (std::memcmp(magic.data(), "GGUF", 4) != 0) in.refuse("magic", "not a GGUF file");
  const auto version = in.number<uint32_t>("version");
  if (version == 3) return;
  if ((version & 0xffff) == 0)
    refuse_model(where, "version: a big-endian GGUF file is not supported",
                 "convert the model on a little-endian machine");
  refuse_model(where, fmt::format("version: GGUF {} is not supported, only 3", version),
               "convert the model with a current converter");
}

}  // namespace

int64_t GgufTensor::numbers() const {
  int64_t product = 1;
  for (const int64_t size : shape) product *= size;
  return product;
}

GgufContents parse_gguf(std::span<const std::byte> file, const std::string& where) {
  Cursor in(file, where);
  check_magic(in, where);
  const auto tensors = in.number<uint64_t>("tensor count");
  const auto keys = in.number<uint64_t>("key count");
  constexpr uint64_t kShortestKey = 8 + 1 + 4 + 1, kShortestTensor = 8 + 1 + 4 + 4 + 8;
  if (tensors > kMaxTensors || tensors > in.left() / kShortestTensor)
    in.refuse("tensor count",
              fmt::format("{} tensors cannot be in a file of {} bytes, or are more than {}",
                          tensors, file.size(), kMaxTensors));
  if (keys > kMaxKeys || keys > in.left() / kShortestKey)
    in.refuse("key count",
              fmt::format("{} keys cannot be in a file of {} bytes, or are more than {}", keys,
                          file.size(), kMaxKeys));

  GgufContents out;
  for (uint64_t i = 0; i < keys; ++i) {
    const std::string key = in.name(fmt::format("key {}", i));
    const size_t start = in.at();
    auto value = read_value(in, in_quotes(key));
    if (!out.metadata.emplace(key, value).second)
      in.refuse(in_quotes(key), "the key appears twice");
    out.raw.emplace(key, file.subspan(start, in.at() - start));
  }
  if (const auto at = out.metadata.find("general.alignment"); at != out.metadata.end()) {
    const auto* value = std::get_if<uint64_t>(&at->second);
    if (value == nullptr || !std::has_single_bit(*value) || *value > kMaxAlignment)
      in.refuse("general.alignment",
                fmt::format("expected a power of two up to {}", kMaxAlignment));
    out.alignment = *value;
  }
  std::vector<Listed> list;
  for (uint64_t i = 0; i < tensors; ++i) list.push_back(read_listed(in, i, where));
  out.data_offset = aligned(in.at(), out.alignment);
  place(list, out, file, where);
  return out;
}

}  // namespace flashmorph
