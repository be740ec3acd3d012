// SPDX-License-Identifier: Apache-2.0
#include "core/load/checkpoint.h"

#include <algorithm>
#include <set>

#include <c10/util/Exception.h>
#include <fmt/format.h>

#include "core/load/checkpoint_hashes.h"
#include "core/load/gguf.h"
#include "core/load/gguf_model.h"
#include "core/load/hf_directory.h"
#include "core/load/sha256.h"
#include "core/load/text.h"
#include "core/run/error.h"

namespace flashmorph {

namespace {

constexpr int64_t kPieceNumbers = int64_t{1} << 20;  // of a conversion: a few megabytes

// True for a GGUF file, false for a directory; anything else is refused.
bool is_gguf(const std::filesystem::path& model) {
  std::error_code failed;
  const auto status = std::filesystem::status(model, failed);
  if (std::filesystem::is_directory(status)) return false;
  if (!std::filesystem::exists(status))
    throw Error("load", ErrorCode::not_found,
                fmt::format("{}: no such model", in_quotes(model.native(), 1024)));
  const auto ending = model.extension();
  if (ending == ".safetensors" || ending == ".json")
    refuse_file(model.native(), "", "a part of a model directory",
                "give the directory that holds config.json");
  return true;
}

std::string base_name(const std::filesystem::path& directory) {
  std::error_code failed;
  const auto whole = std::filesystem::weakly_canonical(directory, failed);
  return (failed ? directory : whole).filename().string();
}

// Name, shape and completeness of every tensor; block types were checked by the parser.
void check_tensors(const GgufFile& file, const ModelConfig& config) {
  std::set<std::string> expected = {"rope_freqs.weight"};
  for (const auto& spec : tensor_table(config)) {
    const auto name = gguf_tensor_name(spec.name);
    const auto at = file.tensors().find(name);
    if (at == file.tensors().end())
      refuse_file(file.where(), "tensor " + in_quotes(name), "missing");
    if (at->second.shape != spec.shape)
      refuse_file(file.where(), "tensor " + in_quotes(name),
                  fmt::format("expected shape {}, got {}", shape_text(spec.shape),
                              shape_text(at->second.shape)));
    expected.insert(name);
  }
  for (const auto& [name, tensor] : file.tensors())
    if (!expected.contains(name))
      refuse_file(file.where(), "tensor " + in_quotes(name),
                  fmt::format("a {} model has no such tensor", config.family));
}

// Decoded numbers on their way into a weight. One buffer for all tensors: buffers of their own
// between the weights would tear the heap.
class Scratch {
 public:
  std::span<float> take(int64_t numbers) {
    if (numbers > buffer_.numel())
      buffer_ = at::empty({std::max(numbers, kPieceNumbers)}, at::kFloat);
    return {buffer_.mutable_data_ptr<float>(), static_cast<size_t>(numbers)};
  }
  at::Tensor tensor(int64_t numbers) const { return buffer_.narrow(0, 0, numbers); }

