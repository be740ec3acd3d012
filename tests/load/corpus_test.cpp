// SPDX-License-Identifier: Apache-2.0
// Corpora of friendly and hostile files; block-wise reading against tokenizing the whole text at
// once.
#include "core/load/corpus.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <iterator>
#include <limits>
#include <set>
#include <sstream>
#include <thread>

#include <nlohmann/json.hpp>

#include "core/load/corpus_files.h"
#include "core/load/random.h"
#include "core/load/sha256.h"
#include "core/load/story.h"
#include "core/run/error.h"

namespace flashmorph {
namespace {

namespace fs = std::filesystem;

const Tokenizer& demo() {
  static const Tokenizer tokenizer = Tokenizer::load(fs::path(RESOURCES_DIR) / "demo/teacher");
  return tokenizer;
}

class CorpusTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ =
        fs::temp_directory_path() / ("corpus_test_" + std::to_string(getpid()) +
                                     testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  fs::path write(const std::string& name, const std::string& text) {
    fs::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name, std::ios::binary) << text;
    return folder_ / name;
  }
  // All tokens in order: a take of the whole size, turned so that it starts where the file does.
  TokenIds all(const Corpus& corpus) {
    const TokenIds twice = corpus.take(0, 0, 2 * corpus.size());
    const TokenIds half(twice.begin(), twice.begin() + static_cast<std::ptrdiff_t>(corpus.size()));
    EXPECT_TRUE(std::equal(half.begin(), half.end(), twice.begin() + corpus.size()))
        << "the end goes on at the beginning";
    return half;
  }
  void expect_same_circle(TokenIds got, const TokenIds& expected) {
    ASSERT_EQ(got.size(), expected.size());
    const size_t n = got.size();
    got.insert(got.end(), got.begin(), got.end());
    EXPECT_NE(std::search(got.begin(), got.end(), expected.begin(), expected.end()), got.end())
        << n;
  }
  void expect_error(const std::function<void()>& call, ErrorCode code, const std::string& word) {
    try {
      call();
      ADD_FAILURE() << "accepted: " << word;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), code) << e.message();
      EXPECT_NE(e.message().find(word), std::string::npos) << e.message();
    }
  }
  fs::path folder_;
};

TEST_F(CorpusTest, HeldOutTextIsNeverTakenByTraining) {
  std::string text;  // every line is told from every other
  for (int i = 0; text.size() < 40 * 65536; ++i) text += "line " + std::to_string(i) + "\n";
  const Corpus corpus(write("long.txt", text), demo());
  const auto training = corpus.training_part(), held_out = corpus.held_out_part();
  ASSERT_TRUE(training && held_out);
  const auto lines = [&](const TextSource& from) {
    std::set<std::string> found;
    for (uint64_t i = 0; i < 300; ++i) {
      std::istringstream words(demo().decode(from.take(3, i, 400)));
      std::string line;
      std::getline(words, line);  // cut at its beginning
      while (std::getline(words, line))
        if (!words.eof()) found.insert(line);
    }
    return found;
  };
  const auto a = lines(*training), b = lines(*held_out);
  EXPECT_GT(a.size(), 3000u);
  EXPECT_GT(b.size(), 1000u);
  std::vector<std::string> both;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
  // A line that lies across the end of a block has a half in each part.
  for (const std::string& line : both) EXPECT_LT(line.size(), 5u) << line;
  EXPECT_EQ(training->data_sha256(), corpus.data_sha256());

  const Corpus small(write("small.txt", "A few words."), demo());
  EXPECT_FALSE(small.training_part());
  EXPECT_FALSE(small.held_out_part());
}

TEST_F(CorpusTest, OneFileGivesItsTokensAndAnEnd) {
  const std::string text = "Clara walked to the old market.\nTom left.\n<|im_start|> is text here.";
  const auto path = write("a.txt", text);
  const Corpus corpus(path, demo());
  TokenIds expected = demo().encode(text, {.specials_as_text = true});
  expected.push_back(0);
  EXPECT_EQ(corpus.size(), static_cast<int64_t>(expected.size()));
  EXPECT_TRUE(corpus.size_is_exact());
  expect_same_circle(all(corpus), expected);
  EXPECT_EQ(corpus.data_sha256(), sha256_hex(std::string_view(text)));
  EXPECT_EQ(corpus.files(), 1);
  EXPECT_EQ(corpus.bytes(), static_cast<int64_t>(text.size()));
}

