// SPDX-License-Identifier: Apache-2.0
// Lines from pipes, with limits; and the writer at the other end.
#include "core/serve/line_reader.h"

#include <csignal>
#include <random>
#include <thread>

#include <gtest/gtest.h>
#include <unistd.h>

#include "core/serve/writer.h"

namespace flashmorph {
namespace {

using Got = LineReader::Got;
using std::chrono::milliseconds;

struct Pipe {
  int ends[2] = {-1, -1};
  Pipe() { EXPECT_EQ(pipe(ends), 0); }
  ~Pipe() {
    close_write();
    if (ends[0] >= 0) close(ends[0]);
  }
  void put(const std::string& text) {
    EXPECT_EQ(write(ends[1], text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  void close_write() {
    if (ends[1] >= 0) close(ends[1]);
    ends[1] = -1;
  }
};

TEST(LineReader, LinesComeWholeHoweverTheyArrive) {
  Pipe pipe;
  LineReader reader(pipe.ends[0], 100);
  std::string_view line;
  EXPECT_EQ(reader.next(line, milliseconds(0)), Got::nothing);
  pipe.put("one\ntw");
  EXPECT_EQ(reader.next(line, milliseconds(0)), Got::line);
  EXPECT_EQ(line, "one");
  EXPECT_EQ(reader.next(line, milliseconds(0)), Got::nothing);
  pipe.put("o\n\nthree\nunfinished");
  for (const char* expected : {"two", "", "three"}) {
    EXPECT_EQ(reader.next(line, milliseconds(0)), Got::line);
    EXPECT_EQ(line, expected);
  }
  pipe.close_write();
  EXPECT_EQ(reader.next(line, milliseconds(50)), Got::end);
  EXPECT_EQ(reader.next(line, milliseconds(50)), Got::end);
}

TEST(LineReader, ALineAtTheLimitPassesAndOneBeyondIsLeftOut) {
  for (const size_t size : {size_t{99}, size_t{100}, size_t{101}, size_t{5000}}) {
    Pipe pipe;
    pipe.put(std::string(size, 'x') + "\nnext\n");
    LineReader reader(pipe.ends[0], 100);
    std::string_view line;
    EXPECT_EQ(reader.next(line, milliseconds(0)), size <= 100 ? Got::line : Got::too_long) << size;
    EXPECT_EQ(reader.next(line, milliseconds(0)), Got::line);
    EXPECT_EQ(line, "next");
  }
}

TEST(LineReader, AnEndlessLineCostsNoMemory) {
  Pipe pipe;
  std::thread writer([&] {
    const std::string piece(1 << 16, 'x');
    for (int i = 0; i < 3200; ++i)  // 200 MB
      if (write(pipe.ends[1], piece.data(), piece.size()) < 0) return;
    pipe.put("\nend\n");
  });
  LineReader reader(pipe.ends[0], 1 << 20);
  std::string_view line;
  Got got = Got::nothing;
  while ((got = reader.next(line, milliseconds(100))) == Got::nothing) {
  }
  EXPECT_EQ(got, Got::too_long);
  EXPECT_EQ(reader.next(line, milliseconds(1000)), Got::line);
  EXPECT_EQ(line, "end");
  writer.join();
}

TEST(LineReader, RandomPiecesGiveTheSameLines) {
  std::mt19937 random(3);
  std::string text;
  std::vector<std::string> lines;
  for (int i = 0; i < 300; ++i) {
    lines.emplace_back(random() % 40, static_cast<char>('a' + i % 26));
    text += lines.back() + "\n";
  }
  Pipe pipe;
  LineReader reader(pipe.ends[0], 100);
  std::vector<std::string> read;
  for (size_t at = 0; at < text.size();) {
    const size_t count = std::min(text.size() - at, static_cast<size_t>(1 + random() % 30));
    pipe.put(text.substr(at, count));
    at += count;
    std::string_view line;
    while (reader.next(line, milliseconds(0)) == Got::line) read.emplace_back(line);
  }
  EXPECT_EQ(read, lines);
}

TEST(Writer, WritesEverythingThenEnds) {
  Pipe pipe;
  Outbox outbox;
  std::string all;
  std::thread reader([&] {
    char piece[4096];
    for (ssize_t count; (count = read(pipe.ends[0], piece, sizeof(piece))) > 0;)
      all.append(piece, static_cast<size_t>(count));
  });
  {
    Writer writer(outbox, pipe.ends[1]);
    for (int i = 0; i < 5000; ++i) outbox.answer(Message::result(i, std::string(100, 'y')));
  }
  pipe.close_write();
  reader.join();
  EXPECT_EQ(std::count(all.begin(), all.end(), '\n'), 5000);
}

TEST(Writer, AReaderThatIsGoneIsNoTrouble) {
  std::signal(SIGPIPE, SIG_IGN);
  Pipe pipe;
  close(pipe.ends[0]);
  pipe.ends[0] = -1;
  Outbox outbox;
  Writer writer(outbox, pipe.ends[1]);
  outbox.answer(Message::result(1, 1));
  for (int i = 0; i < 200 && !writer.broken(); ++i) std::this_thread::sleep_for(milliseconds(10));
  EXPECT_TRUE(writer.broken());
}

}  // namespace
}  // namespace flashmorph
