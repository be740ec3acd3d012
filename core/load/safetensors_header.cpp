// SPDX-License-Identifier: Apache-2.0
#include "core/load/safetensors_header.h"

#include <algorithm>
#include <limits>
#include <optional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/load/json_text.h"
#include "core/load/text.h"

namespace flashmorph {

namespace {

constexpr uint64_t kMaxHeader = 100'000'000;  // bytes, as the reference reader
constexpr size_t kMaxRank = 16;
constexpr size_t kMaxName = 4096;  // bytes

// Reads {"name": {"dtype": .., "shape": [..], "data_offsets": [b, e]}, "__metadata__": {..}} as a
// stream, so that a header costs no more memory than its tensors.
class HeaderReader : public nlohmann::json::json_sax_t {
 public:
  HeaderReader(SafetensorsHeader& out, const std::string& where) : out_(out), where_(where) {}

  bool start_object(size_t) override {
    if (depth_ == 1) {
      in_metadata_ = name_ == "__metadata__";
      if (in_metadata_ && seen_metadata_) refuse("", "appears twice");
      seen_metadata_ = seen_metadata_ || in_metadata_;
      entry_ = {};
      dtype_ = shape_ = offsets_ = false;
    } else if (depth_ == 2) {
      unexpected("an object");
    }
    ++depth_;
    return true;
  }

  bool key(std::string& text) override {
    if (depth_ == 1) {
      if (text.size() > kMaxName)
        refuse_file(where_, in_quotes(text), fmt::format("a name of {} bytes", text.size()));
      if (text.find('\0') != std::string::npos)
        refuse_file(where_, in_quotes(text), "the name holds a NUL");
      if (out_.entries.contains(text))
        refuse_file(where_, in_quotes(text), "the tensor appears twice");
      name_ = text;
    } else {
      field_ = text;
    }
    return true;
  }

  bool end_object() override {
    --depth_;
    if (depth_ == 1 && !in_metadata_) {
      if (!dtype_) refuse("dtype", "missing");
      if (!shape_) refuse("shape", "missing");
      if (!offsets_) refuse("data_offsets", "missing");
      out_.entries.emplace(name_, std::move(entry_));
    }
    return true;
  }

  bool start_array(size_t) override {
    if (depth_ != 2 || in_metadata_ || in_array_) unexpected("a list");
    if (field_ == "shape")
      once(shape_);
    else if (field_ == "data_offsets")
      once(offsets_);
    else
      unexpected("a list");
    in_array_ = true;
    count_ = 0;
    return true;
  }

  bool end_array() override {
    in_array_ = false;
    if (field_ == "data_offsets" && count_ != 2)
      refuse("data_offsets", fmt::format("{} numbers instead of 2", count_));
    return true;
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (!in_array_) unexpected("a number");
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
      refuse(field_, fmt::format("{} is too large", value));
    if (field_ == "shape") {
      if (entry_.shape.size() == kMaxRank)
        refuse("shape", fmt::format("more than {} dimensions", kMaxRank));
      entry_.shape.push_back(static_cast<int64_t>(value));
    } else if (count_ < 2) {
      (count_ == 0 ? entry_.begin : entry_.end) = value;
    }
    ++count_;
    return true;
  }

  bool string(std::string& text) override {
    if (depth_ != 2 || in_array_) unexpected("a string");
    if (in_metadata_) {
      if (!out_.metadata.emplace(field_, text).second) refuse(in_quotes(field_), "appears twice");
      return true;
    }
    if (field_ != "dtype") unexpected("a string");
    once(dtype_);
    if (safetensors_dtype_bits(text) == 0)
      refuse("dtype", fmt::format("{} is not known", in_quotes(text)));
    entry_.dtype = text;
    return true;
  }

  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("a boolean"); }
  bool number_integer(number_integer_t) override { return unexpected("a negative number"); }
  bool number_float(number_float_t, const std::string&) override {
    return unexpected("a fraction");
  }
  bool binary(nlohmann::json::binary_t&) override { return unexpected("binary data"); }
  bool parse_error(size_t position, const std::string&,
                   const nlohmann::json::exception& e) override {
    refuse_file(where_, fmt::format("header byte {}", position),
                fmt::format("not valid JSON: {}", in_quotes(e.what(), 160)));
  }

 private:
  [[noreturn]] void refuse(const std::string& field, const std::string& reason) const {
    refuse_file(where_, field.empty() ? in_quotes(name_) : in_quotes(name_) + "." + field, reason);
  }

  [[noreturn]] bool unexpected(const char* what) const {
    if (depth_ == 0) refuse_file(where_, "header", fmt::format("expected an object, got {}", what));
    if (depth_ == 1) refuse("", fmt::format("expected an object, got {}", what));
    if (in_metadata_) refuse(in_quotes(field_), fmt::format("expected a string, got {}", what));
    refuse(in_quotes(field_), fmt::format("{} does not belong there", what));
  }

