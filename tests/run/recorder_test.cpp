// SPDX-License-Identifier: Apache-2.0
// Run folder, journal, recorder: live writing, locks, crash recovery (kill -9 at random moments),
// full disks.
#include "core/run/recorder.h"

#include <csignal>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/run/error.h"
#include "core/run/file_io.h"
#include "core/run/journal.h"
#include "tests/run/sample_record.h"

namespace flashmorph {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

class RecorderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "recorder_XXXXXX").string();
    runs_ = mkdtemp(pattern.data());
  }
  void TearDown() override { fs::remove_all(runs_); }
  RunFolder new_run(const std::string& name = "gates") {
    record_ = new_run_record("gates", 2);
    return create_run(runs_, name, record_);
  }

  fs::path runs_;
  RunRecord record_;
};

GateStepsEvent row(int64_t step) {
  const double a = 1.0 / static_cast<double>(step);
  return {"j1",
          {step},
          {{a, 1 - a}},
          {{a + 1, 2 - a}},
          {5 * a},
          {0.1},
          {},
          {0.02},
          {0.1 * static_cast<double>(step)},
          {step * 100}};
}

template <typename F>
ErrorCode code_of(F&& work) {
  try {
    work();
  } catch (const Error& e) {
    return e.code();
  }
  return ErrorCode::stopped;  // no error
}

TEST_F(RecorderTest, FolderHasItsPartsAndARevision) {
  const RunFolder folder = new_run();
  EXPECT_TRUE(fs::is_directory(folder.checkpoints()));
  EXPECT_TRUE(fs::is_directory(folder.exports()));
  EXPECT_EQ(open_run(folder.path).record.revision, 1U);
  EXPECT_EQ(open_run(folder.run_file()).record.uuid, record_.uuid);
  EXPECT_EQ(new_run().path.filename(), "gates-2");
  EXPECT_THAT(list_runs(runs_), ElementsAre("gates", "gates-2"));
  EXPECT_TRUE(list_runs(runs_ / "absent").empty());
  for (const char* bad : {"../x", ".hidden", "-flag", "a b", "a/b"})
    EXPECT_EQ(code_of([&] { new_run(bad); }), ErrorCode::bad_request) << bad;
}

TEST_F(RecorderTest, NotesGoBothWays) {
  const RunFolder folder = new_run();
  EXPECT_EQ(read_notes(folder).notes, "");
  write_notes(folder, {"seed 1", "zwei\nZeilen \"x\""});
  EXPECT_EQ(read_notes(folder).notes, "zwei\nZeilen \"x\"");
  std::ofstream(folder.notes()) << "{";
  EXPECT_EQ(code_of([&] { read_notes(folder); }), ErrorCode::bad_file);
}

TEST_F(RecorderTest, EventsEditsAndCloseEndInTheFile) {
  const RunFolder folder = new_run();
  std::vector<uint64_t> revisions;
  RecorderOptions options;
  options.on_commit = [&](const RunCommittedEvent& e) { revisions.push_back(e.revision); };
  Recorder recorder(folder, record_, options);
  for (int64_t s = 1; s <= 20; ++s) recorder.append(row(s));
  recorder.append(HeartbeatEvent{});
  EXPECT_EQ(recorder.record().rows(), 20U);
  recorder.edit([](RunRecord& r) { r.keep_plan(LayerPlan::of(2, {1}), "by hand", "hand"); });
  EvalSet set;
  set.name = "s", set.lengths = {128}, set.depths = {0.5}, set.trials = 4;
  recorder.edit([&](RunRecord& r) { r.keep_set(set); });
  recorder.append(
      EvalCellsEvent{"j2", "s", "2:1", "aligned", {{0, 0, 2, 1, 0.75, 1.5, {1.0, 0.5}}}});
  recorder.append(
      EvalCellsEvent{"j2", "s", "2:1", "aligned", {{0, 0, 4, 2, 0.625, 1.25, {0.0, 1.0}}}});
  EXPECT_EQ(recorder.commit().revision, 4U);
  const RunCommittedEvent last = recorder.close("finished");
  EXPECT_EQ(last.revision, 5U);
  EXPECT_EQ(last.bytes, fs::file_size(folder.run_file()));
  EXPECT_EQ(recorder.close("failed").revision, 5U);  // only once
  EXPECT_THAT(revisions, ElementsAre(2, 3, 4, 5));
  EXPECT_FALSE(fs::exists(folder.journal()));
  EXPECT_FALSE(fs::exists(folder.lock()));

  const OpenedRun run = open_run(folder.path);
  EXPECT_EQ(run.journal_rows, 0);
  EXPECT_EQ(run.record.state, "finished");
  EXPECT_EQ(dump_of(run.record), dump_of(recorder.record()));
  ASSERT_EQ(run.record.rows(), 20U);
  EXPECT_EQ(run.record.steps.tokens[19], 2000U);
  EXPECT_NEAR(run.record.steps.loss.at("penalty")[0], 0.1, 1e-6);
  const RecallCell& cell = run.record.evals.at(0).evaluations.at(0).grid.at(0, 0);
  EXPECT_EQ(cell.hits, 2);
  EXPECT_THAT(cell.trial_score, ElementsAre(1.0F, 0.5F, 0.0F, 1.0F));
}

