// SPDX-License-Identifier: Apache-2.0
// Teacher and gated model side by side, one half layer at a time: the forward pass of gate training
// (method 2.1, 3.2).
#pragma once

#include <vector>

#include <ATen/ATen.h>

#include "core/model/morph_model.h"
#include "core/run/progress.h"

namespace flashmorph {

/// alpha full + (1 - alpha) linear with the exact shortcuts of gates at the ends: alpha = 1 returns
/// `full` itself, 0 `linear` itself, and a branch whose factor is zero gets no gradient. d alpha =
/// <gradient, full - linear> over all elements. full, linear: [B, T, D]; alpha: [] float32 on their
/// device, value: the same number on the host.
at::Tensor gate_mix(const at::Tensor& full, const at::Tensor& linear, const at::Tensor& alpha,
                    double value);

struct MixedStreamOptions {
  bool teacher = true;  ///< run the teacher's stream too
  bool teacher_full =
      false;  ///< full_source teacher: mix the teacher's mixer output instead of a recomputed one
  bool teacher_branch =
      false;  ///< branch_source teacher: branches read the teacher's normed layer input
};

/// Walks both streams through the layers:
///   for l: mixer(l); [keep_rows(rows);] mlp(l)
/// The teacher's stream runs without gradient; the mixed one is differentiable in alpha. Branches
/// whose factor is zero leave no graph, and without gradient they are not run at all. While the
/// streams are still equal (layer 0) they share their tensors.
class MixedStream {
 public:
  /// ids: [B, T] int64 on the model's device; alpha: [L] float32, any device, values in [0, 1].
  /// Throws Error(stopped) from forward or backward when the flag is set.
  MixedStream(const MorphModel& model, MixedStreamOptions options, const at::Tensor& ids,
              const at::Tensor& alpha, const StopFlag* stop);

  /// Both streams through the mixer of layer l and its residual sum.
  void mixer(int l);
  /// Both streams through the feed-forward part of layer l.
  void mlp(int l);
  /// Cuts both streams to some positions, exact before the last feed-forward part: positions meet
  /// in mixers only. rows: [n] int64, index b T + t. The streams are [1, n, D] from here on.
  void keep_rows(const at::Tensor& rows);

  /// Outputs of the last mixer call and streams now, [B, T, D]; the teacher's are undefined if it
  /// does not run.
  const at::Tensor& teacher_mixer() const { return teacher_mixer_; }
  const at::Tensor& mixed_mixer() const { return mixed_mixer_; }
  const at::Tensor& teacher() const { return teacher_; }
  const at::Tensor& mixed() const { return mixed_; }

 private:
  void check_stop() const;

  const MorphModel& model_;
  MixedStreamOptions options_;
  const StopFlag* stop_;
  RopeTable rope_;
  std::vector<at::Tensor> alpha_;  // [] float32 on the device, one per layer
  std::vector<double> values_;
  bool gradient_;
  bool same_ = true;  // the streams have not parted yet
  at::Tensor teacher_, mixed_, teacher_mixer_, mixed_mixer_;
};

/// Final normed states of the gated model. ids: [B, T] int64, alpha: [L] float32 -> [B, T, D]. With
/// alpha = 1 the teacher's, with gates in {0, 1} and `recomputed` those of M(I).
at::Tensor mixed_states(const MorphModel& model, MixedStreamOptions options, const at::Tensor& ids,
                        const at::Tensor& alpha);

}  // namespace flashmorph
