// SPDX-License-Identifier: Apache-2.0
// Stage 2, gates: one gate per layer is trained, everything else frozen (method 3.2, every option of its table).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/load/corpus.h"
#include "core/load/passkey_data.h"
#include "core/model/morph_model.h"
#include "core/run/progress.h"

namespace flashmorph {

struct GateOptions {
  std::string constraint = "clamp";         ///< clamp | sigmoid
  int64_t steps = 2000;
  double lr = 2e-2, lr_final = 2e-3;
  std::string lr_shape = "trapezoid";       ///< trapezoid | cosine
  std::string full_source = "recomputed";   ///< recomputed | teacher
  std::string branch_source = "mixed";      ///< mixed | teacher
  std::string target = "residual";          ///< residual | mixer | block | last
  std::string norm = "sum";                 ///< sum | mean | relative
  std::string tokens = "answer";            ///< answer | qa | all
  std::string supervision = "passkey";      ///< passkey | lm | ce | answer
  std::string penalty = "0.1";              ///< a number, "budget" or "path"
  double answer_weight = 10.0;              ///< factor of the answer cross-entropy (supervision answer)
  int64_t budget = 0;                       ///< K, for penalty budget and the order notice; 0: round(L/4)
  int64_t batch = 1;                        ///< sequences a step
  int64_t text_length = 1024;               ///< supervision lm, ce: tokens of ordinary text a sequence
  int64_t checkpoint_every = 0;
  uint64_t seed = 1;
};

struct GateStep {
  int64_t step = 0;              ///< 1-based, after the update
  int64_t tokens = 0;            ///< so far
  double lr = 0, seconds = 0;
  double loss = 0;               ///< the supervision term without the penalty
  double relative = 0;           ///< alignment losses: the relative loss, always logged; else NaN
  double penalty = 0;            ///< lambda of this step
  std::vector<double> alpha, raw;  ///< after and before clamping (sigmoid: alpha and logit)
  std::vector<double> gradient;  ///< d(loss)/d(alpha), without the penalty
};

struct GateResult {
  std::vector<double> score;     ///< time average of alpha over the last 20 % of steps; path: log10 lambda where alpha falls below 0.5
  std::vector<double> final_raw; ///< tie-break
  std::vector<double> alpha;     ///< last
  int64_t tokens = 0, steps = 0, forwards = 0, backwards = 0;
  double seconds = 0;
  bool stopped = false;
  std::string score_method;      ///< "time_average" | "path"
  std::string notice;            ///< the first ill found, in words; empty if healthy
};

/// One batch of the stage: ids [B, T] (right-padded), loss positions per sequence (rows, columns), next-token labels for them.
struct GateBatch {
  at::Tensor ids;                ///< [B, T] int64
  at::Tensor rows, columns;      ///< [n] int64: loss positions (alignment: states there; cross-entropy: the predicting positions)
  at::Tensor labels;             ///< [n] int64: next tokens, supervision ce and answer only
  int64_t tokens = 0;            ///< real tokens, without padding
};

/// The loss of one batch at given gates, as a scalar differentiable in alpha: the piece the tests differentiate numerically.
/// alpha: [L] float32. relative: if not null gets the relative alignment loss.
at::Tensor gate_loss(const MorphModel& model, const GateOptions& options, const GateBatch& batch, const at::Tensor& alpha,
                     double* relative = nullptr, const StopFlag* stop = nullptr);

class GateTrainer {
 public:
  /// passkeys serves supervision passkey and answer; text serves lm and ce (may be null otherwise).
  GateTrainer(const MorphModel& model, const PasskeyData& passkeys, const TextSource* text, GateOptions options);
  ~GateTrainer();
  GateResult run(const std::function<void(const GateStep&)>& on_step, const StopFlag& stop);
  /// Gates, moments, penalty, history and step as safetensors (atomic), and back; bitwise on CPU float32.
  void save(const std::string& path) const;
  void resume(const std::string& path);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace flashmorph
