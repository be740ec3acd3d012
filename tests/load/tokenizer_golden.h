// SPDX-License-Identifier: Apache-2.0
// Compares a tokenizer with a golden file: ids, ids with bos, specials as text, decoding.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>

#include <nlohmann/json.hpp>

#include "core/load/tokenizer.h"

namespace flashmorph {

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// Expects every case of the golden file; post_processor false: `ids_with_bos` is not asked for
/// (GGUF has none).
inline void expect_golden(const Tokenizer& tokenizer, const std::filesystem::path& golden_file,
                          bool post_processor = true) {
  const auto golden = nlohmann::json::parse(read_file(golden_file));
  EXPECT_EQ(tokenizer.vocab_size(), golden["vocab_size"].get<int64_t>());
  ASSERT_GT(golden["cases"].size(), 0u);
  for (const auto& row : golden["cases"]) {
    const std::string name =
        row.contains("name") ? row["name"].get<std::string>() : row["text"].dump();
    const auto text = row["text"].get<std::string>();
    const auto ids = row["ids"].get<TokenIds>();
    auto other = [&](const char* key) {
      return row.contains(key) ? row[key].get<TokenIds>() : ids;
    };
    EXPECT_EQ(tokenizer.encode(text), ids) << name;
    EXPECT_EQ(tokenizer.encode(text, {.specials_as_text = true}), other("ids_specials_as_text"))
        << name;
    if (post_processor) {
      EXPECT_EQ(tokenizer.encode(text, {.add_special = true}), other("ids_with_bos")) << name;
    }
    EXPECT_EQ(tokenizer.decode(ids),
              row.contains("decoded") ? row["decoded"].get<std::string>() : text)
        << name;
  }
}

}  // namespace flashmorph
