// SPDX-License-Identifier: Apache-2.0
// Writing is checked by h5py, reading by files that h5py wrote, hostile ones among them.
#include "core/run/run_file.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "core/run/error.h"
#include "tests/run/sample_record.h"

namespace flashmorph {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

class RunFilePeer : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* named = std::getenv("FLASHMORPH_PEER_PYTHON");
    const char* home = std::getenv("HOME");
    python_ = named != nullptr
                  ? named
                  : std::string(home != nullptr ? home : "") + "/.cache/flashmorph/peer/bin/python";
    if (std::system(("'" + python_ + "' -c 'import h5py' >/dev/null 2>&1").c_str()) != 0)
      GTEST_SKIP() << "no h5py in " << python_ << ": all of it";
    std::string pattern = (fs::temp_directory_path() / "run_peer_XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
  }
  void TearDown() override {
    if (!folder_.empty()) fs::remove_all(folder_);
  }
  bool peer(const std::string& words) const {
    return std::system(
               ("'" + python_ + "' '" RUN_TESTS_DIR "/run_file_peer.py' " + words).c_str()) == 0;
  }

  std::string python_;
  fs::path folder_;
};

nlohmann::json maybe(const std::vector<float>& values) {
  return values;  // NaN is written as null
}

TEST_F(RunFilePeer, H5pyReadsEveryPathWithTypeUnitAndValues) {
  const RunRecord r = sample_record();
  nlohmann::json e = {{"uuid", r.uuid},
                      {"parent_uuid", r.parent_uuid},
                      {"kind", r.kind},
                      {"created_utc", r.created_utc},
                      {"generator", r.generator},
                      {"state", r.state},
                      {"revision", r.revision},
                      {"layers", r.layers},
                      {"steps", r.rows()},
                      {"config/json", r.config},
                      {"config/provenance", r.provenance},
                      {"model/json", r.model}};
  std::vector<float> score;
  for (const double v : r.score().score) score.push_back(static_cast<float>(v));
  nlohmann::json trial_score = nlohmann::json::array();
  std::vector<int> trials, hits;
  std::vector<float> mean, nll;
  for (const Evaluation& evaluation : r.evals[0].evaluations)
    for (const RecallCell& cell : evaluation.grid.cells) {
      trials.push_back(cell.trials), hits.push_back(cell.hits);
      mean.push_back(static_cast<float>(cell.score)),
          nll.push_back(static_cast<float>(cell.nll_nats));
      for (const float v : cell.trial_score) trial_score.push_back(v);
    }
  e["values"] = {{"steps/step", r.steps.step},
                 {"steps/tokens", r.steps.tokens},
                 {"steps/time", r.steps.time_s},
                 {"steps/lr", r.steps.lr},
                 {"steps/loss/align", r.steps.loss.at("align")},
                 {"gates/alpha", r.gates.alpha},
                 {"gates/raw", r.gates.raw},
                 {"gates/penalty", r.gates.penalty},
                 {"gates/score", score},
                 {"layers/loss", r.layer.loss},
                 {"layers/error", r.layer.error},
                 {"plans/id", {"p1", "p2"}},
                 {"plans/name", {"K 2 by gates", "all linear"}},
                 {"plans/origin", {"budget", "hand"}},
                 {"plans/mask", {0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}},
                 {"plans/lock", {0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
                 {"eval/passkey-1/length", {128, 256, 512}},
                 {"eval/passkey-1/plan", {0, 1}},
                 {"eval/passkey-1/weights", {"aligned", "aligned"}},
                 {"eval/passkey-1/trials", trials},
                 {"eval/passkey-1/hits", hits},
                 {"eval/passkey-1/score", maybe(mean)},
                 {"eval/passkey-1/nll", maybe(nll)},
                 {"eval/passkey-1/trial_score", trial_score}};
  for (const bool closed : {false, true}) {
    e["closed"] = closed;
    std::ofstream(folder_ / "expected.json") << e.dump();
    write_run_file(folder_ / "run.fmrun", r, closed);
    EXPECT_TRUE(peer("check '" + (folder_ / "run.fmrun").string() + "' '" +
                     (folder_ / "expected.json").string() + "'"))
        << closed;
  }
}

TEST_F(RunFilePeer, FilesOfH5pyAreRead) {
  const fs::path path = folder_ / "h5py.fmrun";
  ASSERT_TRUE(peer("make '" + path.string() + "'"));
  const RunRecord r = read_run_file(path);
  EXPECT_EQ(r.uuid, "11111111-2222-4333-8444-555555555555");
  EXPECT_EQ(r.revision, 9U);
  EXPECT_EQ(r.state, "finished");
  EXPECT_EQ(r.config["note"], "Grüße");
  EXPECT_EQ(r.layers, 3);
  EXPECT_THAT(r.steps.step, ElementsAre(1, 5));
  EXPECT_THAT(r.steps.tokens, ElementsAre(10, 50));
  EXPECT_TRUE(std::isnan(r.steps.loss.at("align")[1]));
  EXPECT_THAT(r.gates.raw, ElementsAre(1, 1, 1, 0.5F, 0.25F, 1.5F));
  ASSERT_EQ(r.plans.size(), 1U);
  EXPECT_EQ(r.plans[0].plan.to_string(), "3:1-2");
  EXPECT_THAT(r.plans[0].locks, ElementsAre(Lock::linear, Lock::free, Lock::full));
  const RecallGrid& grid = r.evals.at(0).evaluations.at(0).grid;
  EXPECT_EQ(grid.at(0, 0).trials, 2);
  EXPECT_EQ(grid.at(0, 0).hits, 1);
  EXPECT_TRUE(std::isnan(grid.at(1, 0).score));
  EXPECT_EQ(r.score().score.size(), 3U);  // no /gates/score: ranked from the gates
}

TEST_F(RunFilePeer, HostileFilesAreRefusedNamingThePath) {
  const std::pair<const char*, const char*> cases[] = {
      {"giant", "/gates/alpha"},         {"giant_steps", "/steps/step"},
      {"giant_chunk", "/steps/lr"},      {"many_plans", "/plans/id"},
      {"external_values", "/steps/lr"},  {"virtual", "/steps/lr"},
      {"variable_text", "/config/json"}, {"signed", "/steps/step"},
      {"compound", "/steps/lr"},         {"loop", "/eval/needle-2/json"},
      {"hits", "/eval/needle-2/hits"},   {"plan_row", "/eval/needle-2/plan"}};
  for (const auto& [kind, place] : cases) {
    const fs::path path = folder_ / (std::string(kind) + ".fmrun");
    ASSERT_TRUE(peer(std::string(kind) + " '" + path.string() + "'")) << kind;
    try {
      read_run_file(path);
      ADD_FAILURE() << kind << " accepted";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::bad_file) << kind;
      EXPECT_THAT(e.what(), HasSubstr(place)) << kind;
    }
  }
  // Links that lead elsewhere are not followed: the column is as if it were absent.
  for (const char* kind : {"external_link", "soft_link"}) {
    const fs::path path = folder_ / (std::string(kind) + ".fmrun");
    ASSERT_TRUE(peer(std::string(kind) + " '" + path.string() + "'")) << kind;
    EXPECT_TRUE(read_run_file(path).steps.lr.empty()) << kind;
  }
}

}  // namespace
}  // namespace flashmorph
