// SPDX-License-Identifier: Apache-2.0
// Fixed decays of Lightning attention.
#pragma once

#include <cstdint>
#include <vector>

namespace flashmorph::kernels {

/// Slopes of Lightning attention, one per head; the log decay per token is -slope (method.md 2.5).
///
///   H a power of two:  slope_h = 2^(-8(h+1)/H)
///   else, P the next lower power of two:  heads 0..P-1 take P's slopes, head P+j takes
///   2^(-8(2j+1)/(2P))
///
/// heads: number of heads, at least 1. Returns `heads` values in (0, 1].
std::vector<double> lightning_slopes(int64_t heads);

}  // namespace flashmorph::kernels
