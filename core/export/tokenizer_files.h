// SPDX-License-Identifier: Apache-2.0
// The tokenizer and generation settings of an export: copied from the teacher, or written anew when
// the teacher is a GGUF file.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/load/model_config.h"
#include "core/load/tokenizer.h"

namespace flashmorph {

/// tokenizer.json of a byte-level BPE as the `tokenizers` library reads it, equal in ids to the
/// GGUF fields. Throws Error(load) for fields we do not read ourselves.
std::string tokenizer_json_of(const GgufTokenizerFields& fields, const std::string& where);

/// Writes into `folder`: tokenizer.json (bytes of the teacher's), tokenizer_config.json with
/// tokenizer_class PreTrainedTokenizerFast (another class rebuilds the pipeline and gives other
/// ids, formats 1.4), special_tokens_map.json and chat_template.jinja if there are,
/// generation_config.json, and the teacher's LICENSE and NOTICE files.
void write_tokenizer_files(const std::filesystem::path& teacher, const ModelConfig& config,
                           const std::filesystem::path& folder);

/// Throws Error(export_refused) naming the first text that the folder's tokenizer reads into other
/// ids than the teacher's.
void check_same_ids(const Tokenizer& teacher, const std::filesystem::path& folder);

/// Texts that tell tokenizers apart: digits, contractions, marks, spaces, other scripts, special
/// tokens.
const std::vector<std::string>& tokenizer_probes();

}  // namespace flashmorph
