// SPDX-License-Identifier: Apache-2.0
// Stage 1, align: every linear branch learns its layer's softmax output on the teacher's own inputs
// (method 3.1).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/load/corpus.h"
#include "core/model/morph_model.h"
#include "core/run/progress.h"

namespace flashmorph {

struct AlignOptions {
  int64_t steps = 300;
  int64_t batch = 32;                 ///< sequences a step
  int64_t micro_batch = 0;            ///< sequences at a time, gradients added up; 0: all
  int64_t length = 512;               ///< tokens a sequence
  double lr = 1e-3, lr_final = 1e-5;  ///< cosine between them
  int64_t warmup = 50;                ///< linear warm-up, steps (at most a tenth of the steps)
  double beta1 = 0.9, beta2 = 0.95, weight_decay = 0.0;
  double clip = 1.0;         ///< largest norm of all gradients together, 0: none
  std::string loss = "mse";  ///< mse: mean over B,T,D of the squared difference; sum: FlashMorph's
                             ///< per-token sum; l2norm
  int64_t fit_tokens =
      4096;  ///< tokens of the output scale fit before the first step (method 2.5); 0: none
  int64_t held_out_tokens = 8192;  ///< tokens of the held-out relative error, 0: not measured
  int64_t held_out_every = 0;    ///< steps between held-out measurements, 0: only before and after
  int64_t checkpoint_every = 0;  ///< steps between checkpoints of the caller, 0: none
  uint64_t seed = 1;

  /// Throws Error(bad_request) naming the first option out of range and what it may be.
  void check() const;
};

struct AlignStep {
  int64_t step = 0;            ///< 1-based, after the update
  int64_t tokens = 0;          ///< so far
  double lr = 0, seconds = 0;  ///< seconds: of training so far, those before a resume included
  double loss = 0;             ///< mean over layers
  double grad_norm = 0;        ///< before clipping
  std::vector<double> layer_loss;
  std::vector<double> held_out;  ///< held-out relative error per layer when it was measured after
                                 ///< this step, else empty
};

struct AlignResult {
  /// Held-out relative error per layer: ||y_lin - y_full||^2 / ||y_full||^2 (sums over tokens),
  /// after the scale fit and now.
  std::vector<double> error_before, error;
  int64_t tokens = 0, steps = 0;
  double seconds = 0;
  bool stopped = false;
};

/// Trains all branches of `model` in place. Sequence i of step s is a pure function of (text, seed,
/// s, i), so a resumed run sees the same data. Layers are independent: forward of the teacher
/// without gradient, then per layer branch forward and backward, so that one layer's activations
/// live at a time. The parameters are float32, the maths runs in the teacher's dtype. Throws
/// Error(non_finite) naming step and layer; the parameters before that step are kept.
class Aligner {
 public:
  Aligner(MorphModel& model, const TextSource& text, AlignOptions options);
  ~Aligner();
  /// Runs until done or stopped; on_step after every step. May be called again after a stop to go
  /// on.
  AlignResult run(const std::function<void(const AlignStep&)>& on_step, const StopFlag& stop);
  /// Held-out relative error per layer now, on held_out_tokens of text that training never takes (or,
  /// where the text cannot be divided, from places of their own).
  /// Throws Error(stopped) when the flag is set.
  std::vector<double> held_out_error(const StopFlag& stop = {}) const;
  /// Branches, moments and step as safetensors (atomic), and back. Resuming reproduces the losses
  /// bit for bit on the CPU. resume throws Error(bad_file) when the file is none of ours or was
  /// made with other options or branches.
  void save(const std::string& path) const;
  void resume(const std::string& path);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace flashmorph
