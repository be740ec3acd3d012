// SPDX-License-Identifier: Apache-2.0
// The four known patterns: as tokenizer.json spells them, and as we compile them.
#include "core/load/pretokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <array>
#include <nlohmann/json.hpp>

#include "core/load/text.h"
#include "core/run/error.h"

namespace flashmorph {
namespace {

const char* const kHint =
    "Known are the pre-tokenizers of SmolLM, Qwen2 (2.5, 3), Qwen3.5 and Llama 3.";

// As the files spell them. Only equality with these strings is ever asked.
const std::string kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const std::string kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const std::string kQwen35 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// GPT-2's pattern after single digits were cut out: the end of a piece before a digit counts as the
// end of the text.
const std::string kSmollm =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?![^\s\p{N}])|\s+)";

// PCRE2's \s has U+180E (no longer white space since Unicode 6.3), so the class is written out.
const std::string kSpace =
    R"(\t-\r \x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";

std::string compiled_spelling(PreTokenizerRule rule) {
  const std::string& source = rule == PreTokenizerRule::qwen2    ? kQwen2
                              : rule == PreTokenizerRule::llama3 ? kLlama3
                              : rule == PreTokenizerRule::qwen35 ? kQwen35
                                                                 : kSmollm;
  std::string out;
  bool in_class = false;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '[') in_class = true;
    if (source[i] == ']') in_class = false;
    if (source[i] == '\\' && (source[i + 1] == 's' || source[i + 1] == 'S')) {
      const bool negative = source[++i] == 'S';
      out += in_class ? kSpace : (negative ? "[^" : "[") + kSpace + "]";
    } else {
      out += source[i];
    }
  }
  return out;
}

[[noreturn]] void refuse(const std::string& where, const std::string& what) {
  refuse_model(where, what, kHint);
}

bool flag(const nlohmann::json& node, const char* key, bool absent) {
  const auto found = node.find(key);
  return found == node.end() || found->is_null() ? absent : *found == true;
}

std::string type_of(const nlohmann::json& node) {
  return node.is_object() && node.contains("type") && node["type"].is_string()
             ? node["type"].get<std::string>()
             : "?";
}

}  // namespace

PreTokenizerRule pretokenizer_rule(const nlohmann::json& tree, const std::string& where) {
  if (tree.is_null())
    refuse(where, "pre_tokenizer null (SentencePiece style or none) is not supported for now");
  if (type_of(tree) != "Sequence" || !tree.contains("pretokenizers") ||
      !tree["pretokenizers"].is_array())
    refuse(where, fmt::format("pre_tokenizer {} is not supported", in_quotes(type_of(tree))));
  const auto& steps = tree["pretokenizers"];
  for (const auto& step : steps) {
    const std::string type = type_of(step);
    if (type != "Split" && type != "Digits" && type != "ByteLevel")
      refuse(where, fmt::format("pre_tokenizer step {} is not supported", in_quotes(type)));
  }
  if (steps.size() != 2 || type_of(steps[1]) != "ByteLevel" || type_of(steps[0]) == "ByteLevel") {
    std::string names;
    for (const auto& step : steps) names += (names.empty() ? "" : ", ") + type_of(step);
    refuse(where,
           fmt::format("pre_tokenizer sequence [{}] is not supported", names.substr(0, 200)));
  }
  if (flag(steps[1], "add_prefix_space", true))
    refuse(where, "pre_tokenizer ByteLevel with add_prefix_space true is not supported");
  const bool own_pattern = flag(steps[1], "use_regex", true);
  if (type_of(steps[0]) == "Digits") {
    if (!flag(steps[0], "individual_digits", false) || !own_pattern)
      refuse(where,
             "pre_tokenizer Digits without individual_digits, or without ByteLevel's own pattern, "
             "is not supported");
    return PreTokenizerRule::smollm;
  }
  const auto& split = steps[0];
  if (own_pattern)
    refuse(where, "pre_tokenizer Split followed by ByteLevel with use_regex true is not supported");
  if (!split.contains("behavior") || split["behavior"] != "Isolated" ||
      flag(split, "invert", false))
    refuse(where, "pre_tokenizer Split is supported with behavior Isolated and invert false only");
  const auto pattern = split.find("pattern");
  if (pattern == split.end() || !pattern->is_object() || !pattern->contains("Regex") ||
      !(*pattern)["Regex"].is_string())
    refuse(where, "pre_tokenizer Split without a regular expression is not supported");
  const auto& regex = (*pattern)["Regex"].get_ref<const std::string&>();
  if (regex == kQwen2) return PreTokenizerRule::qwen2;
  if (regex == kLlama3) return PreTokenizerRule::llama3;
  if (regex == kQwen35) return PreTokenizerRule::qwen35;
  refuse(where, fmt::format("pre_tokenizer pattern {} is not one we know", in_quotes(regex, 200)));
}

