// SPDX-License-Identifier: Apache-2.0
// Chunk form of the rules that only add to the state (plain, lightning, simple, mamba2, gla):
// method 2.4, "decay".
#pragma once

#include <optional>

#include "kernels/chunks.h"

namespace flashmorph::kernels {

/// Inputs in chunk layout: Q, K [B, H, N, C, K], V [B, H, N, C, V], beta [B, H, N, C, 1], entry
/// state [B, H, K, V].
struct AdditiveChunks {
  at::Tensor Q, K, V;
  std::optional<at::Tensor> beta;
  ChunkDecay decay;
  at::Tensor state;
  double scale;
};

struct AdditiveGradients {
  at::Tensor Q, K, V;
  at::Tensor beta;       ///< [B, H, N, C], when beta was given
  at::Tensor log_decay;  ///< [B, H, N, C] or [B, H, N, C, K], when asked for
  at::Tensor state;
};

/// Returns O: [B, H, N, C, V] and S_T: [B, H, K, V].
std::pair<at::Tensor, at::Tensor> additive_chunk(const AdditiveChunks& in);
/// dO: [B, H, N, C, V]; d_state: [B, H, K, V] or absent.
AdditiveGradients additive_chunk_backward(const AdditiveChunks& in, const at::Tensor& dO,
                                          const std::optional<at::Tensor>& d_state,
                                          bool want_log_decay);

}  // namespace flashmorph::kernels
