// SPDX-License-Identifier: Apache-2.0
// C interface of the gated-delta-rule kernels (one decay per head): pointers, strides and a stream,
// no torch.
#pragma once

#include "kernels/cuda/scalar_decay_args.h"

namespace flashmorph::kernels::cuda {

/// Sizes and gates shared by all calls. q, k, v: bf16 with 16-byte aligned rows, key and value
/// width `dim` (64 or 128). log_decay, beta: [B, T, H] fp32, both set; log_decay <= 0.
struct GatedDeltaShape {
  int batch = 0, tokens = 0, heads = 0, dim = 0;
  float scale = 1;
  View log_decay, beta;
};

/// P = e^{g_t} S_{t-1}, S_t = P + beta_t k_t (v_t - P^T k_t)^T, o_t = scale S_t^T q_t (method 2.2).
/// state, final_state: [B, H, K, V] fp32; state may be null (zeros).
struct GatedDeltaForward {
  GatedDeltaShape shape;
  View q, k, v, output;
  const float* state = nullptr;
  float* final_state = nullptr;
};

/// Gradients of the above (method 2.4). d_log_decay, d_beta: [B, T, H] fp32; d_final_state may be
/// null (zeros); d_state: the gradient of the state at the start.
struct GatedDeltaBackward {
  GatedDeltaShape shape;
  View q, k, v, d_output, dq, dk, dv;
  const float* state = nullptr;
  const float* d_final_state = nullptr;
  float* d_state = nullptr;
  View d_log_decay, d_beta;
};

/// Bytes of scratch on the device that the call needs.
size_t workspace_bytes(const GatedDeltaForward& args);
size_t workspace_bytes(const GatedDeltaBackward& args);

/// Enqueue on `stream` (a cudaStream_t). Return a cudaError_t, 0 on success.
int run(const GatedDeltaForward& args, void* workspace, void* stream);
int run(const GatedDeltaBackward& args, void* workspace, void* stream);

/// One token with a carried state; `shape.tokens` is 1, `state` is set. No scratch.
int run_decode(const GatedDeltaForward& args, void* stream);

/// Whether the current device has the shared memory and the instructions (sm_80 and later) for
/// width `dim`; the backward needs more of the former.
bool supports_gated_delta(int dim, bool backward);

}  // namespace flashmorph::kernels::cuda
