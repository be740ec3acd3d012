// SPDX-License-Identifier: Apache-2.0
#include "core/train/train_checkpoint.h"

#include <cmath>
#include <limits>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/load/safetensors.h"
#include "core/run/error.h"

namespace flashmorph {

namespace {

constexpr const char* kFormat = "flashmorph-train";
constexpr const char* kVersion = "1";

[[noreturn]] void refuse(const std::string& path, const std::string& what, const char* hint = "") {
  throw Error("train", ErrorCode::bad_file, fmt::format("{} {}", path, what), hint);
}

std::string metadata_of(const SafetensorsFile& file, const char* key) {
  const auto found = file.metadata().find(key);
  return found == file.metadata().end() ? std::string() : found->second;
}

void check_format(const SafetensorsFile& file, const std::string& path) {
  if (metadata_of(file, "format") != kFormat || metadata_of(file, "version") != kVersion)
    refuse(path, "is no checkpoint of distill or finetune that this version reads");
}

// The first key that differs, for the sentence.
std::string difference(const std::string& mine, const std::string& theirs) {
  const nlohmann::json a = nlohmann::json::parse(mine, nullptr, false),
                       b = nlohmann::json::parse(theirs, nullptr, false);
  if (!b.is_object()) return "other options";
  // Most telling first.
  std::vector<std::string> keys{"stage", "teacher", "plan"};
  for (const auto& [key, value] : a.items()) keys.push_back(key);
  for (const std::string& key : keys)
    if (const nlohmann::json& value = a.at(key); !b.contains(key) || b[key] != value) {
      const std::string was = b.contains(key) ? b[key].dump().substr(0, 60) : "none",
                        now = value.dump().substr(0, 60);
      return fmt::format("another {} ({}, now {})", key, was, now);
    }
  return "other options";
}

}  // namespace

void TrainCheckpoint::write(const std::string& path) const {
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const Entry& one : entries) {
    tensors.emplace_back(one.name, one.master.detach());
    tensors.emplace_back("first." + one.name, one.first);
    tensors.emplace_back("second." + one.name, one.second);
  }
  const double none = std::numeric_limits<double>::quiet_NaN();
  tensors.emplace_back("counts", at::tensor(at::ArrayRef<int64_t>({step, micro_batch}), at::kLong));
  tensors.emplace_back("numbers",
                       at::tensor(at::ArrayRef<double>({seconds, before ? before->first : none,
                                                        before ? before->second : none}),
                                  at::kDouble));
  write_safetensors(path, tensors,
                    {{"format", kFormat}, {"version", kVersion}, {"identity", identity}});
}

void TrainCheckpoint::read(const std::string& path) {
  const SafetensorsFile file(path);
  check_format(file, path);
  if (metadata_of(file, "identity") != identity)
    refuse(path, "was made with " + difference(identity, metadata_of(file, "identity")),
           "resume with what the run was started with");
  const auto check = [&](const std::string& name, at::ScalarType dtype, at::IntArrayRef shape) {
    if (!file.entries().contains(name)) refuse(path, fmt::format("lacks tensor {}", name));
    const at::Tensor value = file.tensor(name);
    if (value.scalar_type() != dtype || value.sizes() != shape)
      refuse(path, fmt::format("has tensor {} in another shape or type than expected", name));
  };
  for (const Entry& one : entries)
    for (const char* prefix : {"", "first.", "second."})
      check(prefix + one.name, one.master.scalar_type(), one.master.sizes());
  check("counts", at::kLong, {2});
  check("numbers", at::kDouble, {3});
  if (file.entries().size() != 3 * entries.size() + 2)
    refuse(path, "holds tensors that do not belong to it");
  const at::Tensor counts = file.tensor("counts"), numbers = file.tensor("numbers");
  if (counts[0].item<int64_t>() < 0 || counts[1].item<int64_t>() < 0)
    refuse(path, "has a negative count");
  const at::NoGradGuard no_grad;
  for (Entry& one : entries) {
    one.master.copy_(file.tensor(one.name));
    one.first.copy_(file.tensor("first." + one.name));
    one.second.copy_(file.tensor("second." + one.name));
    for (const char* prefix : {"", "first.", "second."}) file.release(prefix + one.name);
  }
  step = counts[0].item<int64_t>();
  micro_batch = counts[1].item<int64_t>();
  seconds = numbers[0].item<double>();
  before.reset();
  if (std::isfinite(numbers[1].item<double>()))
    before = {numbers[1].item<double>(), numbers[2].item<double>()};
}

int64_t TrainCheckpoint::micro_batch_of(const std::string& path) {
  const SafetensorsFile file(path);
  check_format(file, path);
  if (!file.entries().contains("counts") || file.tensor("counts").numel() != 2 ||
      file.tensor("counts").scalar_type() != at::kLong)
    refuse(path, "lacks its counts");
  return file.tensor("counts").view({-1})[1].item<int64_t>();
}

}  // namespace flashmorph
