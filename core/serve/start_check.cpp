// SPDX-License-Identifier: Apache-2.0
#include "core/serve/start_check.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "core/jobs/align_job.h"
#include "core/jobs/gates_job.h"
#include "core/load/checkpoint.h"
#include "core/load/corpus.h"
#include "core/load/safetensors.h"
#include "core/run/error.h"
#include "core/serve/eval_start.h"
#include "core/serve/memory_use.h"
#include "core/serve/stage_start.h"
#include "kernels/cuda_library.h"

namespace flashmorph {

namespace fs = std::filesystem;
using Json = nlohmann::json;

namespace {

std::string bytes_text(double bytes) {
  return bytes < 1e9 ? fmt::format("{:.0f} MB", bytes / 1e6)
                     : fmt::format("{:.1f} GB", bytes / 1e9);
}

// Turns what a check throws into a row that stops.
template <typename F>
void row(StartCheck& check, const std::string& name, F&& what) {
  ForecastRow one{name, "ok", {}, {}};
  try {
    what(one);
  } catch (const Error& error) {
    one.level = "stop";
    one.text = error.message() + (error.hint().empty() ? "" : ": " + error.hint());
  }
  if (!one.text.empty()) check.rows.push_back(std::move(one));
}

struct Known {
  std::optional<ModelConfig> model;
  std::optional<at::Device> device;
  int64_t weight_bytes = 0;
};

Known check_model(StartCheck& check, const Engine& engine, const RunConfig& config) {
  Known known;
  row(check, "device", [&](ForecastRow& one) {
    known.device = parse_device(config.device);
    one.text = known.device->str();
    if (const auto& cuda = kernels::load_cuda(); known.device->is_cuda() && !cuda.own_kernels) {
      one.level = "warn";
      one.text += ": " + cuda.reason;
    }
  });
  row(check, "model", [&](ForecastRow& one) {
    known.model = inspect_checkpoint(config.model);
    const bool loaded =
        engine.model.info().state == "loaded" && engine.model.info().path == config.model;
    one.text = fmt::format("{}, {} layers{}", known.model->name, known.model->layers,
                           loaded ? ", loaded" : "");
    const at::ScalarType dtype = parse_dtype(config.dtype, known.device.value_or(at::kCPU));
    known.weight_bytes = weight_count(*known.model) * static_cast<int64_t>(c10::elementSize(dtype));
    if (known.model->dtype.starts_with("Q")) {
      one.level = "warn";
      one.text +=
          fmt::format(": a degraded teacher, its weights are stored as {}", known.model->dtype);
    }
  });
  return known;
}

void check_branches(StartCheck& check, const RunConfig& config, const Known& known) {
  row(check, "branches", [&](ForecastRow& one) {
    if (config.aligned.empty())
      throw Error("load", ErrorCode::no_model, "no aligned branches are known",
                  "align first, or give aligned");
    const fs::path file = find_branches(config, config.aligned);
    if (!fs::exists(file))
      throw Error("load", ErrorCode::not_found, fmt::format("{} does not exist", file.string()),
                  "the align run is not finished");
    const size_t layers = MorphModel::branch_options_of(file).size();
    if (known.model && layers != static_cast<size_t>(known.model->layers))
      throw Error("load", ErrorCode::bad_file,
                  fmt::format("{} has branches for {} layers, the model has {}",
                              file.filename().string(), layers, known.model->layers),
                  "align branches for this model");
    one.text = fmt::format("{} ({} layers)", file.string(), layers);
  });
}

// The text against the tokens the job reads; a source without end is always enough.
void check_text(StartCheck& check, const RunConfig& config, double wanted) {
  row(check, "text", [&](ForecastRow& one) {
    if (config.text == "story") {
      one.text = "stories of the engine, without end";
      return;
    }
    const Tokenizer tokenizer = Tokenizer::load(config.model);
    const auto text = open_text(config.text, tokenizer);
    const auto have = static_cast<double>(text->size());
    one.text = fmt::format("{:.3g} tokens wanted, {}{:.3g} there", wanted,
                           text->size_is_exact() ? "" : "about ", have);
    if (have < wanted) {
      one.level = "warn";
      one.text += fmt::format(": the text is read {:.1f} times", wanted / std::max(have, 1.0));
    }
  });
}

void check_disk(StartCheck& check, const fs::path& folder, double wanted) {
  row(check, "disk", [&](ForecastRow& one) {
    fs::path place = folder;
    std::error_code failure;
    while (!place.empty() && !fs::exists(place, failure) && place != place.parent_path())
      place = place.parent_path();
    const fs::space_info space = fs::space(place, failure);
    if (failure)
      throw Error(
          "run", ErrorCode::bad_file,
          fmt::format("the disk of {} cannot be read: {}", place.string(), failure.message()));
    one.text = fmt::format("about {} wanted, {} free in {}", bytes_text(wanted),
                           bytes_text(static_cast<double>(space.available)), folder.string());
    if (static_cast<double>(space.available) < wanted) one.level = "stop";
  });
}

// Rough: what is kept of every token of a micro-batch, beside weights and optimizer.
void check_memory(StartCheck& check, const Known& known, double extra,
                  std::vector<ForecastCure> cures) {
  if (!known.model || !known.device) return;
  row(check, "memory", [&](ForecastRow& one) {
    const double wanted = static_cast<double>(known.weight_bytes) + extra;
    double free_bytes = static_cast<double>(available_bytes());
    if (known.device->is_cuda()) {
      for (const auto& device : kernels::load_cuda().devices)
        if (device.index == known.device->index())
          free_bytes = static_cast<double>(device.memory_bytes);
      if (const auto memory = device_memory(*known.device))
        free_bytes = static_cast<double>(memory->total_bytes - memory->used_bytes +
                                         held_bytes(*known.device));
    }
    one.text = fmt::format("about {} wanted, {} free", bytes_text(wanted), bytes_text(free_bytes));
    if (wanted > 0.9 * free_bytes) one.level = wanted > free_bytes ? "stop" : "warn";
    if (one.level != "ok") one.cures = std::move(cures);
  });
}

void add_estimate(StartCheck& check, Engine& engine, const std::string& stage,
                  const RunConfig& config, double tokens) {
  if (const auto rate = engine.rates.tokens_per_s(config.model, stage)) {
    check.estimate_s = tokens / *rate;
    check.estimate_from = "measured";
  } else {
    // The newest finished run of this kind and teacher tells how fast it went.
    std::string newest;
    for (const std::string& name : list_runs(engine.shelf.folder())) try {
        const RunRecord record = engine.shelf.record(engine.shelf.folder() / name);
        if (record.kind != stage || record.steps.tokens.empty() || record.steps.time_s.empty() ||
            record.created_utc < newest ||
            record.config.value("model", std::string()) != config.model ||
            !(record.steps.time_s.back() > 0))
          continue;
        newest = record.created_utc;
        check.estimate_s =
            tokens * record.steps.time_s.back() / static_cast<double>(record.steps.tokens.back());
        check.estimate_from = "recorded";
      } catch (const Error&) {
        // A run that cannot be read tells nothing.
      }
  }
  row(check, "time", [&](ForecastRow& one) {
    one.text = check.estimate_s
                   ? fmt::format("about {:.0f} s ({})", *check.estimate_s, check.estimate_from)
                   : "unknown: nothing of this kind has been measured yet";
  });
}

}  // namespace

Json StartCheck::to_json() const {
  Json list = Json::array();
  bool starts = true;
  for (const ForecastRow& row : rows) {
    Json cures = Json::array();
    for (const ForecastCure& cure : row.cures)
      cures.push_back({{"text", cure.text}, {"set", cure.set}});
    list.push_back(
        {{"name", row.name}, {"level", row.level}, {"text", row.text}, {"cures", cures}});
    starts = starts && row.level != "stop";
  }
  return {{"rows", list},
          {"starts", starts},
          {"estimate_s", estimate_s ? Json(*estimate_s) : Json()},
          {"estimate_from", estimate_from},
          {"command", command}};
}

StartCheck check_stage(Engine& engine, const Stage& stage, const Json& options) {
  StartCheck check;
  const RunConfig config = settle_config(engine, stage, options);
  check.command = command_line(config);
  const Known known = check_model(check, engine, config);
  if (stage.needs_branches) check_branches(check, config, known);
  const int layers =
      known.model ? static_cast<int>(known.model->layers) : engine.model.info().layers;
  const double tokens = stage.tokens(config, layers);
  row(check, "options", [&](ForecastRow& one) {
    if (stage.name == "align") {
      branch_options_of(config, layers);
      align_options_of(config);
    } else {
      locks_of(config, layers);
      if (stage.name == "gates") gate_options_of(config, layers);
    }
  });
  if (stage.name != "align" && known.model && known.model->max_position > 0 &&
      config.length_max > known.model->max_position)
    row(check, "length", [&](ForecastRow& one) {
      const int64_t most = known.model->max_position;
      one.level = "warn";
      one.text = fmt::format(
          "samples of up to {} tokens are cut to {}, the longest this model was made for",
          config.length_max, most);
      one.cures.push_back(
          {fmt::format("length_max {}", most),
           {{"length_max", most}, {"length_min", std::min(config.length_min, most / 4)}}});
    });
  check_text(check, config,
             stage.name == "align" ? tokens : static_cast<double>(config.text_tokens));
  if (known.model) {
    const ModelConfig& m = *known.model;
    const double branch = static_cast<double>(m.layers) *
                          static_cast<double>(m.heads * m.head_dim) *
                          static_cast<double>(4 * m.hidden);
    const double width = 4.0 * static_cast<double>(m.hidden + 4 * m.heads * m.head_dim);
    if (stage.name == "align") {
      // Float32 weights, gradient and two moments; every layer reads the same tokens one after the
      // other.
      const int64_t micro =
          config.align_micro_batch > 0 ? config.align_micro_batch : config.align_batch;
      const double token_bytes = 12 * width + 4.0 * static_cast<double>(m.hidden * m.layers);
      check_memory(check, known,
                   16 * branch + token_bytes * static_cast<double>(micro * config.align_length),
                   {{fmt::format("align_micro_batch {}", std::max<int64_t>(1, micro / 4)),
                     {{"align_micro_batch", std::max<int64_t>(1, micro / 4)}}}});
      check_disk(check, config.runs, 4 * 4 * branch);
    } else {
      const auto longest = static_cast<double>(
          m.max_position > 0 ? std::min(config.length_max, m.max_position) : config.length_max);
      const double kept = stage.name == "gates" ? static_cast<double>(m.layers) * 8.0 *
                                                      static_cast<double>(m.hidden) *
                                                      static_cast<double>(config.batch)
                                                : 0.0;
      check_memory(check, known, 4 * branch + longest * (12 * width + kept),
                   {{fmt::format("length_max {}", config.length_max / 2),
                     {{"length_max", config.length_max / 2}}}});
      check_disk(check, config.runs, 10e6);
    }
  }
  add_estimate(check, engine, stage.name, config, tokens);
  return check;
}

StartCheck check_eval(Engine& engine, const Json& options) {
  StartCheck check;
  const EvalPlan plan = plan_evaluation(engine, options);
  check.command = plan.command;
  const Known known = check_model(check, engine, plan.config);
  row(check, "plans", [&](ForecastRow& one) {
    one.text = fmt::format("{} of {} cells known; {} prompts to go in {} plans{}", plan.cached,
                           plan.cells, plan.trials - plan.trials_cached, plan.plans.size(),
                           plan.brackets ? ", teacher and all-linear first" : "");
  });
  if (known.model && known.model->max_position > 0 &&
      plan.set.lengths.back() > known.model->max_position)
    row(check, "length", [&](ForecastRow& one) {
      one.level = "warn";
      one.text = fmt::format("{} tokens are more than the {} the model was made for",
                             plan.set.lengths.back(), known.model->max_position);
    });
  if (known.model) {
    const ModelConfig& m = *known.model;
    check_memory(check, known,
                 static_cast<double>(plan.set.lengths.back()) * 4.0 *
                     static_cast<double>(8 * m.hidden + 4 * m.heads * m.head_dim + m.ffn * 3),
                 {});
  }
  check_disk(check, plan.home, 5e6);
  check.estimate_s = plan.estimate_s;
  check.estimate_from = plan.estimate_from;
  row(check, "time", [&](ForecastRow& one) {
    one.text = plan.estimate_s
                   ? fmt::format("about {:.0f} s ({})", *plan.estimate_s, plan.estimate_from)
                   : "unknown: nothing has been measured yet";
  });
  return check;
}

StartCheck check_training(Engine& engine, const Stage& stage, const RunConfig& config) {
  StartCheck check;
  check.command = command_line(config);
  use_threads(config);
  const Session& session = engine.model.load(config.model, config.device, config.dtype);
  JobListener listener;
  listener.progress = [&](const std::string&, const Progress& progress, const std::string&) {
    engine.pulse.beat(progress.done);
  };
  listener.note = [&](const std::string& text) { engine.outbox.tell(LogEvent{"info", text, {}}); };
  const TrainForecast forecast = forecast_training(session, config, engine.leaving, listener);
  check.rows = forecast.rows;
  check.estimate_s = forecast.estimate_s;
  if (forecast.tokens_per_s) engine.rates.note(config.model, stage.name, *forecast.tokens_per_s);
  if (forecast.estimate_s) check.estimate_from = "measured";
  release_cached_memory(session.device());
  return check;
}

StartCheck check_export(const ExportRequest& request) {
  StartCheck check;
  const ExportSubject subject = export_subject(request);
  for (const LintRow& one : lint_subject(
           subject, request.dtype.empty() ? ExportDtype::bf16 : parse_export_dtype(request.dtype)))
    check.rows.push_back(
        {one.consumer,
         one.level == LintLevel::ok     ? "ok"
         : one.level == LintLevel::warn ? "warn"
                                        : "stop",
         one.message.empty() ? "loads it" : one.message + (one.cure.empty() ? "" : ": " + one.cure),
         {}});
  check.command = export_command_line(request);
  return check;
}

std::string export_command_line(const ExportRequest& request) {
  std::string line = "flashmorph export";
  const auto add = [&](const char* flag, const std::string& value) {
    if (value.empty()) return;
    std::string quoted;
    for (const char c : value) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
    const bool plain =
        value.find_first_not_of(
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%") ==
        std::string::npos;
    line += fmt::format(" {} {}", flag, plain ? value : "'" + quoted + "'");
  };
  add("--run", request.run);
  add("--plan", request.plan);
  add("--model", request.model);
  add("--aligned", request.aligned);
  add("--hybrid", request.hybrid);
  add("--target", request.target);
  add("--dtype", request.dtype);
  add("--out", request.out);
  if (request.max_shard_bytes != kDefaultShardBytes)
    add("--max-shard-bytes", std::to_string(request.max_shard_bytes));
  return line;
}

}  // namespace flashmorph
