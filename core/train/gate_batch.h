// SPDX-License-Identifier: Apache-2.0
// Batches of stage 2: passkey samples or ordinary text, with the positions whose states or next
// tokens count.
#pragma once

#include "core/load/corpus.h"
#include "core/load/passkey_data.h"
#include "core/train/gate_loss.h"

namespace flashmorph {

/// Samples step*batch ... of the data the supervision reads, right-padded to the longest (on a GPU
/// to a multiple of 128, so that few shapes occur). multiple: pad to a multiple of that many
/// tokens. Throws Error(bad_request) if a batch has no loss position.
GateBatch gate_batch(const PasskeyData& passkeys, const TextSource* text,
                     const GateOptions& options, int64_t step, int64_t multiple = 1);

}  // namespace flashmorph
