// SPDX-License-Identifier: Apache-2.0
#include "core/model/cache.h"

namespace flashmorph {

int64_t Cache::bytes() const {
  int64_t total = 0;
  for (const LayerCache& one : layer)
    for (const at::Tensor* tensor : {&one.keys, &one.values, &one.state, &one.conv_q, &one.conv_k, &one.conv_v})
      if (tensor->defined()) total += static_cast<int64_t>(tensor->nbytes());
  return total;
}

}  // namespace flashmorph
