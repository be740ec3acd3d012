// SPDX-License-Identifier: Apache-2.0
// Linear branches of every kind: transfer, cached steps, gradients, files; and the checks of method 2.7 on plans.
#include "core/model/linear_branch.h"

#include <filesystem>

#include <gtest/gtest.h>

#include "core/model/morph_model.h"
#include "core/run/error.h"
#include "kernels/gate_mix.h"
#include "tests/support/tiny_model.h"

namespace flashmorph {
namespace {

std::shared_ptr<const Teacher> tiny_teacher(at::ScalarType dtype = at::kFloat) {
  return std::make_shared<const Teacher>(tiny_checkpoint(TinyShape{}, 5, dtype));
}

at::Tensor random_ids(const Teacher& teacher, int64_t batch, int64_t tokens, uint64_t seed) {
  auto generator = at::detail::createCPUGenerator(seed);
  return at::randint(teacher.config().vocab, {batch, tokens}, generator, at::kLong);
}

double relative(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).norm() / b.norm().clamp_min(1e-12)).item<double>();
}

class BranchTest : public testing::TestWithParam<BranchKind> {
 protected:
  BranchOptions options() const {
    BranchOptions one = BranchOptions::of(GetParam());
    one.sink = 3;
    one.window = 9;
    return one;
  }
};

TEST_P(BranchTest, CachedStepsEqualTheFullSequence) {
  const at::NoGradGuard no_grad;
  const auto teacher = tiny_teacher();
  const MorphModel model(teacher, {options()}, 3);
  const LayerPlan plan = LayerPlan::of(model.layers(), {1});
  const at::Tensor ids = random_ids(*teacher, 2, 90, 1);
  const at::Tensor whole = model.states(ids, plan);
  Cache cache(model.layers());
  std::vector<at::Tensor> rows{model.states(ids.slice(1, 0, 70), plan, &cache)};
  for (int64_t t = 70; t < 90; ++t) rows.push_back(model.states(ids.slice(1, t, t + 1), plan, &cache));
  EXPECT_LT(relative(at::cat(rows, 1), whole), 1e-4);
}

TEST_P(BranchTest, EveryParameterGetsAGradient) {
  const auto teacher = tiny_teacher();
  MorphModel model(teacher, {options()}, 3);
  LinearBranch& branch = model.branch(1);
  branch.set_requires_grad(true);
  auto generator = at::detail::createCPUGenerator(4);
  const at::Tensor u = at::randn({2, 70, teacher->config().hidden}, generator, at::kFloat);
  const at::Tensor y = branch.forward(u, teacher->rope_table(0, 70));
  ASSERT_EQ(y.sizes(), u.sizes());
  (y * at::randn(y.sizes(), generator, at::kFloat)).sum().backward();
  for (const auto& [name, value] : branch.parameters()) {
    ASSERT_TRUE(value.grad().defined()) << name;
    EXPECT_TRUE(at::isfinite(value.grad()).all().item<bool>()) << name;
    // The second half of kda's output gate starts at zero, so at first nothing reaches the first half.
    const bool behind_zeros = GetParam() == BranchKind::kda && name == "g_proj.0.weight";
    EXPECT_EQ(value.grad().abs().sum().item<double>() > 0, !behind_zeros) << name;
  }
}

TEST_P(BranchTest, IsCausal) {
  const at::NoGradGuard no_grad;
  const auto teacher = tiny_teacher();
  const MorphModel model(teacher, {options()}, 3);
  at::Tensor ids = random_ids(*teacher, 1, 80, 2);
  const LayerPlan plan = LayerPlan::all_linear(model.layers());
  const at::Tensor before = model.states(ids, plan).slice(1, 0, 60);
  ids.slice(1, 60).add_(1).remainder_(teacher->config().vocab);
  EXPECT_LT(relative(model.states(ids, plan).slice(1, 0, 60), before), 1e-6);
}

TEST_P(BranchTest, FileGoesBothWays) {
  const auto teacher = tiny_teacher();
  const MorphModel first(teacher, {options()}, 3);
  const auto folder = std::filesystem::temp_directory_path() / ("branches_" + to_string(GetParam()));
  std::filesystem::create_directories(folder);
  const std::string path = folder / "branches.safetensors";
  first.save_branches(path, {{"note", "a test"}});
  MorphModel second(teacher, MorphModel::branch_options_of(path), 99);
  second.load_branches(path);
  const auto a = first.branch_parameters(), b = second.branch_parameters();
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(at::equal(a[i].second, b[i].second)) << a[i].first;
  std::filesystem::remove_all(folder);
}

TEST_P(BranchTest, LowPrecisionStaysNearFloat32) {
  const at::NoGradGuard no_grad;
  const auto exact = tiny_teacher(), low = tiny_teacher(at::kBFloat16);
  const MorphModel a(exact, {options()}, 3), b(low, {options()}, 3);
  auto generator = at::detail::createCPUGenerator(4);
  const at::Tensor u = at::randn({1, 100, exact->config().hidden}, generator, at::kFloat).to(at::kBFloat16);
  const at::Tensor ya = a.branch(0).forward(u.to(at::kFloat), exact->rope_table(0, 100));
  const at::Tensor yb = b.branch(0).forward(u, low->rope_table(0, 100));
  EXPECT_EQ(yb.scalar_type(), at::kBFloat16);
  // bf16 has 8 bits: several roundings in a row of 2^-9 each; 3e-2 would hide a wrong cast no longer than a wrong formula.
  EXPECT_LT(relative(yb.to(at::kFloat), ya), 3e-2);
}

