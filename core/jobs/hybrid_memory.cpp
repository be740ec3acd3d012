// SPDX-License-Identifier: Apache-2.0
#include "core/jobs/hybrid_memory.h"

#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <set>
#include <sstream>

#include <ATen/DeviceAccelerator.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

#include "core/jobs/allocation_meter.h"
#include "core/run/error.h"
#include "core/train/layer_pass.h"

namespace flashmorph {

namespace {

constexpr double kShare = 0.9;  // of the available memory that a forecast may fill
// What glibc's heap keeps of the tensors that come and go, as a share of them: measured 0.2 to
// 0.36, and 0.6 and more where inputs that stay lie between them
// (tests/bench/results_preflight.md). With MALLOC_MMAP_THRESHOLD_=262144 it keeps nothing.
constexpr double kHeap = 0.25, kHeapOfTwice = 0.5;
constexpr int64_t kCpuTokens = 4096, kGpuTokens = 65536, kFewTokens = 2048;

// "VmHWM:     1234 kB" of a /proc file; -1: not there.
int64_t proc_bytes(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(key + ":")) {
      std::istringstream rest(line.substr(key.size() + 1));
      int64_t kib = 0;
      if (rest >> kib) return kib << 10;
    }
  return -1;
}

int64_t number_in(const char* path) {
  std::ifstream file(path);
  int64_t value = -1;
  return file >> value ? value : -1;  // "max" is no number: no limit
}

int64_t gpu_stat(at::Device device, bool peak) {
  const auto stats = at::accelerator::getDeviceStats(device.index());
  const auto& all = stats.allocated_bytes[0];
  return peak ? all.peak : all.current;
}

int64_t bytes_of(const at::Tensor& x) { return x.defined() ? static_cast<int64_t>(x.nbytes()) : 0; }

BytesLine line_through(int64_t t1, int64_t bytes1, int64_t t2, int64_t bytes2) {
  const double slope = static_cast<double>(bytes2 - bytes1) / static_cast<double>(t2 - t1);
  return {static_cast<double>(bytes1) - slope * static_cast<double>(t1), slope};
}

std::string gigabytes(int64_t bytes) {
  return fmt::format("{:.2f} GB", static_cast<double>(bytes) * 1e-9);
}

}  // namespace

int64_t available_bytes(at::Device device) {
  if (!device.is_cpu()) {
    const auto [free, total] = at::accelerator::getMemoryInfo(device.index());
    const auto stats = at::accelerator::getDeviceStats(device.index());
    return static_cast<int64_t>(free) + stats.reserved_bytes[0].current -
           stats.allocated_bytes[0].current;
  }
  int64_t free = proc_bytes("/proc/meminfo", "MemAvailable");
  if (free < 0) free = std::numeric_limits<int64_t>::max() / 4;
  const int64_t limit = number_in("/sys/fs/cgroup/memory.max"),
                used = number_in("/sys/fs/cgroup/memory.current");
  return limit > 0 && used >= 0 ? std::min(free, std::max<int64_t>(limit - used, 0)) : free;
}

int64_t used_bytes(at::Device device) {
  return device.is_cpu() ? std::max<int64_t>(proc_bytes("/proc/self/status", "VmRSS"), 0)
                         : gpu_stat(device, false);
}

int64_t peak_used_bytes(at::Device device) {
  return device.is_cpu() ? std::max<int64_t>(proc_bytes("/proc/self/status", "VmHWM"), 0)
                         : gpu_stat(device, true);
}

void reset_peak_bytes(at::Device device) {
  if (!device.is_cpu()) {
    at::accelerator::resetPeakStats(device.index());
    return;
  }
  std::ofstream("/proc/self/clear_refs")
      << 5;  // resets VmHWM; where it cannot be written the peak is that of the whole process
}

void release_memory(at::Device device) {
  if (!device.is_cpu()) at::accelerator::emptyCache();
  malloc_trim(0);
}

std::vector<std::pair<std::string, int64_t>> MemoryForecast::parts() const {
  return {{"process", process},     {"teacher", teacher},     {"student", student},
          {"gradients", gradients}, {"optimizer", optimizer}, {"activations", activations},
          {"logits", logits},       {"workspace", workspace}, {"allocator", allocator}};
}

int64_t BytesLine::at(int64_t tokens) const {
  return std::max<int64_t>(0,
                           static_cast<int64_t>(fixed + per_token * static_cast<double>(tokens)));
}