TEST_F(RecorderTest, NothingIsTouchedAfterClose) {
  const RunFolder folder = new_run();
  RecorderOptions options;
  options.sync_every = milliseconds(1);
  Recorder recorder(folder, record_, options);
  recorder.append(row(1));
  recorder.close("finished");
  const std::string bytes = read_whole_file(folder.run_file(), 1 << 30);
  std::this_thread::sleep_for(milliseconds(30));  // many sync periods
  EXPECT_EQ(code_of([&] { recorder.append(row(2)); }), ErrorCode::internal);
  EXPECT_EQ(code_of([&] { recorder.commit(); }), ErrorCode::internal);
  EXPECT_EQ(recorder.record().rows(), 1U);
  const Recorder other(folder,
                       open_run(folder.path).record);  // the lock is free although `recorder` lives
  EXPECT_EQ(read_whole_file(folder.run_file(), 1 << 30), bytes);
}

TEST_F(RecorderTest, CommitsByItselfAtItsPace) {
  const RunFolder folder = new_run();
  RecorderOptions options;
  options.commit_every = milliseconds(50), options.sync_every = milliseconds(5);
  std::atomic<int> commits{0};
  options.on_commit = [&](const RunCommittedEvent&) { ++commits; };
  Recorder recorder(folder, record_, options);
  for (int64_t s = 1; commits < 2; ++s) {
    ASSERT_LT(s, 10000);
    recorder.append(row(s));
    std::this_thread::sleep_for(milliseconds(1));
  }
  EXPECT_GE(open_run(folder.path).record.revision, 3U);
}

TEST_F(RecorderTest, WhatDoesNotFitIsToldByTheNextCommit) {
  const RunFolder folder = new_run();
  Recorder recorder(folder, record_);
  recorder.append(row(1));
  recorder.append(GateStepsEvent{"j1", {2}, {{1, 1, 1}}, {{1, 1, 1}}, {1}, {1}, {}, {}, {}, {}});
  recorder.append(row(3));
  EXPECT_EQ(code_of([&] { recorder.commit(); }), ErrorCode::bad_request);
  recorder.commit();
  EXPECT_THAT(open_run(folder.path).record.steps.step, ElementsAre(1, 3));
  EXPECT_THROW(recorder.edit([](RunRecord& r) {
    r.state = "spoiled";
    throw std::runtime_error("no");
  }),
               std::runtime_error);
  EXPECT_EQ(recorder.record().state, "queued");
}

TEST_F(RecorderTest, ASecondWriterIsRefusedAndADeadOnesLockIsFree) {
  const RunFolder folder = new_run();
  {
    const Recorder recorder(folder, record_);
    try {
      const Recorder second(folder, record_);
      ADD_FAILURE() << "two recorders of one run";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::run_in_use);
      EXPECT_THAT(e.what(), HasSubstr(std::to_string(getpid())));
    }
  }
  const pid_t child = fork();
  if (child == 0) {
    const RunLock* lock = new RunLock(folder);  // never given back
    kill(getpid(), lock != nullptr ? SIGKILL : SIGTERM);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(fs::exists(folder.lock()));
  const RunLock taken(folder);
  EXPECT_EQ(read_whole_file(folder.lock(), 100), std::to_string(getpid()));
}

