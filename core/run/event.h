// SPDX-License-Identifier: Apache-2.0
// What the engine tells while it works (workbench 5): plain structs, to and from the params of a
// notification.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <nlohmann/json.hpp>

namespace flashmorph {

/// Rows of an align run: all vectors have one entry per step; the optional ones may be empty.
struct AlignStepsEvent {
  std::string job;
  std::vector<int64_t> step;
  std::vector<double> loss;                     ///< mean over layers
  std::vector<std::vector<double>> layer_loss;  ///< [rows][L]
  std::vector<double> lr, time_s;
  std::vector<int64_t> tokens;  ///< so far
  std::vector<double> error;    ///< [L] held-out relative error as of the last row, if measured
};

struct GateStepsEvent {
  std::string job;
  std::vector<int64_t> step;
  std::vector<std::vector<double>> alpha, raw;  ///< [rows][L] after and before clamping
  std::vector<double> loss, penalty;            ///< supervision term without penalty; lambda
  std::vector<double> relative;                 ///< relative alignment loss, NaN where it has none
  std::vector<double> lr, time_s;
  std::vector<int64_t> tokens;
};

/// Steps of distill and finetune.
struct TrainStepsEvent {
  std::string job, stage;
  std::vector<int64_t> step;
  std::vector<double> loss, lr, time_s;
  std::vector<int64_t> tokens;
  std::vector<double> grad_norm;                  ///< before clipping
  std::vector<double> held_out_kl, held_out_nll;  ///< nats a token, NaN where not measured
};

/// One changed cell with its totals so far, on the wire [length index, depth index, trials, hits,
/// score, nll, [new trial scores]].
struct CellUpdate {
  int length_index = 0, depth_index = 0;
  int trials = 0, hits = 0;
  double score = 0, nll_nats = 0;
  std::vector<double>
      new_trials;  ///< scores of trials (trials - new_trials.size()) .. (trials - 1)
};

struct EvalCellsEvent {
  std::string job, set, plan, weights;  ///< set: name; plan: text form "28:1,11-14"
  std::vector<CellUpdate> cells;
};

struct EvalSummaryEvent {
  std::string job, set, plan, weights;
  double score = 0, nll_nats = 0;  ///< means over cells
  int64_t trials = 0, hits = 0;
  std::optional<double> perplexity, kl_nats;  ///< on text, if asked for
};

struct JobError {
  int code = 0;
  std::string stage, message, hint;
};

struct JobStateEvent {
  std::string job;
  std::string state;  ///< queued running paused cancelling finished failed cancelled superseded
  std::string kind, run, reason;  ///< reason: what a queued job waits for; may be empty
  std::optional<int64_t> freed_bytes;
  std::optional<JobError> error;
};

struct JobProgressEvent {
  std::string job, what;
  int64_t done = 0, total = 0;
  double eta_s = 0, tokens_per_s = 0;  ///< NaN while unknown
};

struct HeartbeatEvent {
  double t_s = 0;
  std::string job;
  int64_t step = 0;
  double worker_age_s = 0;
  int64_t rss_bytes = 0;
  std::optional<int64_t> gpu_used_bytes;
};

struct ThinnedEvent {
  std::string stream;
  int64_t every = 1, from_step = 0;
};

struct RunCommittedEvent {
  std::string run;
  uint64_t revision = 0, bytes = 0;
  std::string sha256;
};

struct LogEvent {
  std::string level, message;  ///< debug info warning error
  std::string job;
};

struct ModelStateEvent {
  std::string state, model;  ///< unloaded loading loaded
  int64_t bytes = 0;
};

using Event = std::variant<AlignStepsEvent, GateStepsEvent, TrainStepsEvent, EvalCellsEvent,
                           EvalSummaryEvent, JobStateEvent, JobProgressEvent, HeartbeatEvent,
                           ThinnedEvent, RunCommittedEvent, LogEvent, ModelStateEvent>;

/// "align.steps", "gates.steps", ...: the method of the notification.
std::string method_of(const Event& event);
/// Its params, without seq; non-finite numbers become null when written.
nlohmann::json params_of(const Event& event);
/// The way back, checked: wrong types and rows of unequal size are refused naming the field,
/// unknown fields ignored, null read as NaN. Nothing for a method that is no event. Throws
/// Error(protocol).
std::optional<Event> event_of(const std::string& method, const nlohmann::json& params);

}  // namespace flashmorph