HybridMemory::LayerCost HybridMemory::measure_layer(HybridModel& hybrid, int layer) const {
  const Teacher& weights = hybrid.model().teacher();
  std::vector<at::Tensor> leaves;
  for (const HybridTensor& one : hybrid.tensors())
    if (one.trains && one.layer == layer)
      leaves.push_back(one.used.defined() ? one.used : one.value);
  struct Point {
    int64_t tokens, forward, kept, building, backward;
  };
  const auto measure = [&](int64_t tokens) {
    const RopeTable rope = weights.rope_table(0, tokens);
    const at::Tensor x =
        at::randn({1, tokens, hybrid.config().hidden}, at::TensorOptions().dtype(at::kFloat))
            .to(weights.dtype())
            .to(weights.device());
    const at::Tensor in = x.detach().requires_grad_(true), d = at::ones_like(x);
    std::vector<at::Tensor> wanted = leaves;
    wanted.push_back(in);
    Point point{tokens, 0, 0, 0, 0};
    AllocationMeter meter;
    {
      const at::NoGradGuard no_grad;
      const at::Tensor y = hybrid_layer(hybrid, layer, x, rope);
      point.forward = meter.peak_bytes();
    }
    hybrid.refresh();
    meter.reset();
    const at::AutoGradMode graph(true);
    at::Tensor y = hybrid_layer(hybrid, layer, in, rope);
    point.kept = meter.live_bytes();
    point.building = meter.peak_bytes();
    const std::vector<at::Tensor> found =
        torch::autograd::grad({y}, wanted, {d}, std::nullopt, false, /*allow_unused=*/true);
    point.backward = meter.peak_bytes();
    return point;
  };
  // Chunks of the operators are 64 tokens, so whole chunks.
  const int64_t few = std::min<int64_t>(length_, 64),
                more = std::min<int64_t>(std::max<int64_t>(length_, 128), 256);
  measure(few);  // libraries take their workspaces
  const Point a = measure(few), b = measure(more);
  return {line_through(a.tokens, a.forward, b.tokens, b.forward),
          line_through(a.tokens, a.kept, b.tokens, b.kept),
          line_through(a.tokens, a.building, b.tokens, b.building),
          line_through(a.tokens, a.backward, b.tokens, b.backward)};
}

HybridMemory::HybridMemory(const Session& session, HybridModel& hybrid, TrainStage stage,
                           int64_t length)
    : length_(length) {
  const Teacher& teacher = session.teacher();
  const at::Device device = teacher.device();
  const ModelConfig& config = hybrid.config();
  row_bytes_ = config.hidden * static_cast<int64_t>(at::elementSize(teacher.dtype()));
  reference_ = stage == TrainStage::distill;
  cpu_ = device.is_cpu();
  std::set<const void*> seen;
  const auto once = [&](const at::Tensor& x) {
    return x.defined() && seen.insert(x.const_data_ptr()).second ? bytes_of(x) : int64_t{0};
  };
  for (const auto& [name, value] : teacher.tensors()) {
    fixed_.teacher += once(value);
    if (device.is_cpu()) value.sum();  // a mapped file counts once its pages are read
  }
  for (const HybridTensor& one : hybrid.tensors()) {
    fixed_.student += once(one.value) + once(one.used);
    if (!one.trains) continue;
    fixed_.gradients += bytes_of(one.value);
    fixed_.optimizer += 2 * bytes_of(one.value);
  }
  held_ = fixed_.teacher + fixed_.student;

  hybrid.set_requires_grad(true);
  std::map<std::string, LayerCost> known;
  for (int l = 0; l < hybrid.layers(); ++l) {
    const std::string kind =
        hybrid.plan().is_full(l) ? "full" : hybrid.branch_options(l).to_json().dump();
    if (!known.contains(kind)) known[kind] = measure_layer(hybrid, l);
    layers_.push_back(known.at(kind));
  }
  {
    const at::NoGradGuard no_grad;
    // The teacher's layers are all full, whatever the plan.
    const auto peak = [&](int64_t tokens) {
      const RopeTable rope = teacher.rope_table(0, tokens);
      const at::Tensor x = at::ones({1, tokens, config.hidden},
                                    at::TensorOptions().dtype(teacher.dtype()).device(device));
      const AllocationMeter meter;
      const at::Tensor h = x + teacher.attention(0, teacher.input_norm(0, x), rope);
      const at::Tensor y = h + teacher.mlp(0, h);
      return meter.peak_bytes();
    };
    teacher_forward_ = line_through(64, peak(64), 256, peak(256));
    const int64_t rows = std::min<int64_t>(head_slice_rows(config.vocab, device), 1024);
    const at::Tensor states =
        at::ones({rows, config.hidden}, at::TensorOptions().dtype(teacher.dtype()).device(device));
    HeadLossOptions options;
    const at::Tensor& head = hybrid.model().teacher().head();
    if (hybrid.part() == TrainPart::all)
      options.d_head =
          at::zeros(head.sizes(), head.options().dtype(at::kFloat).requires_grad(false));
    const HeadTarget target =
        reference_
            ? HeadTarget{states, teacher.head(), {}}
            : HeadTarget{
                  {}, {}, at::zeros({rows}, at::TensorOptions().dtype(at::kLong).device(device))};
    const AllocationMeter meter;
    head_loss(states, head.detach(), target, options);
    head_ = meter.peak_bytes();
    head_rows_ = rows;
    vocab_rows_ = head_slice_rows(config.vocab, device);
  }
  hybrid.set_requires_grad(false);
  release_memory(device);
  if (device.is_cpu())
    fixed_.process = std::max<int64_t>(0, used_bytes(device) - held_);
  else
    fixed_.workspace = std::max<int64_t>(0, used_bytes(device) - held_);
}

