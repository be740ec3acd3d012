// SPDX-License-Identifier: Apache-2.0
// How long a stop takes on layers of a real model's size (576 wide, 9 heads of 64, as SmolLM2-135M)
// and a long prompt: prints the time from flag to return, for softmax and for linear layers. Six
// layers suffice, the flag is read inside each.
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "core/eval/answer_probe.h"
#include "core/run/error.h"
#include "tests/support/tiny_model.h"
#include "tests/support/tiny_prompts.h"

namespace flashmorph {
namespace {

TEST(StopBench, FlagToReturn) {
  const MorphModel model = tiny_morph_model({.layers = 6,
                                             .hidden = 576,
                                             .ffn = 1536,
                                             .heads = 9,
                                             .kv_heads = 3,
                                             .head_dim = 64,
                                             .vocab = 49152});
  const AnswerProbe probe(model, {tiny_prompt(16384, 5, 1, 1)});
  for (const LayerPlan& plan : {LayerPlan::all_full(6), LayerPlan::all_linear(6)})
    for (const double after_s : {0.3, 1.0, 2.2}) {
      const StopFlag stop;
      std::chrono::steady_clock::time_point set;
      std::thread user([&] {
        std::this_thread::sleep_for(std::chrono::duration<double>(after_s));
        set = std::chrono::steady_clock::now();
        stop.set();
      });
      bool stopped = false;
      try {
        probe.scores({plan}, nullptr, {}, &stop);
      } catch (const Error& error) {
        stopped = error.code() == ErrorCode::stopped;
      }
      const auto end = std::chrono::steady_clock::now();
      user.join();
      if (stopped) {
        std::printf("plan %s, stopped after %.1f s: returned in %.3f s\n", plan.to_string().c_str(),
                    after_s, std::chrono::duration<double>(end - set).count());
      }
    }
}

}  // namespace
}  // namespace flashmorph
