// SPDX-License-Identifier: Apache-2.0
// Compiled without contraction: q * d + m must round twice, as the reference does.
#include "core/load/gguf_blocks.h"

#include <array>
#include <bit>
#include <cstring>
#include <map>

#include <fmt/format.h>

#include "core/load/text.h"

namespace flashmorph {

namespace {

uint32_t byte_at(const std::byte* at, int64_t i) { return std::to_integer<uint32_t>(at[i]); }
uint32_t u16_at(const std::byte* at) { return byte_at(at, 0) | byte_at(at, 1) << 8; }
float i8_at(const std::byte* at, int64_t i) {
  return static_cast<float>(static_cast<int8_t>(byte_at(at, i)));
}
float real(uint32_t q) { return static_cast<float>(q); }
float real(int32_t q) { return static_cast<float>(q); }

// Exact: every float16 is a float32.
float half(const std::byte* at) {
  const uint32_t bits = u16_at(at);
  const uint32_t sign = (bits & 0x8000) << 16, exponent = bits >> 10 & 31, mantissa = bits & 1023;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000 | mantissa << 13);
  if (exponent > 0) return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
  const float tiny = static_cast<float>(mantissa) * 0x1p-24F;
  return sign != 0 ? -tiny : tiny;
}

void decode_f32(const std::byte* in, int64_t blocks, float* out) {
  std::memcpy(out, in, static_cast<size_t>(blocks) * sizeof(float));
}

void decode_f16(const std::byte* in, int64_t blocks, float* out) {
  for (int64_t i = 0; i < blocks; ++i) out[i] = half(in + 2 * i);
}

void decode_bf16(const std::byte* in, int64_t blocks, float* out) {
  for (int64_t i = 0; i < blocks; ++i) out[i] = std::bit_cast<float>(u16_at(in + 2 * i) << 16);
}

void decode_q4_0(const std::byte* in, int64_t blocks, float* out) {
  for (; blocks > 0; --blocks, in += 18, out += 32) {
    const float d = half(in);
    for (int64_t i = 0; i < 16; ++i) {
      const auto q = static_cast<int32_t>(byte_at(in + 2, i));
      out[i] = d * real((q & 15) - 8);
      out[i + 16] = d * real((q >> 4) - 8);
    }
  }
}

void decode_q4_1(const std::byte* in, int64_t blocks, float* out) {
  for (; blocks > 0; --blocks, in += 20, out += 32) {
    const float d = half(in), m = half(in + 2);
    for (int64_t i = 0; i < 16; ++i) {
      const uint32_t q = byte_at(in + 4, i);
      out[i] = d * real(q & 15) + m;
      out[i + 16] = d * real(q >> 4) + m;
    }
  }
}

void decode_q5_0(const std::byte* in, int64_t blocks, float* out) {
  for (; blocks > 0; --blocks, in += 22, out += 32) {
    const float d = half(in);
    const uint32_t fifth = u16_at(in + 2) | u16_at(in + 4) << 16;
    for (int64_t i = 0; i < 16; ++i) {
      const uint32_t q = byte_at(in + 6, i);
      out[i] = d * real(static_cast<int32_t>((q & 15) | (fifth >> i & 1) << 4) - 16);
      out[i + 16] = d * real(static_cast<int32_t>(q >> 4 | (fifth >> (i + 16) & 1) << 4) - 16);
    }
  }
}

void decode_q5_1(const std::byte* in, int64_t blocks, float* out) {
  for (; blocks > 0; --blocks, in += 24, out += 32) {
    const float d = half(in), m = half(in + 2);
    const uint32_t fifth = u16_at(in + 4) | u16_at(in + 6) << 16;
    for (int64_t i = 0; i < 16; ++i) {
      const uint32_t q = byte_at(in + 8, i);
      out[i] = d * real((q & 15) | (fifth >> i & 1) << 4) + m;
      out[i + 16] = d * real(q >> 4 | (fifth >> (i + 16) & 1) << 4) + m;
    }
  }
}

void decode_q8_0(const std::byte* in, int64_t blocks, float* out) {
  for (; blocks > 0; --blocks, in += 34, out += 32) {
    const float d = half(in);
    for (int64_t i = 0; i < 32; ++i) out[i] = d * i8_at(in + 2, i);
  }
}

// The eight 6-bit scales and minima in the 12 bytes of Q4_K and Q5_K.
struct Scales {
  std::array<float, 8> scale, minimum;
};

Scales unpack_scales(const std::byte* b) {
  Scales out;
  for (size_t j = 0; j < 8; ++j) {
    const auto i = static_cast<int64_t>(j);
    const uint32_t sc =
        j < 4 ? byte_at(b, i) & 63 : (byte_at(b, i + 4) & 15) | byte_at(b, i - 4) >> 6 << 4;
    const uint32_t mn =
        j < 4 ? byte_at(b, i + 4) & 63 : byte_at(b, i + 4) >> 4 | byte_at(b, i) >> 6 << 4;
    out.scale[j] = real(sc);
    out.minimum[j] = real(mn);
  }
  return out;
}

// Q5_K is Q4_K with 32 bytes of fifth bits before the nibbles.
template <bool kFifth>
void decode_k(const std::byte* in, int64_t blocks, float* out) {
  constexpr int64_t kBytes = kFifth ? 176 : 144;
  for (; blocks > 0; --blocks, in += kBytes, out += 256) {
    const float d = half(in), dmin = half(in + 2);
    const Scales scales = unpack_scales(in + 4);
    const std::byte* const high = in + 16;
    const std::byte* const nibbles = in + (kFifth ? 48 : 16);
    for (int64_t j = 0; j < 8; ++j) {  // runs of 32: low nibbles when even, high ones when odd
      const float scale = d * scales.scale[static_cast<size_t>(j)];
      const float minimum = dmin * scales.minimum[static_cast<size_t>(j)];
      for (int64_t i = 0; i < 32; ++i) {
        uint32_t q = byte_at(nibbles, j / 2 * 32 + i) >> (j % 2 * 4) & 15;
        if (kFifth) q |= (byte_at(high, i) >> j & 1) << 4;
        out[j * 32 + i] = scale * real(q) - minimum;
      }
    }
  }
}

void decode_q6_k(const std::byte* in, int64_t blocks, float* out) {
  for (; blocks > 0; --blocks, in += 210, out += 256) {
    const float d = half(in + 208);
    for (int64_t part = 0; part < 2; ++part) {
      const std::byte* const low = in + 64 * part;
      const std::byte* const high = in + 128 + 32 * part;
      const std::byte* const scale = in + 192 + 8 * part;
      for (int64_t run = 0; run < 4; ++run) {
        for (int64_t i = 0; i < 32; ++i) {
          const uint32_t nibble = byte_at(low, run % 2 * 32 + i) >> (run / 2 * 4) & 15;
          const uint32_t top = byte_at(high, i) >> (2 * run) & 3;
          const float s = d * i8_at(scale, 2 * run + i / 16);
          out[128 * part + 32 * run + i] = s * real(static_cast<int32_t>(nibble | top << 4) - 32);
        }
      }
    }
  }
}

constexpr std::array<GgufType, 11> kTypes = {{{0, "F32", 1, 4, decode_f32},
                                              {1, "F16", 1, 2, decode_f16},
                                              {2, "Q4_0", 32, 18, decode_q4_0},
                                              {3, "Q4_1", 32, 20, decode_q4_1},
                                              {6, "Q5_0", 32, 22, decode_q5_0},
                                              {7, "Q5_1", 32, 24, decode_q5_1},
                                              {8, "Q8_0", 32, 34, decode_q8_0},
                                              {12, "Q4_K", 256, 144, decode_k<false>},
                                              {13, "Q5_K", 256, 176, decode_k<true>},
                                              {14, "Q6_K", 256, 210, decode_q6_k},
                                              {30, "BF16", 1, 2, decode_bf16}}};

}  // namespace

