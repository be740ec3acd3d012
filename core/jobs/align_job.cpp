// SPDX-License-Identifier: Apache-2.0
#include "core/jobs/align_job.h"

#include <charconv>
#include <numeric>

#include <fmt/format.h>

#include "core/run/error.h"

namespace flashmorph {

namespace {

void apply_switch(const std::string& word, bool& value) {
  if (word == "on") value = true;
  if (word == "off") value = false;
}

double mean(const std::vector<double>& values) {
  return values.empty() ? 0 : std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

}  // namespace

std::vector<BranchOptions> branch_options_of(const RunConfig& config, int layers) {
  std::vector<std::string> kinds = config.branches;
  if (kinds.empty()) kinds.assign(static_cast<size_t>(layers), config.branch);
  if (kinds.size() != static_cast<size_t>(layers))
    throw Error("align", ErrorCode::bad_request,
                fmt::format("branches names {} kinds, the model has {} layers", kinds.size(), layers), "name one kind per layer");
  std::vector<BranchOptions> options;
  for (const std::string& kind : kinds) {
    BranchOptions one = BranchOptions::of(parse_branch_kind(kind));
    apply_switch(config.branch_rope, one.rope);
    apply_switch(config.branch_qk_norm, one.qk_norm);
    apply_switch(config.branch_silu, one.silu);
    apply_switch(config.branch_skip, one.skip);
    if (config.branch_conv != "auto")
      std::from_chars(config.branch_conv.data(), config.branch_conv.data() + config.branch_conv.size(), one.conv);
    one.double_beta = config.branch_double_beta;
    one.spread = config.spread;
    one.layer_scaled = config.decay_rule == "layer_scaled";
    one.sink = static_cast<int>(config.sink);
    one.window = static_cast<int>(config.window);
    options.push_back(BranchOptions::from_json(one.to_json()));  // checks what belongs together
  }
  return options;
}

AlignOptions align_options_of(const RunConfig& config) {
  AlignOptions options;
  options.steps = config.align_steps;
  options.batch = config.align_batch;
  options.micro_batch = config.align_micro_batch;
  options.length = config.align_length;
  options.lr = config.align_lr;
  options.lr_final = config.align_lr_final;
  options.warmup = config.align_warmup;
  options.clip = config.align_clip;
  options.loss = config.align_loss;
  options.fit_tokens = config.align_fit_tokens;
  options.held_out_tokens = config.held_out_tokens;
  options.held_out_every = config.held_out_every;
  options.checkpoint_every = config.checkpoint_every;
  options.seed = static_cast<uint64_t>(config.seed);
  options.check();
  return options;
}

AlignResult run_align_job(const Job& job, bool resumed) {
  const auto text = open_text(job.config.text, job.session.tokenizer());
  const AlignOptions options = align_options_of(job.config);
  MorphModel& model = job.session.make_branches(branch_options_of(job.config, job.session.teacher().layers()), options.seed);
  Aligner aligner(model, *text, options);
  const RunFolder& folder = job.recorder.folder();
  const std::string checkpoint = folder.checkpoints() / "align.safetensors";
  if (resumed) {
    if (std::filesystem::exists(checkpoint))
      aligner.resume(checkpoint);
    else
      job.listener.note("the run has no checkpoint yet: starting at step 1");
  }
  tell_running(job, "align");
  const AlignResult result = aligner.run(
      [&](const AlignStep& step) {
        AlignStepsEvent event;
        event.job = job.id;
        event.step = {step.step};
        event.loss = {step.loss};
        event.layer_loss = {step.layer_loss};
        event.lr = {step.lr};
        event.time_s = {step.seconds};
        event.tokens = {step.tokens};
        event.error = step.held_out;
        job.tell(std::move(event));
        job.listener.progress("align", {"steps", step.step, options.steps, step.tokens},
                              step.held_out.empty() ? fmt::format("loss {:.4g}", step.loss)
                                                    : fmt::format("loss {:.4g}, held-out error {:.3f}", step.loss, mean(step.held_out)));
        if (options.checkpoint_every > 0 && step.step % options.checkpoint_every == 0 && step.step < options.steps) {
          aligner.save(checkpoint);
          job.recorder.commit();
        }
      },
      job.stop);
  if (result.stopped) {
    aligner.save(checkpoint);
    return result;
  }
  model.save_branches(folder.checkpoints() / "branches.safetensors",
                      {{"teacher", job.session.teacher().config().name},
                       {"teacher_config_sha256", job.session.config_sha256()},
                       {"teacher_weights_sha256", job.session.weights_sha256()},
                       {"align_tokens", std::to_string(result.tokens)},
                       {"align_steps", std::to_string(result.steps)},
                       {"seed", std::to_string(options.seed)},
                       {"data_sha256", text->data_sha256()},
                       {"run_uuid", job.recorder.record().uuid}});
  std::filesystem::remove(checkpoint);
  job.recorder.edit([&](RunRecord& record) {
    record.layer.error.assign(result.error.begin(), result.error.end());
    record.provenance["align"] = {{"tokens", result.tokens},
                                  {"steps", result.steps},
                                  {"seconds", result.seconds},
                                  {"data_sha256", text->data_sha256()},
                                  {"error_before", result.error_before},
                                  {"error", result.error}};
  });
  return result;
}

}  // namespace flashmorph
