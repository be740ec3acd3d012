// SPDX-License-Identifier: Apache-2.0
// What a sequence leaves behind for the next tokens: keys and values of full layers, states of linear ones.
#pragma once

#include <vector>

#include <ATen/ATen.h>

namespace flashmorph {

/// One layer's memory. Full layers and window branches use keys/values; recurrent branches state and the conv inputs.
struct LayerCache {
  at::Tensor keys, values;       ///< [B, T so far, G, head_dim], after q/k norm and RoPE
  at::Tensor state;              ///< [B, H, K, V] float32
  at::Tensor conv_q, conv_k, conv_v;  ///< [B, H*head_dim, width-1], the last inputs of the short convolutions
};

/// Memory of one batch of sequences under one layer plan.
struct Cache {
  explicit Cache(int layers) : layer(static_cast<size_t>(layers)) {}
  int64_t length = 0;  ///< tokens seen
  std::vector<LayerCache> layer;

  /// Bytes held now.
  int64_t bytes() const;
};

}  // namespace flashmorph
