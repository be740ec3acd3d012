// SPDX-License-Identifier: Apache-2.0
#include "core/run/event.h"

#include <limits>

#include <fmt/format.h>

#include "core/run/error.h"
#include "core/run/strict_json.h"

namespace flashmorph {

namespace {

using Json = nlohmann::json;

constexpr size_t kMostRows = 65536;
constexpr size_t kMostLayers = 4096;
constexpr size_t kMostCells = size_t{1} << 20;
constexpr int64_t kMostStep = std::numeric_limits<uint32_t>::max();
constexpr int64_t kMost = std::numeric_limits<int64_t>::max();

template <typename T>
constexpr const char* kMethod = nullptr;
template <>
constexpr const char* kMethod<AlignStepsEvent> = "align.steps";
template <>
constexpr const char* kMethod<GateStepsEvent> = "gates.steps";
template <>
constexpr const char* kMethod<TrainStepsEvent> = "train.steps";
template <>
constexpr const char* kMethod<EvalCellsEvent> = "eval.cells";
template <>
constexpr const char* kMethod<EvalSummaryEvent> = "eval.summary";
template <>
constexpr const char* kMethod<JobStateEvent> = "job.state";
template <>
constexpr const char* kMethod<JobProgressEvent> = "job.progress";
template <>
constexpr const char* kMethod<HeartbeatEvent> = "engine.heartbeat";
template <>
constexpr const char* kMethod<ThinnedEvent> = "engine.thinned";
template <>
constexpr const char* kMethod<RunCommittedEvent> = "run.committed";
template <>
constexpr const char* kMethod<LogEvent> = "engine.log";
template <>
constexpr const char* kMethod<ModelStateEvent> = "model.state";

// Writing: empty vectors and absent values are left out, so that a reader sees what was said.
class Put {
 public:
  Json json = Json::object();

  template <typename T>
  Put& operator()(const char* key, const T& value) {
    json[key] = value;
    return *this;
  }
  template <typename T>
  Put& some(const char* key, const std::vector<T>& values) {
    if (!values.empty()) json[key] = values;
    return *this;
  }
  Put& some(const char* key, const std::string& text) {
    if (!text.empty()) json[key] = text;
    return *this;
  }
  template <typename T>
  Put& some(const char* key, const std::optional<T>& value) {
    if (value) json[key] = *value;
    return *this;
  }
};

Json put(const AlignStepsEvent& e) {
  return Put()("job", e.job)("step", e.step)("loss", e.loss)
      .some("layer_loss", e.layer_loss)
      .some("lr", e.lr)
      .some("time_s", e.time_s)
      .some("tokens", e.tokens)
      .some("error", e.error)
      .json;
}
Json put(const GateStepsEvent& e) {
  return Put()("job", e.job)("step", e.step)("alpha", e.alpha)("raw", e.raw)("loss", e.loss)(
             "penalty", e.penalty)
      .some("relative", e.relative)
      .some("lr", e.lr)
      .some("time_s", e.time_s)
      .some("tokens", e.tokens)
      .json;
}
Json put(const TrainStepsEvent& e) {
  return Put()("job", e.job)("stage", e.stage)("step", e.step)("loss", e.loss)
      .some("lr", e.lr)
      .some("time_s", e.time_s)
      .some("tokens", e.tokens)
      .some("grad_norm", e.grad_norm)
      .some("held_out_kl", e.held_out_kl)
      .some("held_out_nll", e.held_out_nll)
      .json;
}
Json put(const EvalCellsEvent& e) {
  Json cells = Json::array();
  for (const CellUpdate& c : e.cells)
    cells.push_back(
        {c.length_index, c.depth_index, c.trials, c.hits, c.score, c.nll_nats, c.new_trials});
  return Put()("job", e.job)("set", e.set)("plan", e.plan)("weights", e.weights)("cells", cells)
      .json;
}
Json put(const EvalSummaryEvent& e) {
  return Put()("job", e.job)("set", e.set)("plan", e.plan)("weights", e.weights)("score", e.score)(
             "nll", e.nll_nats)("trials", e.trials)("hits", e.hits)
      .some("perplexity", e.perplexity)
      .some("kl", e.kl_nats)
      .json;
}
Json put(const JobStateEvent& e) {
  Put out;
  out("job", e.job)("state", e.state)
      .some("kind", e.kind)
      .some("run", e.run)
      .some("reason", e.reason)
      .some("freed_bytes", e.freed_bytes);
  if (e.error)
    out("error", Json{{"code", e.error->code},
                      {"message", e.error->message},
                      {"data", {{"stage", e.error->stage}, {"hint", e.error->hint}}}});
  return out.json;
}
Json put(const JobProgressEvent& e) {
  return Put()("job", e.job)("what", e.what)("done", e.done)("total", e.total)("eta_s", e.eta_s)(
             "tokens_per_s", e.tokens_per_s)
      .json;
}
Json put(const HeartbeatEvent& e) {
  return Put()("t_s", e.t_s)
      .some("job", e.job)("step", e.step)("worker_age_s", e.worker_age_s)("rss_bytes", e.rss_bytes)
      .some("gpu_used_bytes", e.gpu_used_bytes)
      .json;
}
Json put(const ThinnedEvent& e) {
  return Put()("stream", e.stream)("every", e.every)("from_step", e.from_step).json;
}
Json put(const RunCommittedEvent& e) {
  return Put()("run", e.run)("revision", e.revision)("bytes", e.bytes)("sha256", e.sha256).json;
}
Json put(const LogEvent& e) {
  return Put()("level", e.level)("message", e.message).some("job", e.job).json;
}
Json put(const ModelStateEvent& e) {
  return Put()("state", e.state)("model", e.model)("bytes", e.bytes).json;
}

// Reading.
class Get {
 public:
  explicit Get(StrictFields& fields) : fields_(fields) {}