const GgufType* gguf_type(uint32_t id) {
  for (const auto& type : kTypes)
    if (type.id == id) return &type;
  return nullptr;
}

std::string gguf_type_name(uint32_t id) {
  static const std::map<uint32_t, const char*> others = {
      {9, "Q8_1"},    {10, "Q2_K"},    {11, "Q3_K"},  {15, "Q8_K"},   {16, "IQ2_XXS"},
      {17, "IQ2_XS"}, {18, "IQ3_XXS"}, {19, "IQ1_S"}, {20, "IQ4_NL"}, {21, "IQ3_S"},
      {22, "IQ2_S"},  {23, "IQ4_XS"},  {24, "I8"},    {25, "I16"},    {26, "I32"},
      {27, "I64"},    {28, "F64"},     {29, "IQ1_M"}, {34, "TQ1_0"},  {35, "TQ2_0"},
      {39, "MXFP4"}};
  if (const auto* type = gguf_type(id)) return type->name;
  const auto at = others.find(id);
  return at == others.end() ? fmt::format("type {}", id) : at->second;
}

void decode_gguf_blocks(const GgufType& type, std::span<const std::byte> in, std::span<float> out) {
  const auto blocks = static_cast<int64_t>(in.size()) / type.bytes;
  if (blocks * type.bytes != static_cast<int64_t>(in.size()) ||
      blocks * type.elements != static_cast<int64_t>(out.size()))
    refuse_file("decode_gguf_blocks", type.name,
                fmt::format("{} bytes do not make {} numbers", in.size(), out.size()));
  type.decode(in.data(), blocks, out.data());
}

}  // namespace flashmorph
