// SPDX-License-Identifier: Apache-2.0
// The student: equal to M(plan) at the start, names of its tensors, shared memory, its file,
// gradients against differences.
#include "core/model/hybrid_model.h"

#include <cmath>
#include <filesystem>
#include <set>

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <unistd.h>

#include "core/load/safetensors.h"
#include "core/load/tensor_table.h"
#include "core/model/hybrid_file.h"
#include "core/run/error.h"
#include "tests/support/tiny_model.h"

namespace flashmorph {
namespace {

const LayerPlan kPlan = LayerPlan::of(4, {1, 2});

std::string scratch_file() {
  return (std::filesystem::path(testing::TempDir()) /
          (std::to_string(::getpid()) + "hybrid.safetensors"))
      .string();
}

struct Case {
  const char* name;
  BranchKind kind;
  TinyShape shape;
};
std::vector<Case> cases() {
  TinyShape qwen3, qwen2, untied;
  qwen3.qk_norm = true;
  qwen2.qkv_bias = true;
  untied.tied = false;
  return {{"lightning", BranchKind::lightning, {}},
          {"lightning of a qwen3", BranchKind::lightning, qwen3},
          {"lightning of a qwen2", BranchKind::lightning, qwen2},
          {"gdn of a qwen3", BranchKind::gdn, qwen3},
          {"gdn of an untied llama", BranchKind::gdn, untied},
          {"gla", BranchKind::gla, {}},
          {"mamba2", BranchKind::mamba2, {}},
          {"kda", BranchKind::kda, {}},
          {"window", BranchKind::window, {}}};
}

TEST(HybridModel, StartsAsThePlanOfItsBranches) {
  for (const Case& one : cases())
    for (const TrainPart part : {TrainPart::all, TrainPart::attention}) {
      const MorphModel aligned = tiny_morph_model(one.shape, 1, one.kind);
      const auto teacher = tiny_teacher(one.shape);
      const HybridModel hybrid(teacher, aligned, kPlan, part);
      const at::Tensor ids = tiny_ids(2, 40);
      EXPECT_TRUE(at::equal(hybrid.states(ids), aligned.states(ids, kPlan))) << one.name;
      EXPECT_EQ(hybrid.greedy({1, 2, 3}, 5), aligned.greedy({1, 2, 3}, kPlan, 5)) << one.name;
    }
}

TEST(HybridModel, AllFullIsTheTeacher) {
  const MorphModel aligned = tiny_morph_model();
  const HybridModel hybrid(tiny_teacher(), aligned, LayerPlan::all_full(4), TrainPart::all);
  const at::Tensor ids = tiny_ids(1, 20);
  EXPECT_TRUE(at::equal(hybrid.logits(ids),
                        aligned.teacher().logits(aligned.states(ids, LayerPlan::all_full(4)))));
}

TEST(HybridModel, NamesEveryTensorOnce) {
  TinyShape shape;
  shape.tied = false;
  const HybridModel hybrid(tiny_teacher(shape), tiny_morph_model(shape), kPlan, TrainPart::all);
  std::set<std::string> names;
  for (const HybridTensor& one : hybrid.tensors()) {
    EXPECT_TRUE(names.insert(one.name).second) << one.name;
    EXPECT_TRUE(one.trains) << one.name;
    EXPECT_EQ(one.value.scalar_type(), at::kFloat);
  }
  for (const TensorSpec& spec : tensor_table(hybrid.config())) {
    const bool gone = spec.name.find("layers.0.self_attn") != std::string::npos ||
                      spec.name.find("layers.3.self_attn") != std::string::npos;
    EXPECT_EQ(names.count(spec.name), gone ? 0u : 1u) << spec.name;
  }
  EXPECT_EQ(names.count("model.layers.0.linear_attn.z_proj.weight"), 1u);
  EXPECT_EQ(names.count("model.layers.1.linear_attn.z_proj.weight"), 0u);
  EXPECT_EQ(hybrid.branch_options(3).kind, BranchKind::lightning);
  EXPECT_THROW(hybrid.branch_options(1), Error);
  EXPECT_THROW(hybrid.tensor("model.layers.0.self_attn.q_proj.weight"), Error);
  EXPECT_EQ(hybrid.parameters(), hybrid.trainable());
}

TEST(HybridModel, FrozenTensorsLieInTheTeachersMemory) {
  const auto teacher = tiny_teacher();
  const std::map<std::string, at::Tensor> theirs = teacher->tensors();
  const HybridModel attention(teacher, tiny_morph_model(), kPlan, TrainPart::attention);
  int shared = 0, own = 0;
  for (const HybridTensor& one : attention.tensors()) {
    const auto found = theirs.find(one.name);
    if (found == theirs.end()) {
      EXPECT_TRUE(one.trains) << one.name;
      continue;
    }
    EXPECT_EQ(one.value.is_alias_of(found->second), !one.trains) << one.name;
    EXPECT_EQ(one.trains, one.name.find("self_attn") != std::string::npos) << one.name;
    ++(one.trains ? own : shared);
  }
  EXPECT_EQ(own, 2 * 4);             // q, k, v, o of two full layers
  EXPECT_EQ(shared, 1 + 4 * 5 + 1);  // embedding, norms and feed-forwards, final norm
  const HybridModel all(teacher, tiny_morph_model(), kPlan, TrainPart::all);
  for (const HybridTensor& one : all.tensors())
    for (const auto& [name, value] : theirs) EXPECT_FALSE(one.value.is_alias_of(value)) << one.name;
}

TEST(HybridModel, LowPrecisionComputesFromCopiesOfFloat32Masters) {
  const MorphModel aligned = tiny_morph_model({}, 1, BranchKind::lightning, at::kBFloat16);
  HybridModel hybrid(tiny_teacher({}, 1, at::kBFloat16), aligned, kPlan, TrainPart::all);
  const at::Tensor ids = tiny_ids(1, 16), before = hybrid.states(ids);
  EXPECT_TRUE(at::equal(before, aligned.states(ids, kPlan)));
  for (const HybridTensor& one : hybrid.tensors()) {
    EXPECT_EQ(one.value.scalar_type(), at::kFloat);
    one.value.mul_(1.25);
  }
  EXPECT_TRUE(at::equal(before, hybrid.states(ids)));  // the copies still hold
  hybrid.refresh();
  EXPECT_FALSE(at::equal(before, hybrid.states(ids)));
  EXPECT_TRUE(at::equal(hybrid.tensors()[0].used, hybrid.tensors()[0].value.to(at::kBFloat16)));
}

TEST(HybridFile, GivesTheSameHybridBack) {
  const std::string path = scratch_file();
  for (const Case& one : cases())
    for (const TrainPart part : {TrainPart::all, TrainPart::attention}) {
      const auto teacher = tiny_teacher(one.shape);
      HybridModel hybrid(teacher, tiny_morph_model(one.shape, 1, one.kind), kPlan, part);
      for (const HybridTensor& tensor : hybrid.tensors())
        if (tensor.trains) tensor.value.add_(0.01);
      hybrid.refresh();
      save_hybrid(path, hybrid, {{"run_uuid", "abc"}});
      const HybridFileInfo info = hybrid_file_info(path);
      EXPECT_EQ(info.plan, kPlan);
      EXPECT_EQ(info.part, part);
      EXPECT_EQ(info.metadata.at("run_uuid"), "abc");
      const HybridModel back = read_hybrid(path, teacher);
      const at::Tensor ids = tiny_ids(2, 24);
      EXPECT_TRUE(at::equal(back.states(ids), hybrid.states(ids))) << one.name;
      const SafetensorsFile file(path);
      for (const auto& [name, entry] : file.entries()) EXPECT_TRUE(hybrid.has(name)) << name;
    }
  std::filesystem::remove(path);
}

TEST(HybridFile, RefusesWhatDoesNotFit) {
  const std::string path = scratch_file();
  const auto teacher = tiny_teacher();
  HybridModel hybrid(teacher, tiny_morph_model(), kPlan, TrainPart::attention);
  save_hybrid(path, hybrid, {});
  TinyShape wide;
  wide.hidden = 64;
  EXPECT_THROW(read_hybrid(path, tiny_teacher(wide)), Error);
  TinyShape deep;
  deep.layers = 5;
  EXPECT_THROW(read_hybrid(path, tiny_teacher(deep)), Error);
  // Another plan in the metadata: its tensors are not those of the file.
  SafetensorsFile file(path);
  std::map<std::string, std::string> metadata = file.metadata();
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const auto& [name, entry] : file.entries())
    tensors.emplace_back(name, file.tensor(name).clone());
  const auto refused = [&](std::map<std::string, std::string> other,
                           std::vector<std::pair<std::string, at::Tensor>> list) {
    write_safetensors(path, list, other);
    EXPECT_THROW(read_hybrid(path, teacher), Error);
  };
  auto changed = metadata;
  changed["plan"] = "4:0-1";
  refused(changed, tensors);
  changed = metadata;
  changed["version"] = "9";
  refused(changed, tensors);
  changed = metadata;
  changed.erase("format");
  refused(changed, tensors);
  auto fewer = tensors;
  fewer.pop_back();
  refused(metadata, fewer);
  auto more = tensors;
  more.emplace_back("model.layers.0.linear_attn.extra", at::zeros({2}));
  refused(metadata, more);
  std::filesystem::remove(path);
}

// The gradient of a loss on the logits in every trainable tensor against central differences, in
// float64.
TEST(HybridModel, GradientsEqualCentralDifferences) {
  at::manual_seed(11);
  for (const Case& one : cases()) {
    if (one.kind == BranchKind::window) continue;  // softmax again, of the teacher's kind
    TinyShape shape = one.shape;
    shape.layers = 3;
    shape.hidden = 16;
    shape.ffn = 20;
    shape.vocab = 24;
    HybridModel hybrid(tiny_teacher(shape, 1, at::kDouble),
                       tiny_morph_model(shape, 1, one.kind, at::kDouble), LayerPlan::of(3, {1}),
                       TrainPart::all);
    const at::Tensor ids = tiny_ids(1, 12, shape.vocab);
    const at::Tensor wanted = at::randn({12, shape.vocab}, at::kDouble).softmax(-1);
    const auto loss = [&] { return -(wanted * at::log_softmax(hybrid.logits(ids)[0], -1)).sum(); };
    hybrid.set_requires_grad(true);
    std::vector<at::Tensor> leaves;
    for (const HybridTensor& tensor : hybrid.tensors()) {
      EXPECT_EQ(tensor.value.scalar_type(), at::kDouble) << tensor.name;
      leaves.push_back(tensor.used.defined() ? tensor.used : tensor.value);
    }
    const std::vector<at::Tensor> gradients = torch::autograd::grad({loss()}, leaves);
    hybrid.set_requires_grad(false);
    const at::NoGradGuard no_grad;
    for (size_t i = 0; i < leaves.size(); ++i) {
      // Along the gradient itself the difference quotient is its norm; along a random direction it
      // sees signs. Both of length 1, or the quotient's own error, which grows with the cube of the
      // length, passes the tolerance.
      const at::Tensor random = at::randn_like(leaves[i]);
      for (const at::Tensor& direction :
           {gradients[i] / (gradients[i].norm() + 1e-30), random / random.norm()}) {
        const double eps = 1e-5;
        const at::Tensor kept = leaves[i].clone();
        const auto at_distance = [&](double t) {
          leaves[i].copy_(kept + t * direction);
          hybrid.refresh();
          return loss().item<double>();
        };
        const double difference = (at_distance(eps) - at_distance(-eps)) / (2 * eps);
        leaves[i].copy_(kept);
        const double slope = (gradients[i] * direction).sum().item<double>();
        EXPECT_NEAR(difference, slope, 1e-6 * std::max(1.0, std::abs(slope)))
            << one.name << " " << hybrid.tensors()[i].name;
      }
    }
  }
}

}  // namespace
}  // namespace flashmorph