  std::string text(const char* key) { return fields_.text(key, 65536); }
  std::string text_or_none(const char* key) { return fields_.text_or(key, "", 65536); }
  double number(const char* key) {
    return fields_.number_or(key, std::numeric_limits<double>::quiet_NaN(), 1, 0);
  }
  int64_t count(const char* key) { return fields_.integer_or(key, 0, 0, kMost); }
  std::optional<int64_t> maybe_count(const char* key) {
    return fields_.has(key) ? std::optional(fields_.integer(key, 0, kMost)) : std::nullopt;
  }
  std::optional<double> maybe_number(const char* key) {
    return fields_.has(key) ? std::optional(number(key)) : std::nullopt;
  }

  std::vector<int64_t> steps() {
    const std::vector<int64_t> step = fields_.integers("step", 0, kMostStep, kMostRows);
    if (step.empty()) fields_.refuse("step", "expected at least one row");
    for (size_t i = 1; i < step.size(); ++i)
      if (step[i] <= step[i - 1]) fields_.refuse("step", "expected rising steps");
    return step;
  }
  std::vector<double> column(const char* key, size_t rows) {
    std::vector<double> values = fields_.numbers(key, kMostRows, true);
    if (values.size() != rows)
      fields_.refuse(key, fmt::format("expected {} rows, got {}", rows, values.size()));
    return values;
  }
  std::vector<double> column_or_none(const char* key, size_t rows) {
    return fields_.has(key) ? column(key, rows) : std::vector<double>();
  }
  std::vector<int64_t> tokens(size_t rows) {
    if (!fields_.has("tokens")) return {};
    std::vector<int64_t> values = fields_.integers("tokens", 0, kMost, kMostRows);
    if (values.size() != rows)
      fields_.refuse("tokens", fmt::format("expected {} rows, got {}", rows, values.size()));
    return values;
  }
  std::vector<std::vector<double>> matrix(const char* key, size_t rows) {
    const Json& json = fields_.required(key);
    if (!json.is_array() || json.size() != rows)
      fields_.refuse(key, fmt::format("expected {} rows, got {}", rows, type_word(json)));
    std::vector<std::vector<double>> values;
    for (const Json& row : json) {
      StrictFields wrapped_row(wrap_ = Json{{"row", row}}, key, "protocol", ErrorCode::bad_request);
      values.push_back(wrapped_row.numbers("row", kMostLayers, true));
      if (values.back().size() != values.front().size())
        fields_.refuse(key, "expected rows of equal size");
    }
    return values;
  }

