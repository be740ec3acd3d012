// SPDX-License-Identifier: Apache-2.0
// Training sequences as a tensor: drawn from a text by several threads at once.
#pragma once

#include <ATen/ATen.h>

#include "core/load/corpus.h"

namespace flashmorph {

/// Sequences first, first + 1, ... of the stream that `seed` names, the same whatever the number of
/// threads: tokenizing a place of a large corpus takes milliseconds, and a step wants a hundred.
/// Returns [count, length] int64, token ids, on the CPU. Throws what TextSource::take does.
at::Tensor text_rows(const TextSource& text, uint64_t seed, int64_t first, int64_t count, int64_t length);

}  // namespace flashmorph
