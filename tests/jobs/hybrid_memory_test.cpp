// SPDX-License-Identifier: Apache-2.0
// The forecast of a training's memory against what the allocators gave out in real steps, and what
// is settled from it.
#include "core/jobs/hybrid_memory.h"

#include <gtest/gtest.h>

#include "core/jobs/allocation_meter.h"
#include "core/jobs/hybrid_source.h"
#include "core/run/error.h"

namespace flashmorph {
namespace {

constexpr const char* kTeacher = RESOURCES_DIR "/demo/teacher";
constexpr const char* kBranches = RESOURCES_DIR "/demo/branches/lightning.safetensors";

HybridModel demo_hybrid(const Session& session, TrainPart part) {
  return hybrid_of_branches(kBranches, session.teacher_ptr(), LayerPlan::of(10, {1, 2, 3}), part);
}

// Largest tensors of two steps, teacher and student included.
int64_t measured(const Session& session, HybridModel& hybrid, const MemoryForecast& forecast,
                 TrainOptions options) {
  const auto text = open_text("story", session.tokenizer());
  const AllocationMeter meter;
  HybridTrainer trainer(hybrid, *text, options);
  trainer.train_one();
  trainer.train_one();
  return meter.peak_bytes() + forecast.teacher + forecast.student;
}

TEST(HybridMemory, ForecastIsWithinATenthOfTheTensors) {
  const Session session(kTeacher, at::kCPU, at::kFloat);
  for (const TrainStage stage : {TrainStage::distill, TrainStage::finetune})
    for (const TrainPart part : {TrainPart::all, TrainPart::attention})
      for (const int64_t length : {192}) {
        HybridModel hybrid = demo_hybrid(session, part);
        const HybridMemory memory(session, hybrid, stage, length);
        for (const int64_t micro : {1, 3})
          for (const bool twice : {false, true}) {
            TrainOptions options = TrainOptions::of(stage);
            options.length = length;
            options.batch = 3;
            options.micro_batch = micro;
            options.checkpointing = twice;
            const MemoryForecast forecast = memory.forecast(micro, twice);
            const double predicted =
                static_cast<double>(forecast.total() - forecast.process - forecast.allocator);
            const double found = static_cast<double>(measured(session, hybrid, forecast, options));
            EXPECT_NEAR(predicted / found, 1.0, 0.1)
                << to_string(stage) << " " << to_string(part) << ", " << micro << " x " << length
                << (twice ? ", computed twice" : "");
          }
      }
}

TEST(HybridMemory, PartsAddUpAndFollowWhatTrains) {
  const Session session(kTeacher, at::kCPU, at::kFloat);
  HybridModel all = demo_hybrid(session, TrainPart::all),
              attention = demo_hybrid(session, TrainPart::attention);
  const MemoryForecast a = HybridMemory(session, all, TrainStage::distill, 128).forecast(2, false);
  const MemoryForecast b =
      HybridMemory(session, attention, TrainStage::distill, 128).forecast(2, false);
  int64_t sum = 0;
  for (const auto& [name, bytes] : a.parts()) sum += bytes;
  EXPECT_EQ(sum, a.total());
  EXPECT_EQ(a.gradients, 4 * all.trainable());
  EXPECT_EQ(a.optimizer, 8 * all.trainable());
  EXPECT_EQ(a.student, 4 * all.trainable());
  EXPECT_EQ(b.gradients, 4 * attention.trainable());
  EXPECT_LT(b.student, a.student);  // what is frozen lies in the teacher's memory
  EXPECT_EQ(a.teacher, b.teacher);
}

TEST(SettleMemory, TakesWhatFits) {
  const Session session(kTeacher, at::kCPU, at::kFloat);
  HybridModel hybrid = demo_hybrid(session, TrainPart::all);
  TrainOptions options;
  options.length = 256;
  options.batch = 24;
  const HybridMemory memory(session, hybrid, TrainStage::distill, options.length);
  const auto needs = [&](int64_t micro, bool twice) {
    return memory.wanted_bytes(memory.forecast(micro, twice));
  };
  const auto room_for = [&](int64_t micro, bool twice) {
    return static_cast<int64_t>(static_cast<double>(needs(micro, twice)) / 0.9) + 2;
  };
  EXPECT_LT(needs(8, true), needs(8, false));
  EXPECT_LT(needs(1, true), needs(4, true));
  // Plenty: 4096 tokens at a time, in equal parts of the batch.
  const MemoryChoice plenty = settle_memory(memory, int64_t{1} << 40, options, "auto", false);
  EXPECT_EQ(plenty.micro_batch, 12);
  EXPECT_FALSE(plenty.checkpointing);
  // Layers are computed twice when less than 2048 tokens would fit otherwise.
  const MemoryChoice tight = settle_memory(memory, room_for(8, true), options, "auto", false);
  EXPECT_TRUE(tight.checkpointing);
  EXPECT_EQ(tight.micro_batch, 8);
  EXPECT_LE(needs(tight.micro_batch, true), room_for(8, true));
  const MemoryChoice never = settle_memory(memory, room_for(8, true), options, "off", false);
  EXPECT_FALSE(never.checkpointing);
  EXPECT_LE(needs(never.micro_batch, false), room_for(8, true));
  // The user's micro-batch is kept or refused, never changed.
  options.micro_batch = 24;
  EXPECT_EQ(settle_memory(memory, room_for(24, true), options, "auto", false).micro_batch, 24);
  EXPECT_THROW(settle_memory(memory, room_for(8, true), options, "auto", false), Error);
  try {
    settle_memory(memory, 1 << 20, options, "auto", false);
    FAIL() << "a megabyte was enough";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::out_of_memory);
    EXPECT_NE(error.message().find("GB"), std::string::npos);
  }
}

TEST(UsedBytes, FollowTheProcess) {
  const int64_t before = used_bytes(at::kCPU);
  EXPECT_GT(before, int64_t{10} << 20);
  const at::Tensor big = at::ones({int64_t{64} << 20}, at::kByte);
  EXPECT_GT(used_bytes(at::kCPU), before + (int64_t{50} << 20));
  EXPECT_GE(peak_used_bytes(at::kCPU), used_bytes(at::kCPU));
  EXPECT_GT(available_bytes(at::kCPU), 0);
}

}  // namespace
}  // namespace flashmorph
