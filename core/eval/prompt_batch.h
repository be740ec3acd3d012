// SPDX-License-Identifier: Apache-2.0
// Prompts of nearly equal length as one right-padded batch: under causal attention what stands on
// the right changes nothing.
#pragma once

#include <vector>

#include <ATen/ATen.h>

#include "core/eval/plan_sweep.h"
#include "core/load/passkey_data.h"
#include "core/model/teacher.h"

namespace flashmorph {

/// Some prompts of a set, ready for the device.
struct PromptBatch {
  at::Tensor ids;  ///< [B, T] int64, padded on the right with id 0
  RowIndex rows;   ///< [n] sequence and position of the state that predicts each answer token (one
                   ///< before it)
  at::Tensor labels;           ///< [n] int64, the answer tokens
  at::Tensor lengths;          ///< [B] int64, without padding
  std::vector<size_t> prompt;  ///< [B] which prompt of the set
  std::vector<int64_t>
      first_row;       ///< [B + 1] rows of sequence b: first_row[b] .. first_row[b + 1] - 1
  int64_t tokens = 0;  ///< without padding
};

/// Tokens a batch may hold: some two seconds' work on a CPU (2048 to 16384), 65536 on a GPU.
int64_t batch_tokens(const Teacher& teacher);

/// Prompts sorted by length and cut into groups: at most `tokens` with padding (a longer prompt
/// goes alone), the longest at most a quarter longer than the shortest. Under `dynamic` RoPE, whose
/// angles depend on the whole length, only equal lengths meet. Throws Error(bad_request) naming a
/// prompt without ids or answers, or with an answer position outside 1..length-1.
std::vector<std::vector<size_t>> group_prompts(const std::vector<Sample>& prompts,
                                               const ModelConfig& config, int64_t tokens);

/// The batch of the chosen prompts, on the teacher's device.
PromptBatch make_prompt_batch(const std::vector<Sample>& prompts, const std::vector<size_t>& chosen,
                              const Teacher& teacher);

}  // namespace flashmorph
