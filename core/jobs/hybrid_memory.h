// SPDX-License-Identifier: Apache-2.0
// How much memory a training of a hybrid takes: known before its first step, from one layer of each
// kind measured on a few tokens.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/jobs/session.h"
#include "core/train/hybrid_trainer.h"

namespace flashmorph {

/// Bytes this process may still take on the device: free and reclaimable memory of the machine or
/// its control group; free and cached memory of a GPU.
int64_t available_bytes(at::Device device);
/// Bytes in use now: resident memory of the process, or what LibTorch has allocated on the GPU.
int64_t used_bytes(at::Device device);
/// The largest used_bytes since the start of the process, or since reset_peak_bytes.
int64_t peak_used_bytes(at::Device device);
void reset_peak_bytes(at::Device device);
/// Gives freed memory back to the system, so that others can have it.
void release_memory(at::Device device);

/// Peak memory by part. All but process, workspace and allocator are tensors.
struct MemoryForecast {
  int64_t process = 0;  ///< the program itself, on the CPU: libraries, tokenizer, text
  int64_t teacher = 0, student = 0, gradients = 0, optimizer = 0;
  int64_t activations = 0;  ///< kept for the backward pass, and what the layer at work needs beside
  int64_t logits = 0;       ///< slices of the head
  int64_t workspace = 0;    ///< of matrix libraries on a GPU
  int64_t allocator = 0;    ///< freed, but kept by the C library's heap, on the CPU

  int64_t total() const {
    return process + teacher + student + gradients + optimizer + activations + logits + workspace +
           allocator;
  }
  /// Name and bytes in this order.
  std::vector<std::pair<std::string, int64_t>> parts() const;
};

/// Bytes as a line over tokens: fixed + per_token * tokens.
struct BytesLine {
  double fixed = 0, per_token = 0;
  int64_t at(int64_t tokens) const;
};

/// The memory of one hybrid on its device; any batch can be asked about afterwards.
class HybridMemory {
 public:
  /// Measures one layer of each kind twice, with at most 256 tokens, and the head on one slice.
  /// length: tokens a sequence, as trained. The teacher's pages are read once, so that the resident
  /// memory of this process counts them.
  HybridMemory(const Session& session, HybridModel& hybrid, TrainStage stage, int64_t length);

  /// Peak of a step with micro-batches of so many sequences.
  MemoryForecast forecast(int64_t micro_batch, bool checkpointing) const;
  /// What a start takes beyond what is used now.
  int64_t wanted_bytes(const MemoryForecast& forecast) const;

 private:
  // One layer's memory beyond its input: while it runs without graph; kept with its graph (output
  // included), and at most on the way; at most in the backward pass (its graph included), and when
  // it is computed again for it.
  struct LayerCost {
    BytesLine forward, kept, building, backward;
  };
  LayerCost measure_layer(HybridModel& hybrid, int layer) const;

  int64_t length_, row_bytes_;  // bytes of one token's state
  std::vector<LayerCost> layers_;
  BytesLine teacher_forward_;
  int64_t head_ = 0, head_rows_ = 1;  // bytes of a slice of so many rows
  int64_t vocab_rows_ = 1;            // rows of a slice
  bool reference_ = false, cpu_ = true;
  MemoryForecast fixed_;  // the parts that no batch changes
  int64_t held_ = 0;      // of these, allocated already
};

struct MemoryChoice {
  int64_t micro_batch = 0;
  bool checkpointing = false;
  MemoryForecast forecast;
  std::string note;  ///< a sentence when something was chosen for the user
};

/// Settles micro_batch 0 and checkpointing "auto" so that the peak fits into 90 % of what is
/// available: as many sequences as fill the device (4096 tokens on a CPU, 65536 on a GPU), layers
/// computed twice only when less than 2048 tokens would fit otherwise. Throws Error(out_of_memory)
/// naming both numbers when nothing fits.
MemoryChoice settle_memory(const Session& session, HybridModel& hybrid, const TrainOptions& options,
                           const std::string& checkpointing);
MemoryChoice settle_memory(const HybridMemory& memory, int64_t available,
                           const TrainOptions& options, const std::string& checkpointing, bool gpu);

}  // namespace flashmorph
