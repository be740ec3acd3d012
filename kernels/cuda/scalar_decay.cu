// SPDX-License-Identifier: Apache-2.0
// Host side of the scalar-decay kernels: how a call is cut into segments, and which sweeps it
// makes.
#include <algorithm>
#include <cmath>

#include "kernels/cuda/device.h"
#include "kernels/cuda/scalar_decay_args.h"
#include "kernels/cuda/scalar_decay_decode.cuh"
#include "kernels/cuda/scalar_decay_steps.cuh"
#include "kernels/cuda/scratch.h"

namespace flashmorph::kernels::cuda {
namespace {

// A sweep is one wave of blocks, each with one segment of one head; states of segments that decay
// cannot cut off come from shorter pieces computed first, so that this first pass fills the device
// too.
void cut(Sweep& p, const ScalarDecayShape& shape, int blocks) {
  p.tokens = shape.tokens;
  p.heads = shape.heads;
  p.batch_heads = shape.batch * shape.heads;
  p.chunks = static_cast<int>(ceil_div(shape.tokens, kChunk));
  p.log2_scale = std::log2(shape.scale);
  const int wanted = std::max(1, blocks / std::max(1, p.batch_heads));
  const int length = static_cast<int>(ceil_div(p.chunks, wanted));
  const int per_segment = static_cast<int>(ceil_div(length, 16));
  p.piece_chunks = static_cast<int>(ceil_div(length, per_segment));
  p.segment_chunks = p.piece_chunks * per_segment;
  p.segments = static_cast<int>(ceil_div(p.chunks, p.segment_chunks));
  p.pieces = static_cast<int>(ceil_div(p.chunks, p.piece_chunks));
  p.max_warm = std::max(1, p.segment_chunks / 2);
}

void take_segments(Sweep& p, Scratch& scratch, int dim) {
  if (p.segments == 1) return;
  const int64_t pieces = static_cast<int64_t>(p.batch_heads) * p.pieces;
  p.slots = scratch.take<float>(pieces * dim * dim);
  p.piece_decay = scratch.take<float>(pieces);
  p.warm = scratch.take<int>(static_cast<int64_t>(p.batch_heads) * p.segments);
}

template <int D, bool Reverse, int Branches, int Stages>
cudaError_t sweep(const Sweep& p, cudaStream_t stream) {
  if (p.segments > 1) {
    const int joined = (p.segments - 1) * (p.segment_chunks / p.piece_chunks);
    using Layout = SweepLayout<D, 1, Stages == 1 ? 1 : 3, true>;
    cudaError_t error =
        launch(sweep_kernel < D, Reverse, 1, Stages == 1 ? 1 : 3, true >,
               dim3(static_cast<unsigned>(joined * p.batch_heads)), 128, Layout::kBytes, stream, p);
    if (error != cudaSuccess) return error;
    const JoinPieces join{
        p.slots, p.piece_decay, p.pieces, joined, p.segment_chunks / p.piece_chunks, D * D};
    error = launch(join_pieces_kernel, dim3(D * D / 1024, static_cast<unsigned>(p.batch_heads)),
                   256, 0, stream, join);
    if (error != cudaSuccess) return error;
  }
  using Layout = SweepLayout<D, Branches, Stages, false>;
  return launch(sweep_kernel<D, Reverse, Branches, Stages, false>,
                dim3(static_cast<unsigned>(p.segments * p.batch_heads)), 128 * Branches,
                Layout::kBytes, stream, p);
}

// as many stages as the shared memory of the device holds
template <int D, bool Reverse, int Branches>
cudaError_t sweep(const Sweep& p, cudaStream_t stream) {
  const int room = device().shared_bytes_per_block;
  if constexpr (Branches == 2) {
    if (SweepLayout<D, Branches, 3, false>::kBytes <= room)
      return sweep<D, Reverse, Branches, 3>(p, stream);
  }
  if (SweepLayout<D, Branches, 2, false>::kBytes <= room)
    return sweep<D, Reverse, Branches, 2>(p, stream);
  return sweep<D, Reverse, Branches, 1>(p, stream);
}

template <bool Reverse, int Branches>
cudaError_t sweep(const Sweep& p, int dim, cudaStream_t stream) {
  return dim == 128 ? sweep<128, Reverse, Branches>(p, stream)
                    : sweep<64, Reverse, Branches>(p, stream);
}

// gates per head, as the sweeps read them
cudaError_t gates(Sweep& p, const ScalarDecayGates& from, Scratch& scratch, cudaStream_t stream,
                  int batch) {
  const int64_t padded = static_cast<int64_t>(p.batch_heads) * p.chunks * kChunk;
  p.fixed_decay = from.fixed;
  float* cumulative = from.per_token.data ? scratch.take<float>(padded) : nullptr;
  float* beta = from.beta.data ? scratch.take<float>(padded) : nullptr;
  p.cumulative = cumulative;
  p.beta = beta;
  if (!scratch.base || (!cumulative && !beta)) return cudaSuccess;
  const PrepareGates prepare{from.per_token, from.beta, cumulative, beta,
                             p.tokens,       p.heads,   p.chunks};
  return launch(prepare_gates_kernel,
                dim3(static_cast<unsigned>(p.chunks), static_cast<unsigned>(batch)), 256, 0, stream,
                prepare);
}

cudaError_t forward(const ScalarDecayForward& args, Scratch& scratch, cudaStream_t stream) {
  Sweep p{};
  cut(p, args.shape, 2 * device().multiprocessors);
  take_segments(p, scratch, args.shape.dim);
  cudaError_t error = gates(p, args.gates, scratch, stream, args.shape.batch);
  if (!scratch.base || error != cudaSuccess) return error;
  p.tile[0] = args.q;
  p.tile[1] = args.k;
  p.tile[2] = args.v;
  p.out[0] = args.output;
  p.state_in = args.state;
  p.state_out = args.final_state;
  return sweep<false, 1>(p, args.shape.dim, stream);
}

cudaError_t backward(const ScalarDecayBackward& args, Scratch& scratch, cudaStream_t stream) {
  const int dim = args.shape.dim;
  Sweep left{};
  cut(left, args.shape, 2 * device().multiprocessors);
  take_segments(left, scratch, dim);
  cudaError_t error = gates(left, args.gates, scratch, stream, args.shape.batch);
  if (error != cudaSuccess) return error;
  Sweep right = left;
  cut(right, args.shape, device().multiprocessors);
  take_segments(right, scratch, dim);
  const int64_t padded = static_cast<int64_t>(left.batch_heads) * left.chunks * kChunk;
  const bool d_decay = args.d_log_decay.data, d_beta = args.d_beta.data;
  GateGradients finish{};
  if (d_decay) {
    left.dots[0] = scratch.take<float>(4 * padded);
    left.dump = right.dump =
        scratch.take<uint4>(static_cast<int64_t>(left.batch_heads) * left.chunks * dim * dim / 8);
    right.crossing = scratch.take<float>(static_cast<int64_t>(left.batch_heads) * left.chunks * 4);
  }
  if (d_decay || d_beta) right.dots[1] = scratch.take<float>(4 * padded);
  if (!scratch.base) return cudaSuccess;

  left.tile[0] = args.d_output;
  left.tile[1] = args.v;
  left.tile[2] = args.k;
  left.out[0] = args.dq;
  left.state_in = args.state;
  left.value_major = true;  // here k has the role of value
  if (d_decay) left.dot_with[0] = args.q;
  error = sweep<false, 1>(left, dim, stream);
  if (error != cudaSuccess) return error;

  right.tile[0] = args.k;
  right.tile[1] = args.q;
  right.tile[2] = args.d_output;
  right.tile[3] = args.v;
  right.out[0] = args.dv;
  right.out[1] = args.dk;
  right.state_in = args.d_final_state;
  right.state_out = args.d_state;
  if (d_decay || d_beta) right.dot_with[1] = args.k;
  error = sweep<true, 2>(right, dim, stream);
  if (error != cudaSuccess || !(d_decay || d_beta)) return error;

  finish = {left.dots[0], right.dots[1], right.crossing, right.beta, args.d_log_decay,
            args.d_beta,  left.tokens,   left.heads,     left.chunks};
  return launch(gate_gradients_kernel,
                dim3(static_cast<unsigned>(left.chunks), static_cast<unsigned>(args.shape.batch)),
                256, 0, stream, finish);
}

template <int D, int Columns, int Threads>
cudaError_t decode(const ScalarDecayForward& args, cudaStream_t stream) {
  return launch(decode_kernel<D, Columns, Threads>,
                dim3(static_cast<unsigned>(args.shape.batch * args.shape.heads * (D / Columns))),
                Threads, Threads / 32 * Columns * 4, stream, args);
}

}  // namespace

bool supported(int dim) {
  return (dim == 64 || dim == 128) && device().major >= 8 &&
         SweepLayout<128, 2, 1, false>::kBytes <= device().shared_bytes_per_block;
}

size_t workspace_bytes(const ScalarDecayForward& args) {
  Scratch scratch;
  forward(args, scratch, nullptr);
  return scratch.used;
}
size_t workspace_bytes(const ScalarDecayBackward& args) {
  Scratch scratch;
  backward(args, scratch, nullptr);
  return scratch.used;
}

int run(const ScalarDecayForward& args, void* workspace, void* stream) {
  Scratch scratch{static_cast<char*>(workspace)};
  return forward(args, scratch, static_cast<cudaStream_t>(stream));
}
int run(const ScalarDecayBackward& args, void* workspace, void* stream) {
  Scratch scratch{static_cast<char*>(workspace)};
  return backward(args, scratch, static_cast<cudaStream_t>(stream));
}

// few heads: many narrow pieces; many heads: whole rows
int run_decode(const ScalarDecayForward& args, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  const bool many = args.shape.batch * args.shape.heads >= 2 * device().multiprocessors;
  if (args.shape.dim == 128)
    return many ? decode<128, 128, 256>(args, on) : decode<128, 16, 128>(args, on);
  return many ? decode<64, 64, 256>(args, on) : decode<64, 16, 128>(args, on);
}

}  // namespace flashmorph::kernels::cuda
