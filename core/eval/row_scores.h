// SPDX-License-Identifier: Apache-2.0
// From normed states to numbers: the head in slices of rows, log-softmax in float32, so vocabulary
// x length never exists at once.
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "core/model/teacher.h"
#include "core/run/progress.h"

namespace flashmorph {

/// One number per row, on the CPU.
struct RowScores {
  at::Tensor nll_nats;  ///< [n] float64: -log p(label)
  at::Tensor right;     ///< [n] bool: the label is the argmax
  at::Tensor kl_nats;   ///< [n] float64: sum_v p(v) (log p(v) - log q(v)), p of `reference`, q of
                        ///< `states`; undefined without it
};

/// states: [n, D] final normed states, compute dtype; labels: [n] int64; reference: [n, D] or
/// undefined. 256 rows of logits at a time. Throws Error(stopped).
RowScores score_rows(const Teacher& teacher, const at::Tensor& states, const at::Tensor& labels,
                     const at::Tensor& reference = {}, const StopFlag* stop = nullptr);

}  // namespace flashmorph
