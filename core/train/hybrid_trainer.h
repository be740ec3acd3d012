// SPDX-License-Identifier: Apache-2.0
// Stages 3 and 4: a hybrid learns its teacher's next-token distribution (distill), then text at
// long context (finetune) (method 3, 3.1).
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/load/corpus.h"
#include "core/model/hybrid_model.h"
#include "core/train/head_loss.h"

namespace flashmorph {

/// distill: forward KL(teacher || hybrid), temperature 1, token mean. finetune: next-token
/// cross-entropy, token mean.
enum class TrainStage { distill, finetune };
std::string to_string(TrainStage stage);

struct TrainOptions {
  TrainStage stage = TrainStage::distill;
  int64_t steps = 20000;
  int64_t batch = 96;                 ///< sequences a step
  int64_t micro_batch = 0;            ///< sequences at a time, gradients added up; 0: all
  int64_t length = 512;               ///< tokens a sequence
  double lr = 1e-4, lr_final = 1e-5;  ///< cosine between them; equal: constant
  double rest_scale =
      1;  ///< learning rate of what is no mixer (embedding, norms, feed-forwards) over lr
  int64_t warmup = 50;  ///< linear warm-up, steps (at most a tenth of the steps)
  double beta1 = 0.9, beta2 = 0.95, weight_decay = 0.0;
  double clip = 1.0;               ///< largest norm of all gradients together, 0: none
  bool checkpointing = false;      ///< keep each layer's input only and compute the layer twice
  int64_t held_out_tokens = 8192;  ///< of the held-out KL and NLL, 0: not measured
  int64_t held_out_every = 0;  ///< steps between held-out measurements, 0: only before and after
  uint64_t seed = 1;

  /// The numbers of method 3.1; finetune: 500 steps of 128 x 16384 tokens at a constant 1e-5.
  static TrainOptions of(TrainStage stage);
  /// Throws Error(bad_request) naming the first option out of range and what it may be.
  void check() const;
  int64_t tokens_a_step() const { return batch * length; }
};

/// Means over held-out tokens.
struct HeldOut {
  double kl_nats = 0;   ///< KL(teacher || hybrid)
  double nll_nats = 0;  ///< next-token NLL of the hybrid; perplexity = exp of it
};

struct TrainStep {
  int64_t step = 0;                 ///< 1-based, after the update
  int64_t tokens = 0;               ///< so far
  double lr = 0, seconds = 0;       ///< seconds: of training so far, those before a resume included
  double loss = 0;                  ///< nats a token
  double grad_norm = 0;             ///< before clipping
  std::optional<HeldOut> held_out;  ///< if it was measured after this step
};

struct TrainResult {
  std::optional<HeldOut> before, after;  ///< before: ahead of the first step
  int64_t tokens = 0, steps = 0;
  double seconds = 0;
  bool stopped = false;
};

/// Trains a hybrid in place. Sequence i of step s is a pure function of (text, seed, s, i), so a
/// resumed run sees the same data, and every plan trained with the same options sees the same
/// tokens. Masters, moments and gradient sums are float32, the maths runs in the teacher's dtype.
/// Throws Error(non_finite) naming step and tensor; the weights before that step are kept.
class HybridTrainer {
 public:
  /// Borrows hybrid and text. teacher_id: the teacher's hash; a checkpoint of another one is
  /// refused.
  HybridTrainer(HybridModel& hybrid, const TextSource& text, TrainOptions options,
                std::string teacher_id = {});
  ~HybridTrainer();

  const TrainOptions& options() const;
  int64_t step() const;
  /// Runs until done, or until check_stop throws Error(stopped): it is called before every layer
  /// and slice, and a step it ends is undone. on_step after every step; it may throw
  /// Error(stopped), too. May be called again to go on.
  TrainResult run(const std::function<void(const TrainStep&)>& on_step,
                  const StopCheck& check_stop = {});
  /// One step beyond what options say is never taken: trains step() + 1. For those who time steps.
  TrainStep train_one(const StopCheck& check_stop = {});
  /// KL and NLL now, on held_out_tokens of text that training never takes (or, where the text
  /// cannot be divided, from places of their own).
  HeldOut held_out(const StopCheck& check_stop = {}) const;

  /// Masters, moments, step as safetensors (atomic), and back. Resuming reproduces the losses bit
  /// for bit on the CPU in float32. resume throws Error(bad_file) when the file is none of ours or
  /// was made with another teacher, plan or other options (checkpointing may change).
  void save(const std::string& path) const;
  void resume(const std::string& path);
  /// micro_batch of the run that wrote a checkpoint. Throws Error(bad_file).
  static int64_t micro_batch_of(const std::string& path);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// KL(teacher || hybrid) and NLL of sequences, a few at a time. ids: [N, T] int64; rows: sequences
/// at a time. Both over the T-1 positions that have a next token, as TextProbe measures them.
HeldOut score_text(const HybridModel& hybrid, const at::Tensor& ids, int64_t rows,
                   const StopCheck& check_stop = {});

}  // namespace flashmorph
