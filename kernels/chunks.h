// SPDX-License-Identifier: Apache-2.0
// Chunk layout and the decay factors of a chunk: what every chunk form shares (method 2.4).
#pragma once

#include <vector>

#include <ATen/ATen.h>

namespace flashmorph::kernels {

/// float64 for float64 inputs, else float32: the type of states, decays and sums.
at::ScalarType state_type(const at::Tensor& v);

/// Tokens of a chunk for sequences of T tokens: 64, or T rounded up to `multiple` when that is
/// less.
int64_t chunk_length(int64_t T, int64_t multiple);

/// x: [B, T, H, D] or [B, T, H] -> [B, H, N, C, D] or [B, H, N, C] in `dtype`, zeros behind token
/// T.
at::Tensor to_chunks(const at::Tensor& x, int64_t C, at::ScalarType dtype);
/// The way back: [B, H, N, C, D] or [B, H, N, C] -> [B, T, H, D] or [B, T, H] in `dtype`.
at::Tensor from_chunks(const at::Tensor& x, int64_t T, at::ScalarType dtype);

/// Sum over the tokens i >= j of the same chunk, along dimension `dim`.
at::Tensor reverse_cumsum(const at::Tensor& x, int64_t dim);

/// The state in `dtype`, zeros when absent: [B, H, K, V].
at::Tensor entry_state(const std::optional<at::Tensor>& state, int64_t B, int64_t H, int64_t K,
                       int64_t V, const at::TensorOptions& options);

/// Decay inside chunks. With b_i the sum of the log decays up to and including token i of the
/// chunk,
///   entry_i = e^{b_i}   exit_i = e^{b_C - b_i}   total = e^{b_C}   E_ij = e^{b_i - b_j} for i >=
///   j, else 0 dot(A, B)_ij = sum_d A_id B_jd E_ijd    rows(G, B)_id = sum_j G_ij B_jd E_ijd
///   columns(G, A)_jd = sum_i G_ij A_id E_ijd
/// No factor above 1 is ever formed: neither e^{+b} nor e^{-b} alone, and masked pairs are masked
/// before the exponential. Leading dimensions broadcast against those of A, B, G ([.., C, K] and
/// [.., C, C]).
class ChunkDecay {
 public:
  /// log_decay: [.., C], one per token.
  static ChunkDecay per_token(const at::Tensor& log_decay);
  /// log_decay: [.., C, K], one per token and key channel; C is a multiple of 16. A, B, G are then
  /// contiguous and of the same leading sizes.
  static ChunkDecay per_channel(const at::Tensor& log_decay);

  at::Tensor entry;  ///< [.., C, 1 or K]
  at::Tensor exit;   ///< [.., C, 1 or K]
  at::Tensor total;  ///< [.., 1 or K, 1]
  at::Tensor pairs;  ///< E, [.., C, C]; per_token only

  at::Tensor dot(const at::Tensor& A, const at::Tensor& B) const;
  at::Tensor rows(const at::Tensor& G, const at::Tensor& B) const;
  at::Tensor columns(const at::Tensor& G, const at::Tensor& A) const;

 private:
  // Sub-chunks of 16 tokens: pairs in different sub-chunks go through the first token of the later
  // one, whose b lies between.
  static constexpr int64_t sub_ = 16;
  at::Tensor factors_;     // e^{log_decay}, [.., C, K]; per_channel on the CPU in float32
  at::Tensor blocks_;      // b as [.., C/16, 16, K]; per_channel only
  at::Tensor from_first_;  // e^{b_i - b_first}, [.., C, K]
  std::vector<at::Tensor>
      to_first_;  // of sub-chunk I: e^{b_first - b_j} for j before it, [.., 16 I, K]
};

/// Gradient of the log decays from that of their sums b (method 2.4, last line): db = read -
/// written, and the last token of a chunk also gets rowsum(S' * dS'), which is rowsum(total * S *
/// dS') + sum_j k_j * G_j, since S' = total * S + (K * exit)^T U. read: Q * dQ (+ K * dK_erase),
/// written: K * dK_write, [.., C, K]; exit_state, d_exit_state: S' and dS', [.., K, V].
at::Tensor log_decay_gradient(const at::Tensor& read, const at::Tensor& written,
                              const at::Tensor& exit_state, const at::Tensor& d_exit_state,
                              bool per_channel);

}  // namespace flashmorph::kernels