INSTANTIATE_TEST_SUITE_P(Kinds, BranchTest,
                         testing::Values(BranchKind::plain, BranchKind::lightning, BranchKind::gla, BranchKind::simple,
                                         BranchKind::mamba2, BranchKind::gdn, BranchKind::kda, BranchKind::window),
                         [](const auto& info) { return to_string(info.param); });

TEST(Plans, AllFullIsTheTeacherBitForBit) {
  const at::NoGradGuard no_grad;
  const auto teacher = tiny_teacher();
  const MorphModel model(teacher, {BranchOptions::of(BranchKind::lightning)}, 1);
  const at::Tensor ids = random_ids(*teacher, 2, 50, 3);
  const RopeTable rope = teacher->rope_table(0, 50);
  at::Tensor x = teacher->embed(ids), mixed = x;
  const at::Tensor one = at::ones({}, at::kFloat);
  for (int l = 0; l < teacher->layers(); ++l) {
    x = x + teacher->attention(l, teacher->input_norm(l, x), rope);
    x = x + teacher->mlp(l, x);
    const at::Tensor u = teacher->input_norm(l, mixed);
    mixed = mixed + kernels::gate_mix(one, teacher->attention(l, u, rope), model.branch(l).forward(u, rope));
    mixed = mixed + teacher->mlp(l, mixed);
  }
  EXPECT_TRUE(at::equal(model.states(ids, LayerPlan::all_full(teacher->layers())), teacher->final_norm(x)));
  EXPECT_TRUE(at::equal(teacher->final_norm(mixed), teacher->final_norm(x)));
}

TEST(Plans, AWindowWiderThanTheSequenceIsTheTeacher) {
  const at::NoGradGuard no_grad;
  const auto teacher = tiny_teacher();
  BranchOptions wide = BranchOptions::of(BranchKind::window);
  wide.window = 64;
  wide.qk_norm = teacher->config().qk_norm;
  const MorphModel model(teacher, {wide}, 1);
  const at::Tensor ids = random_ids(*teacher, 2, 50, 3);
  EXPECT_LT(relative(model.states(ids, LayerPlan::all_linear(model.layers())), model.states(ids, LayerPlan::all_full(model.layers()))),
            1e-5);
}

TEST(Transfer, ExpandedKeysAndValuesGiveTheSameSoftmaxAttention) {
  const at::NoGradGuard no_grad;
  const auto teacher = tiny_teacher();
  const ModelConfig& c = teacher->config();
  ASSERT_LT(c.kv_heads, c.heads);
  const LinearBranch branch(*teacher, 0, BranchOptions::of(BranchKind::lightning), 1);
  auto generator = at::detail::createCPUGenerator(4);
  const at::Tensor u = at::randn({1, 20, c.hidden}, generator, at::kFloat);
  const LayerWeights& w = teacher->weights(0);
  const at::Tensor grouped = at::linear(u, w.k).view({1, 20, c.kv_heads, c.head_dim});
  const at::Tensor expanded = at::linear(u, branch.parameter("k_proj.weight")).view({1, 20, c.heads, c.head_dim});
  for (int64_t h = 0; h < c.heads; ++h)
    EXPECT_LT(relative(expanded.select(2, h), grouped.select(2, h / (c.heads / c.kv_heads))), 1e-6) << "head " << h;
}

TEST(Transfer, NewParametersDependOnTheSeedAlone) {
  const auto teacher = tiny_teacher();
  const BranchOptions gdn = BranchOptions::of(BranchKind::gdn);
  const LinearBranch a(*teacher, 1, gdn, 7), b(*teacher, 1, gdn, 7), c(*teacher, 1, gdn, 8), d(*teacher, 2, gdn, 7);
  EXPECT_TRUE(at::equal(a.parameter("a_proj.weight"), b.parameter("a_proj.weight")));
  EXPECT_FALSE(at::equal(a.parameter("a_proj.weight"), c.parameter("a_proj.weight")));
  EXPECT_FALSE(at::equal(a.parameter("a_proj.weight"), d.parameter("a_proj.weight")));
}

TEST(Options, UnknownKindsAndKeysAreRefused) {
  EXPECT_THROW(parse_branch_kind("mamba3"), Error);
  EXPECT_THROW(BranchOptions::from_json({{"kind", "gdn"}, {"colour", 1}}), Error);
  EXPECT_THROW(BranchOptions::from_json({{"kind", "gdn"}, {"conv", 1}}), Error);
  const BranchOptions kda = BranchOptions::of(BranchKind::kda);
  EXPECT_EQ(BranchOptions::from_json(kda.to_json()).to_json(), kda.to_json());
}

}  // namespace
}  // namespace flashmorph
