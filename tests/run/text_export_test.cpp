// SPDX-License-Identifier: Apache-2.0
#include "core/run/text_export.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/run/error.h"
#include "tests/run/sample_record.h"

namespace flashmorph {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(TextExport, CsvQuotesAndGuards) {
  const Table table{{"a", "b,c"},
                    {{int64_t{-3}, std::string("x\"y")},
                     {0.1, std::string("=1+1")},
                     {std::monostate{}, std::string("two\nlines")},
                     {NAN, std::string("plain")}}};
  EXPECT_EQ(table.to_csv(), "a,\"b,c\"\n-3,\"x\"\"y\"\n0.1,'=1+1\n,\"two\nlines\"\n,plain\n");
  EXPECT_EQ(table.to_json()[3]["a"], nullptr);
  EXPECT_EQ(table.to_json()[0]["a"], -3);
}

TEST(TextExport, EveryTableIsRectangularAndInLongForm) {
  const RunRecord record = sample_record(5, 6);
  const std::pair<const char*, size_t> rows[] = {
      {"gates", 30}, {"steps", 10}, {"layer_errors", 6}, {"layer_loss", 30},
      {"scores", 6}, {"plans", 12}, {"recall", 18}};
  EXPECT_EQ(table_names().size(), std::size(rows));
  for (const auto& [name, count] : rows) {
    const Table table = table_of(record, name);
    EXPECT_EQ(table.rows.size(), count) << name;
    for (const auto& row : table.rows) ASSERT_EQ(row.size(), table.columns.size()) << name;
    EXPECT_TRUE(table_of(new_run_record("align", 6), name).rows.empty()) << name;
  }
  EXPECT_THROW(table_of(record, "poems"), Error);
}

TEST(TextExport, RecallHasTrialsHitsAndInterval) {
  const nlohmann::json json = recall_table(sample_record()).to_json();
  const nlohmann::json& cell = json[0];
  EXPECT_EQ(cell["set"], "passkey-1");
  EXPECT_EQ(cell["plan"], "6:1,3");
  EXPECT_EQ(cell["length_tokens"], 128);
  EXPECT_EQ(cell["trials"], 2);
  EXPECT_EQ(cell["hits"], 1);
  EXPECT_DOUBLE_EQ(cell["score"], 0.625);
  const Interval interval = wilson_interval(1, 2);
  EXPECT_DOUBLE_EQ(cell["hit_rate_low"], interval.low);
  EXPECT_DOUBLE_EQ(cell["hit_rate_high"], interval.high);
  EXPECT_DOUBLE_EQ(cell["nll_nats_per_token"], 1.0);
  EXPECT_TRUE(json[1]["score"].is_null());  // not run
  EXPECT_NEAR(json[1]["depth_percent"].get<double>(), 100.0 / 3, 1e-9);
  EXPECT_THAT(recall_table(sample_record()).to_csv(),
              HasSubstr("passkey-1,p1,\"6:1,3\",aligned,128,0,2,1,0.625,"));
}

TEST(TextExport, ScoresAreRankedAsTheSolverRanks) {
  const RunRecord record = sample_record();
  const nlohmann::json json = scores_table(record).to_json();
  const std::vector<int> order = rank_order(record.score().score, record.score().tie_break);
  for (size_t i = 0; i < order.size(); ++i)
    EXPECT_EQ(json[static_cast<size_t>(order[i])]["rank"], i + 1);
}

}  // namespace
}  // namespace flashmorph
