// SPDX-License-Identifier: Apache-2.0
// The run file: round trip, replacement, refusals, damage. Other readers and writers:
// run_file_peer_test.
#include "core/run/run_file.h"

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/run/digest.h"
#include "core/run/error.h"
#include "core/run/file_io.h"
#include "core/run/hdf5_file.h"
#include "tests/run/sample_record.h"

namespace flashmorph {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

class RunFile : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "run_file_XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
  }
  void TearDown() override { fs::remove_all(folder_); }
  fs::path path() const { return folder_ / "run.fmrun"; }

  fs::path folder_;
};

std::string refusal(const std::string& bytes, ErrorCode code = ErrorCode::bad_file) {
  try {
    run_file_of_bytes(bytes, "x.fmrun");
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    EXPECT_THAT(e.what(), HasSubstr("x.fmrun"));
    return e.what();
  }
  ADD_FAILURE() << "accepted";
  return {};
}

TEST_F(RunFile, EverythingComesBack) {
  const RunRecord record = sample_record();
  for (const bool compress : {false, true}) {
    const RunFileInfo info = write_run_file(path(), record, compress);
    EXPECT_EQ(info.bytes, fs::file_size(path()));
    EXPECT_EQ(info.sha256, sha256_hex(read_whole_file(path(), 1 << 30)));
    EXPECT_EQ(dump_of(read_run_file(path())), dump_of(record)) << compress;
    EXPECT_FALSE(fs::exists(path().string() + ".tmp"));
  }
}

TEST_F(RunFile, ScoreIsWrittenWithTheGates) {
  const RunRecord record = sample_record();
  const RunRecord back = run_file_of_bytes(run_file_bytes(record), "x");
  const std::vector<double> score = record.score().score;
  ASSERT_EQ(back.gates.score.size(), score.size());
  for (size_t l = 0; l < score.size(); ++l)
    EXPECT_EQ(back.gates.score[l], static_cast<float>(score[l]));
}

TEST_F(RunFile, EmptyAndLongRecords) {
  const RunRecord empty = new_run_record("align", 4);
  EXPECT_EQ(dump_of(run_file_of_bytes(run_file_bytes(empty), "x")), dump_of(empty));
  const RunRecord none = new_run_record("align", 0);
  EXPECT_EQ(dump_of(run_file_of_bytes(run_file_bytes(none), "x")), dump_of(none));
  const RunRecord many = sample_record(3000, 48);  // more rows than a chunk
  EXPECT_EQ(dump_of(run_file_of_bytes(run_file_bytes(many, true), "x")), dump_of(many));
}

TEST_F(RunFile, ColumnsNotSaidAreFilledWithNaN) {
  RunRecord record = sample_record();
  record.steps.lr.resize(10);
  record.gates.raw.clear();
  const RunRecord back = run_file_of_bytes(run_file_bytes(record), "x");
  ASSERT_EQ(back.steps.lr.size(), record.rows());
  EXPECT_EQ(back.steps.lr[9], 0.02F);
  EXPECT_TRUE(std::isnan(back.steps.lr[10]));
  EXPECT_TRUE(std::isnan(back.gates.raw[0]));
}

TEST_F(RunFile, ContradictionsAreRefusedAndTheOldFileStays) {
  const RunRecord good = sample_record();
  write_run_file(path(), good);
  std::vector<RunRecord> bad(6, good);
  bad[0].gates.alpha.push_back(1);
  bad[1].plans[1].id = bad[1].plans[0].id;
  bad[2].plans[0].plan.layers = 7;
  bad[3].evals[0].evaluations[0].plan_id = "p9";
  bad[4].evals[0].evaluations[0].grid.cells[0].hits = 9;
  bad[5].evals[0].evaluations[0].weights = std::string(33, 'w');
  for (const RunRecord& record : bad) EXPECT_THROW(write_run_file(path(), record), Error);
  EXPECT_EQ(dump_of(read_run_file(path())), dump_of(good));
}

TEST_F(RunFile, LongNamesAreCutBetweenCharacters) {
  RunRecord record = sample_record();
  record.plans[0].name = std::string(63, 'a') + "\xC3\xA9";  // é across the limit
  EXPECT_EQ(run_file_of_bytes(run_file_bytes(record), "x").plans[0].name, std::string(63, 'a'));
}

