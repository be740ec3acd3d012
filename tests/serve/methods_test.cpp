// SPDX-License-Identifier: Apache-2.0
// The table of methods, and what is asked of parameters before anybody reads them.
#include "core/serve/methods.h"

#include <set>

#include <gtest/gtest.h>

#include "core/run/error.h"
#include "core/run/run_config.h"
#include "core/serve/base64.h"
#include "core/serve/progress_meter.h"

namespace flashmorph {
namespace {

using Json = nlohmann::json;

std::string refusal(const std::string& method, const Json& params) {
  try {
    check_params(*find_method(method), params);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::bad_request);
    return error.message() + "; " + error.hint();
  }
  return {};
}

TEST(Methods, NamesAreUniqueAndStagesAreCommands) {
  std::set<std::string> names;
  for (const MethodSpec& method : methods()) {
    EXPECT_TRUE(names.insert(method.name).second) << method.name;
    if (!method.stage.empty() && method.stage != "*") {
      EXPECT_EQ(default_config(method.stage).command, method.stage);
      EXPECT_EQ(method.name, method.stage + ".start");
      // No parameter of a start hides an option of its command.
      for (const MethodField& field : method.params)
        if (const RunOption* option = find_option(field.name))
          EXPECT_FALSE(option->takes(method.stage)) << field.name;
    }
  }
  EXPECT_EQ(find_method("nonsense"), nullptr);
}

TEST(Methods, ParametersAreRefusedByName) {
  EXPECT_EQ(refusal("job.cancel", {{"job", "j1"}}), "");
  EXPECT_EQ(refusal("job.cancel", {{"job", "j1"}, {"mode", nullptr}}), "");
  EXPECT_EQ(refusal("job.cancel", Json::object()), "job.cancel: job: it is missing; ");
  EXPECT_EQ(refusal("job.cancel", {{"job", 1}}), "job.cancel: job: expected text, got 1; ");
  EXPECT_EQ(refusal("job.cancel", {{"job", "j1"}, {"mod", "now"}}),
            "job.cancel: unknown parameter \"mod\"; did you mean \"mode\"?");
  EXPECT_EQ(refusal("gates.start", {{"steps", 3}}), "");  // options are the config's business
}

TEST(Base64, AsInTheStandard) {
  EXPECT_EQ(base64(""), "");
  EXPECT_EQ(base64("f"), "Zg==");
  EXPECT_EQ(base64("fo"), "Zm8=");
  EXPECT_EQ(base64("foo"), "Zm9v");
  EXPECT_EQ(base64("foobar"), "Zm9vYmFy");
  EXPECT_EQ(base64(std::string("\xff\x00\xfe", 3)), "/wD+");
}

TEST(ProgressMeter, TimeLeftIsTheMedianOfRecentStepsAndBlankAtFirst) {
  ProgressMeter meter("j1");
  ProgressMeter::Clock::time_point now{};
  std::optional<JobProgressEvent> last;
  for (int step = 1; step <= 40; ++step) {
    now +=
        step % 10 == 0 ? std::chrono::seconds(30) : std::chrono::seconds(2);  // one in ten is slow
    last = meter.update({"steps", step, 100, 1000 * step}, {}, now);
    ASSERT_TRUE(last.has_value());
    EXPECT_EQ(std::isnan(last->eta_s), step <= 20) << step;
  }
  EXPECT_DOUBLE_EQ(last->eta_s, 120.0);
  EXPECT_FALSE(
      meter.update({"steps", 41, 100, 41000}, {}, now + std::chrono::milliseconds(10)).has_value());
  EXPECT_TRUE(meter.update({"steps", 100, 100, 100000}, {}, now + std::chrono::milliseconds(20))
                  .has_value());
}

}  // namespace
}  // namespace flashmorph