TEST_F(CorpusTest, BlocksGiveTheTokensOfTheWholeText) {
  std::string text;
  Random random(1);
  while (text.size() < 400000) text += story(random, 30) + "\n\n";
  text += std::string(150000, 'x') + " tail";  // no place to cut but between characters
  const auto path = write("long.md", text);
  ASSERT_GT(index_corpus(list_corpus_files(path)).blocks.size(), 5u);
  const Corpus corpus(path, demo());
  TokenIds expected = demo().encode(text, {.specials_as_text = true});
  expected.push_back(0);
  // The run of x has no line ends, so one cut may fall inside it; x is a token of its own there.
  expect_same_circle(all(corpus), expected);
}

TEST_F(CorpusTest, TakesAreRepeatableAndExact) {
  Random random(1);
  const auto path = write("a.txt", story(random, 3000));
  const Corpus a(path, demo()), b(path, demo());
  for (uint64_t index = 0; index < 20; ++index)
    EXPECT_EQ(a.take(3, index, 100), b.take(3, index, 100));
  for (uint64_t index = 20; index-- > 0;) EXPECT_EQ(a.take(3, index, 500), b.take(3, index, 500));
  EXPECT_NE(a.take(3, 0, 100), a.take(3, 1, 100));
  EXPECT_NE(a.take(3, 0, 100), a.take(4, 0, 100));
  EXPECT_EQ(a.take(3, 0, 0).size(), 0u);
  EXPECT_EQ(a.take(3, 0, 3 * a.size()).size(), static_cast<size_t>(3 * a.size()));
  EXPECT_THROW(a.take(3, 0, -1), Error);
  EXPECT_THROW(a.take(3, 0, std::numeric_limits<int64_t>::max()), Error);
}

TEST_F(CorpusTest, ThreadsReadTheSame) {
  Random random(1);
  const Corpus corpus(write("a.txt", story(random, 8000)), demo());
  const TokenIds expected = Corpus(folder_ / "a.txt", demo()).take(1, 5, 20000);
  std::vector<std::thread> threads;
  std::vector<TokenIds> got(4);
  for (auto& mine : got) threads.emplace_back([&] { mine = corpus.take(1, 5, 20000); });
  for (auto& thread : threads) thread.join();
  for (const auto& mine : got) EXPECT_EQ(mine, expected);
}

TEST_F(CorpusTest, FoldersAreReadInOrderAndLoopsEnd) {
  write("b.txt", "two");
  write("a.md", "one");
  write("sub/c.jsonl", "{\"text\": \"three\"}\n\n{\"text\": \"four\", \"n\": 4}\n");
  write("sub/ignored.bin", std::string("\0\1", 2));
  write("sub/empty.txt", "");
  fs::create_directory_symlink(folder_, folder_ / "sub/loop");
  fs::create_symlink(folder_ / "nowhere.txt", folder_ / "broken.txt");
  ASSERT_EQ(mkfifo((folder_ / "pipe.txt").c_str(), 0600), 0);
  const Corpus corpus(folder_, demo());
  TokenIds expected;
  for (const char* text : {"one", "two", "three", "four"}) {
    const auto ids = demo().encode(text);
    expected.insert(expected.end(), ids.begin(), ids.end());
    expected.push_back(0);
  }
  expect_same_circle(all(corpus), expected);
  EXPECT_EQ(corpus.files(), 4);
}

TEST_F(CorpusTest, MarksLineEndsAndBadBytesAreHandled) {
  const Corpus corpus(write("a.txt", "\xEF\xBB\xBFone\r\ntwo \xFF three\rfour"), demo());
  TokenIds expected = demo().encode("one\ntwo \xEF\xBF\xBD three\rfour");
  expected.push_back(0);
  expect_same_circle(all(corpus), expected);
  const Corpus lines(
      write("a.jsonl", "\xEF\xBB\xBF{\"text\": \"a\\r\\nb\xFF\"}\r\n{\"text\": \"c\"}"), demo());
  expected = demo().encode("a\nb\xEF\xBF\xBD");
  expected.push_back(0);
  const auto c = demo().encode("c");
  expected.insert(expected.end(), c.begin(), c.end());
  expected.push_back(0);
  expect_same_circle(all(lines), expected);
}

