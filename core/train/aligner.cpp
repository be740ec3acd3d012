// SPDX-License-Identifier: Apache-2.0
#include "core/train/aligner.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>
#include <nlohmann/json.hpp>

#include "core/run/error.h"
#include "core/train/align_checkpoint.h"
#include "core/train/optim.h"
#include "core/train/text_rows.h"

namespace flashmorph {

namespace {

constexpr double kLeastScale = 0.05;  // of the output scale fit

// Other seeds draw other places, so what they read is independent of the training sequences.
constexpr uint64_t kFitSeed = 0x666974, kHeldOutSeed = 0x68656c64;

void check_stop(const StopFlag& stop) {
  if (stop.is_set()) throw Error("align", ErrorCode::stopped, "stopped on request");
}

std::vector<double> numbers(const at::Tensor& x) {
  const at::Tensor host = x.detach().to(at::kCPU).to(at::kDouble).contiguous();
  return {host.const_data_ptr<double>(), host.const_data_ptr<double>() + host.numel()};
}

at::Tensor distance(const std::string& kind, const at::Tensor& y, const at::Tensor& wanted) {
  const at::Tensor a = y.to(at::kFloat), b = wanted.to(at::kFloat);
  const auto width = static_cast<double>(a.size(-1));
  if (kind == "l2norm") return at::linalg_vector_norm(a - b, 2, {-1}).mean() / std::sqrt(width);
  const at::Tensor mean = at::mse_loss(a, b);
  return kind == "sum" ? mean * width : mean;
}

}  // namespace

void AlignOptions::check() const {
  const auto refuse = [](const std::string& what) {
    throw Error("align", ErrorCode::bad_request, what);
  };
  if (loss != "mse" && loss != "sum" && loss != "l2norm")
    throw Error("align", ErrorCode::bad_request,
                fmt::format("loss \"{}\" is unknown", loss.substr(0, 40)),
                "use one of mse, sum, l2norm");
  if (steps < 1 || batch < 1 || length < 1) refuse("steps, batch and length must be at least 1");
  if (micro_batch < 0 || micro_batch > batch)
    refuse(fmt::format("micro_batch is {}, expected 0 to {}", micro_batch, batch));
  if (!(lr > 0) || !std::isfinite(lr) || !(lr_final >= 0) || lr_final > lr)
    refuse(fmt::format("lr {} and lr_final {} must fall from above 0", lr, lr_final));
  if (warmup < 0 || fit_tokens < 0 || held_out_tokens < 0 || held_out_every < 0 || clip < 0)
    refuse("warmup, fit_tokens, held_out_tokens, held_out_every and clip must not be negative");
  if (!(beta1 >= 0 && beta1 < 1 && beta2 >= 0 && beta2 < 1 && weight_decay >= 0))
    refuse("beta1 and beta2 must be in 0..1 (1 excluded), weight_decay at least 0");
}

struct Aligner::State {
  MorphModel& model;
  const TextSource& text;
  std::shared_ptr<const TextSource> training, unseen;  // parts of it; none: it cannot be divided
  AlignOptions options;
  std::vector<at::Tensor> parameters;  // of all layers, layer after layer
  std::vector<size_t> first;           // [L + 1] index of each layer's first
  AdamW optimizer;
  std::vector<double> error_before;
  bool fitted = false;
  int64_t step = 0;
  double seconds = 0;

  int layers() const { return model.layers(); }
  int64_t micro() const { return options.micro_batch > 0 ? options.micro_batch : options.batch; }