PreTokenizerRule pretokenizer_rule(std::string_view gguf_pre, const std::string& where) {
  if (gguf_pre == "smollm") return PreTokenizerRule::smollm;
  if (gguf_pre == "qwen2") return PreTokenizerRule::qwen2;
  if (gguf_pre == "qwen35") return PreTokenizerRule::qwen35;
  if (gguf_pre == "llama-bpe") return PreTokenizerRule::llama3;
  refuse(where, fmt::format("tokenizer.ggml.pre {} is not supported", in_quotes(gguf_pre)));
}

struct PreTokenizer::Code {
  pcre2_code* regex = nullptr;
  bool jit = false;
  ~Code() { pcre2_code_free(regex); }
};

struct PreTokenizer::Scratch::Memory {
  pcre2_match_data* data = nullptr;
  pcre2_match_context* context = nullptr;
  pcre2_jit_stack* stack = nullptr;
  ~Memory() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
};

PreTokenizer::PreTokenizer(PreTokenizerRule rule) : rule_(rule), code_(std::make_unique<Code>()) {
  const std::string pattern = compiled_spelling(rule);
  int error = 0;
  PCRE2_SIZE offset = 0;
  code_->regex = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                               PCRE2_UTF | PCRE2_UCP, &error, &offset, nullptr);
  if (!code_->regex)
    throw Error("load", ErrorCode::internal,
                fmt::format("PCRE2 does not compile \"{}\" (error {})", pattern, error));
  code_->jit = pcre2_jit_compile(code_->regex, PCRE2_JIT_COMPLETE) == 0;
}

PreTokenizer::~PreTokenizer() = default;
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;

PreTokenizer::Scratch::Scratch(const PreTokenizer& owner) : memory_(std::make_unique<Memory>()) {
  memory_->data = pcre2_match_data_create_from_pattern(owner.code_->regex, nullptr);
  memory_->context = pcre2_match_context_create(nullptr);
  memory_->stack = pcre2_jit_stack_create(32 * 1024, 1024 * 1024, nullptr);
  if (!memory_->data || !memory_->context || !memory_->stack) throw std::bad_alloc();
  pcre2_jit_stack_assign(memory_->context, nullptr, memory_->stack);
}
PreTokenizer::Scratch::~Scratch() = default;

void PreTokenizer::split(std::string_view text, Scratch& scratch,
                         const std::function<void(std::string_view)>& piece) const {
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(scratch.memory_->data);
  for (size_t at = 0; at < text.size();) {
    // JIT's own entry skips the checks that the caller already made (UTF-8, options).
    const int found =
        code_->jit ? pcre2_jit_match(code_->regex, subject, text.size(), at, PCRE2_NO_UTF_CHECK,
                                     scratch.memory_->data, scratch.memory_->context)
                   : pcre2_match(code_->regex, subject, text.size(), at, PCRE2_NO_UTF_CHECK,
                                 scratch.memory_->data, scratch.memory_->context);
    if (found == PCRE2_ERROR_NOMATCH) {
      piece(text.substr(at));
      return;
    }
    if (found < 0) {
      std::array<PCRE2_UCHAR, 160> message{};
      pcre2_get_error_message(found, message.data(), message.size());
      throw Error("load", ErrorCode::bad_request,
                  fmt::format("tokenizer: cutting the text stopped at byte {}: {}", at,
                              reinterpret_cast<const char*>(message.data())),
                  "Split the text into shorter parts.");
    }
    if (bounds[0] > at) piece(text.substr(at, bounds[0] - at));
    piece(text.substr(bounds[0], bounds[1] - bounds[0]));
    at = bounds[1];
  }
}

}  // namespace flashmorph