TEST_F(CorpusTest, ManyLinesMakeSeveralBlocks) {
  std::string text;
  TokenIds expected;
  Random random(2);
  for (int i = 0; i < 3000; ++i) {
    const std::string document = i % 7 ? story(random, 2) : "";
    text += nlohmann::json{{"id", i}, {"text", document}}.dump() + "\n";
    if (document.empty()) continue;
    const auto ids = demo().encode(document);
    expected.insert(expected.end(), ids.begin(), ids.end());
    expected.push_back(0);
  }
  const auto path = write("a.jsonl", text);
  ASSERT_GT(index_corpus(list_corpus_files(path)).blocks.size(), 3u);
  expect_same_circle(all(Corpus(path, demo())), expected);
}

TEST_F(CorpusTest, HostileFilesEndInASentence) {
  auto open = [&](const fs::path& path) { return [this, path] { Corpus(path, demo()); }; };
  expect_error(open(folder_ / "missing.txt"), ErrorCode::not_found, "missing.txt");
  expect_error(open(""), ErrorCode::not_found, "there is no");
  expect_error(open(folder_), ErrorCode::not_found, "no .txt, .md or .jsonl");
  expect_error(open(write("empty.txt", "")), ErrorCode::bad_file, "no text");
  expect_error(open(write("mark.txt", "\xEF\xBB\xBF")), ErrorCode::bad_file, "no text");
  expect_error(open(write("zero.txt", std::string("a\0b", 3))), ErrorCode::bad_file, "zero bytes");
  expect_error(open(write("wide.txt", std::string("\xFF\xFE"
                                                  "a\0",
                                                  4))),
               ErrorCode::bad_file, "UTF-16");
  expect_error(open(write("table.parquet", "PAR1")), ErrorCode::bad_file, ".parquet");
  expect_error(open(write("list.json", "[]")), ErrorCode::bad_file, ".json");
  expect_error(open(write("a.jsonl", "{\"text\": \"a\"}\n{\"txt\": \"b\"}\n")), ErrorCode::bad_file,
               "line 2");
  expect_error(open(write("b.jsonl", "{\"text\": \"a\"}\n\n{\"text\": 7}\n")), ErrorCode::bad_file,
               "line 3");
  expect_error(open(write("c.jsonl", "{\"text\": \"a\"}\n[]")), ErrorCode::bad_file, "line 2");
  expect_error(open(write("d.jsonl", "{\"text\": \"a\"")), ErrorCode::bad_file, "line 1");
  expect_error(open(write("deep.jsonl", std::string(100000, '['))), ErrorCode::bad_file, "line 1");
  expect_error(open(write("e.jsonl", "\n \n{\"text\": \"\"}\n")), ErrorCode::bad_file, "no text");
  expect_error(open(write("long.jsonl", std::string((16 << 20) + 2, 'a'))), ErrorCode::bad_file,
               "longer than");
  ASSERT_EQ(mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  expect_error(open(folder_ / "pipe"), ErrorCode::bad_file, "neither a file nor a folder");
}

TEST_F(CorpusTest, AFileThatChangesIsNoticed) {
  const auto path = write("a.txt", "some text of the old market");
  const Corpus corpus(path, demo());
  write("a.txt", "other");
  expect_error([&] { corpus.take(0, 0, 10); }, ErrorCode::bad_file, "changed");
}

TEST_F(CorpusTest, SpecsAreFilesOrStories) {
  EXPECT_EQ(open_text("story", demo())->take(0, 0, 50), StoryCorpus(demo(), 0).take(0, 0, 50));
  EXPECT_EQ(open_text("story:17", demo())->take(0, 0, 50), StoryCorpus(demo(), 17).take(0, 0, 50));
  EXPECT_EQ(open_text(write("a.txt", "hello").string(), demo())->data_sha256(),
            sha256_hex(std::string_view("hello")));
  for (const char* odd :
       {"story:", "story:x", "story:-1", "story:1x", "story:99999999999999999999"})
    expect_error([&] { open_text(odd, demo()); }, ErrorCode::bad_request, "story:SEED");
  expect_error([&] { open_text("stories", demo()); }, ErrorCode::not_found, "stories");
}

}  // namespace
}  // namespace flashmorph
