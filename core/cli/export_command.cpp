// SPDX-License-Identifier: Apache-2.0
// flashmorph export: a hybrid in the format of other people's software, its plan alone, or what
// each program would make of it.
#include <memory>

#include <fmt/format.h>

#include "core/cli/program.h"
#include "core/export/export_job.h"
#include "core/run/error.h"

namespace flashmorph {

namespace {

struct Flags {
  ExportRequest request;
  bool plan_only = false, check = false;
};

void print_check(const ExportSubject& subject, const std::vector<LintRow>& rows,
                 const Console& console) {
  if (console.json()) {
    fmt::print("{}\n",
               nlohmann::json{{"plan", subject.plan.to_string()}, {"lint", to_json(rows)}}.dump());
    return;
  }
  fmt::print("{}  {}  {}\n", subject.config.name, subject.plan.to_string(),
             plan_strip(subject.plan));
  for (const LintRow& row : rows) {
    fmt::print("{:<13} {:<7} {}\n", row.consumer, to_string(row.level), row.message);
    if (row.level != LintLevel::ok && !row.cure.empty()) fmt::print("{:<21} -> {}\n", "", row.cure);
  }
}

void print_outcome(const ExportOutcome& done, const Console& console) {
  if (console.json()) {
    fmt::print("{}\n", done.to_json().dump());
    return;
  }
  if (done.target == ExportTarget::plan) {
    fmt::print("{}  {}\n", done.path.string(), done.description.plan.to_string());
    return;
  }
  fmt::print("{}  {}, {} tensors, {}, plan {}\n", done.path.string(), done.description.target.name,
             done.tensors, human_bytes(static_cast<double>(done.bytes)),
             done.description.plan.to_string());
  fmt::print(
      "read back: logits within {:.2e} of the source, mean KL {:.2e} nats; check prompts in {}\n",
      done.max_abs, done.mean_kl_nats, done.logits.string());
  for (const LintRow& row : done.lint)
    if (row.consumer == consumer_of(done.target) && row.level == LintLevel::warn) {
      fmt::print("warning: {}\n", row.message);
      if (!row.cure.empty()) fmt::print("  {}\n", row.cure);
    }
}

}  // namespace

CommandBody add_export_command(CLI::App& app) {
  auto flags = std::make_shared<Flags>();
  ExportRequest& r = flags->request;
  app.add_option("--run", r.run, "Run whose plan, teacher and weights are exported");
  app.add_option("--runs", r.runs, "Folder of runs");
  app.add_option("--plan", r.plan,
                 "Plan text as 28:1,11-14, or name or id of a saved plan; default: the run's own");
  app.add_option("--model", r.model, "Teacher: model folder or GGUF file; default: the run's");
  app.add_option("--aligned", r.aligned,
                 "Run or branches.safetensors with aligned branches; default: the run's");
  app.add_option(
      "--hybrid", r.hybrid,
      "Run or hybrid.safetensors of distill or finetune; default: the run's if it has one");
  app.add_option("--target", r.target,
                 "transformers|fla|hypenet|gguf|plan; default: the first of them (but gguf) that "
                 "can hold the branches");
  app.add_option("--dtype", r.dtype,
                 "bf16|f16|f32, for gguf also q8_0; default bf16, for gguf f16");
  app.add_option("-o,--out", r.out,
                 "Folder to make (for gguf and plan: file); default: exports/TARGET of the run");
  app.add_option("--max-shard-bytes", r.max_shard_bytes, "Largest safetensors file")
      ->capture_default_str();
  app.add_flag("--plan-only", flags->plan_only,
               "The plan and where it comes from, no weights: as --target plan");
  app.add_flag("--check", flags->check,
               "Write nothing: say which programs load this, misread it or refuse it, and why");
  app.footer(
      "Example: flashmorph export --run my-gates --check\n"
      "         flashmorph export --run my-gates --target hypenet --out my-hybrid\n"
      "         flashmorph export --plan-only --run my-gates -o hybrid_config.json");
  return [flags](CommandContext& context) {
    ExportRequest request = flags->request;
    if (flags->plan_only) request.target = to_string(ExportTarget::plan);
    if (!request.target.empty()) parse_export_target(request.target);
    if (!request.dtype.empty()) parse_export_dtype(request.dtype);
    if (request.max_shard_bytes < 1 << 20)
      throw Error("export", ErrorCode::bad_request, "--max-shard-bytes: expected at least 1048576");
    const ExportSubject subject = export_subject(request);
    if (flags->check) {
      print_check(subject,
                  lint_subject(subject, request.dtype.empty() ? ExportDtype::bf16
                                                              : parse_export_dtype(request.dtype)),
                  context.console);
      return 0;
    }
    const ExportOutcome done =
        run_export(request, subject, context.command_line(), context.stop,
                   [&](const Progress& progress) { context.console.progress("export", progress); });
    context.console.finish_progress();
    print_outcome(done, context.console);
    return 0;
  };
}

}  // namespace flashmorph