 private:
  at::Tensor buffer_ = at::empty({0}, at::kFloat);
};

// Rows of interleaved rotary pairs back to halves: view (heads, hd/2, 2, in), swap the middle axes.
// One head at a time.
void copy_unpermuted(const GgufFile& file, const GgufTensor& tensor, int64_t heads,
                     const at::Tensor& out, Scratch& scratch) {
  const int64_t head_numbers = tensor.numbers() / heads, pairs = tensor.shape.front() / heads / 2;
  const auto halves = out.view({heads, 2, pairs, -1});
  for (int64_t head = 0; head < heads; ++head) {
    file.dequantize(tensor, head * head_numbers, scratch.take(head_numbers));
    halves.select(0, head).copy_(scratch.tensor(head_numbers).view({pairs, 2, -1}).transpose(0, 1));
    file.release(tensor, 0, (head + 1) * head_numbers);
  }
}

void copy_plain(const GgufFile& file, const GgufTensor& tensor, const at::Tensor& out,
                Scratch& scratch) {
  static_assert(kPieceNumbers % 256 == 0, "pieces hold whole blocks");
  const int64_t numbers = tensor.numbers();
  const auto flat = out.view({numbers});
  for (int64_t at = 0; at < numbers; at += kPieceNumbers) {
    const int64_t count = std::min(kPieceNumbers, numbers - at);
    file.dequantize(tensor, at, scratch.take(count));
    flat.narrow(0, at, count).copy_(scratch.tensor(count));
    // From the start: reading ahead brings pages back that were let go.
    file.release(tensor, 0, at + count);
  }
}

Checkpoint load_gguf(const std::filesystem::path& model, at::ScalarType dtype, at::Device device) {
  const GgufFile file(model);
  Checkpoint out;
  out.config = gguf_model_config(file);
  check_tensors(file, out.config);
  out.path = model;
  out.is_gguf = true;
  out.quantization = gguf_quantization(file);
  const CheckpointHashes hashes = checkpoint_hashes(file);
  out.config_sha256 = hashes.config;
  out.tokenizer_sha256 = hashes.tokenizer;
  Scratch scratch;
  for (const auto& spec : tensor_table(out.config)) {
    const auto& tensor = file.tensors().at(gguf_tensor_name(spec.name));
    const auto weight = at::empty(spec.shape, at::TensorOptions().dtype(dtype).device(device));
    if (const int64_t heads = gguf_permuted_heads(out.config, spec.name))
      copy_unpermuted(file, tensor, heads, weight, scratch);
    else
      copy_plain(file, tensor, weight, scratch);
    out.tensors[spec.name] = weight;
  }
  return out;
}

Checkpoint load_directory(const std::filesystem::path& model, at::ScalarType dtype,
                          at::Device device) {
  const HfDirectory directory(model);
  directory.check_tied_head();
  Checkpoint out;
  out.config = directory.config();
  out.config.name = base_name(model);
  out.path = model;
  const CheckpointHashes hashes = checkpoint_hashes(directory, model);
  out.config_sha256 = hashes.config;
  out.tokenizer_sha256 = hashes.tokenizer;
  for (const auto& spec : tensor_table(out.config))
    out.tensors[spec.name] = directory.tensor(spec.name, dtype, device);
  return out;
}

}  // namespace

ModelConfig inspect_checkpoint(const std::filesystem::path& model) {
  if (is_gguf(model)) {
    const GgufFile file(model);
    auto config = gguf_model_config(file);
    check_tensors(file, config);
    return config;
  }
  auto config = HfDirectory(model).config();
  config.name = base_name(model);
  return config;
}

Checkpoint load_checkpoint(const std::filesystem::path& model, at::ScalarType dtype,
                           at::Device device) {
  if (dtype != at::kFloat && dtype != at::kHalf && dtype != at::kBFloat16)
    throw Error("load", ErrorCode::bad_request,
                fmt::format("weights cannot be used as {}, only as float32, float16 or bfloat16",
                            at::toString(dtype)));
  try {
    return is_gguf(model) ? load_gguf(model, dtype, device) : load_directory(model, dtype, device);
  } catch (const c10::Error& e) {
    // The allocators have no common type for "no memory left".
    const std::string what = e.what_without_backtrace();
    if (what.find("out of memory") == std::string::npos &&
        what.find("allocate memory") == std::string::npos)
      throw;
    throw Error("load", ErrorCode::out_of_memory,
                fmt::format("{}: the weights do not fit into memory as {}",
                            in_quotes(model.native(), 1024), at::toString(dtype)),
                "use bfloat16, or a smaller model");
  }
}

std::string weights_sha256(const std::filesystem::path& model) {
  if (is_gguf(model)) return sha256_file(model);
  const auto files = HfDirectory(model).weight_files();
  if (files.size() == 1) return sha256_file(files.front());
  Sha256 sum;
  for (const auto& file : files)
    sum.update(sha256_file(file) + "  " + file.filename().string() + "\n");
  return sum.hex();
}

}  // namespace flashmorph
