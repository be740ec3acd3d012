// SPDX-License-Identifier: Apache-2.0
#include "core/export/model_card.h"

#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace flashmorph {

namespace {

std::string loading(const CardFacts& facts) {
  switch (facts.target) {
    case ExportTarget::transformers:
      return "```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer   # 5.17 or "
             "newer\n"
             "model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=\"auto\")\ntokenizer = "
             "AutoTokenizer.from_pretrained(FOLDER)\n```\n"
             "The stock class `Qwen3_5ForCausalLM` is used, no code of this folder runs. Without a "
             "GPU, do not install "
             "flash-linear-attention beside it: transformers would pick its GPU kernels.\n";
    case ExportTarget::hypenet:
      return "```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer   # 5.17 or "
             "newer\n"
             "model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=\"auto\", "
             "trust_remote_code=True)\n"
             "tokenizer = AutoTokenizer.from_pretrained(FOLDER, trust_remote_code=True)\n```\n"
             "`trust_remote_code=True` runs `modeling_flashmorph.py` of this folder (Apache-2.0, "
             "plain PyTorch); without it transformers asks "
             "on the terminal, then refuses.\n";
    case ExportTarget::fla:
      return "```python\nimport fla   # flash-linear-attention 0.6.0 or newer, flash-attn, a "
             "GPU\nfrom transformers import AutoModelForCausalLM\n"
             "model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=\"auto\").cuda()\n```\n";
    case ExportTarget::gguf:
      return fmt::format(
          "```\nllama-cli -m {} -p \"...\"\n```\nThe file names its full layers in "
          "`qwen35.attention.recurrent_layers`; "
          "use a llama.cpp that reads it.\n",
          facts.file);
    case ExportTarget::plan:
      break;
  }
  return "No weights: `flashmorph` reads the plan back.\n";
}

std::string recall(const HybridConfig& hybrid, const CardFacts& facts) {
  std::string text;
  if (!facts.run) return text;
  for (const SetEvaluations& set : facts.run->evals)
    for (const Evaluation& one : set.evaluations) {
      const SavedPlan* plan = facts.run->find_plan(one.plan_id);
      if (!plan || plan->plan != hybrid.plan || !one.grid.complete()) continue;
      text += fmt::format("- {} on `{}` ({} weights): mean share of answer tokens {:.3f}\n",
                          set.set.name, plan->name, one.weights, one.grid.mean_score());
    }
  return text;
}

}  // namespace

std::string model_card(const HybridConfig& h, const ModelConfig& teacher,
                       const std::vector<LintRow>& rows, const CardFacts& facts) {
  std::string text = fmt::format(
      "---\nlibrary_name: {}\ntags: [hybrid-attention, linear-attention, flashmorph]\n---\n# {} as "
      "a hybrid\n\n"
      "{} of {} layers keep full (softmax) attention: {}. The others were replaced by `{}` linear "
      "attention; every other part comes from "
      "the teacher **{}** ({} family).\n\n",
      facts.target == ExportTarget::gguf ? "llama.cpp" : "transformers", h.teacher.name,
      h.plan.budget(), h.plan.layers, fmt::join(h.plan.full, ", "),
      h.branch.kind.empty() ? "no" : h.branch.kind, h.teacher.name, teacher.family);
  text += "## Loading\n\n" + loading(facts) + "\n## Where it comes from\n\n";
  text += fmt::format(
      "- layers chosen by `{}`{}\n", h.selection.method.empty() ? "hand" : h.selection.method,
      h.selection.run_uuid.empty()
          ? ""
          : fmt::format(" (run {}, seed {})", h.selection.run_uuid, h.selection.seed));
  bool trained = false;
  for (const HybridStage& stage : h.training) {
    text += fmt::format("- {}: {} tokens, {} steps, seed {}\n", stage.stage, stage.tokens,
                        stage.steps, stage.seed);
    trained = trained || stage.stage == "distil" || stage.stage == "finetune";
  }
  if (!trained && h.plan.budget() < h.plan.layers)
    text +=
        "- **not distilled**: teacher weights and aligned branches only; expect much weaker "
        "answers than the teacher's\n";
  text += fmt::format(
      "- weights stored as {}; rounding moved the predictions by {:.2e} nats (mean KL on the check "
      "prompts)\n",
      h.target.dtype, facts.kl_nats);
  if (h.target.norm_rescaled)
    text += fmt::format(
        "- norms carry powers of two so that bfloat16 keeps them exactly; the others (stored in "
        "float32) move by up to {:.2g} %"
        " when loaded in bfloat16\n",
        100 * h.target.norm_max_rel_error);
  const std::string seen = recall(h, facts);
  text += "\n## Recall\n\n" +
          (seen.empty()
               ? std::string("Not evaluated. `flashmorph eval` measures it by length and depth.\n")
               : seen);
  text += "\n## Who reads it\n\n| program | verdict | why |\n|---|---|---|\n";
  for (const LintRow& row : rows)
    text += fmt::format("| {} | {} | {} |\n", row.consumer, to_string(row.level), row.message);
  text += fmt::format(
      "\n## License\n\nThe weights derive from {}: its license applies to them. Files that came "
      "with the teacher (LICENSE, NOTICE) "
      "are copied here when it had any.{}\n",
      h.teacher.name,
      facts.target == ExportTarget::hypenet ? " The two Python files are Apache-2.0." : "");
  return text;
}

}  // namespace flashmorph
