// SPDX-License-Identifier: Apache-2.0
// Expectations on refusals: which error, and which words its one sentence must hold.
#pragma once

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/run/error.h"

namespace flashmorph::testing {

/// call() must throw Error with exit code 2 whose sentence names every one of `words`, on one line.
template <typename Call>
void expect_refused(Call&& call, const std::vector<std::string>& words) {
  try {
    call();
    ADD_FAILURE() << "accepted; expected a refusal naming " << (words.empty() ? "" : words.back());
  } catch (const Error& e) {
    EXPECT_EQ(exit_code(e.code()), 2) << e.what();
    EXPECT_EQ(e.stage(), "load");
    EXPECT_EQ(e.message().find('\n'), std::string::npos) << e.message();
    EXPECT_LT(e.message().size(), size_t{2000});
    for (const auto& word : words)
      EXPECT_NE(e.message().find(word), std::string::npos) << word << " in: " << e.message();
  }
}

}  // namespace flashmorph::testing
