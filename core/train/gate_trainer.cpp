// SPDX-License-Identifier: Apache-2.0
#include "core/train/gate_trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <optional>

#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>
#include <nlohmann/json.hpp>

#include "core/load/safetensors.h"
#include "core/run/error.h"
#include "core/train/gate_batch.h"
#include "core/train/gate_trace.h"
#include "core/train/gate_penalty.h"
#include "core/train/optim.h"

namespace flashmorph {

namespace {

constexpr const char* kFormat = "flashmorph-gates";
constexpr const char* kVersion = "1";
constexpr double kSigmoidStart = 4.0;        // logit of the first gates
constexpr double kCalibrationGate = 0.9;     // of the pass that measures the pressure on each gate
constexpr int64_t kGpuLengthMultiple = 128;  // attention plans are built per shape

std::vector<double> numbers(const at::Tensor& x) {
  const at::Tensor host = x.detach().to(at::kCPU).to(at::kDouble).contiguous();
  return {host.const_data_ptr<double>(), host.const_data_ptr<double>() + host.numel()};
}

at::Tensor tensor_of(const std::vector<double>& values) {
  return at::tensor(at::ArrayRef<double>(values), at::kDouble);
}

at::Tensor tensor_of(const std::vector<std::vector<double>>& rows, int64_t columns) {
  at::Tensor all = at::empty({static_cast<int64_t>(rows.size()), columns}, at::kFloat);
  for (size_t i = 0; i < rows.size(); ++i)
    for (size_t j = 0; j < rows[i].size(); ++j)
      all.mutable_data_ptr<float>()[i * static_cast<size_t>(columns) + j] =
          static_cast<float>(rows[i][j]);
  return all;
}

// What must agree for a run to be continued; the sizes of the model are checked through the
// tensors.
std::string fingerprint(const GateOptions& o) {
  return nlohmann::json{{"constraint", o.constraint},
                        {"steps", o.steps},
                        {"lr", o.lr},
                        {"lr_final", o.lr_final},
                        {"lr_shape", o.lr_shape},
                        {"full_source", o.full_source},
                        {"branch_source", o.branch_source},
                        {"target", o.target},
                        {"norm", o.norm},
                        {"tokens", o.tokens},
                        {"supervision", o.supervision},
                        {"penalty", o.penalty},
                        {"answer_weight", o.answer_weight},
                        {"budget", o.budget},
                        {"batch", o.batch},
                        {"text_length", o.text_length},
                        {"seed", o.seed}}
      .dump();
}

}  // namespace

struct GateTrainer::State {
  const MorphModel& model;
  const PasskeyData& passkeys;
  const TextSource* text;
  GateOptions options;
  PenaltyChoice choice;
  at::Tensor parameter;  // [L] float32 on the CPU: gates (clamp) or logits (sigmoid)
  AdamW optimizer;
  GateTrace history;
  std::optional<GatePenalty> penalty;  // after the calibration pass
  int64_t step = 0, tokens = 0, forwards = 0, backwards = 0;
  double seconds = 0;

  int64_t layers() const { return model.layers(); }
  bool clamped() const { return options.constraint == "clamp"; }
  at::Tensor alpha() const { return clamped() ? parameter.clone() : at::sigmoid(parameter); }
  int64_t terms() const { return options.target == "last" ? 1 : layers(); }
  int64_t streams() const {
    return options.is_alignment() || options.full_source == "teacher" ||
                   options.branch_source == "teacher"
               ? 2
               : 1;
  }
  GateBatch batch(int64_t at_step) const {
    return gate_batch(passkeys, text, options, at_step,
                      model.teacher().device().is_cuda() ? kGpuLengthMultiple : 1);
  }

