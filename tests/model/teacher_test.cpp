// SPDX-License-Identifier: Apache-2.0
// The teacher against transformers: golden logits of tiny random directories, and cached one-token steps against itself.
#include "core/model/teacher.h"

#include <filesystem>

#include <gtest/gtest.h>

#include "core/load/safetensors.h"
#include "core/model/morph_model.h"

namespace flashmorph {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> tiny_models() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(TEST_DATA_DIR "/golden/tiny"))
    if (fs::exists(entry.path() / "golden.safetensors")) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

struct Golden {
  std::shared_ptr<const Teacher> teacher;
  at::Tensor ids, logits;
};

Golden golden(const std::string& name) {
  const fs::path folder = fs::path(TEST_DATA_DIR "/golden/tiny") / name;
  const SafetensorsFile file(folder / "golden.safetensors");
  return {std::make_shared<const Teacher>(load_checkpoint(folder, at::kFloat)), file.tensor("input_ids").to(at::kLong).clone(),
          file.tensor("logits").clone()};
}

TEST(TeacherGoldens, AreThere) { EXPECT_GE(tiny_models().size(), 4u); }

class TeacherTest : public testing::TestWithParam<std::string> {};

TEST_P(TeacherTest, LogitsEqualTransformers) {
  const at::NoGradGuard no_grad;
  const Golden g = golden(GetParam());
  const MorphModel model(g.teacher, {BranchOptions::of(BranchKind::lightning)}, 1);
  const at::Tensor logits = g.teacher->logits(model.states(g.ids, LayerPlan::all_full(model.layers())));
  EXPECT_LT((logits - g.logits).abs().max().item<double>(), 1e-4);
  EXPECT_TRUE(at::equal(logits.argmax(-1), g.logits.argmax(-1)));
}

TEST_P(TeacherTest, CachedStepsEqualTheFullSequence) {
  const at::NoGradGuard no_grad;
  const Golden g = golden(GetParam());
  // With dynamic scaling every new length changes all frequencies; cached keys keep those they were written with, in
  // transformers too, so beyond the trained length steps and full sequence are two different things.
  if (g.teacher->config().rope.type == "dynamic" && g.ids.size(1) > g.teacher->config().max_position)
    GTEST_SKIP() << "dynamic scaling beyond the trained length is not the same with a cache";
  const MorphModel model(g.teacher, {BranchOptions::of(BranchKind::lightning)}, 1);
  const LayerPlan plan = LayerPlan::all_full(model.layers());
  Cache cache(model.layers());
  std::vector<at::Tensor> rows{model.states(g.ids.slice(1, 0, 7), plan, &cache)};   // a first piece of several tokens
  rows.push_back(model.states(g.ids.slice(1, 7, 12), plan, &cache));               // another one on top
  for (int64_t t = 12; t < g.ids.size(1); ++t) rows.push_back(model.states(g.ids.slice(1, t, t + 1), plan, &cache));
  const at::Tensor logits = g.teacher->logits(at::cat(rows, 1));
  EXPECT_LT((logits - g.logits).abs().max().item<double>(), 1e-4);
  EXPECT_TRUE(at::equal(logits.argmax(-1), g.logits.argmax(-1)));
  EXPECT_EQ(cache.length, g.ids.size(1));
}

INSTANTIATE_TEST_SUITE_P(Tiny, TeacherTest, testing::ValuesIn(tiny_models()), [](const auto& info) {
  std::string name = info.param;
  for (char& c : name)
    if (!isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
});

}  // namespace
}  // namespace flashmorph
