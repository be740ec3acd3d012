// SPDX-License-Identifier: Apache-2.0
// Many layer plans over one batch: plans that begin alike share the stream up to the layer where
// they part.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "core/model/morph_model.h"
#include "core/run/progress.h"

namespace flashmorph {

/// Multiply-adds times two of one layer on B sequences of T tokens: projections, feed-forward and,
/// for softmax, the causal half of the scores; the branches' recurrences are counted as their
/// projections only.
double layer_flops(const ModelConfig& config, int64_t B, int64_t T, bool full);

/// Tokens of one layer call after which the stop flag is read again: about half a second's work on
/// this device at `context` tokens per sequence (25 GFLOP on a CPU; effectively everything on a
/// GPU). At least 64.
int64_t step_tokens(const Teacher& teacher, int64_t context);

/// Mixer output after W_o of one layer, from the stream that enters it: mixer(norm(x)). x: [B, T,
/// D] -> [B, T, D]. Long batches are cut along T into pieces joined through a layer cache, so that
/// a stop waits for one piece only. piece: tokens of T a piece, 0: as step_tokens has it. Throws
/// Error(stopped).
at::Tensor mixer_output(const MorphModel& model, int layer, const at::Tensor& x,
                        const RopeTable& rope, bool full, const StopFlag* stop, int64_t piece = 0);
/// The stream after the feed-forward of one layer: h + mlp(h). h: [..., D]; leading dimensions are
/// cut like T above.
at::Tensor add_mlp(const MorphModel& model, int layer, const at::Tensor& h, const StopFlag* stop);

/// Where the final states are wanted: sequence and position of each row, [n] int64 on the model's
/// device.
struct RowIndex {
  at::Tensor sequence, position;
};

/// What a sweep has cost.
struct SweepCost {
  int64_t plans = 0;  ///< plan evaluations of one batch
  int64_t tokens =
      0;  ///< plans x tokens of the batch: what evaluating them one by one would have processed
  int64_t layer_passes = 0;  ///< layers really run
  double flops = 0;          ///< of those, without the head

  SweepCost& operator+=(const SweepCost& other);
};

/// Final normed states of M(plan) for every plan of `plans` over one batch.
/// ids: [B, T] int64 -> visit(index into plans, states: [B, T, D], or [n, D] with `rows`) once per
/// plan, in lexicographic order of the plans. The stream is kept at those layers only where a later
/// plan parts from an earlier one; with `rows` the last feed-forward runs on them alone. Equal
/// plans are evaluated once each. Throws Error(stopped), Error(plan_impossible).
SweepCost sweep_plans(const MorphModel& model, const at::Tensor& ids,
                      const std::vector<LayerPlan>& plans, const std::optional<RowIndex>& rows,
                      const std::function<void(size_t, const at::Tensor&)>& visit,
                      const StopFlag* stop = nullptr);

}  // namespace flashmorph
