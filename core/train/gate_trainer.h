// SPDX-License-Identifier: Apache-2.0
// Stage 2, gates: one gate per layer is trained, everything else frozen (method 3.2, every option
// of its table).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/load/corpus.h"
#include "core/load/passkey_data.h"
#include "core/model/morph_model.h"
#include "core/run/progress.h"
#include "core/train/gate_loss.h"

namespace flashmorph {

struct GateStep {
  int64_t step = 0;                ///< 1-based, after the update
  int64_t tokens = 0;              ///< so far
  double lr = 0, seconds = 0;      ///< seconds: of training so far, those before a resume included
  double loss = 0;                 ///< the supervision term without the penalty
  double relative = 0;             ///< alignment losses: the relative loss, always logged; else NaN
  double penalty = 0;              ///< lambda of this step
  std::vector<double> alpha, raw;  ///< after and before clamping (sigmoid: alpha and logit)
  std::vector<double> gradient;    ///< d(loss)/d(alpha), without the penalty
  std::string notice;              ///< an ill found at this step, in words; usually empty
};

struct GateResult {
  std::vector<double> score;  ///< time average of alpha over the last 20 % of steps; path: log10
                              ///< lambda where alpha falls below 0.5
  std::vector<double> final_raw;  ///< tie-break
  std::vector<double> alpha;      ///< last
  int64_t tokens = 0, steps = 0, forwards = 0,
          backwards = 0;  ///< passes over one batch; the teacher's stream counts as one
  double seconds = 0;
  bool stopped = false;
  std::string score_method;  ///< "time_average" | "path"
  std::string notice;        ///< the first ill found, in words; empty if healthy
};

/// Step s trains on samples s*batch ... s*batch + batch - 1, so a resumed run sees the same data.
/// At alpha = 1 an alignment loss and its gradient are exactly zero: such steps (the first one)
/// cost nothing. Throws Error(non_finite) naming step and layer; the gates before that step are
/// kept.
class GateTrainer {
 public:
  /// passkeys serves supervision passkey and answer; text serves lm and ce (may be null otherwise).
  GateTrainer(const MorphModel& model, const PasskeyData& passkeys, const TextSource* text,
              GateOptions options);
  ~GateTrainer();
  /// Runs until done or stopped; on_step after every step. May be called again after a stop to go
  /// on.
  GateResult run(const std::function<void(const GateStep&)>& on_step, const StopFlag& stop);
  /// Gates, moments, penalty, history and step as safetensors (atomic), and back; bitwise on CPU
  /// float32. resume throws Error(bad_file) when the file is none of ours or was made with other
  /// options.
  void save(const std::string& path) const;
  void resume(const std::string& path);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace flashmorph
