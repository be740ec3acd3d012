// SPDX-License-Identifier: Apache-2.0
// The supervision term of stage 2 for one batch, as a function of the gates (method 3.2, every
// option of its table).
#pragma once

#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "core/model/morph_model.h"
#include "core/run/progress.h"

namespace flashmorph {

struct GateOptions {
  std::string constraint = "clamp";  ///< clamp | sigmoid
  int64_t steps = 2000;
  double lr = 2e-2, lr_final = 2e-3;
  std::string lr_shape = "trapezoid";      ///< trapezoid | cosine
  std::string full_source = "recomputed";  ///< recomputed | teacher
  std::string branch_source = "mixed";     ///< mixed | teacher
  std::string target = "residual";         ///< residual | mixer | block | last
  std::string norm = "sum";                ///< sum | mean | relative
  std::string tokens = "answer";           ///< answer | qa | all
  std::string supervision = "passkey";     ///< passkey | lm | ce | answer
  std::string penalty = "0.1";             ///< a number, "budget" or "path"
  double answer_weight = 10.0;   ///< factor of the answer cross-entropy (supervision answer)
  int64_t budget = 0;            ///< K, for penalty budget and the order notice; 0: round(L/4)
  int64_t batch = 1;             ///< sequences a step
  int64_t text_length = 1024;    ///< supervision lm, ce: tokens of ordinary text a sequence
  int64_t checkpoint_every = 0;  ///< steps between checkpoints of the caller, 0: none
  uint64_t seed = 1;

  /// Throws Error(bad_request) naming the first option out of range and what it may be.
  void check() const;
  /// passkey and lm compare hidden states with the teacher's; ce and answer score next tokens.
  bool is_alignment() const { return supervision == "passkey" || supervision == "lm"; }
};

/// One batch of the stage: ids [B, T] (right-padded), loss positions per sequence (rows, columns),
/// next-token labels for them.
struct GateBatch {
  at::Tensor ids;            ///< [B, T] int64
  at::Tensor rows, columns;  ///< [n] int64: loss positions (alignment: states there; cross-entropy:
                             ///< the predicting positions)
  at::Tensor labels;         ///< [n] int64: next tokens, supervision ce and answer only
  int64_t tokens = 0;        ///< real tokens, without padding
};

struct GateLoss {
  at::Tensor loss;      ///< [] float32, differentiable in alpha, without the penalty
  at::Tensor relative;  ///< [terms] float32: ||H_mix - H||^2 / ||H||^2 over the loss positions;
                        ///< undefined for ce, answer
};

/// The loss of one batch at given gates. alpha: [L] float32 in [0, 1], any device.
///   alignment: 1/(M n) sum_m sum_i ||H_mix - H||^2 over M terms (L layers; 1 for target `last`)
///   and n positions; norm `mean` divides by the width, `relative` each term by its mean ||H||^2
///   ce: mean next-token cross-entropy in nats; answer: answer_weight times it, over the answer
///   tokens
/// Throws Error(stopped) when the flag is set, also out of the backward pass.
GateLoss gate_loss_terms(const MorphModel& model, const GateOptions& options,
                         const GateBatch& batch, const at::Tensor& alpha,
                         const StopFlag* stop = nullptr);

/// The same as a scalar; relative: if not null gets the mean relative error (NaN for ce and
/// answer).
at::Tensor gate_loss(const MorphModel& model, const GateOptions& options, const GateBatch& batch,
                     const at::Tensor& alpha, double* relative = nullptr,
                     const StopFlag* stop = nullptr);

/// c_l / (what `norm` divides by) at the teacher's own inputs: mean over the loss positions of
/// ||H_lin - H_full||^2, mixer outputs (method 3.3.2; `relative` divides by the mean of ||H||^2 at
/// the target). -> L numbers, one teacher pass.
std::vector<double> local_errors(const MorphModel& model, const GateOptions& options,
                                 const GateBatch& batch, const StopFlag* stop = nullptr);

/// The first layer whose mixed stream is not finite at these gates, found by a pass without
/// gradient; -1 if all are finite.
int first_non_finite_layer(const MorphModel& model, const GateOptions& options,
                           const GateBatch& batch, const at::Tensor& alpha);

}  // namespace flashmorph
