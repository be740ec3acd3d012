// SPDX-License-Identifier: Apache-2.0
#include "core/export/gguf_file_writer.h"

#include <bit>
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "core/export/export_target.h"
#include "core/load/file_map.h"
#include "core/load/gguf.h"
#include "core/run/error.h"

namespace flashmorph {

namespace {

constexpr int64_t kAlignment = 32, kBlock = 32, kBlockBytes = 34;

template <typename Number>
void put(std::string& out, Number value) {  // little endian, as every machine we build for
  static_assert(std::endian::native == std::endian::little);
  char bytes[sizeof(Number)];
  std::memcpy(bytes, &value, sizeof(Number));
  out.append(bytes, sizeof(Number));
}

void put_text(std::string& out, const std::string& text) {
  put(out, static_cast<uint64_t>(text.size()));
  out += text;
}

constexpr uint32_t kind_of(GgufKind kind) { return static_cast<uint32_t>(kind); }

int64_t stored_bytes(int64_t numbers, GgufStorage storage) {
  switch (storage) {
    case GgufStorage::f32:
      return 4 * numbers;
    case GgufStorage::q8_0:
      return numbers / kBlock * kBlockBytes;
    default:
      return 2 * numbers;
  }
}

int64_t padded(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

std::string encode_q8_0(const float* values, int64_t count) {
  std::string out;
  out.reserve(static_cast<size_t>(count / kBlock * kBlockBytes));
  for (int64_t first = 0; first < count; first += kBlock) {
    float most = 0;
    for (int64_t i = 0; i < kBlock; ++i) most = std::max(most, std::fabs(values[first + i]));
    const float d = most / 127.0F, inverse = d > 0 ? 1.0F / d : 0.0F;
    put(out, c10::Half(d).x);
    for (int64_t i = 0; i < kBlock; ++i)
      put(out, static_cast<int8_t>(std::lround(values[first + i] * inverse)));
  }
  return out;
}

void GgufFileWriter::key(const std::string& key, uint32_t kind) {
  put_text(metadata_, key);
  put(metadata_, kind);
  ++keys_;
}
void GgufFileWriter::text(const std::string& name, const std::string& value) {
  key(name, kind_of(GgufKind::string));
  put_text(metadata_, value);
}
void GgufFileWriter::u32(const std::string& name, uint32_t value) {
  key(name, kind_of(GgufKind::u32));
  put(metadata_, value);
}
void GgufFileWriter::f32(const std::string& name, double value) {
  key(name, kind_of(GgufKind::f32));
  put(metadata_, static_cast<float>(value));
}
void GgufFileWriter::boolean(const std::string& name, bool value) {
  key(name, kind_of(GgufKind::boolean));
  put(metadata_, static_cast<uint8_t>(value));
}
void GgufFileWriter::texts(const std::string& name, const std::vector<std::string>& values) {
  key(name, kind_of(GgufKind::array));
  put(metadata_, kind_of(GgufKind::string));
  put(metadata_, static_cast<uint64_t>(values.size()));
  for (const std::string& value : values) put_text(metadata_, value);
}
void GgufFileWriter::i32s(const std::string& name, const std::vector<int32_t>& values) {
  key(name, kind_of(GgufKind::array));
  put(metadata_, kind_of(GgufKind::i32));
  put(metadata_, static_cast<uint64_t>(values.size()));
  for (const int32_t value : values) put(metadata_, value);
}
void GgufFileWriter::booleans(const std::string& name, const std::vector<bool>& values) {
  key(name, kind_of(GgufKind::array));
  put(metadata_, kind_of(GgufKind::boolean));
  put(metadata_, static_cast<uint64_t>(values.size()));
  for (const bool value : values) put(metadata_, static_cast<uint8_t>(value));
}

void GgufFileWriter::tensor(const std::string& name, LazyTensor value, GgufStorage storage) {
  if (storage == GgufStorage::q8_0 && value.shape().back() % kBlock != 0)
    throw Error("export", ErrorCode::internal,
                fmt::format("tensor {} has rows of {}, q8_0 wants multiples of 32", name,
                            value.shape().back()));
  tensors_.push_back({name, std::move(value), storage});
}

void GgufFileWriter::write(const std::filesystem::path& path,
                           const std::function<void(int64_t, int64_t)>& told) const {
  std::string head = "GGUF";
  put(head, uint32_t{3});
  put(head, static_cast<uint64_t>(tensors_.size()));
  put(head, keys_);
  head += metadata_;
  int64_t total = 0;
  for (const Entry& one : tensors_) {
    put_text(head, one.name);
    const std::vector<int64_t>& shape = one.value.shape();
    put(head, static_cast<uint32_t>(shape.size()));
    for (size_t d = shape.size(); d-- > 0;) put(head, static_cast<uint64_t>(shape[d]));
    put(head, static_cast<uint32_t>(one.storage));
    put(head, static_cast<uint64_t>(total));
    total += padded(stored_bytes(one.value.numel(), one.storage));
  }
  head.resize(static_cast<size_t>(padded(static_cast<int64_t>(head.size()))), '\0');
  AtomicFile file(path);
  file.write(std::as_bytes(std::span(head)));
  int64_t done = 0;
  for (const Entry& one : tensors_) {
    told(done, total);
    const at::Tensor wide = one.value.get().detach().to(at::kCPU).to(at::kFloat).contiguous();
    const auto type = one.storage == GgufStorage::bf16  ? at::kBFloat16
                      : one.storage == GgufStorage::f16 ? at::kHalf
                                                        : at::kFloat;
    const at::Tensor stored = wide.to(type);
    const auto ends = one.storage == GgufStorage::q8_0 ? at::aminmax(wide)
                                                       : std::tuple{at::zeros({}), at::zeros({})};
    const float most = std::max(-std::get<0>(ends).item<float>(), std::get<1>(ends).item<float>());
    if (!all_finite(stored) || most >= 127.0F * 65504.0F)
      throw Error("export", ErrorCode::export_refused,
                  fmt::format("tensor {} holds values that are not finite once rounded", one.name),
                  "use --dtype bf16");
    const int64_t bytes = stored_bytes(one.value.numel(), one.storage);
    if (one.storage == GgufStorage::q8_0) {
      const std::string blocks = encode_q8_0(wide.const_data_ptr<float>(), wide.numel());
      file.write(std::as_bytes(std::span(blocks)));
    } else {
      file.write(
          {static_cast<const std::byte*>(stored.const_data_ptr()), static_cast<size_t>(bytes)});
    }
    const std::string zeros(static_cast<size_t>(padded(bytes) - bytes), '\0');
    file.write(std::as_bytes(std::span(zeros)));
    done += padded(bytes);
  }
  file.commit();
  told(total, total);
}

}  // namespace flashmorph