  void once(bool& seen) {
    if (seen) refuse(field_, "appears twice");
    seen = true;
  }

  SafetensorsHeader& out_;
  const std::string& where_;
  int depth_ = 0;
  bool in_metadata_ = false, seen_metadata_ = false, in_array_ = false;
  bool dtype_ = false, shape_ = false, offsets_ = false;
  size_t count_ = 0;
  std::string name_, field_;
  TensorEntry entry_;
};

// Bytes of a tensor, none when the product overflows or does not fill whole bytes.
std::optional<uint64_t> byte_count(const TensorEntry& entry) {
  uint64_t bits = static_cast<uint64_t>(safetensors_dtype_bits(entry.dtype));
  for (const int64_t size : entry.shape)
    if (__builtin_mul_overflow(bits, static_cast<uint64_t>(size), &bits)) return std::nullopt;
  if (bits % 8 != 0) return std::nullopt;
  return bits / 8;
}

// Ranges must fit dtype and shape, and cover the buffer without holes or overlaps.
void check_ranges(const SafetensorsHeader& header, uint64_t buffer_size, const std::string& where) {
  std::vector<const std::pair<const std::string, TensorEntry>*> order;
  order.reserve(header.entries.size());
  for (const auto& item : header.entries) {
    const auto& [name, entry] = item;
    const auto size = byte_count(entry);
    if (!size) refuse_file(where, in_quotes(name) + ".shape", "the size in bytes overflows");
    if (entry.end < entry.begin || entry.end > buffer_size)
      refuse_file(where, in_quotes(name) + ".data_offsets",
                  fmt::format("{}..{} lies outside the {} bytes of data", entry.begin, entry.end,
                              buffer_size),
                  "the file may be cut off: download it again");
    if (entry.end - entry.begin != *size)
      refuse_file(where, in_quotes(name) + ".data_offsets",
                  fmt::format("{} bytes for a tensor of {}", entry.end - entry.begin, *size));
    order.push_back(&item);
  }
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end);
  });
  uint64_t covered = 0;
  for (const auto* item : order) {
    if (item->second.begin != covered)
      refuse_file(where, in_quotes(item->first) + ".data_offsets",
                  fmt::format("begins at {}, {} {}", item->second.begin,
                              item->second.begin < covered ? "inside the tensor that ends at"
                                                           : "after a hole from",
                              covered));
    covered = item->second.end;
  }
  if (covered != buffer_size)
    refuse_file(where, "",
                fmt::format("{} bytes of data, the tensors take {}", buffer_size, covered));
}

}  // namespace

int safetensors_dtype_bits(const std::string& dtype) {
  static const std::map<std::string, int> bits = {
      {"BOOL", 8}, {"U8", 8},   {"I8", 8},   {"F8_E5M2", 8}, {"F8_E4M3", 8},
      {"I16", 16}, {"U16", 16}, {"F16", 16}, {"BF16", 16},   {"I32", 32},
      {"U32", 32}, {"F32", 32}, {"I64", 64}, {"U64", 64},    {"F64", 64}};
  const auto at = bits.find(dtype);
  return at == bits.end() ? 0 : at->second;
}

SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file,
                                           const std::string& where) {
  constexpr size_t kLengthSize = 8;
  if (file.size() < kLengthSize)
    refuse_file(where, "header length", fmt::format("the file has only {} bytes", file.size()));
  uint64_t length = 0;
  for (size_t i = kLengthSize; i-- > 0;) length = length << 8 | std::to_integer<uint64_t>(file[i]);
  if (length > kMaxHeader)
    refuse_file(where, "header length",
                fmt::format("{} bytes, at most {} are read", length, kMaxHeader),
                "is it a safetensors file?");
  if (length > file.size() - kLengthSize)
    refuse_file(where, "header length",
                fmt::format("{} bytes in a file of {}", length, file.size()),
                "the file may be cut off: download it again");
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + kLengthSize, length);
  if (!text.starts_with('{'))
    refuse_file(where, "header", "does not begin with {", "is it a safetensors file?");

  SafetensorsHeader header;
  header.data_offset = kLengthSize + length;
  check_json_limits(text, where + " (header)", {.bytes = kMaxHeader, .depth = 3});
  HeaderReader reader(header, where);
  nlohmann::json::sax_parse(text.begin(), text.end(), &reader);
  check_ranges(header, file.size() - header.data_offset, where);
  for (auto& [name, entry] : header.entries) {
    entry.begin += header.data_offset;
    entry.end += header.data_offset;
  }
  return header;
}

std::string safetensors_head(std::string json) {
  json.append((8 - json.size() % 8) % 8, ' ');
  std::string head(8, '\0');
  for (size_t i = 0; i < head.size(); ++i) head[i] = static_cast<char>(json.size() >> (8 * i));
  return head + json;
}

}  // namespace flashmorph
