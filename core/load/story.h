// SPDX-License-Identifier: Apache-2.0
// Made-up stories in plain English: the text the demo teacher was trained on, and the corpus of who
// has none.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>

#include "core/load/random.h"
#include "core/load/tokenizer.h"

namespace flashmorph {

/// A story of so many sentences. Who carries what is remembered, so that even the story needs some
/// recall.
std::string story(Random& random, int sentences);

/// Writes stories of 40 sentences, separated by blank lines, until at least `tokens` tokens are out
/// (counted with `tokenizer`, or as 4 bytes each when it is null). The same seed gives the same
/// text, and a longer run begins with it. Throws Error(load, disk_full) when the stream fails.
/// Returns the tokens written.
int64_t write_stories(std::ostream& out, uint64_t seed, int64_t tokens, const Tokenizer* tokenizer);

}  // namespace flashmorph
