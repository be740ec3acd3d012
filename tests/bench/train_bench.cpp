// SPDX-License-Identifier: Apache-2.0
// Times whole optimizer steps of stages 1 and 2 on random weights: the same work as a plain PyTorch
// script does, so that the two can be run in alternation (paired_cpu.sh). Prints one JSON object:
// median, least and greatest step in ms, tokens/s, peak memory.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "core/load/random.h"
#include "core/train/aligner.h"
#include "core/train/gate_loss.h"
#include "core/train/optim.h"
#include "kernels/cuda_library.h"

namespace flashmorph {
namespace {

constexpr int64_t kVocab = 4096;  // only a lookup table here: no logits are formed

struct Job {
  std::string stage = "gates", shape = "smollm2-135m", dtype = "fp32", device = "cpu";
  int64_t length = 512, batch = 1, steps = 8;
};

ModelConfig config_of(const std::string& shape) {
  const auto make = [](int64_t layers, int64_t hidden, int64_t ffn, int64_t heads, int64_t kv_heads,
                       int64_t head_dim, bool qk_norm, double theta) {
    ModelConfig c;
    c.family = qk_norm ? "qwen3" : "llama";
    c.layers = layers;
    c.hidden = hidden;
    c.ffn = ffn;
    c.heads = heads;
    c.kv_heads = kv_heads;
    c.head_dim = head_dim;
    c.vocab = kVocab;
    c.tied = true;
    c.qk_norm = qk_norm;
    c.rope.theta = theta;
    c.max_position = 131072;
    return c;
  };
  if (shape == "smollm2-135m") return make(30, 576, 1536, 9, 3, 64, false, 1e5);
  if (shape == "qwen3-0.6b") return make(28, 1024, 3072, 16, 8, 128, true, 1e6);
  if (shape == "qwen3-1.7b") return make(28, 2048, 6144, 16, 8, 128, true, 1e6);
  if (shape == "tiny") return make(4, 64, 192, 4, 2, 16, true, 1e6);
  throw CLI::ValidationError("--shape", "use smollm2-135m, qwen3-0.6b, qwen3-1.7b or tiny");
}

Checkpoint random_checkpoint(const std::string& shape, at::ScalarType dtype, at::Device device) {
  Checkpoint made;
  made.config = config_of(shape);
  const double out = 1.0 / std::sqrt(2.0 * static_cast<double>(made.config.layers));
  for (const TensorSpec& spec : tensor_table(made.config)) {
    const auto ends = [&](const char* suffix) { return spec.name.ends_with(suffix); };
    at::Tensor value;
    if (ends("norm.weight")) {
      value = at::ones(spec.shape, at::TensorOptions().dtype(dtype).device(device));
    } else {
      const double gain = ends("o_proj.weight")      ? 4 * out
                          : ends("down_proj.weight") ? 2 * out
                                                     : 1.0;
      const double fan_in = ends("embed_tokens.weight") ? 1.0 : static_cast<double>(spec.shape[1]);
      value = at::empty(spec.shape, at::TensorOptions().dtype(dtype).device(device))
                  .normal_(0.0, gain / std::sqrt(fan_in));
    }
    made.tensors[spec.name] = value;
  }
  return made;
}

class RandomText : public TextSource {
 public:
  TokenIds take(uint64_t seed, uint64_t index, int64_t tokens) const override {
    Random random = Random(seed).fork("bench", index);
    TokenIds ids;
    for (int64_t i = 0; i < tokens; ++i)
      ids.push_back(static_cast<int64_t>(random.uniform(kVocab)));
    return ids;
  }
  int64_t size() const override { return INT64_MAX; }
  std::string data_sha256() const override { return std::string(64, '0'); }
};

double now_ms() {
  return std::chrono::duration<double, std::milli>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// 320 answer positions in the last tenth, gates reset to fixed values in (0.3, 0.9) after every
// step.
std::vector<double> gate_steps(const Job& job, const MorphModel& model, double* loss) {
  const int64_t T = job.length, L = model.layers(), first = std::min(T * 9 / 10, T - 1),
                n = std::min<int64_t>(320, T - first);
  const at::Tensor columns =
      at::linspace(static_cast<double>(first), static_cast<double>(T - 1), n, at::kDouble)
          .floor()
          .to(at::kLong);
  const RandomText text;
  GateBatch batch;
  batch.ids = at::empty({job.batch, T}, at::kLong);
  for (int64_t b = 0; b < job.batch; ++b) {
    const TokenIds ids = text.take(1, static_cast<uint64_t>(b), T);
    std::copy(ids.begin(), ids.end(), batch.ids.mutable_data_ptr<int64_t>() + b * T);
  }
  batch.rows = at::arange(job.batch, at::kLong).repeat_interleave(n);
  batch.columns = columns.repeat({job.batch});
  batch.tokens = job.batch * T;
  const at::Tensor start = 0.3 + 0.6 * at::rand({L}, at::kFloat);
  const at::Tensor parameter = start.clone();
  AdamW optimizer({parameter}, {});
  const GateOptions options;
  std::vector<double> ms;
  for (int64_t step = 0; step < job.steps + 2; ++step) {
    const double begin = now_ms();
    const at::Tensor leaf = parameter.clone().requires_grad_(true);
    const GateLoss found = gate_loss_terms(model, options, batch, leaf);
    const at::Tensor gradient = torch::autograd::grad({found.loss}, {leaf})[0];
    *loss = found.loss.item<double>();
    optimizer.step({gradient + 0.1}, 2e-2);
    parameter.clamp_(0.0, 1.0);
    if (step >= 2) ms.push_back(now_ms() - begin);  // the first two warm up
    parameter.copy_(start);
  }
  return ms;
}

std::vector<double> align_steps(const Job& job, MorphModel& model, double* loss) {
  const RandomText text;
  AlignOptions options;
  options.steps = job.steps + 2;
  options.batch = job.batch;
  options.length = job.length;
  options.fit_tokens = options.held_out_tokens = 0;
  std::vector<double> ms;
  double last = now_ms();
  Aligner(model, text, options)
      .run(
          [&](const AlignStep& step) {
            *loss = step.loss;
            const double end = now_ms();
            if (step.step > 2) ms.push_back(end - last);
            last = end;
          },
          StopFlag());
  return ms;
}

int run(const Job& job) {
  const at::Device device(job.device);
  if (device.is_cuda() && !kernels::load_cuda().available) {
    std::fprintf(stderr, "train_bench: %s\n", kernels::load_cuda().reason.c_str());
    return 1;
  }
  at::manual_seed(1);
  const at::ScalarType dtype = job.dtype == "bf16" ? at::kBFloat16 : at::kFloat;
  std::vector<double> ms;
  double loss = 0;
  {
    const at::NoGradGuard making;
    auto teacher = std::make_shared<const Teacher>(random_checkpoint(job.shape, dtype, device));
    MorphModel model(teacher, {BranchOptions::of(BranchKind::lightning)}, 1);
    if (device.is_cuda())
      at::getDeviceAllocator(device.type())
          ->resetPeakStats(device.has_index() ? device.index() : 0);
    const at::AutoGradMode on(true);
    ms = job.stage == "align" ? align_steps(job, model, &loss) : gate_steps(job, model, &loss);
  }
  std::sort(ms.begin(), ms.end());
  const double median = ms[ms.size() / 2];
  nlohmann::json out = {{"stage", job.stage},
                        {"shape", job.shape},
                        {"T", job.length},
                        {"batch", job.batch},
                        {"dtype", job.dtype},
                        {"device", job.device},
                        {"threads", at::get_num_threads()},
                        {"steps", ms.size()},
                        {"ms", median},
                        {"ms_min", ms.front()},
                        {"ms_max", ms.back()},
                        {"tok_s", static_cast<double>(job.length * job.batch) / median * 1e3},
                        {"loss", loss}};
  if (device.is_cuda()) {
    const auto stats = at::getDeviceAllocator(device.type())
                           ->getDeviceStats(device.has_index() ? device.index() : 0);
    out["peak_gib"] = static_cast<double>(stats.allocated_bytes[0].peak) / (1 << 30);
    out["own_kernels"] = kernels::load_cuda().own_kernels;
  }
  std::printf("%s\n", out.dump().c_str());
  return std::isfinite(loss) ? 0 : 1;
}

}  // namespace
}  // namespace flashmorph

int main(int argc, char** argv) {
  flashmorph::Job job;
  CLI::App app("Times whole training steps on random weights.");
  app.add_option("--stage", job.stage)->check(CLI::IsMember({"gates", "align"}));
  app.add_option("--shape", job.shape, "smollm2-135m, qwen3-0.6b, qwen3-1.7b, tiny");
  app.add_option("--length", job.length, "tokens a sequence")->check(CLI::Range(16, 1 << 20));
  app.add_option("--batch", job.batch, "sequences a step")->check(CLI::Range(1, 4096));
  app.add_option("--steps", job.steps, "timed steps")->check(CLI::Range(1, 10000));
  app.add_option("--dtype", job.dtype)->check(CLI::IsMember({"fp32", "bf16"}));
  app.add_option("--device", job.device, "cpu or cuda");
  CLI11_PARSE(app, argc, argv);
  try {
    return flashmorph::run(job);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "train_bench: %s\n", error.what());
    return 1;
  }
}
