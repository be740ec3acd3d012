// SPDX-License-Identifier: Apache-2.0
#include "core/jobs/session.h"

#include <charconv>

#include <fmt/format.h>

#include "core/load/checkpoint.h"
#include "core/load/safetensors.h"
#include "core/run/error.h"
#include "kernels/cuda_library.h"

namespace flashmorph {

namespace {

Checkpoint load(const std::filesystem::path& model, at::ScalarType dtype, at::Device device) {
  if (model.empty()) throw Error("load", ErrorCode::bad_request, "no model given", "name a model directory or a .gguf file");
  return load_checkpoint(model, dtype, device);
}

}  // namespace

at::Device parse_device(const std::string& text) {
  if (text == "cpu") return at::kCPU;
  if (text != "auto" && text != "cuda" && !text.starts_with("cuda:"))
    throw Error("load", ErrorCode::bad_request, fmt::format("device \"{}\" is unknown", text.substr(0, 40)),
                "use auto, cpu, cuda or cuda:N");
  const kernels::CudaStatus& cuda = kernels::load_cuda();
  if (text == "auto") return cuda.available ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
  if (!cuda.available)
    throw Error("load", ErrorCode::bad_request, "no GPU can be used: " + cuda.reason, "use --device cpu, or see `flashmorph devices`");
  int index = 0;
  if (text.size() > 5) {
    const auto [end, ec] = std::from_chars(text.data() + 5, text.data() + text.size(), index);
    if (ec != std::errc() || end != text.data() + text.size() || index < 0 || index >= static_cast<int>(cuda.devices.size()))
      throw Error("load", ErrorCode::bad_request,
                  fmt::format("device {} does not exist, there are {} GPUs", text.substr(0, 40), cuda.devices.size()));
  }
  return {at::kCUDA, static_cast<at::DeviceIndex>(index)};
}

at::ScalarType parse_dtype(const std::string& text, at::Device device) {
  if (text == "float32" || (text == "auto" && device.is_cpu())) return at::kFloat;
  if (text == "bfloat16" || text == "auto") return at::kBFloat16;
  throw Error("load", ErrorCode::bad_request, fmt::format("dtype \"{}\" is unknown", text.substr(0, 40)),
              "use auto, float32 or bfloat16");
}

std::string dtype_name(at::ScalarType dtype) {
  return dtype == at::kFloat ? "float32" : dtype == at::kBFloat16 ? "bfloat16" : c10::toString(dtype);
}

Session::Session(const std::filesystem::path& model, at::Device device, at::ScalarType dtype)
    : path_(model), tokenizer_(Tokenizer::load(model)) {
  Checkpoint checkpoint = load(model, dtype, device);
  quantization_ = checkpoint.quantization;
  config_sha256_ = checkpoint.config_sha256;
  tokenizer_sha256_ = checkpoint.tokenizer_sha256;
  teacher_ = std::make_shared<const Teacher>(std::move(checkpoint));
  if (tokenizer_.vocab_size() > teacher_->config().vocab)
    throw Error("load", ErrorCode::bad_file,
                fmt::format("{}: the tokenizer has {} tokens, the model {}", model.filename().string(), tokenizer_.vocab_size(),
                            teacher_->config().vocab),
                "tokenizer and weights must belong together");
}

MorphModel& Session::make_branches(std::vector<BranchOptions> options, uint64_t seed) {
  model_.reset();
  model_ = std::make_unique<MorphModel>(teacher_, std::move(options), seed);
  return *model_;
}

MorphModel& Session::load_branches(const std::filesystem::path& file) {
  std::filesystem::path path = file;
  if (std::filesystem::is_directory(path)) path = path / "checkpoints" / "branches.safetensors";
  if (!std::filesystem::exists(path))
    throw Error("load", ErrorCode::not_found, fmt::format("{} does not exist", path.string()),
                "give the folder of a finished align run, or a branches.safetensors");
  check_teacher_of(path);
  model_.reset();
  auto fresh = std::make_unique<MorphModel>(teacher_, MorphModel::branch_options_of(path), 0);
  fresh->load_branches(path);
  model_ = std::move(fresh);
  return *model_;
}

void Session::check_teacher_of(const std::filesystem::path& file) const {
  const auto metadata = SafetensorsFile(file).metadata();
  const auto check = [&](const char* key, const std::string& mine, const char* what) {
    const auto found = metadata.find(key);
    if (found != metadata.end() && found->second != mine)
      throw Error("load", ErrorCode::bad_file,
                  fmt::format("{} was made for a teacher with other {}", file.filename().string(), what),
                  "align branches for this model, or load the model they were made for");
  };
  check("teacher_config_sha256", config_sha256(), "configuration");
  check("teacher_weights_sha256", weights_sha256(), "weights");
}

MorphModel& Session::model() {
  static_cast<const Session&>(*this).model();
  return *model_;
}

const MorphModel& Session::model() const {
  if (!model_)
    throw Error("load", ErrorCode::no_model, "the model has no aligned linear branches",
                "run `flashmorph align` first and give its run with --aligned");
  return *model_;
}

const std::string& Session::config_sha256() const { return *config_sha256_; }
const std::string& Session::tokenizer_sha256() const { return *tokenizer_sha256_; }
const std::string& Session::weights_sha256() const {
  if (!weights_sha256_) weights_sha256_ = flashmorph::weights_sha256(path_);
  return *weights_sha256_;
}

nlohmann::json Session::model_json() const {
  const ModelConfig& c = teacher_->config();
  return {{"name", c.name},
          {"family", c.family},
          {"layers", c.layers},
          {"hidden", c.hidden},
          {"ffn", c.ffn},
          {"heads", c.heads},
          {"kv_heads", c.kv_heads},
          {"head_dim", c.head_dim},
          {"vocab", c.vocab},
          {"max_position", c.max_position},
          {"rope_theta", c.rope.theta},
          {"rope_type", c.rope.type},
          {"file_dtype", c.dtype},
          {"quantization", quantization_},
          {"config_sha256", config_sha256()},
          {"weights_sha256", weights_sha256()},
          {"tokenizer_sha256", tokenizer_sha256()}};
}

}  // namespace flashmorph