  const TextSource& taken() const { return training ? *training : text; }
  at::Tensor sequences(const TextSource& from, uint64_t seed, int64_t at_step, int64_t begin,
                       int64_t end) const;
  // Teacher stream of some sequences without gradient; visit(l, u, full): normed layer input and
  // softmax mixer output.
  void walk(const at::Tensor& ids, const StopFlag& stop,
            const std::function<void(int, const at::Tensor&, const at::Tensor&, const RopeTable&)>&
                visit) const;
  // walk over ceil(tokens / length) sequences of their own seed, some at a time.
  void survey(const TextSource& from, uint64_t seed, int64_t tokens, const StopFlag& stop,
              const std::function<void(int, const at::Tensor&, const at::Tensor&)>& visit) const;
  void fit(const StopFlag& stop);
  std::vector<double> held_out(const StopFlag& stop) const;
  AlignStep train_one(const StopFlag& stop);
  AlignCheckpoint checkpoint() const;
};

at::Tensor Aligner::State::sequences(const TextSource& from, uint64_t seed, int64_t at_step,
                                     int64_t begin, int64_t end) const {
  return text_rows(from, seed, at_step * options.batch + begin, end - begin, options.length)
      .to(model.teacher().device());
}

void Aligner::State::walk(const at::Tensor& ids, const StopFlag& stop,
                          const std::function<void(int, const at::Tensor&, const at::Tensor&,
                                                   const RopeTable&)>& visit) const {
  const Teacher& teacher = model.teacher();
  const RopeTable rope = teacher.rope_table(0, ids.size(1));
  at::Tensor x = teacher.embed(ids);
  for (int l = 0; l < layers(); ++l) {
    check_stop(stop);
    at::Tensor u, full;
    {
      const at::NoGradGuard no_grad;
      u = teacher.input_norm(l, x);
      full = teacher.attention(l, u, rope);
      x = x + full;
      if (l + 1 < layers()) x = x + teacher.mlp(l, x);  // the last one feeds nothing
    }
    visit(l, u, full, rope);
  }
}

void Aligner::State::survey(
    const TextSource& from, uint64_t seed, int64_t tokens, const StopFlag& stop,
    const std::function<void(int, const at::Tensor&, const at::Tensor&)>& visit) const {
  const at::NoGradGuard no_grad;
  const int64_t count = (tokens + options.length - 1) / options.length;
  for (int64_t begin = 0; begin < count; begin += micro())
    walk(sequences(from, seed, 0, begin, std::min(begin + micro(), count)), stop,
         [&](int l, const at::Tensor& u, const at::Tensor& full, const RopeTable& rope) {
           visit(l, model.branch(l).forward(u, rope).to(at::kFloat), full.to(at::kFloat));
         });
}

void Aligner::State::fit(const StopFlag& stop) {
  const auto L = static_cast<size_t>(layers());
  std::vector<at::Tensor> both(L), own(L);
  survey(taken(), options.seed ^ kFitSeed, options.fit_tokens, stop,
         [&](int l, const at::Tensor& y, const at::Tensor& full) {
           const auto i = static_cast<size_t>(l);
           const at::Tensor b = (y * full).sum(), o = y.square().sum();
           both[i] = both[i].defined() ? both[i] + b : b;
           own[i] = own[i].defined() ? own[i] + o : o;
         });
  for (size_t l = 0; l < L; ++l) {
    const double factor = both[l].item<double>() / own[l].item<double>();
    // A branch whose output is zero has no scale; one that is not finite is named by the first
    // step.
    if (std::isfinite(factor))
      model.branch(static_cast<int>(l)).scale_output(std::max(factor, kLeastScale));
  }
}

std::vector<double> Aligner::State::held_out(const StopFlag& stop) const {
  const auto L = static_cast<size_t>(layers());
  if (options.held_out_tokens == 0) return {};
  std::vector<at::Tensor> error(L), size(L);
  survey(unseen ? *unseen : text, options.seed ^ kHeldOutSeed, options.held_out_tokens, stop,
         [&](int l, const at::Tensor& y, const at::Tensor& full) {
           const auto i = static_cast<size_t>(l);
           const at::Tensor e = (y - full).square().sum(), s = full.square().sum();
           error[i] = error[i].defined() ? error[i] + e : e;
           size[i] = size[i].defined() ? size[i] + s : s;
         });
  return numbers(at::stack(error) / at::stack(size));
}

AlignStep Aligner::State::train_one(const StopFlag& stop) {
  const auto begin = std::chrono::steady_clock::now();
  const auto L = static_cast<size_t>(layers());
  std::vector<at::Tensor> gradients(parameters.size()), losses(L);
  for (int64_t at = 0; at < options.batch; at += micro()) {
    const int64_t end = std::min(at + micro(), options.batch);
    const double share = static_cast<double>(end - at) / static_cast<double>(options.batch);
    walk(sequences(taken(), options.seed, step, at, end), stop,
         [&](int l, const at::Tensor& u, const at::Tensor& full, const RopeTable& rope) {
           const auto i = static_cast<size_t>(l);
           const at::Tensor loss =
               distance(options.loss, model.branch(l).forward(u, rope), full) * share;
           const std::vector<at::Tensor> own(
               parameters.begin() + static_cast<std::ptrdiff_t>(first[i]),
               parameters.begin() + static_cast<std::ptrdiff_t>(first[i + 1]));
           const std::vector<at::Tensor> found = torch::autograd::grad(
               {loss}, own, {at::full({}, 1.0 / static_cast<double>(L), loss.options())},
               /*retain_graph=*/std::nullopt, /*create_graph=*/false, /*allow_unused=*/true);
           const at::NoGradGuard no_grad;
           for (size_t p = 0; p < own.size(); ++p) {
             at::Tensor& sum = gradients[first[i] + p];
             if (!found[p].defined()) continue;
             sum = sum.defined() ? sum.add_(found[p]) : found[p];
           }
           losses[i] = losses[i].defined() ? losses[i] + loss.detach() : loss.detach();
         });
  }
  for (size_t p = 0; p < gradients.size(); ++p)
    if (!gradients[p].defined()) gradients[p] = at::zeros_like(parameters[p]);

  const std::vector<double> values =
      numbers(at::cat({at::stack(losses), gradient_norms(gradients)}));
  AlignStep row;
  double square = 0;
  for (size_t i = 0; i < L; ++i) {
    bool finite = std::isfinite(values[i]);
    for (size_t p = first[i]; p < first[i + 1]; ++p) {
      finite = finite && std::isfinite(values[L + p]);
      square += values[L + p] * values[L + p];
    }
    if (!finite)
      throw Error("align", ErrorCode::non_finite,
                  fmt::format("step {}: layer {} is not finite", step + 1, i),
                  "lower lr, or compute in float32; the branches before this step are kept");
    row.layer_loss.push_back(values[i]);
    row.loss += values[i] / static_cast<double>(L);
  }
  row.grad_norm = std::sqrt(square);
  row.lr = cosine_rate(step, options.steps, std::min(options.warmup, options.steps / 10),
                       options.lr, options.lr_final);
  scale_gradients(gradients, row.grad_norm, options.clip);
  optimizer.step(gradients, row.lr);
  for (int l = 0; l < layers(); ++l) model.branch(l).refresh();
  ++step;
  seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  row.step = step;
  row.tokens = step * options.batch * options.length;
  row.seconds = seconds;
  return row;
}

Aligner::Aligner(MorphModel& model, const TextSource& text, AlignOptions options) {
  options.check();
  std::vector<at::Tensor> parameters;
  std::vector<size_t> first{0};
  for (int l = 0; l < model.layers(); ++l) {
    for (const auto& [name, value] : model.branch(l).parameters()) parameters.push_back(value);
    first.push_back(parameters.size());
    model.branch(l).set_requires_grad(true);
  }
  AdamW optimizer(parameters,
                  AdamWOptions{options.beta1, options.beta2, 1e-8, options.weight_decay});
  state_ = std::make_unique<State>(State{
      model, text, text.training_part(), text.held_out_part(), options, std::move(parameters), std::move(first), std::move(optimizer), {}});
}

Aligner::~Aligner() {
  for (int l = 0; l < state_->layers(); ++l) state_->model.branch(l).set_requires_grad(false);
}

AlignResult Aligner::run(const std::function<void(const AlignStep&)>& on_step,
                         const StopFlag& stop) {
  State& s = *state_;
  AlignResult result;
  try {
    if (s.step == 0 && !s.fitted) {
      if (s.options.fit_tokens > 0) s.fit(stop);
      s.fitted = true;
    }
    if (s.step == 0 && s.error_before.empty()) s.error_before = s.held_out(stop);
    while (s.step < s.options.steps) {
      check_stop(stop);
      AlignStep row = s.train_one(stop);
      if (s.options.held_out_every > 0 && s.step % s.options.held_out_every == 0 &&
          s.step < s.options.steps)
        row.held_out = s.held_out(stop);
      if (on_step) on_step(row);
    }
    result.error = s.held_out(stop);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::stopped) throw;
    result.stopped = true;
  }
  result.error_before = s.error_before;
  result.steps = s.step;
  result.tokens = s.step * s.options.batch * s.options.length;
  result.seconds = s.seconds;
  return result;
}