 private:
  StrictFields& fields_;
  Json wrap_;
};

CellUpdate cell_of(const Json& json, const StrictFields& fields) {
  const auto whole = [&](size_t i, int64_t most) {
    const Json& value = json[i];
    if (!value.is_number_integer() || value.get<int64_t>() < 0 || value.get<int64_t>() > most)
      fields.refuse("cells", fmt::format("expected an integer from 0 to {} at place {}, got {}",
                                         most, i + 1, type_word(value)));
    return value.get<int>();
  };
  const auto real = [&](const Json& value) {
    if (value.is_null()) return std::numeric_limits<double>::quiet_NaN();
    if (!value.is_number()) fields.refuse("cells", "expected a number, got " + type_word(value));
    return value.get<double>();
  };
  if (!json.is_array() || json.size() < 7 || !json[6].is_array())
    fields.refuse("cells",
                  "expected [length index, depth index, trials, hits, score, nll, [scores]]");
  CellUpdate cell{whole(0, 65535),
                  whole(1, 65535),
                  whole(2, 65535),
                  whole(3, 65535),
                  real(json[4]),
                  real(json[5]),
                  {}};
  if (json[6].size() > static_cast<size_t>(cell.trials) || cell.hits > cell.trials)
    fields.refuse("cells", "expected no more new trials, and no more hits, than trials");
  for (const Json& score : json[6]) cell.new_trials.push_back(real(score));
  return cell;
}

void get(AlignStepsEvent& e, StrictFields& fields, Get& in) {
  e.job = in.text("job");
  e.step = in.steps();
  const size_t rows = e.step.size();
  e.loss = in.column("loss", rows);
  if (fields.has("layer_loss")) e.layer_loss = in.matrix("layer_loss", rows);
  e.lr = in.column_or_none("lr", rows);
  e.time_s = in.column_or_none("time_s", rows);
  e.tokens = in.tokens(rows);
  if (fields.has("error")) e.error = fields.numbers("error", kMostLayers, true);
}
void get(GateStepsEvent& e, StrictFields&, Get& in) {
  e.job = in.text("job");
  e.step = in.steps();
  const size_t rows = e.step.size();
  e.alpha = in.matrix("alpha", rows);
  e.raw = in.matrix("raw", rows);
  e.loss = in.column("loss", rows);
  e.penalty = in.column("penalty", rows);
  e.relative = in.column_or_none("relative", rows);
  e.lr = in.column_or_none("lr", rows);
  e.time_s = in.column_or_none("time_s", rows);
  e.tokens = in.tokens(rows);
}
void get(TrainStepsEvent& e, StrictFields&, Get& in) {
  e.job = in.text("job");
  e.stage = in.text("stage");
  e.step = in.steps();
  e.loss = in.column("loss", e.step.size());
  e.grad_norm = in.column_or_none("grad_norm", e.step.size());
  e.held_out_kl = in.column_or_none("held_out_kl", e.step.size());
  e.held_out_nll = in.column_or_none("held_out_nll", e.step.size());
  e.lr = in.column_or_none("lr", e.step.size());
  e.time_s = in.column_or_none("time_s", e.step.size());
  e.tokens = in.tokens(e.step.size());
}
void get(EvalCellsEvent& e, StrictFields& fields, Get& in) {
  e.job = in.text("job"), e.set = in.text("set"), e.plan = in.text("plan"),
  e.weights = in.text("weights");
  const Json& cells = fields.required("cells");
  if (!cells.is_array() || cells.size() > kMostCells)
    fields.refuse("cells", "expected an array of cells");
  for (const Json& cell : cells) e.cells.push_back(cell_of(cell, fields));
}
void get(EvalSummaryEvent& e, StrictFields&, Get& in) {
  e.job = in.text("job"), e.set = in.text("set"), e.plan = in.text("plan"),
  e.weights = in.text("weights");
  e.score = in.number("score"), e.nll_nats = in.number("nll");
  e.trials = in.count("trials"), e.hits = in.count("hits");
  e.perplexity = in.maybe_number("perplexity"), e.kl_nats = in.maybe_number("kl");
}
void get(JobStateEvent& e, StrictFields& fields, Get& in) {
  e.job = in.text("job"), e.state = in.text("state");
  e.kind = in.text_or_none("kind"), e.run = in.text_or_none("run"),
  e.reason = in.text_or_none("reason");
  e.freed_bytes = in.maybe_count("freed_bytes");
  if (!fields.has("error")) return;
  StrictFields error(fields.required("error"), "job.state: error", "protocol",
                     ErrorCode::bad_request);
  e.error = JobError{static_cast<int>(error.integer_or("code", 0, -1000000, 1000000)), "",
                     error.text("message", 65536), ""};
  if (!error.has("data")) return;
  StrictFields data(error.required("data"), "job.state: error: data", "protocol",
                    ErrorCode::bad_request);
  e.error->stage = data.text_or("stage", ""), e.error->hint = data.text_or("hint", "", 65536);
}
void get(JobProgressEvent& e, StrictFields&, Get& in) {
  e.job = in.text("job"), e.what = in.text("what"), e.done = in.count("done"),
  e.total = in.count("total");
  e.eta_s = in.number("eta_s"), e.tokens_per_s = in.number("tokens_per_s");
}
void get(HeartbeatEvent& e, StrictFields&, Get& in) {
  e.t_s = in.number("t_s"), e.job = in.text_or_none("job"), e.step = in.count("step");
  e.worker_age_s = in.number("worker_age_s"), e.rss_bytes = in.count("rss_bytes"),
  e.gpu_used_bytes = in.maybe_count("gpu_used_bytes");
}
void get(ThinnedEvent& e, StrictFields& fields, Get& in) {
  e.stream = in.text("stream"), e.every = fields.integer("every", 1, kMost),
  e.from_step = in.count("from_step");
}
void get(RunCommittedEvent& e, StrictFields& fields, Get& in) {
  e.run = in.text("run"), e.revision = fields.unsigned_integer_or("revision", 0),
  e.bytes = fields.unsigned_integer_or("bytes", 0);
  e.sha256 = in.text("sha256");
}
void get(LogEvent& e, StrictFields&, Get& in) {
  e.level = in.text("level"), e.message = in.text("message"), e.job = in.text_or_none("job");
}
void get(ModelStateEvent& e, StrictFields&, Get& in) {
  e.state = in.text("state"), e.model = in.text_or_none("model"), e.bytes = in.count("bytes");
}

// Tries the alternatives of Event one after the other.
template <size_t I = 0>
std::optional<Event> read_as(const std::string& method, const Json& params) {
  if constexpr (I == std::variant_size_v<Event>) {
    return std::nullopt;
  } else {
    using E = std::variant_alternative_t<I, Event>;
    if (method != kMethod<E>) return read_as<I + 1>(method, params);
    StrictFields fields(params, method, "protocol", ErrorCode::bad_request);
    Get in(fields);
    E event;
    get(event, fields, in);
    return event;
  }
}

}  // namespace

std::string method_of(const Event& event) {
  return std::visit([](const auto& e) { return std::string(kMethod<std::decay_t<decltype(e)>>); },
                    event);
}

Json params_of(const Event& event) {
  return std::visit([](const auto& e) { return put(e); }, event);
}

std::optional<Event> event_of(const std::string& method, const Json& params) {
  return read_as(method, params);
}

}  // namespace flashmorph