MemoryForecast HybridMemory::forecast(int64_t micro_batch, bool checkpointing) const {
  const int64_t tokens = micro_batch * length_, x = row_bytes_ * tokens;
  const auto L = layers_.size();
  // Ids, and the teacher's final states that the student is compared with.
  const int64_t around = tokens * 8 + (reference_ ? x : 0);
  int64_t peak = reference_ ? teacher_forward_.at(tokens) + x : 0;
  int64_t stored = x;  // what lies below the layer at work: its input, and all kept before
  std::vector<int64_t> below;
  for (size_t l = 0; l < L; ++l) {
    below.push_back(stored);
    const LayerCost& cost = layers_[l];
    peak = std::max(peak, stored + (checkpointing ? cost.forward : cost.building).at(tokens));
    stored += checkpointing ? x : cost.kept.at(tokens);
  }
  // Final norm's input is the last output; its output, the gradient of it, and a copy where rows
  // are cut.
  const int64_t at_head = stored + 4 * x;
  const int64_t head = static_cast<int64_t>(static_cast<double>(head_) *
                                            static_cast<double>(std::min(tokens, vocab_rows_)) /
                                            static_cast<double>(head_rows_));
  int64_t logits = 0;
  if (at_head + head > peak) {
    peak = at_head + head;
    logits = head;
  }
  for (size_t l = L; l-- > 0;) {
    const int64_t here =
        below[l] + x + layers_[l].backward.at(tokens) + x;  // and the gradient that comes in
    if (here > peak) {
      peak = here;
      logits = 0;
    }
  }
  MemoryForecast all = fixed_;
  all.logits = logits;
  all.activations = around + peak - logits;
  if (cpu_)
    all.allocator = static_cast<int64_t>((checkpointing ? kHeapOfTwice : kHeap) *
                                         static_cast<double>(all.activations + all.logits));
  return all;
}

int64_t HybridMemory::wanted_bytes(const MemoryForecast& forecast) const {
  return forecast.total() - held_ - forecast.process - forecast.workspace;
}

MemoryChoice settle_memory(const Session& session, HybridModel& hybrid, const TrainOptions& options,
                           const std::string& checkpointing) {
  const HybridMemory memory(session, hybrid, options.stage, options.length);
  const at::Device device = session.device();
  return settle_memory(memory, available_bytes(device), options, checkpointing, !device.is_cpu());
}

MemoryChoice settle_memory(const HybridMemory& memory, int64_t available,
                           const TrainOptions& options, const std::string& checkpointing,
                           bool gpu) {
  const int64_t fill = std::max<int64_t>(1, (gpu ? kGpuTokens : kCpuTokens) / options.length);
  std::vector<int64_t> sizes;
  if (options.micro_batch > 0) {
    sizes = {options.micro_batch};
  } else {
    // Equal parts of the batch: the last is not smaller than needed.
    for (int64_t size = std::min(options.batch, fill); size >= 1; size = size / 2) {
      const int64_t parts = (options.batch + size - 1) / size;
      sizes.push_back((options.batch + parts - 1) / parts);
    }
  }
  const auto fits = [&](int64_t size, bool twice) {
    return static_cast<double>(memory.wanted_bytes(memory.forecast(size, twice))) <=
           kShare * static_cast<double>(available);
  };
  std::vector<std::pair<int64_t, bool>> order;
  const auto add = [&](bool twice, bool few) {
    for (const int64_t size : sizes)
      if ((size * options.length < kFewTokens && size < sizes.front()) == few)
        order.emplace_back(size, twice);
  };
  if (checkpointing != "on") add(false, false);
  if (checkpointing != "off") add(true, false);
  if (checkpointing != "on") add(false, true);
  if (checkpointing != "off") add(true, true);
  for (const auto& [size, twice] : order) {
    if (!fits(size, twice)) continue;
    MemoryChoice choice{size, twice, memory.forecast(size, twice), {}};
    if (options.micro_batch == 0 && size < options.batch)
      choice.note = fmt::format("micro-batches of {} sequences{}", size,
                                twice ? ", layers computed twice" : "");
    else if (twice && checkpointing == "auto")
      choice.note = "layers are computed twice to save memory";
    return choice;
  }
  const int64_t least = memory.wanted_bytes(memory.forecast(sizes.back(), checkpointing != "off"));
  throw Error(to_string(options.stage), ErrorCode::out_of_memory,
              fmt::format("{} needs {} more, {} are free", to_string(options.stage),
                          gigabytes(least), gigabytes(available)),
              "use train_part attention, a shorter length, or a machine with more memory");
}

}  // namespace flashmorph
