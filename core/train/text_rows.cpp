// SPDX-License-Identifier: Apache-2.0
#include "core/train/text_rows.h"

#include <algorithm>

#include "kernels/parallel.h"

namespace flashmorph {

at::Tensor text_rows(const TextSource& text, uint64_t seed, int64_t first, int64_t count, int64_t length) {
  at::Tensor rows = at::empty({count, length}, at::kLong);
  auto* data = rows.mutable_data_ptr<int64_t>();
  kernels::parallel_ranges(count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const TokenIds ids = text.take(seed, static_cast<uint64_t>(first + i), length);
      std::copy(ids.begin(), ids.end(), data + i * length);
    }
  });
  return rows;
}

}  // namespace flashmorph
