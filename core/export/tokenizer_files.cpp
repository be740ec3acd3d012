// SPDX-License-Identifier: Apache-2.0
#include "core/export/tokenizer_files.h"

#include <fmt/format.h>

#include "core/load/gguf.h"
#include "core/load/json_text.h"
#include "core/run/error.h"
#include "core/run/file_io.h"

namespace flashmorph {

namespace {

namespace fs = std::filesystem;
constexpr uint64_t kMost = uint64_t{256} << 20;
constexpr const char* kClass = "PreTrainedTokenizerFast";

bool copy_if_there(const fs::path& from, const fs::path& folder, const std::string& name) {
  if (!fs::is_regular_file(from / name)) return false;
  write_file_atomic(folder / name, read_whole_file(from / name, kMost));
  return true;
}

void write_json(const fs::path& path, const nlohmann::json& json) {
  write_file_atomic(path,
                    json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

nlohmann::json generation_config(const ModelConfig& c) {
  nlohmann::json json{{"_from_model_config", true}, {"use_cache", true}};
  if (c.bos) json["bos_token_id"] = *c.bos;
  if (c.pad) json["pad_token_id"] = *c.pad;
  if (c.eos.size() == 1) json["eos_token_id"] = c.eos[0];
  if (c.eos.size() > 1) json["eos_token_id"] = c.eos;
  return json;
}

void from_gguf(const fs::path& teacher, const ModelConfig& config, const fs::path& folder) {
  const GgufFile file(teacher);
  const GgufTokenizerFields fields = gguf_tokenizer_fields(file);
  write_file_atomic(folder / "tokenizer.json", tokenizer_json_of(fields, file.where()));
  nlohmann::json json{{"tokenizer_class", kClass},
                      {"add_prefix_space", false},
                      {"clean_up_tokenization_spaces", false},
                      {"model_max_length", config.max_position}};
  for (const auto& [key, id] :
       {std::pair{"bos_token", fields.bos}, std::pair{"eos_token", fields.eos},
        std::pair{"pad_token", fields.pad}})
    if (id && *id >= 0 && *id < static_cast<int64_t>(fields.tokens.size()))
      json[key] = fields.tokens[static_cast<size_t>(*id)];
  if (const auto chat = file.text("tokenizer.chat_template")) json["chat_template"] = *chat;
  write_json(folder / "tokenizer_config.json", json);
}

void from_directory(const fs::path& teacher, const ModelConfig& config, const fs::path& folder) {
  if (!copy_if_there(teacher, folder, "tokenizer.json"))
    throw Error("export", ErrorCode::not_found,
                fmt::format("{} has no tokenizer.json", teacher.filename().string()),
                "put the model's tokenizer.json beside its weights");
  nlohmann::json json = nlohmann::json::object();
  if (fs::exists(teacher / "tokenizer_config.json"))
    json = parse_json(read_whole_file(teacher / "tokenizer_config.json", uint64_t{16} << 20),
                      "tokenizer_config.json", {.bytes = size_t{16} << 20, .unique_keys = false});
  if (!json.is_object()) json = nlohmann::json::object();
  json["tokenizer_class"] = kClass;
  json.erase("auto_map");  // no code travels with a tokenizer
  if (!json.contains("model_max_length")) json["model_max_length"] = config.max_position;
  write_json(folder / "tokenizer_config.json", json);
  for (const char* name : {"special_tokens_map.json", "chat_template.jinja", "chat_template.json",
                           "LICENSE", "LICENSE.txt", "NOTICE"})
    copy_if_there(teacher, folder, name);
}

}  // namespace

void write_tokenizer_files(const fs::path& teacher, const ModelConfig& config,
                           const fs::path& folder) {
  const bool directory = fs::is_directory(teacher);
  directory ? from_directory(teacher, config, folder) : from_gguf(teacher, config, folder);
  if (!directory || !copy_if_there(teacher, folder, "generation_config.json"))
    write_json(folder / "generation_config.json", generation_config(config));
}

const std::vector<std::string>& tokenizer_probes() {
  static const std::vector<std::string> probes{
      "The quick brown fox jumps over the lazy dog. 1 + 1 = 2",
      "It's 12345678 o'clock, they'LL say; 3.14159 and 007",
      "  two spaces\tand tabs\n\n\nand lines \r\n end  ",
      "naïve café e\u0301 ﬁne Å Å",
      "Привет, мир! 你好，世界。 こんにちは ٣٤٥ ไทย שָׁלוֹם مَرْحَبًا",
      "emoji 👩‍👩‍👧‍👦 🇩🇪 ✨",
      "def f(x):\n    return {'a': x[0] // 2}  # code",
      "<|im_start|>user\nHello<|im_end|>\n<|endoftext|>",
      "alpha bravo charlie delta, what is the first passkey to the vault?",
      std::string("bytes \x01\x02\x7f end"),
      ""};
  return probes;
}

void check_same_ids(const Tokenizer& teacher, const fs::path& folder) {
  const Tokenizer written = Tokenizer::load(folder);
  for (const std::string& text : tokenizer_probes())
    for (const bool special : {false, true})
      if (teacher.encode(text, {.add_special = special}) !=
          written.encode(text, {.add_special = special}))
        throw Error("export", ErrorCode::export_refused,
                    fmt::format("the written tokenizer gives other ids than the teacher's for {}",
                                nlohmann::json(text).dump()),
                    "please report this sentence together with the model's name");
}

}  // namespace flashmorph
