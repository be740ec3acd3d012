// SPDX-License-Identifier: Apache-2.0
// Next-token cross-entropy of some positions, without ever holding all their logits.
#pragma once

#include <ATen/ATen.h>

#include "core/model/teacher.h"
#include "core/run/progress.h"

namespace flashmorph {

/// Mean over the rows of -log softmax(W_head x_i)[label_i], in nats; the gradient with respect to x
/// is formed chunk by chunk in the forward pass, so memory is chunk x vocab. states: [n, D] normed,
/// compute dtype; labels: [n] int64 -> [] float32. Throws Error(stopped) when the flag is set.
at::Tensor row_cross_entropy(const Teacher& teacher, const at::Tensor& states,
                             const at::Tensor& labels, const StopFlag* stop = nullptr,
                             int64_t chunk = 128);

}  // namespace flashmorph