TEST_F(RecorderTest, AFullDiskIsToldAndNothingIsLostInMemory) {
  const RunFolder folder = new_run();
  std::signal(SIGXFSZ, SIG_IGN);
  std::atomic<int> told{0};
  RecorderOptions options;
  options.on_error = [&](const Error& e) {
    if (e.code() == ErrorCode::disk_full) ++told;
  };
  Recorder recorder(folder, record_, options);
  recorder.append(row(1));
  recorder.commit();
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit none{20, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &none), 0);
  recorder.append(row(2));
  const ErrorCode code = code_of([&] { recorder.commit(); });
  setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_EQ(code, ErrorCode::disk_full);
  EXPECT_GE(told, 1);  // the journal's row
  EXPECT_THAT(open_run(folder.path).record.steps.step, ElementsAre(1));
  code_of(
      [&] { recorder.commit(); });  // says what the journal said; the file is written all the same
  EXPECT_THAT(open_run(folder.path).record.steps.step, ElementsAre(1, 2));
}

TEST_F(RecorderTest, JournalRowsNewerThanTheFileAreMerged) {
  const RunFolder folder = new_run();
  {
    Journal journal(folder.journal(), 1);
    for (int64_t s = 1; s <= 5; ++s) journal.append(row(s));
    journal.append(JobStateEvent{"j1", "running", "gates", "", "", std::nullopt, std::nullopt});
    journal.sync();
  }
  std::ofstream(folder.journal(), std::ios::app) << "garbage\n"
                                                 << R"({"jsonrpc":"2.0","method":"gates.st)";
  const auto content = read_journal(folder.journal());
  ASSERT_TRUE(content.has_value());
  EXPECT_TRUE(content->torn);
  EXPECT_EQ(content->skipped, 1);
  const OpenedRun run = open_run(folder.path);
  EXPECT_EQ(run.record.rows(), 5U);
  EXPECT_EQ(run.journal_rows, 6);
  EXPECT_EQ(run.record.state, "running");
  {
    Recorder recorder(folder,
                      run.record);  // commits what was merged before the journal is replaced
    EXPECT_EQ(open_run(folder.path).record.revision, 2U);
    EXPECT_EQ(open_run(folder.path).journal_rows, 0);
  }
  EXPECT_EQ(open_run(folder.path).record.rows(), 5U);
}

TEST_F(RecorderTest, AnOlderJournalNeitherDoublesRowsNorSetsTheStateBack) {
  const RunFolder folder = new_run();
  RunRecord record = record_;
  for (int64_t s = 1; s <= 3; ++s) apply_event(record, row(s));
  record.state = "finished", record.revision = 2;
  write_run_file(folder.run_file(), record);
  Journal journal(folder.journal(), 1);  // what a crash between rename and new journal leaves
  for (int64_t s = 1; s <= 4; ++s) journal.append(row(s));
  journal.append(JobStateEvent{"j1", "running", "gates", "", "", std::nullopt, std::nullopt});
  const RunRecord back = open_run(folder.path).record;
  EXPECT_EQ(back.rows(), 4U);
  EXPECT_EQ(back.state, "finished");
}

TEST_F(RecorderTest, BadJournalsAreNoJournals) {
  const RunFolder folder = new_run();
  for (const char* text : {"", "x", "{}\n", "{\"journal\":\"flashmorph\"}\n", "[]\n", "\n\n\n"}) {
    std::ofstream(folder.journal(), std::ios::trunc) << text;
    EXPECT_FALSE(read_journal(folder.journal()).has_value()) << text;
    EXPECT_EQ(open_run(folder.path).record.rows(), 0U);
  }
}

TEST(RecordEvents, ApplyingTwiceChangesNothing) {
  RunRecord once = new_run_record("align", 2);
  EvalSet set;
  set.name = "s", set.lengths = {128}, set.depths = {0.5}, set.trials = 2;
  once.keep_set(set);
  const std::vector<Event> events = {
      AlignStepsEvent{"j", {1, 2}, {2, 1}, {{2, 2}, {1, 1}}, {}, {}, {}, {}},
      AlignStepsEvent{"j", {3}, {0.5}, {{0.5, 0.5}}, {1e-3}, {3}, {30}, {0.25, 0.125}},
      EvalCellsEvent{"j", "s", "2:0", "aligned", {{0, 0, 1, 1, 1.0, 0.5, {1.0}}}},
      JobStateEvent{"j", "finished", "align", "", "", std::nullopt, std::nullopt},
  };
  for (const Event& event : events) apply_event(once, event);
  RunRecord twice = once;
  for (const Event& event : events) apply_event(twice, event);
  EXPECT_EQ(dump_of(twice), dump_of(once));
  EXPECT_EQ(once.rows(), 3U);
  EXPECT_TRUE(std::isnan(once.steps.lr[0]));
  EXPECT_EQ(once.steps.lr[2], 1e-3F);
  EXPECT_THAT(once.layer.error, ElementsAre(0.25F, 0.125F));
  EXPECT_EQ(once.state, "finished");
  apply_event(once, JobStateEvent{"j9", "failed", "eval", "", "", std::nullopt,
                                  std::nullopt});  // another job's
  EXPECT_EQ(once.state, "finished");
}

