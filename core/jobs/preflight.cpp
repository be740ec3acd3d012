// SPDX-License-Identifier: Apache-2.0
#include "core/jobs/preflight.h"

#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include "core/jobs/allocation_meter.h"
#include "core/run/error.h"
#include "core/train/layer_pass.h"

namespace flashmorph {

namespace fs = std::filesystem;

namespace {

constexpr double kShare = 0.9;

std::string gigabytes(double bytes) { return fmt::format("{:.2f} GB", bytes * 1e-9); }
std::string gigabytes(int64_t bytes) { return gigabytes(static_cast<double>(bytes)); }

std::string many(double count) {
  return count >= 1e9   ? fmt::format("{:.2f} G", count * 1e-9)
         : count >= 1e6 ? fmt::format("{:.1f} M", count * 1e-6)
                        : fmt::format("{:.1f} k", count * 1e-3);
}

std::string duration(double seconds) {
  return seconds >= 3600 ? fmt::format("{:.1f} h", seconds / 3600)
         : seconds >= 60 ? fmt::format("{:.0f} min", seconds / 60)
                         : fmt::format("{:.1f} s", seconds);
}

ForecastRow plan_row(const HybridModel& hybrid, const NamedPlan& plan) {
  return {"plan",
          "ok",
          fmt::format("{}: {} of {} layers full, {} parameters, {} of them train",
                      plan.plan.to_string(), plan.plan.budget(), plan.plan.layers,
                      many(static_cast<double>(hybrid.parameters())),
                      many(static_cast<double>(hybrid.trainable()))),
          {}};
}

// With every layer full the student must be the teacher, bit for bit.
ForecastRow teacher_row(const HybridModel& hybrid, const HybridStart& start,
                        const TextSource& text) {
  if (!start.init.empty())
    return {"teacher", "ok", "goes on from trained weights, which differ from the teacher's", {}};
  const at::NoGradGuard no_grad;
  const TokenIds row = text.take(0, 0, 64);
  const at::Tensor ids =
      at::tensor(at::ArrayRef<int64_t>(row), at::kLong).unsqueeze(0).to(hybrid.teacher().device());
  const at::Tensor mine = hybrid.model().states(ids, LayerPlan::all_full(hybrid.layers())),
                   theirs = teacher_states(hybrid.teacher(), ids, {});
  if (at::equal(mine, theirs))
    return {"teacher", "ok", "with all layers full the student equals the teacher", {}};
  return {"teacher",
          "stop",
          fmt::format("with all layers full the student differs from the teacher by {:.3g}",
                      (mine - theirs).abs().max().to(at::kDouble).item<double>()),
          {}};
}

ForecastRow disk_row(TrainForecast& forecast, const HybridModel& hybrid, const RunConfig& config) {
  // Beside the checkpoint that is being written the one before it still lies there.
  const int64_t weights = 4 * hybrid.trainable(), checkpoint = 3 * weights;
  forecast.disk_weights = weights;
  forecast.disk_checkpoint = checkpoint * (config.checkpoint_every > 0 ? 2 : 1);
  const int64_t wanted = weights + forecast.disk_checkpoint;
  fs::path place = config.run.find('/') != std::string::npos ? fs::path(config.run).parent_path()
                                                             : runs_folder(config);
  std::error_code failed;
  while (!place.empty() && !fs::exists(place, failed) && place != place.parent_path())
    place = place.parent_path();
  const fs::space_info space = fs::space(place, failed);
  const std::string need = fmt::format("{} at most: weights {}, checkpoint {}", gigabytes(wanted),
                                       gigabytes(weights), gigabytes(checkpoint));
  if (failed) return {"disk", "warn", need + "; the free space is not known", {}};
  forecast.disk_free = static_cast<int64_t>(space.available);
  return {"disk",
          *forecast.disk_free < wanted ? "stop" : "ok",
          fmt::format("{}; {} are free", need, gigabytes(*forecast.disk_free)),
          {}};
}

ForecastRow tokens_row(const TrainOptions& options, const TextSource& text) {
  const double wanted = static_cast<double>(options.tokens_a_step() * options.steps),
               there = static_cast<double>(text.size());
  const std::string wish = fmt::format("{} steps of {} x {} tokens: {}", options.steps,
                                       options.batch, options.length, many(wanted));
  if (text.size() == std::numeric_limits<int64_t>::max())
    return {"tokens", "ok", wish + "; the text is generated, without end", {}};
  if (there < wanted)
    return {"tokens",
            "warn",
            fmt::format("{}; the text has {}: each is read {:.1f} times", wish, many(there),
                        wanted / there),
            {}};
  return {"tokens", "ok", fmt::format("{}; the text has {}", wish, many(there)), {}};
}

std::string parts_text(const MemoryForecast& forecast) {
  std::string text;
  for (const auto& [name, bytes] : forecast.parts())
    if (bytes > 0) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", name, gigabytes(bytes));
  return text;
}

// Every cure is a forecast that fits.
std::vector<ForecastCure> cures_of(const Session& session, const HybridStart& start,
                                   const HybridMemory& memory, int64_t available,
                                   const TrainOptions& options, TrainPart part) {
  std::vector<ForecastCure> cures;
  const std::string stage = to_string(options.stage), micro = stage + "_micro_batch";
  const auto fits = [&](const HybridMemory& one, int64_t size, bool twice) {
    return static_cast<double>(one.wanted_bytes(one.forecast(size, twice))) <=
           kShare * static_cast<double>(available);
  };
  const auto offer = [&](const HybridMemory& one, bool twice, nlohmann::json set,
                         const std::string& words) {
    for (int64_t size = options.micro_batch > 0 ? options.micro_batch : options.batch; size >= 1;
         size /= 2)
      if (fits(one, size, twice)) {
        set[micro] = size;
        cures.push_back({fmt::format("{}{} {}: {}", words, micro, size,
                                     gigabytes(one.forecast(size, twice).total())),
                         std::move(set)});
        return;
      }
  };
  offer(memory, false, {{"activation_checkpointing", "off"}}, "");
  offer(memory, true, {{"activation_checkpointing", "on"}}, "activation_checkpointing on, ");
  if (part == TrainPart::all && start.init.empty()) {
    HybridModel attention = make_hybrid(session, start, TrainPart::attention);
    const HybridMemory smaller(session, attention, options.stage, options.length);
    offer(smaller, false, {{"train_part", "attention"}, {"activation_checkpointing", "off"}},
          "train_part attention, ");
    if (cures.empty())
      offer(smaller, true, {{"train_part", "attention"}, {"activation_checkpointing", "on"}},
            "train_part attention, activation_checkpointing on, ");
  }
  return cures;
}

// Seconds of a whole step, from steps of one and of two micro-batches.
void measure(TrainForecast& forecast, const Session& session, HybridModel& hybrid,
             const TextSource& text, TrainOptions options, int64_t steps,
             const StopCheck& check_stop, const JobListener& listener) {
  const at::Device device = session.device();
  options.micro_batch = forecast.choice.micro_batch;
  options.checkpointing = forecast.choice.checkpointing;
  const double parts =
      static_cast<double>(options.batch) / static_cast<double>(options.micro_batch);
  reset_peak_bytes(device);
  int64_t tensors = 0;
  const auto seconds_of = [&](int64_t micro_batches) {
    const AllocationMeter meter;
    TrainOptions few = options;
    few.batch = options.micro_batch * micro_batches;
    HybridTrainer trainer(hybrid, text, few);
    double first = 0, last = 0;
    for (int64_t i = 0; i <= steps; ++i) {
      last = trainer.train_one(check_stop).seconds;
      if (i == 0) first = last;
    }
    tensors = std::max(tensors, meter.peak_bytes());
    return (last - first) / static_cast<double>(steps);
  };
  listener.note(fmt::format("measuring {} steps of {} sequences", steps + 1, options.micro_batch));
  const double one = seconds_of(1), two = parts > 1 ? seconds_of(2) : one;
  const double pass = parts > 1 ? std::max(two - one, 0.5 * two - 0.25 * one) : one;
  forecast.step_s = parts > 1 ? one + (parts - 1) * pass : one;
  forecast.tokens_per_s = static_cast<double>(options.tokens_a_step()) / *forecast.step_s;
  forecast.estimate_s = *forecast.step_s * static_cast<double>(options.steps);
  forecast.measured_peak = peak_used_bytes(device);
  forecast.measured_tensors =
      tensors + forecast.choice.forecast.teacher + forecast.choice.forecast.student;
  release_memory(device);
}

}  // namespace

bool TrainForecast::starts() const {
  return std::none_of(rows.begin(), rows.end(),
                      [](const ForecastRow& row) { return row.level == "stop"; });
}

nlohmann::json TrainForecast::to_json() const {
  nlohmann::json list = nlohmann::json::array(), memory = nlohmann::json::object();
  for (const ForecastRow& row : rows) {
    nlohmann::json cures = nlohmann::json::array();
    for (const ForecastCure& cure : row.cures)
      cures.push_back({{"text", cure.text}, {"set", cure.set}});
    list.push_back(
        {{"name", row.name}, {"level", row.level}, {"text", row.text}, {"cures", cures}});
  }
  for (const auto& [name, bytes] : choice.forecast.parts()) memory[name + "_bytes"] = bytes;
  nlohmann::json json{{"rows", list},
                      {"memory", memory},
                      {"predicted_peak_bytes", choice.forecast.total()},
                      {"available_bytes", available},
                      {"micro_batch", choice.micro_batch},
                      {"activation_checkpointing", choice.checkpointing},
                      {"disk_weights_bytes", disk_weights},
                      {"disk_checkpoint_bytes", disk_checkpoint},
                      {"starts", starts()}};
  json["disk_free_bytes"] = disk_free ? nlohmann::json(*disk_free) : nlohmann::json();
  json["measured_peak_bytes"] = measured_peak ? nlohmann::json(*measured_peak) : nlohmann::json();
  json["measured_tensor_bytes"] =
      measured_tensors ? nlohmann::json(*measured_tensors) : nlohmann::json();
  json["tokens_per_s"] = tokens_per_s ? nlohmann::json(*tokens_per_s) : nlohmann::json();
  json["step_s"] = step_s ? nlohmann::json(*step_s) : nlohmann::json();
  json["estimate_s"] = estimate_s ? nlohmann::json(*estimate_s) : nlohmann::json();
  return json;
}

TrainForecast forecast_training(const Session& session, const RunConfig& config,
                                const StopFlag& stop, const JobListener& listener) {
  const TrainStage stage = parse_train_stage(config.command);
  const TrainOptions options = train_options_of(config, stage);
  const TrainPart part = parse_train_part(config.train_part);
  const HybridStart start = hybrid_start_of(config, session.teacher().layers());
  const auto text = open_text(config.text, session.tokenizer());
  const StopCheck check_stop = [&] {
    if (stop.is_set()) throw Error(config.command, ErrorCode::stopped, "the preflight was stopped");
  };
  TrainForecast forecast;
  HybridModel hybrid = make_hybrid(session, start, part);
  forecast.rows.push_back(plan_row(hybrid, start.plan));
  forecast.rows.push_back(teacher_row(hybrid, start, *text));
  {
    const HybridMemory memory(session, hybrid, stage, options.length);
    forecast.available = available_bytes(session.device());
    try {
      forecast.choice = settle_memory(memory, forecast.available, options,
                                      config.activation_checkpointing, !session.device().is_cpu());
      const std::string how =
          fmt::format("micro-batches of {}{}", forecast.choice.micro_batch,
                      forecast.choice.checkpointing ? ", layers computed twice" : "");
      forecast.rows.push_back(
          {"memory",
           "ok",
           fmt::format("{} at the peak with {} ({}); {} more are free",
                       gigabytes(forecast.choice.forecast.total()), how,
                       parts_text(forecast.choice.forecast), gigabytes(forecast.available)),
           {}});
    } catch (const Error& error) {
      if (error.code() != ErrorCode::out_of_memory) throw;
      forecast.rows.push_back(
          {"memory", "stop", error.message(),
           cures_of(session, start, memory, forecast.available, options, part)});
    }
  }
  forecast.rows.push_back(disk_row(forecast, hybrid, config));
  forecast.rows.push_back(tokens_row(options, *text));
  if (forecast.choice.micro_batch == 0 || config.measured_steps == 0) {
    forecast.rows.push_back({"time", "warn", "not measured", {}});
    return forecast;
  }
  measure(forecast, session, hybrid, *text, options, config.measured_steps, check_stop, listener);
  forecast.rows.push_back(
      {"time",
       "ok",
       fmt::format("{} at {:.0f} tokens/s, {} a step, without the recall probes; peak measured {}, "
                   "predicted {} ({:+.1f} %)",
                   duration(*forecast.estimate_s), *forecast.tokens_per_s,
                   duration(*forecast.step_s), gigabytes(*forecast.measured_peak),
                   gigabytes(forecast.choice.forecast.total()),
                   100.0 * (static_cast<double>(forecast.choice.forecast.total()) /
                                static_cast<double>(*forecast.measured_peak) -
                            1)),
       {}});
  return forecast;
}

}  // namespace flashmorph