  void calibrate(const StopFlag& stop);
  double rate() const;
  [[noreturn]] void refuse_non_finite(const GateBatch& batch, const at::Tensor& alpha,
                                      const std::vector<double>& gradient) const;
  GateStep train_one(const StopFlag& stop);
  GateResult result(bool stopped) const;
};

void GateTrainer::State::calibrate(const StopFlag& stop) {
  PenaltyScale scale;
  if (choice.kind != PenaltyKind::fixed) {
    const GateBatch one = batch(0);
    if (options.is_alignment()) {
      const std::vector<double> c = local_errors(model, options, one, &stop);
      for (size_t l = 0; l < c.size(); ++l)
        if (!std::isfinite(c[l]))
          throw Error("gates", ErrorCode::non_finite,
                      fmt::format("step 0 (calibration): layer {} is not finite", l),
                      "check the aligned branches, or compute in float32");
      scale = scale_of_errors(c, options.budget, static_cast<double>(terms()));
      forwards += 1;
    } else {
      const at::Tensor at_gates =
          at::full({layers()}, kCalibrationGate, at::kFloat).requires_grad_(true);
      const at::Tensor loss = gate_loss_terms(model, options, one, at_gates, &stop).loss;
      std::vector<double> pressure = numbers(torch::autograd::grad({loss}, {at_gates})[0]);
      if (!std::isfinite(loss.item<double>()) ||
          !std::all_of(pressure.begin(), pressure.end(), [](double x) { return std::isfinite(x); }))
        refuse_non_finite(one, at_gates, pressure);
      for (double& x : pressure) x = -x;
      scale = scale_of_pressures(std::move(pressure), options.budget);
      forwards += streams();
      backwards += 1;
    }
    tokens += one.tokens;
  }
  penalty.emplace(choice, scale, options.steps, layers(), options.budget);
}

double GateTrainer::State::rate() const {
  int64_t at = step, of = options.steps;
  if (choice.kind == PenaltyKind::path) {  // every grid value is a short run of its own
    const int64_t segment = penalty->segment(step);
    at = step - penalty->segment_first(segment);
    of = penalty->segment_end(segment) - penalty->segment_first(segment);
  }
  return options.lr_shape == "cosine" ? cosine_rate(at, of, 0, options.lr, options.lr_final)
                                      : trapezoid_rate(at, of, options.lr, options.lr_final);
}

void GateTrainer::State::refuse_non_finite(const GateBatch& batch, const at::Tensor& alpha,
                                           const std::vector<double>& gradient) const {
  int layer = first_non_finite_layer(model, options, batch, alpha);
  // All states are finite: the gradient broke on its way down, first in the highest layer that
  // shows it.
  for (int l = static_cast<int>(gradient.size()) - 1; layer < 0 && l >= 0; --l)
    if (!std::isfinite(gradient[static_cast<size_t>(l)])) layer = l;
  throw Error(
      "gates", ErrorCode::non_finite,
      layer < 0 ? fmt::format("step {}: the loss is not finite though every layer is", step + 1)
                : fmt::format("step {}: layer {} is not finite", step + 1, layer),
      "check the aligned branches, or compute in float32; the gates before this step are kept");
}

GateStep GateTrainer::State::train_one(const StopFlag& stop) {
  const auto begin = std::chrono::steady_clock::now();
  const GateBatch one = batch(step);
  GateStep row;
  row.lr = rate();
  row.penalty = penalty->value(step);
  row.relative = std::numeric_limits<double>::quiet_NaN();
  const at::Tensor gates = alpha();
  at::Tensor gradient = at::zeros({layers()}, at::kFloat);
  if (options.is_alignment() && (gates == 1).all().item<bool>()) {
    row.relative = 0;  // the mixed stream is the teacher's: loss and gradient are exactly zero
  } else {
    const at::Tensor leaf = gates.detach().requires_grad_(true);
    const GateLoss found = gate_loss_terms(model, options, one, leaf, &stop);
    gradient = torch::autograd::grad({found.loss}, {leaf})[0];
    row.loss = found.loss.item<double>();
    if (found.relative.defined()) row.relative = found.relative.mean().item<double>();
    forwards += streams();
    backwards += 1;
  }
  row.gradient = numbers(gradient);
  if (!std::isfinite(row.loss) || !std::all_of(row.gradient.begin(), row.gradient.end(),
                                               [](double x) { return std::isfinite(x); }))
    refuse_non_finite(one, gates, row.gradient);

  at::Tensor total = gradient + row.penalty;
  if (!clamped()) total = total * gates * (1 - gates);
  optimizer.step({total}, row.lr);
  row.raw = numbers(parameter);
  if (clamped()) parameter.clamp_(0.0, 1.0);
  row.alpha = numbers(alpha());
  double sum = 0;
  for (const double a : row.alpha) sum += a;
  penalty->update(step, sum / static_cast<double>(layers()));
  row.notice = history.add(row.alpha, row.raw);
  tokens += one.tokens;
  ++step;
  seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  row.step = step;
  row.tokens = tokens;
  row.seconds = seconds;
  return row;
}

GateResult GateTrainer::State::result(bool stopped) const {
  GateResult all;
  all.tokens = tokens;
  all.steps = step;
  all.forwards = forwards;
  all.backwards = backwards;
  all.seconds = seconds;
  all.stopped = stopped;
  all.notice = history.notice();
  all.alpha = numbers(alpha());
  all.final_raw = history.size() > 0 ? history.raw().back() : numbers(parameter);
  all.score_method = choice.kind == PenaltyKind::path ? "path" : "time_average";
  if (history.size() == 0) {
    all.score = all.alpha;
  } else if (choice.kind == PenaltyKind::path) {
    std::vector<std::vector<double>> means;
    for (int64_t i = 0; i <= penalty->segment(step - 1); ++i)
      means.push_back(history.late_mean(penalty->segment_first(i), penalty->segment_end(i)));
    all.score = path_scores(penalty->grid(), means);
  } else {
    all.score = history.late_mean(0, step);
  }
  return all;
}

GateTrainer::GateTrainer(const MorphModel& model, const PasskeyData& passkeys,
                         const TextSource* text, GateOptions options) {
  options.check();
  const int64_t layers = model.layers();
  if (options.budget > layers)
    throw Error(
        "gates", ErrorCode::bad_request,
        fmt::format("budget {} is above the {} layers of the model", options.budget, layers));
  if (options.budget == 0)
    options.budget = std::max<int64_t>((layers + 2) / 4, 1);  // ratio 3:1, rounded half up
  if ((options.supervision == "lm" || options.supervision == "ce") && !text)
    throw Error("gates", ErrorCode::bad_request,
                fmt::format("supervision {} needs a text", options.supervision),
                "give a file, a folder or story");
  const PenaltyChoice choice = parse_penalty(options.penalty);
  const at::Tensor start =
      at::full({layers}, options.constraint == "clamp" ? 1.0 : kSigmoidStart, at::kFloat);
  const int64_t watched = choice.kind == PenaltyKind::path ? 0 : options.budget;
  state_ = std::make_unique<State>(
      State{model, passkeys, text, options, choice, start, AdamW({start}, AdamWOptions{}),
            GateTrace(options.steps, layers, watched), std::nullopt});
}

GateTrainer::~GateTrainer() = default;

GateResult GateTrainer::run(const std::function<void(const GateStep&)>& on_step,
                            const StopFlag& stop) {
  State& s = *state_;
  try {
    if (!s.penalty) s.calibrate(stop);
    while (s.step < s.options.steps && !stop.is_set()) {
      const GateStep row = s.train_one(stop);
      if (on_step) on_step(row);
    }
  } catch (const Error& error) {
    if (error.code() != ErrorCode::stopped) throw;
  }
  return s.result(s.step < s.options.steps);
}

void GateTrainer::save(const std::string& path) const {
  const State& s = *state_;
  const int64_t calibrated = s.penalty ? 1 : 0;
  std::vector<std::pair<std::string, at::Tensor>> tensors = {
      {"parameter", s.parameter},
      {"first_moment", s.optimizer.first_moments()[0]},
      {"second_moment", s.optimizer.second_moments()[0]},
      {"alpha", tensor_of(s.history.alpha(), s.layers())},
      {"raw", tensor_of(s.history.raw(), s.layers())},
      {"counts",
       at::tensor(at::ArrayRef<int64_t>({s.step, s.tokens, s.forwards, s.backwards, calibrated}),
                  at::kLong)},
      {"penalty",
       tensor_of(std::vector<double>{s.penalty ? s.penalty->current() : 0.0, s.seconds})},
      {"grid", tensor_of(s.penalty ? s.penalty->grid() : std::vector<double>{})}};
  write_safetensors(
      path, tensors,
      {{"format", kFormat}, {"version", kVersion}, {"options", fingerprint(s.options)}});
}

void GateTrainer::resume(const std::string& path) {
  State& s = *state_;
  const SafetensorsFile file(path);
  const auto& metadata = file.metadata();
  const auto meta = [&](const char* key) {
    return metadata.count(key) ? metadata.at(key) : std::string();
  };
  if (meta("format") != kFormat || meta("version") != kVersion)
    throw Error("gates", ErrorCode::bad_file,
                fmt::format("{} is no checkpoint of gate training that this version reads", path));
  if (meta("options") != fingerprint(s.options))
    throw Error("gates", ErrorCode::bad_file, fmt::format("{} was made with other options", path),
                "resume with the options the run was started with");
  const auto take = [&](const char* name, std::vector<int64_t> shape, at::ScalarType dtype) {
    if (!file.entries().contains(name))
      throw Error("gates", ErrorCode::bad_file,
                  fmt::format("{}: tensor {} is missing", path, name));
    at::Tensor value = file.tensor(name).clone();
    bool fits = value.scalar_type() == dtype && value.dim() == static_cast<int64_t>(shape.size());
    for (size_t d = 0; fits && d < shape.size(); ++d)
      fits = shape[d] < 0 || value.size(static_cast<int64_t>(d)) == shape[d];
    if (!fits)
      throw Error("gates", ErrorCode::bad_file,
                  fmt::format("{}: tensor {} has another shape or type than expected", path, name));
    return value;
  };
  const int64_t layers = s.layers();
  const at::Tensor parameter = take("parameter", {layers}, at::kFloat);
  const at::Tensor first = take("first_moment", {layers}, at::kFloat),
                   second = take("second_moment", {layers}, at::kFloat);
  const at::Tensor counts = take("counts", {5}, at::kLong);
  const auto* count = counts.const_data_ptr<int64_t>();
  if (count[0] < 0 || count[0] > s.options.steps)
    throw Error("gates", ErrorCode::bad_file,
                fmt::format("{}: step {} is outside this run", path, count[0]));
  const at::Tensor alpha = take("alpha", {count[0], layers}, at::kFloat),
                   raw = take("raw", {count[0], layers}, at::kFloat);
  const std::vector<double> penalty = numbers(take("penalty", {2}, at::kDouble)),
                            grid = numbers(take("grid", {-1}, at::kDouble));

  s.parameter.copy_(parameter);
  s.optimizer.restore({first}, {second}, count[0]);
  s.history = GateTrace(s.options.steps, layers,
                          s.choice.kind == PenaltyKind::path ? 0 : s.options.budget);
  for (int64_t i = 0; i < count[0]; ++i) s.history.add(numbers(alpha[i]), numbers(raw[i]));
  s.step = count[0];
  s.tokens = count[1];
  s.forwards = count[2];
  s.backwards = count[3];
  s.seconds = penalty[1];
  s.penalty.reset();
  if (count[4] != 0) {
    s.penalty.emplace(s.choice, PenaltyScale{}, s.options.steps, layers, s.options.budget);
    s.penalty->restore(penalty[0], grid);
  }
}

}  // namespace flashmorph