TEST(RecordEvents, WhatDoesNotFitLeavesTheRecordAlone) {
  RunRecord record = new_run_record("gates", 2);
  EvalSet set;
  set.name = "s", set.lengths = {128}, set.depths = {0.5}, set.trials = 2;
  record.keep_set(set);
  const std::string before = dump_of(record);
  const std::vector<Event> bad = {
      AlignStepsEvent{"j", {1}, {1}, {{1, 1, 1}}, {}, {}, {}, {}},
      AlignStepsEvent{"j", {1}, {1}, {}, {}, {}, {}, {1}},
      GateStepsEvent{"j", {1, 2}, {{1, 1}}, {{1, 1}}, {1, 1}, {1, 1}, {}, {}, {}, {}},
      EvalCellsEvent{"j", "other", "2:0", "aligned", {}},
      EvalCellsEvent{"j", "s", "3:0", "aligned", {}},
      EvalCellsEvent{"j", "s", "2:0", "aligned", {{1, 0, 1, 1, 1, 1, {}}}},
      EvalCellsEvent{"j", "s", "2:0", "aligned", {{0, 0, 3, 1, 1, 1, {}}}},
  };
  for (const Event& event : bad)
    EXPECT_THROW(apply_event(record, event), Error) << method_of(event);
  EXPECT_EQ(dump_of(record), before);
}

// A writer that appends and commits as fast as it can is killed at a random moment, fifty times in
// one run: each time the run opens, holds every row up to its last one, and has lost at most what
// was appended in the last second.
TEST_F(RecorderTest, KilledFiftyTimesInTheMiddleOfCommits) {
  const RunFolder folder = new_run();
  std::mt19937 random(17);
  int64_t had = 0, with_journal = 0, beyond_commit = 0;
  for (int round = 0; round < 50; ++round) {
    int channel[2];
    ASSERT_EQ(pipe(channel), 0);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      close(channel[0]);
      RecorderOptions options;
      options.commit_every = milliseconds(2), options.sync_every = milliseconds(1);
      Recorder recorder(folder, open_run(folder.path).record, options);
      for (int64_t s = had + 1;; ++s) {
        recorder.append(row(s));
        if (s % 7 == 0) recorder.commit();
        // What commit() has promised is on the disk.
        const int64_t safe = s % 7 == 0 ? s : -1;
        if (safe > 0 && write(channel[1], &safe, sizeof safe) != sizeof safe) _exit(3);
        std::this_thread::sleep_for(std::chrono::microseconds(200));
      }
    }
    close(channel[1]);
    // Once it has committed, however slow the machine is.
    int64_t safe = had, one = 0;
    ASSERT_EQ(read(channel[0], &one, sizeof one), static_cast<ssize_t>(sizeof one))
        << "round " << round;
    safe = one;
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 30000));
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status))
        << "round " << round << ": the writer ended by itself with " << WEXITSTATUS(status);
    while (read(channel[0], &one, sizeof one) == sizeof one) safe = one;
    close(channel[0]);

    const OpenedRun run = open_run(folder.path);
    const auto rows = static_cast<int64_t>(run.record.rows());
    ASSERT_GE(rows, safe) << "round " << round << ": committed rows are gone";
    for (int64_t s = 1; s <= rows; ++s) {
      ASSERT_EQ(run.record.steps.step[static_cast<size_t>(s - 1)], s) << "round " << round;
      ASSERT_EQ(run.record.gates.alpha[static_cast<size_t>(2 * (s - 1))],
                static_cast<float>(1.0 / static_cast<double>(s)));
    }
    ASSERT_EQ(run.record.gates.raw.size(), run.record.gates.alpha.size());
    with_journal += run.journal_rows > 0 ? 1 : 0;
    beyond_commit += rows > safe ? 1 : 0;
    had = rows;
  }
  EXPECT_GE(had, 50);          // every round committed something new
  EXPECT_GT(with_journal, 0);  // and some rows came from the journal
  EXPECT_GT(beyond_commit, 0);
}

}  // namespace
}  // namespace flashmorph