std::vector<double> Aligner::held_out_error(const StopFlag& stop) const {
  return state_->held_out(stop);
}

void Aligner::save(const std::string& path) const { state_->checkpoint().write(path); }

AlignCheckpoint Aligner::State::checkpoint() const {
  const AlignOptions& o = options;
  AlignCheckpoint all;
  all.options = nlohmann::json{
      {"steps", o.steps},
      {"batch", o.batch},
      {"micro_batch", o.micro_batch},
      {"length", o.length},
      {"lr", o.lr},
      {"lr_final", o.lr_final},
      {"warmup", o.warmup},
      {"beta1", o.beta1},
      {"beta2", o.beta2},
      {"weight_decay", o.weight_decay},
      {"clip", o.clip},
      {"loss", o.loss},
      {"fit_tokens", o.fit_tokens},
      {"held_out_tokens", o.held_out_tokens},
      {"seed",
       o.seed}}.dump();
  nlohmann::json branches = nlohmann::json::array();
  for (int l = 0; l < layers(); ++l) branches.push_back(model.branch(l).options().to_json());
  all.branches = branches.dump();
  all.parameters = model.branch_parameters();
  all.first = optimizer.first_moments();
  all.second = optimizer.second_moments();
  all.error_before = error_before;
  all.step = step;
  all.fitted = fitted;
  all.seconds = seconds;
  return all;
}

void Aligner::resume(const std::string& path) {
  State& s = *state_;
  AlignCheckpoint wanted = s.checkpoint();
  const AlignCheckpoint read = AlignCheckpoint::read(path, wanted);
  if (read.step > s.options.steps)
    throw Error("align", ErrorCode::bad_file,
                fmt::format("{}: step {} is outside this run", path, read.step));
  size_t at = 0;
  for (int l = 0; l < s.layers(); ++l)
    for (const auto& [name, value] : s.model.branch(l).parameters())
      s.model.branch(l).load(name, read.parameters[at++].second);
  s.optimizer.restore(read.first, read.second, read.step);
  s.error_before = read.error_before;
  s.step = read.step;
  s.fitted = read.fitted;
  s.seconds = read.seconds;
}

}  // namespace flashmorph
