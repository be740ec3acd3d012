// SPDX-License-Identifier: Apache-2.0
// Host side of the gated-delta-rule kernels: which of them a call makes. Forward: prepare, walk.
// Backward: prepare, the walks for the states and for their gradients, then all chunks at once.
#include <cmath>

#include "kernels/cuda/device.h"
#include "kernels/cuda/gated_delta_args.h"
#include "kernels/cuda/gated_delta_decode.cuh"
#include "kernels/cuda/gated_delta_gradients.cuh"
#include "kernels/cuda/gated_delta_prepare.cuh"
#include "kernels/cuda/gated_delta_sweep.cuh"
#include "kernels/cuda/scratch.h"

namespace flashmorph::kernels::cuda {
namespace {

constexpr int kWarps = 2;  // sixteen columns each; four share less well (results_h100.md)

template <int D>
unsigned blocks(int batch_heads) {
  return static_cast<unsigned>(batch_heads * (D / 16 / kWarps));
}

template <int D, int Stages>
cudaError_t outputs(const DeltaSweep& p, int batch_heads, cudaStream_t stream) {
  using Layout = DeltaSweepLayout<D, DeltaSweepKind::outputs, kWarps, Stages>;
  if constexpr (Stages > 1) {  // as many as the shared memory of the device holds
    if (Layout::kBytes > device().shared_bytes_per_block)
      return outputs<D, Stages - 1>(p, batch_heads, stream);
  }
  return launch(delta_outputs_kernel<D, kWarps, Stages>, dim3(blocks<D>(batch_heads)),
                Layout::kThreads, Layout::kBytes, stream, p);
}

template <int D, int Stages>
cudaError_t both_ways(const DeltaSweep& forth, const DeltaSweep& back, int batch_heads,
                      cudaStream_t stream) {
  using Layout = DeltaSweepLayout<D, DeltaSweepKind::reverse, kWarps, Stages>;
  if constexpr (Stages > 1) {
    if (Layout::kBytes > device().shared_bytes_per_block)
      return both_ways<D, Stages - 1>(forth, back, batch_heads, stream);
  }
  return launch(delta_both_ways_kernel<D, kWarps, Stages>, dim3(2 * blocks<D>(batch_heads)),
                Layout::kThreads, Layout::kBytes, stream, forth, back);
}

template <int D>
struct Calls {
  const GatedDeltaShape& shape;
  Scratch& scratch;
  cudaStream_t stream;
  int batch_heads = shape.batch * shape.heads;
  int chunks = static_cast<int>(ceil_div(shape.tokens, kChunk));
  int64_t all_chunks = static_cast<int64_t>(batch_heads) * chunks;
  dim3 grid{static_cast<unsigned>(batch_heads), static_cast<unsigned>(chunks)};

  // fills what both directions share of a sweep
  cudaError_t prepare(DeltaSweep& p, const View& q, const View& k) {
    p.query = q;
    p.key = k;
    p.log2_scale = std::log2(shape.scale);
    p.tokens = shape.tokens;
    p.heads = shape.heads;
    p.chunks = chunks;
    float* gates = scratch.take<float>(all_chunks * kGateFloats);
    uint16_t* solve = scratch.take<uint16_t>(all_chunks * kChunk * kChunk);
    uint16_t* pairs = scratch.take<uint16_t>(all_chunks * kChunk * kChunk);
    p.gates = gates;
    p.solve = solve;
    p.pairs = pairs;
    if (!scratch.base) return cudaSuccess;
    const DeltaPrepare arguments{q,     k,     shape.log_decay, shape.beta,   gates,
                                 solve, pairs, p.log2_scale,    shape.tokens, shape.heads,
                                 chunks};
    return launch(delta_prepare_kernel<D>, grid, 128, DeltaPrepareLayout<D>::kBytes, stream,
                  arguments);
  }

  cudaError_t forward(const GatedDeltaForward& args) {
    DeltaSweep p{};
    const cudaError_t error = prepare(p, args.q, args.k);
    if (!scratch.base || error != cudaSuccess) return error;
    p.value = args.v;
    p.out = args.output;
    p.state_in = args.state;
    p.state_out = args.final_state;
    return outputs<D, 3>(p, batch_heads, stream);
  }