TEST_F(RunFile, NoRoomLeavesTheOldFile) {
  const RunRecord old = sample_record();
  write_run_file(path(), old);
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{100000, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  ErrorCode code = ErrorCode::internal;
  std::string message;
  try {
    write_run_file(path(), sample_record(80));
  } catch (const Error& e) {
    code = e.code(), message = e.what();
  }
  setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_EQ(code, ErrorCode::disk_full) << message;
  EXPECT_THAT(message, HasSubstr("run.fmrun"));
  EXPECT_EQ(dump_of(read_run_file(path())), dump_of(old));
  EXPECT_FALSE(fs::exists(path().string() + ".tmp"));
}

TEST_F(RunFile, PlacesThatCannotBeWritten) {
  std::ofstream(folder_ / "file") << "x";
  const RunRecord record = sample_record();
  const auto code_at = [&](const fs::path& where) {
    try {
      write_run_file(where, record);
    } catch (const Error& e) {
      EXPECT_THAT(e.what(), HasSubstr(where.string()));
      return e.code();
    }
    return ErrorCode::internal;
  };
  EXPECT_EQ(code_at(folder_ / "file" / "run.fmrun"),
            ErrorCode::bad_file);  // below a file: also for root
  EXPECT_EQ(code_at(folder_ / "missing" / "run.fmrun"), ErrorCode::not_found);
  if (geteuid() != 0) {
    fs::permissions(folder_, fs::perms::owner_read | fs::perms::owner_exec);
    EXPECT_EQ(code_at(path()), ErrorCode::bad_file);
    fs::permissions(folder_, fs::perms::owner_all);
  }
}

TEST_F(RunFile, WhatIsNoRunIsRefused) {
  EXPECT_THROW(read_run_file(folder_ / "absent"), Error);
  EXPECT_THROW(read_run_file(folder_), Error);
  refusal("");
  refusal("no HDF5 at all");
  hdf5::Writer out(false);
  out.attribute("/", "format", std::string("something else"));
  EXPECT_THAT(refusal(out.finish()), HasSubstr("no FlashMorph run"));
}

TEST_F(RunFile, NewerMajorIsRefusedNamingBothVersions) {
  hdf5::Writer out(false);
  out.attribute("/", "format", std::string("flashmorph-run"));
  out.attribute("/", "format_major", uint64_t{2});
  out.attribute("/", "format_minor", uint64_t{5});
  const std::string message = refusal(out.finish(), ErrorCode::file_too_new);
  EXPECT_THAT(message, HasSubstr("2.5"));
  EXPECT_THAT(message, HasSubstr("1.0"));
}

// A file that is right but for what `spoil` adds.
template <typename F>
std::string spoiled(F&& spoil, uint64_t minor = 0, bool with_steps = true) {
  hdf5::Writer out(false);
  out.attribute("/", "format", std::string("flashmorph-run"));
  out.attribute("/", "format_major", uint64_t{1});
  out.attribute("/", "format_minor", minor);
  out.text("/model/json", "{}", {"", ""});
  out.attribute("/model/json", "layers", uint64_t{2});
  const std::vector<uint32_t> step = {1, 2, 3};
  if (with_steps) out.array<uint32_t>("/steps/step", step, {3}, {"step", "step"});
  spoil(out);
  return out.finish();
}

TEST_F(RunFile, NewerMinorIsReadAsFarAsKnown) {
  const std::vector<float> values = {1, 2, 3};
  const RunRecord record =
      run_file_of_bytes(spoiled(
                            [&](hdf5::Writer& out) {
                              out.array<float>("/steps/surprise", values, {3}, {"1", "step"});
                            },
                            7),
                        "x");
  EXPECT_EQ(record.rows(), 3U);
}

TEST_F(RunFile, EveryWrongTypeAndSizeNamesItsPath) {
  const std::vector<float> three = {1, 2, 3}, six = {1, 2, 3, 4, 5, 6};
  const std::vector<double> wide = {1, 2, 3};
  const std::vector<uint8_t> bytes = {0, 1, 7, 0};
  const hdf5::Label label{"1", ""};
  using W = hdf5::Writer;
  EXPECT_THAT(refusal(spoiled([&](W& o) { o.array<double>("/steps/lr", wide, {3}, label); })),
              HasSubstr("/steps/lr"));
  EXPECT_THAT(refusal(spoiled([&](W& o) { o.array<float>("/steps/lr", six, {6}, label); })),
              HasSubstr("/steps/lr"));
  EXPECT_THAT(refusal(spoiled([&](W& o) {
                o.array<float>("/steps/lr", three, {3, 1}, label);
              })),
              HasSubstr("/steps/lr"));
  EXPECT_THAT(refusal(spoiled([&](W& o) { o.text("/steps/lr", "0.1", label); })),
              HasSubstr("/steps/lr"));
  EXPECT_THAT(refusal(spoiled([&](W& o) { o.array<float>("/steps/lr/oops", three, {3}, label); })),
              HasSubstr("/steps/lr"));
  EXPECT_THAT(refusal(spoiled([&](W& o) {
                o.array<float>("/gates/alpha", six, {2, 3}, label);
              })),
              HasSubstr("/gates/alpha"));
  EXPECT_THAT(refusal(spoiled([&](W& o) { o.array<float>("/gates/score", three, {3}, label); })),
              HasSubstr("/gates/score"));
  EXPECT_THAT(refusal(spoiled([&](W& o) { o.text("/config/json", "{\"a\":", label); })),
              HasSubstr("/config/json"));
  EXPECT_THAT(refusal(spoiled([&](W& o) { o.text("/config/json", "[]", label); })),
              HasSubstr("/config/json"));
  EXPECT_THAT(refusal(spoiled([&](W& o) { o.strings("/plans/id", {"p1"}, 16, label); })),
              HasSubstr("/plans/"));
  EXPECT_THAT(refusal(spoiled([&](W& o) {
                o.strings("/plans/id", {"p1", "p2"}, 16, label),
                    o.strings("/plans/name", {"", ""}, 64, label);
                o.strings("/plans/origin", {"", ""}, 32, label);
                o.array<uint8_t>("/plans/mask", bytes, {2, 2}, label),
                    o.array<uint8_t>("/plans/lock", bytes, {2, 2}, label);
              })),
              HasSubstr("/plans/mask"));
  EXPECT_THAT(refusal(spoiled([&](W& o) { o.text("/eval/a/json", "{\"name\":\"b\"}", label); })),
              HasSubstr("/eval/a/json"));
  EXPECT_THAT(refusal(spoiled([&](W& o) { o.text("/eval/a/json", "{\"trials\":-3}", label); })),
              HasSubstr("/eval/a/json"));
  const std::vector<uint32_t> falling = {3, 2};
  EXPECT_THAT(refusal(spoiled([&](W& o) { o.array<uint32_t>("/steps/step", falling, {2}, label); },
                              0, false)),
              HasSubstr("/steps/step"));
}

// Damage of every kind: the reader answers or refuses. Each case runs in a child, so that a crash
// is seen as one.
TEST_F(RunFile, DamagedFilesNeverCrash) {
  const RunRecord record = sample_record(20, 4);
  int refused = 0, cases = 0;
  std::mt19937 random(5);
  for (const bool compress : {false, true}) {
    const std::string whole = run_file_bytes(record, compress);
    for (int i = 0; i < 150; ++i) {
      std::string damaged = whole;
      if (i % 3 == 0) damaged.resize(random() % whole.size());
      // Most of the damage near the front, where the structure lies; chunks are long runs of
      // values.
      const size_t reach =
          std::max<size_t>(1, std::min<size_t>(damaged.size(), i % 2 == 0 ? 4096 : damaged.size()));
      for (int k = 0; k < 1 + i % 5 && !damaged.empty(); ++k)
        damaged[random() % reach] ^= static_cast<char>(1 << random() % 8);
      const pid_t child = fork();
      ASSERT_GE(child, 0);
      if (child == 0) {
        alarm(20);
        int status = 0;
        try {
          run_file_of_bytes(damaged, "damaged");
        } catch (const Error&) {
          status = 1;
        } catch (...) {
          status = 2;
        }
        _exit(status);
      }
      int status = 0;
      waitpid(child, &status, 0);
      ASSERT_TRUE(WIFEXITED(status)) << "case " << i << " signal " << WTERMSIG(status);
      ASSERT_LT(WEXITSTATUS(status), 2) << "case " << i;
      refused += WEXITSTATUS(status);
      ++cases;
    }
  }
  EXPECT_GT(refused, cases / 3);
}

}  // namespace
}  // namespace flashmorph
