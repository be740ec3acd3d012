// SPDX-License-Identifier: Apache-2.0
// Sampling from blocks with a bounded cache of tokens; the endless story source; what a corpus spec
// means.
#include "core/load/corpus.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <functional>
#include <limits>
#include <list>
#include <mutex>

#include "core/load/corpus_files.h"
#include "core/load/random.h"
#include "core/load/sha256.h"
#include "core/load/story.h"
#include "core/load/text.h"
#include "core/run/error.h"

namespace flashmorph {
namespace {

constexpr int64_t kMaxTake = int64_t{1} << 28, kCachedTokens = int64_t{1} << 25,
                  kCountedBytes = int64_t{16} << 20;
constexpr int kSentences = 40;
constexpr size_t kHeldOutOneIn = 20;

void check_take(int64_t tokens) {
  if (tokens < 0 || tokens > kMaxTake)
    throw Error("load", ErrorCode::bad_request,
                fmt::format("text: {} tokens asked for, expected 0 to {}", tokens, kMaxTake));
}

// What separates documents: eos, or a blank line.
TokenIds document_end(const Tokenizer& tokenizer) {
  return tokenizer.eos() ? TokenIds{*tokenizer.eos()} : tokenizer.encode("\n\n");
}

}  // namespace

struct Corpus::State {
  Tokenizer tokenizer;
  CorpusIndex index;
  TokenIds end;
  using Tokens = std::shared_ptr<const TokenIds>;
  mutable std::mutex mutex;
  mutable std::list<std::pair<size_t, Tokens>> recent;  // latest first
  mutable int64_t recent_tokens = 0;
  mutable int64_t size = -1;

  Tokens block(size_t number) const {
    {
      const std::lock_guard lock(mutex);
      const auto found = std::find_if(recent.begin(), recent.end(),
                                      [&](const auto& entry) { return entry.first == number; });
      if (found != recent.end()) {
        recent.splice(recent.begin(), recent, found);
        return recent.front().second;
      }
    }
    auto tokens = std::make_shared<TokenIds>();
    read_block(index, index.blocks[number], [&](std::string_view text, bool ends_document) {
      const TokenIds ids = tokenizer.encode(text, {.specials_as_text = true});
      tokens->insert(tokens->end(), ids.begin(), ids.end());
      if (ends_document) tokens->insert(tokens->end(), end.begin(), end.end());
    });
    const std::lock_guard lock(mutex);
    recent.emplace_front(number, tokens);
    recent_tokens += static_cast<int64_t>(tokens->size());
    while (recent.size() > 1 && recent_tokens > kCachedTokens) {
      recent_tokens -= static_cast<int64_t>(recent.back().second->size());
      recent.pop_back();
    }
    return tokens;
  }
};

// Some of the blocks, in order.
struct Corpus::Part {
  std::vector<size_t> blocks;
  std::vector<int64_t> before;  // bytes of all of them before each, and of all

