// SPDX-License-Identifier: Apache-2.0
#include "core/serve/model_holder.h"

#include <fmt/format.h>

#include "core/load/tensor_table.h"
#include "core/run/error.h"
#include "core/serve/memory_use.h"

namespace flashmorph {

namespace fs = std::filesystem;

namespace {

std::string key_of(const fs::path& file) {
  std::error_code ignored;
  const auto time = fs::last_write_time(file, ignored).time_since_epoch().count();
  return fmt::format("{} {} {}", fs::weakly_canonical(file, ignored).string(), time,
                     fs::file_size(file, ignored));
}

}  // namespace

nlohmann::json ModelInfo::to_json() const {
  if (state != "loaded") return {{"state", state}, {"model", path}};
  return {{"state", state},      {"model", path},  {"name", name},   {"layers", layers},
          {"device", device},    {"dtype", dtype}, {"bytes", bytes}, {"quantization", quantization},
          {"branches", branches}};
}

ModelHolder::ModelHolder(std::function<void(const ModelStateEvent&)> on_state)
    : on_state_(std::move(on_state)) {}

ModelHolder::~ModelHolder() = default;

ModelInfo ModelHolder::info() const {
  const std::lock_guard guard(mutex_);
  return info_;
}

at::Device ModelHolder::device() const {
  const std::lock_guard guard(mutex_);
  return info_.state == "loaded" ? at::Device(info_.device) : at::Device(at::kCPU);
}

void ModelHolder::tell(const std::string& state) {
  ModelStateEvent event;
  {
    const std::lock_guard guard(mutex_);
    info_.state = state;
    event = {state, info_.path, info_.bytes};
    if (state == "unloaded") info_ = ModelInfo();
  }
  on_state_(event);
}

Session& ModelHolder::load(const std::string& model, const std::string& device_text,
                           const std::string& dtype_text) {
  const at::Device device = parse_device(device_text);
  const at::ScalarType dtype = parse_dtype(dtype_text, device);
  if (session_ && session_->path() == fs::path(model) && session_->device() == device &&
      session_->teacher().dtype() == dtype)
    return *session_;
  if (session_) unload();
  {
    const std::lock_guard guard(mutex_);
    info_.path = model;
  }
  tell("loading");
  try {
    session_ = std::make_unique<Session>(model, device, dtype);
  } catch (...) {
    tell("unloaded");
    throw;
  }
  {
    const ModelConfig& config = session_->teacher().config();
    const std::lock_guard guard(mutex_);
    info_.name = config.name;
    info_.layers = static_cast<int>(config.layers);
    info_.device = session_->device().str();
    info_.dtype = dtype_name(session_->teacher().dtype());
    info_.quantization = session_->quantization();
    info_.bytes = weight_count(config) * static_cast<int64_t>(c10::elementSize(dtype));
  }
  tell("loaded");
  return *session_;
}

void ModelHolder::use_branches(const fs::path& file) {
  if (!session_) throw Error("load", ErrorCode::no_model, "no model is loaded", "load one first");
  const std::string key = key_of(file);
  if (session_->has_branches() && key == branches_key_) return;
  forget_branches();
  session_->load_branches(file);
  branches_are(file);
}

void ModelHolder::forget_branches() { branches_key_.clear(); }

void ModelHolder::branches_are(const fs::path& file) {
  branches_key_ = key_of(file);
  const std::lock_guard guard(mutex_);
  info_.branches = file.string();
}

int64_t ModelHolder::unload() {
  if (!session_) return 0;
  const at::Device device = session_->device();
  const int64_t before = held_bytes(device);
  session_.reset();
  branches_key_.clear();
  release_cached_memory(device);
  const int64_t freed = std::max<int64_t>(0, before - held_bytes(device));
  tell("unloaded");
  return freed;
}

}  // namespace flashmorph