  cudaError_t backward(const GatedDeltaBackward& args) {
    DeltaSweep p{};
    cudaError_t error = prepare(p, args.q, args.k);
    uint16_t* states = scratch.take<uint16_t>(all_chunks * D * D);
    uint16_t* adjoints = scratch.take<uint16_t>(all_chunks * D * D);
    uint16_t* writes = scratch.take<uint16_t>(all_chunks * kChunk * D);
    uint16_t* d_writes = scratch.take<uint16_t>(all_chunks * kChunk * D);
    if (!scratch.base || error != cudaSuccess) return error;
    p.value = args.v;
    p.state_in = args.state;
    p.states = states;
    p.writes = writes;
    DeltaSweep back = p;
    back.value = args.d_output;
    back.state_in = args.d_final_state;
    back.state_out = args.d_state;
    back.states = adjoints;
    back.writes = d_writes;
    error = both_ways<D, 3>(p, back, batch_heads, stream);
    if (error != cudaSuccess) return error;
    const DeltaGradients arguments{
        args.q,  args.k,           args.v,       args.d_output, args.dq,     args.dk,
        args.dv, args.d_log_decay, args.d_beta,  p.gates,       states,      adjoints,
        writes,  d_writes,         p.log2_scale, shape.tokens,  shape.heads, chunks};
    return launch(delta_gradients_kernel<D>, grid, 256, DeltaGradientsLayout<D>::kBytes, stream,
                  arguments);
  }
};

cudaError_t call(const GatedDeltaForward& args, Scratch& scratch, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  return args.shape.dim == 128 ? Calls<128>{args.shape, scratch, on}.forward(args)
                               : Calls<64>{args.shape, scratch, on}.forward(args);
}
cudaError_t call(const GatedDeltaBackward& args, Scratch& scratch, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  return args.shape.dim == 128 ? Calls<128>{args.shape, scratch, on}.backward(args)
                               : Calls<64>{args.shape, scratch, on}.backward(args);
}

template <int D, int Columns>
cudaError_t decode(const GatedDeltaForward& args, cudaStream_t stream) {
  return launch(delta_decode_kernel<D, Columns>,
                dim3(static_cast<unsigned>(args.shape.batch * args.shape.heads * (D / Columns))),
                kDeltaDecodeThreads, kDeltaDecodeThreads / 32 * Columns / 4 * 48, stream, args);
}

}  // namespace

bool supports_gated_delta(int dim, bool backward) {
  if ((dim != 64 && dim != 128) || device().major < 8) return false;
  const int room = device().shared_bytes_per_block;
  const bool wide = dim == 128;
  const int forward_bytes = wide ? DeltaSweepLayout<128, DeltaSweepKind::outputs, kWarps, 1>::kBytes
                                 : DeltaSweepLayout<64, DeltaSweepKind::outputs, kWarps, 1>::kBytes;
  const int backward_bytes =
      wide ? DeltaGradientsLayout<128>::kBytes : DeltaGradientsLayout<64>::kBytes;
  return forward_bytes <= room && (!backward || backward_bytes <= room);
}

size_t workspace_bytes(const GatedDeltaForward& args) {
  Scratch scratch;
  call(args, scratch, nullptr);
  return scratch.used;
}
size_t workspace_bytes(const GatedDeltaBackward& args) {
  Scratch scratch;
  call(args, scratch, nullptr);
  return scratch.used;
}

int run(const GatedDeltaForward& args, void* workspace, void* stream) {
  Scratch scratch{static_cast<char*>(workspace)};
  return call(args, scratch, stream);
}
int run(const GatedDeltaBackward& args, void* workspace, void* stream) {
  Scratch scratch{static_cast<char*>(workspace)};
  return call(args, scratch, stream);
}

// few heads: many narrow pieces; many heads: whole rows
int run_decode(const GatedDeltaForward& args, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  const bool many = args.shape.batch * args.shape.heads >= 2 * device().multiprocessors;
  if (args.shape.dim == 128) return many ? decode<128, 128>(args, on) : decode<128, 16>(args, on);
  return many ? decode<64, 64>(args, on) : decode<64, 16>(args, on);
}

}  // namespace flashmorph::kernels::cuda