  Part(const CorpusIndex& index, const std::function<bool(size_t)>& holds) : before{0} {
    for (size_t i = 0; i < index.blocks.size(); ++i) {
      if (!holds(i)) continue;
      blocks.push_back(i);
      before.push_back(before.back() + index.blocks[i].bytes);
    }
  }
};

Corpus::Corpus(const std::filesystem::path& path, const Tokenizer& tokenizer)
    : state_(new State{tokenizer,
                       index_corpus(list_corpus_files(path)),
                       document_end(tokenizer),
                       {},
                       {},
                       0,
                       -1}) {
  if (state_->index.blocks.empty()) refuse_file(path.string(), "", "holds no text");
  part_ = std::make_shared<const Part>(state_->index, [](size_t) { return true; });
}

Corpus::Corpus(std::shared_ptr<State> state, std::shared_ptr<const Part> part)
    : state_(std::move(state)), part_(std::move(part)) {}

std::unique_ptr<TextSource> Corpus::part(bool held_out) const {
  if (state_->index.blocks.size() < kHeldOutOneIn) return nullptr;
  auto part = std::make_shared<const Part>(state_->index, [&](size_t block) {
    return (block % kHeldOutOneIn == kHeldOutOneIn - 1) == held_out;
  });
  return std::unique_ptr<TextSource>(new Corpus(state_, std::move(part)));
}

std::unique_ptr<TextSource> Corpus::training_part() const { return part(false); }
std::unique_ptr<TextSource> Corpus::held_out_part() const { return part(true); }

Corpus::~Corpus() = default;

TokenIds Corpus::take(uint64_t seed, uint64_t index, int64_t tokens) const {
  check_take(tokens);
  Random random = Random(seed).fork("corpus", index);
  // A byte of the corpus, then a token of its block: long blocks are met more often, as they hold
  // more.
  const std::vector<int64_t>& before = part_->before;
  const auto at = static_cast<int64_t>(random.uniform(static_cast<uint64_t>(before.back())));
  auto number = static_cast<size_t>(std::upper_bound(before.begin(), before.end(), at) -
                                    before.begin() - 1);
  TokenIds out;
  out.reserve(static_cast<size_t>(tokens));
  auto block = state_->block(part_->blocks[number]);
  size_t start = block->empty() ? 0 : random.uniform(block->size());
  for (size_t empty = 0; static_cast<int64_t>(out.size()) < tokens;) {
    const size_t count = std::min(block->size() - start, static_cast<size_t>(tokens) - out.size());
    out.insert(out.end(), block->begin() + static_cast<std::ptrdiff_t>(start),
               block->begin() + static_cast<std::ptrdiff_t>(start + count));
    empty = count ? 0 : empty + 1;
    if (empty > part_->blocks.size())
      throw Error("load", ErrorCode::unsupported_model,
                  "text: the tokenizer gives no token for any of it");
    if (static_cast<int64_t>(out.size()) == tokens) break;
    number = (number + 1) % part_->blocks.size();
    block = state_->block(part_->blocks[number]);
    start = 0;
  }
  return out;
}

bool Corpus::size_is_exact() const { return state_->index.bytes <= kCountedBytes; }

int64_t Corpus::size() const {
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->size >= 0) return state_->size;
  }
  const size_t blocks = state_->index.blocks.size();
  const size_t counted = size_is_exact() ? blocks : std::min<size_t>(64, blocks);
  int64_t tokens = 0, bytes = 0;
  for (size_t i = 0; i < counted; ++i) {
    const size_t number = i * blocks / counted;
    tokens += static_cast<int64_t>(state_->block(number)->size());
    bytes += state_->index.blocks[number].bytes;
  }
  if (counted < blocks)
    tokens = static_cast<int64_t>(static_cast<double>(tokens) *
                                  static_cast<double>(state_->index.bytes) /
                                  static_cast<double>(bytes));
  const std::lock_guard lock(state_->mutex);
  return state_->size = tokens;
}

std::string Corpus::data_sha256() const { return state_->index.sha256; }
int64_t Corpus::bytes() const { return state_->index.bytes; }
int64_t Corpus::files() const { return static_cast<int64_t>(state_->index.files.size()); }

TokenIds StoryCorpus::take(uint64_t seed, uint64_t index, int64_t tokens) const {
  check_take(tokens);
  Random random = Random(Random(seed_).derive("stories", seed)).fork("take", index);
  const TokenIds separator = tokenizer_.encode("\n\n");
  TokenIds out;
  out.reserve(static_cast<size_t>(tokens) + 1024);
  while (static_cast<int64_t>(out.size()) < tokens) {
    TokenIds ids = tokenizer_.encode(story(random, kSentences), {.specials_as_text = true});
    if (ids.empty())
      throw Error("load", ErrorCode::unsupported_model,
                  "the tokenizer gives no token for an English story");
    ids.insert(ids.end(), separator.begin(), separator.end());
    // The first story is entered at a random token, so that samples do not all begin alike.
    const auto skip = out.empty() ? static_cast<std::ptrdiff_t>(random.uniform(ids.size())) : 0;
    out.insert(out.end(), ids.begin() + skip, ids.end());
  }
  out.resize(static_cast<size_t>(tokens));
  return out;
}

int64_t StoryCorpus::size() const { return std::numeric_limits<int64_t>::max(); }
std::string StoryCorpus::data_sha256() const {
  return sha256_hex(std::string_view(fmt::format("flashmorph stories 1, seed {}", seed_)));
}

std::unique_ptr<TextSource> open_text(const std::string& spec, const Tokenizer& tokenizer) {
  const std::string_view name = "story";
  if (spec == name) return std::make_unique<StoryCorpus>(tokenizer, 0);
  if (spec.starts_with("story:")) {
    uint64_t seed = 0;
    const char* const end = spec.data() + spec.size();
    const auto [stop, error] = std::from_chars(spec.data() + name.size() + 1, end, seed);
    if (error != std::errc() || stop != end)
      throw Error("load", ErrorCode::bad_request,
                  fmt::format("text {}: expected story:SEED with a whole number", in_quotes(spec)));
    return std::make_unique<StoryCorpus>(tokenizer, seed);
  }
  return std::make_unique<Corpus>(spec, tokenizer);
}

}  // namespace flashmorph
