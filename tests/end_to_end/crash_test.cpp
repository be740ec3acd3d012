// SPDX-License-Identifier: Apache-2.0
// kill -9 at random moments: the run always opens, and --resume ends at the very same gates (bitwise on the CPU in float32).
#include <random>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "core/run/run_folder.h"
#include "tests/support/engine.h"

namespace flashmorph {
namespace {

std::vector<std::string> gates(const Scratch& scratch, const std::string& run) {
  return {"gates", "--model", RESOURCES_DIR "/demo/teacher", "--aligned", RESOURCES_DIR "/demo/branches/lightning.safetensors",
          "--runs", scratch.path().string(), "--run", run, "--steps", "60", "--length-min", "128", "--length-max", "160", "--passkeys", "1",
          "--passkey-words", "2", "--budget", "3", "--dtype", "float32", "--device", "cpu", "--threads", "1",
          "--checkpoint-every", "5", "--json"};
}

TEST(Crash, FiftyKillsLoseNothingThatWasCommitted) {
  const Scratch scratch("crash");
  const auto start = std::chrono::steady_clock::now();
  const EngineResult whole = run_engine(ENGINE, gates(scratch, "whole"));
  ASSERT_EQ(whole.code, 0) << whole.err;
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start);
  const auto truth = nlohmann::json::parse(whole.out);
  std::mt19937 random(7);
  int kills = 0, finished = 0, round = 0;
  size_t rows_seen = 0;
  while (kills < 50) {
    const std::string run = "run" + std::to_string(round++);
    std::vector<std::string> words = gates(scratch, run);
    // The same run is killed again and again, each time somewhere in what is left, until it gets through.
    for (int again = 0;; ++again) {
      const std::chrono::milliseconds moment(std::uniform_int_distribution<int>(20, static_cast<int>(took.count()))(random));
      const EngineResult result = kills < 50 ? run_engine(ENGINE, words, {}, moment) : run_engine(ENGINE, words);
      if (result.code == 0) {
        ++finished;
        const auto end = nlohmann::json::parse(result.out);
        EXPECT_EQ(end.at("score"), truth.at("score"));
        EXPECT_EQ(end.at("alpha"), truth.at("alpha"));
        EXPECT_EQ(open_run(scratch / run).record.rows(), 60u);
        break;
      }
      ASSERT_EQ(result.code, 128 + SIGKILL) << result.err;
      ++kills;
      const bool there = std::filesystem::exists(scratch / (run + "/run.fmrun"));
      if (there) {
        const OpenedRun opened = open_run(scratch / run);   // throws when anything is broken
        rows_seen += opened.record.rows();
        words = gates(scratch, run);
        words.push_back("--resume");
      } else {
        std::filesystem::remove_all(scratch / run);   // killed before the first commit
      }
    }
  }
  EXPECT_GE(finished, 3);
  EXPECT_GT(rows_seen, 0u);
  RecordProperty("kills", kills);
}

}  // namespace
}  // namespace flashmorph
