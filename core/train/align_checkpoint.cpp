// SPDX-License-Identifier: Apache-2.0
#include "core/train/align_checkpoint.h"

#include <fmt/format.h>

#include "core/load/safetensors.h"
#include "core/run/error.h"

namespace flashmorph {

namespace {

constexpr const char* kFormat = "flashmorph-align";
constexpr const char* kVersion = "1";

}  // namespace

void AlignCheckpoint::write(const std::string& path) const {
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (size_t i = 0; i < parameters.size(); ++i) {
    const auto& [name, value] = parameters[i];
    tensors.emplace_back(name, value.detach());
    tensors.emplace_back("first." + name, first[i]);
    tensors.emplace_back("second." + name, second[i]);
  }
  tensors.emplace_back("counts",
                       at::tensor(at::ArrayRef<int64_t>({step, fitted ? 1 : 0}), at::kLong));
  tensors.emplace_back("seconds", at::full({1}, seconds, at::kDouble));
  tensors.emplace_back("error_before", at::tensor(at::ArrayRef<double>(error_before), at::kDouble));
  write_safetensors(
      path, tensors,
      {{"format", kFormat}, {"version", kVersion}, {"options", options}, {"branches", branches}});
}

AlignCheckpoint AlignCheckpoint::read(const std::string& path, const AlignCheckpoint& wanted) {
  const SafetensorsFile file(path);
  const auto refuse = [&](const std::string& what, const char* hint = "") {
    throw Error("align", ErrorCode::bad_file, fmt::format("{} {}", path, what), hint);
  };
  const auto& metadata = file.metadata();
  const auto meta = [&](const char* key) {
    return metadata.count(key) ? metadata.at(key) : std::string();
  };
  if (meta("format") != kFormat || meta("version") != kVersion)
    refuse("is no checkpoint of align that this version reads");
  if (meta("options") != wanted.options)
    refuse("was made with other options", "resume with the options the run was started with");
  if (meta("branches") != wanted.branches) refuse("was made with other branches");
  const auto take = [&](const std::string& name, at::ScalarType dtype, at::IntArrayRef shape) {
    if (!file.entries().contains(name)) refuse(fmt::format("lacks tensor {}", name));
    at::Tensor value = file.tensor(name).clone();
    if (value.scalar_type() != dtype || (shape.empty() ? value.dim() != 1 : value.sizes() != shape))
      refuse(fmt::format("has tensor {} in another shape or type than expected", name));
    return value;
  };
  AlignCheckpoint all;
  for (const auto& [name, value] : wanted.parameters) {
    all.parameters.emplace_back(name, take(name, at::kFloat, value.sizes()));
    all.first.push_back(take("first." + name, at::kFloat, value.sizes()));
    all.second.push_back(take("second." + name, at::kFloat, value.sizes()));
  }
  const at::Tensor counts = take("counts", at::kLong, {2}),
                   seconds = take("seconds", at::kDouble, {1});
  all.step = counts[0].item<int64_t>();
  all.fitted = counts[1].item<int64_t>() != 0;
  all.seconds = seconds[0].item<double>();
  if (all.step < 0) refuse("has a negative step");
  const at::Tensor before = take("error_before", at::kDouble, {});
  all.error_before.assign(before.const_data_ptr<double>(),
                          before.const_data_ptr<double>() + before.numel());
  return all;
}

}  // namespace flashmorph
