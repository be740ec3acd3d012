// SPDX-License-Identifier: Apache-2.0
// C interface of the scalar-decay kernels: pointers, strides and a stream, no torch.
#pragma once

#include <cstddef>
#include <cstdint>

namespace flashmorph::kernels::cuda {

/// A tensor [B, T, H, D] with unit stride along D; strides in elements.
struct View {
  void* data = nullptr;
  int64_t batch = 0, token = 0, head = 0;
};

/// Sizes shared by all scalar-decay calls. q, k, v are bf16, 16-byte aligned rows, key and value
/// width `dim`.
struct ScalarDecayShape {
  int batch = 0, tokens = 0, heads = 0;
  int dim = 0;  // 64 or 128
  float scale = 1;
};

/// Decay: at most one of the two is set. fixed: [H] fp32, natural log per token; per_token: [B, T,
/// H] fp32. beta: [B, T, H] fp32 or absent.
struct ScalarDecayGates {
  const float* fixed = nullptr;
  View per_token;
  View beta;
};

/// o = s S_t^T q_t with S_t = e^{g_t} S_{t-1} + beta_t k_t v_t^T (method 2.2).
/// state, final_state: [B, H, K, V] fp32; state may be null (zeros).
struct ScalarDecayForward {
  ScalarDecayShape shape;
  ScalarDecayGates gates;
  View q, k, v, output;
  const float* state = nullptr;
  float* final_state = nullptr;
};

/// Gradients of the above (method 2.3). d_log_decay: [B, T, H] fp32 or null; d_beta likewise;
/// d_final_state may be null.
struct ScalarDecayBackward {
  ScalarDecayShape shape;
  ScalarDecayGates gates;
  View q, k, v, d_output, dq, dk, dv;
  const float* state = nullptr;
  const float* d_final_state = nullptr;
  float* d_state = nullptr;
  View d_log_decay, d_beta;
};

/// Bytes of scratch on the device that the call needs.
size_t workspace_bytes(const ScalarDecayForward& args);
size_t workspace_bytes(const ScalarDecayBackward& args);

/// Enqueue on `stream` (a cudaStream_t). Return a cudaError_t, 0 on success.
int run(const ScalarDecayForward& args, void* workspace, void* stream);
int run(const ScalarDecayBackward& args, void* workspace, void* stream);

/// One token with a carried state; `shape.tokens` is 1, `state` is set. No scratch.
int run_decode(const ScalarDecayForward& args, void* stream);

/// Whether the current device has the shared memory and the instructions (sm_80 and later) for
/// width `dim`.
bool supported(int dim);

}  // namespace flashmorph::kernels::cuda
