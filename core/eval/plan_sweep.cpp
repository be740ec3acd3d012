// SPDX-License-Identifier: Apache-2.0
#include "core/eval/plan_sweep.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include <fmt/format.h>

#include "core/run/error.h"

namespace flashmorph {

namespace {

void check_stop(const StopFlag* stop) {
  if (stop && stop->is_set())
    throw Error("eval", ErrorCode::stopped, "the evaluation was stopped",
                "finished parts are kept; start it again to go on");
}

int64_t layer_weights(const ModelConfig& c) {
  return c.hidden * c.head_dim * (2 * c.heads + 2 * c.kv_heads) + 3 * c.hidden * c.ffn;
}

// How many layers two plans have in common from the bottom.
int common_layers(const LayerPlan& a, const LayerPlan& b) {
  int l = 0;
  while (l < a.layers && a.is_full(l) == b.is_full(l)) ++l;
  return l;
}

void check_plan(const MorphModel& model, const LayerPlan& plan) {
  if (plan.layers != model.layers())
    throw Error("eval", ErrorCode::plan_impossible,
                fmt::format("plan {} is for {} layers, the model has {}", plan.to_string(),
                            plan.layers, model.layers()),
                "give a plan of this model");
}

}  // namespace

double layer_flops(const ModelConfig& config, int64_t B, int64_t T, bool full) {
  const double tokens = static_cast<double>(B) * static_cast<double>(T);
  const double scores =
      2.0 * tokens * static_cast<double>(T) * static_cast<double>(config.heads * config.head_dim);
  return 2.0 * tokens * static_cast<double>(layer_weights(config)) + (full ? scores : 0.0);
}

int64_t step_tokens(const Teacher& teacher, int64_t context) {
  if (!teacher.device().is_cpu()) return int64_t{1} << 17;
  // Half a second at a cautious 50 GFLOP/s for float32; low precision is emulated on many CPUs, a
  // quarter of that.
  const double budget = teacher.dtype() == at::kFloat ? 25e9 : 6e9;
  const ModelConfig& c = teacher.config();
  const double per_token =
      2.0 * static_cast<double>(layer_weights(c)) +
      4.0 * static_cast<double>(context) * static_cast<double>(c.heads * c.head_dim);
  return std::max<int64_t>(64, static_cast<int64_t>(budget / per_token));
}

at::Tensor mixer_output(const MorphModel& model, int layer, const at::Tensor& x,
                        const RopeTable& rope, bool full, const StopFlag* stop, int64_t piece) {
  const int64_t B = x.size(0), T = x.size(1);
  if (piece <= 0) piece = std::max<int64_t>(64, step_tokens(model.teacher(), T) / B / 64 * 64);
  const auto mix = [&](const at::Tensor& part, const RopeTable& table, LayerCache* cache) {
    check_stop(stop);
    const at::Tensor u = model.teacher().input_norm(layer, part);
    return full ? model.teacher().attention(layer, u, table, cache)
                : model.branch(layer).forward(u, table, cache);
  };
  if (piece >= T || at::GradMode::is_enabled()) return mix(x, rope, nullptr);
  LayerCache cache;
  std::vector<at::Tensor> parts;
  for (int64_t first = 0; first < T; first += piece) {
    const int64_t n = std::min(piece, T - first);
    parts.push_back(mix(x.narrow(1, first, n),
                        {rope.cos.narrow(0, first, n), rope.sin.narrow(0, first, n)}, &cache));
  }
  return at::cat(parts, 1);
}

at::Tensor add_mlp(const MorphModel& model, int layer, const at::Tensor& h, const StopFlag* stop) {
  const at::Tensor flat = h.reshape({-1, h.size(-1)});
  const int64_t piece = step_tokens(model.teacher(), 0);
  if (flat.size(0) <= piece || at::GradMode::is_enabled()) {
    check_stop(stop);
    return h + model.teacher().mlp(layer, h);
  }
  std::vector<at::Tensor> parts;
  for (const at::Tensor& part : flat.split(piece)) {
    check_stop(stop);
    parts.push_back(part + model.teacher().mlp(layer, part));
  }
  return at::cat(parts, 0).view(h.sizes());
}

SweepCost& SweepCost::operator+=(const SweepCost& other) {
  plans += other.plans;
  tokens += other.tokens;
  layer_passes += other.layer_passes;
  flops += other.flops;
  return *this;
}

SweepCost sweep_plans(const MorphModel& model, const at::Tensor& ids,
                      const std::vector<LayerPlan>& plans, const std::optional<RowIndex>& rows,
                      const std::function<void(size_t, const at::Tensor&)>& visit,
                      const StopFlag* stop) {
  const at::NoGradGuard no_grad;
  const int L = model.layers();
  const int64_t B = ids.size(0), T = ids.size(1);
  for (const LayerPlan& plan : plans) check_plan(model, plan);

  // Lexicographic by layer, full before linear: neighbors share the longest beginnings.
  std::vector<size_t> order(plans.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const int l = common_layers(plans[a], plans[b]);
    return l < L && plans[a].is_full(l);
  });
  std::vector<int> shared(order.size(), 0);  // layers in common with the plan before
  std::vector<bool> wanted(static_cast<size_t>(L) + 1, false);
  for (size_t i = 1; i < order.size(); ++i) {
    // Equal plans: go back one layer, the last one, rather than keep final states.
    shared[i] = std::min(common_layers(plans[order[i - 1]], plans[order[i]]), L - 1);
    wanted[static_cast<size_t>(shared[i])] = true;
  }

  const RopeTable rope = model.teacher().rope_table(0, T);
  std::vector<at::Tensor> kept(static_cast<size_t>(L) + 1);  // stream entering layer l
  SweepCost cost;
  for (size_t i = 0; i < order.size(); ++i) {
    const LayerPlan& plan = plans[order[i]];
    const int first = i == 0 ? 0 : shared[i];
    at::Tensor x = i == 0 ? model.teacher().embed(ids) : kept[static_cast<size_t>(first)];
    for (int l = first; l < L; ++l) {
      if (wanted[static_cast<size_t>(l)]) kept[static_cast<size_t>(l)] = x;
      x = x + mixer_output(model, l, x, rope, plan.is_full(l), stop);
      if (l == L - 1 && rows) x = x.index({rows->sequence, rows->position});
      x = add_mlp(model, l, x, stop);
      cost.flops += layer_flops(model.teacher().config(), B, T, plan.is_full(l));
      ++cost.layer_passes;
    }
    ++cost.plans;
    cost.tokens += B * T;
    visit(order[i], model.teacher().final_norm(x));
  }
  return cost;
}

}  // namespace flashmorph
