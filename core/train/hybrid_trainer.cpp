// SPDX-License-Identifier: Apache-2.0
#include "core/train/hybrid_trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <future>

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/run/error.h"
#include "core/train/layer_pass.h"
#include "core/train/optim.h"
#include "core/train/train_checkpoint.h"

namespace flashmorph {

namespace {

// Another seed draws other places, so what it reads is independent of the training sequences.
constexpr uint64_t kHeldOutSeed = 0x68656c64;

bool is_mixer(const std::string& name) { return name.find("_attn.") != std::string::npos; }

// Ids of `count` sequences one after the other.
TokenIds sequences(const TextSource& text, uint64_t seed, int64_t first, int64_t count,
                   int64_t length) {
  TokenIds ids;
  ids.reserve(static_cast<size_t>(count * length));
  for (int64_t i = 0; i < count; ++i) {
    const TokenIds row = text.take(seed, static_cast<uint64_t>(first + i), length);
    ids.insert(ids.end(), row.begin(), row.end());
  }
  return ids;
}

at::Tensor rows_of(const TokenIds& ids, int64_t length) {
  return at::tensor(at::ArrayRef<int64_t>(ids), at::kLong).view({-1, length});
}

at::Tensor flat(const at::Tensor& x) { return x.reshape({-1, x.size(-1)}); }

// States that predict a next token, and those tokens.
at::Tensor predicting(const at::Tensor& states) {
  return flat(states.narrow(1, 0, states.size(1) - 1));
}
at::Tensor next_tokens(const at::Tensor& ids) {
  return ids.narrow(1, 1, ids.size(1) - 1).reshape(-1);
}

}  // namespace

std::string to_string(TrainStage stage) {
  return stage == TrainStage::distill ? "distill" : "finetune";
}

TrainOptions TrainOptions::of(TrainStage stage) {
  TrainOptions options;
  options.stage = stage;
  if (stage == TrainStage::distill) return options;
  options.steps = 500;
  options.batch = 128;
  options.length = 16384;
  options.lr = options.lr_final = 1e-5;
  return options;
}

void TrainOptions::check() const {
  const auto refuse = [&](const std::string& what) {
    throw Error(to_string(stage), ErrorCode::bad_request, what);
  };
  if (steps < 1 || batch < 1) refuse("steps and batch must be at least 1");
  if (length < 2) refuse(fmt::format("length is {}, expected at least 2 tokens", length));
  if (micro_batch < 0 || micro_batch > batch)
    refuse(fmt::format("micro_batch is {}, expected 0 to batch {}", micro_batch, batch));
  if (!(lr > 0) || !std::isfinite(lr) || !(lr_final >= 0) || lr_final > lr)
    refuse(fmt::format("lr {} and lr_final {} must fall from above 0", lr, lr_final));
  if (!(rest_scale >= 0) || !std::isfinite(rest_scale))
    refuse(fmt::format("rest_scale is {}, expected at least 0", rest_scale));
  if (warmup < 0 || held_out_tokens < 0 || held_out_every < 0 || !(clip >= 0))
    refuse("warmup, held_out_tokens, held_out_every and clip must not be negative");
  if (!(beta1 >= 0 && beta1 < 1 && beta2 >= 0 && beta2 < 1 && weight_decay >= 0))
    refuse("beta1 and beta2 must be in 0..1 (1 excluded), weight_decay at least 0");
}

HeldOut score_text(const HybridModel& hybrid, const at::Tensor& ids, int64_t rows,
                   const StopCheck& check_stop) {
  HeldOut sum;
  const Teacher &teacher = hybrid.teacher(), &weights = hybrid.model().teacher();
  for (const at::Tensor& host : ids.split(std::max<int64_t>(rows, 1))) {
    const at::Tensor part = host.to(teacher.device());
    const at::Tensor reference = teacher_states(teacher, part, check_stop),
                     states = hybrid_states(hybrid, part, check_stop);
    HeadLossOptions options;
    options.gradient = false;
    options.check_stop = check_stop;
    sum.kl_nats += head_loss(predicting(states), weights.head(),
                             {predicting(reference), teacher.head(), {}}, options)
                       .loss.item<double>();
    sum.nll_nats +=
        head_loss(predicting(states), weights.head(), {{}, {}, next_tokens(part)}, options)
            .loss.item<double>();
  }
  const double tokens = static_cast<double>(ids.numel() - ids.size(0));
  return {sum.kl_nats / tokens, sum.nll_nats / tokens};
}

struct HybridTrainer::State {
  HybridModel& hybrid;
  const TextSource& text;
  std::shared_ptr<const TextSource> training, unseen;  // parts of it; none: it cannot be divided
  TrainOptions options;
  std::string teacher_id;
  LayerPass pass;
  std::vector<at::Tensor> sums;      // gradients, one per master
  std::vector<size_t> mixers, rest;  // indices into masters: two learning rates
  AdamW mixer_optimizer, rest_optimizer;
  std::optional<HeldOut> before;
  int64_t step = 0;
  double seconds = 0;
  std::future<TokenIds> next;  // the micro-batch that is read while another is computed
  int64_t next_first = -1;

  State(HybridModel& hybrid_in, const TextSource& text_in, TrainOptions options_in,
        std::string teacher_id_in);
  int64_t micro() const { return options.micro_batch > 0 ? options.micro_batch : options.batch; }
  const TextSource& taken() const { return training ? *training : text; }
  at::Tensor batch(int64_t first, int64_t count);
  HeadLoss loss(const at::Tensor& ids, const at::Tensor& reference, const at::Tensor& states,
                const at::Tensor& d_head, const StopCheck& check_stop) const;
  TrainStep train_one(const StopCheck& check_stop);
  HeldOut held_out(const StopCheck& check_stop) const;
  TrainCheckpoint checkpoint() const;
  static std::vector<at::Tensor> chosen(const std::vector<at::Tensor>& all,
                                        const std::vector<size_t>& which);
};

std::vector<at::Tensor> HybridTrainer::State::chosen(const std::vector<at::Tensor>& all,
                                                     const std::vector<size_t>& which) {
  std::vector<at::Tensor> some;
  for (const size_t i : which) some.push_back(all[i]);
  return some;
}

HybridTrainer::State::State(HybridModel& hybrid_in, const TextSource& text_in,
                            TrainOptions options_in, std::string teacher_id_in)
    : hybrid(hybrid_in),
      text(text_in),
      training(text_in.training_part()),
      unseen(text_in.held_out_part()),
      options(options_in),
      teacher_id(std::move(teacher_id_in)),
      pass(hybrid_in),
      mixer_optimizer({}, {}),
      rest_optimizer({}, {}) {
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < pass.masters().size(); ++i) {
    sums.push_back(at::zeros_like(pass.masters()[i]));
    (is_mixer(pass.names()[i]) ? mixers : rest).push_back(i);
  }
  const AdamWOptions adam{options.beta1, options.beta2, 1e-8, options.weight_decay};
  mixer_optimizer = AdamW(chosen(pass.masters(), mixers), adam);
  rest_optimizer = AdamW(chosen(pass.masters(), rest), adam);
}

// Sequences first..first+count-1 of the whole run, on the device; the ones that follow are read
// meanwhile.
at::Tensor HybridTrainer::State::batch(int64_t first, int64_t count) {
  const TokenIds ids = next.valid() && next_first == first
                           ? next.get()
                           : sequences(taken(), options.seed, first, count, options.length);
  if (next.valid()) next.wait();
  const int64_t at = first % options.batch + count;  // within the step
  const int64_t follows = at < options.batch ? std::min(micro(), options.batch - at) : micro();
  next_first = first + count;
  next = std::async(std::launch::async, [this, begin = next_first, follows] {
    return sequences(taken(), options.seed, begin, follows, options.length);
  });
  return rows_of(ids, options.length).to(hybrid.teacher().device());
}

HeadLoss HybridTrainer::State::loss(const at::Tensor& ids, const at::Tensor& reference,
                                    const at::Tensor& states, const at::Tensor& d_head,
                                    const StopCheck& check_stop) const {
  const Teacher& weights = hybrid.model().teacher();
  HeadLossOptions head;
  head.d_head = d_head;
  head.check_stop = check_stop;
  if (options.stage == TrainStage::distill) {
    head.scale = 1.0 / static_cast<double>(options.tokens_a_step());
    HeadLoss found = head_loss(flat(states), weights.head().detach(),
                               {flat(reference), hybrid.teacher().head(), {}}, head);
    found.d_states = found.d_states.view(states.sizes());
    return found;
  }
  head.scale = 1.0 / static_cast<double>(options.batch * (options.length - 1));
  HeadLoss found =
      head_loss(predicting(states), weights.head().detach(), {{}, {}, next_tokens(ids)}, head);
  // The last position predicts nothing.
  found.d_states = at::constant_pad_nd(
      found.d_states.view({states.size(0), states.size(1) - 1, states.size(2)}), {0, 0, 0, 1});
  return found;
}

TrainStep HybridTrainer::State::train_one(const StopCheck& check_stop) {
  const auto begin = std::chrono::steady_clock::now();
  at::_foreach_zero_(sums);
  at::Tensor total;
  for (int64_t at = 0; at < options.batch; at += micro()) {
    const int64_t count = std::min(micro(), options.batch - at);
    const at::Tensor ids = batch(step * options.batch + at, count);
    const at::Tensor reference = options.stage == TrainStage::distill
                                     ? teacher_states(hybrid.teacher(), ids, check_stop)
                                     : at::Tensor();
    const at::Tensor part = pass.run(
        ids,
        [&](const at::Tensor& states, const at::Tensor& d_head) {
          return loss(ids, reference, states, d_head, check_stop);
        },
        sums, options.checkpointing, check_stop);
    total = total.defined() ? total + part : part;
  }
  TrainStep row;
  const at::Tensor norms = gradient_norms(sums).to(at::kCPU).to(at::kDouble);
  row.loss = total.item<double>();
  double square = 0;
  for (size_t i = 0; i < sums.size(); ++i) {
    const double norm = norms[static_cast<int64_t>(i)].item<double>();
    square += norm * norm;
    if (!std::isfinite(norm) || !std::isfinite(row.loss))
      throw Error(
          to_string(options.stage), ErrorCode::non_finite,
          std::isfinite(row.loss)
              ? fmt::format("step {}: the gradient of {} is not finite", step + 1, pass.names()[i])
              : fmt::format("step {}: the loss is not finite", step + 1),
          "lower lr, or compute in float32; the weights before this step are kept");
  }
  row.grad_norm = std::sqrt(square);
  row.lr = cosine_rate(step, options.steps, std::min(options.warmup, options.steps / 10),
                       options.lr, options.lr_final);
  scale_gradients(sums, row.grad_norm, options.clip);
  mixer_optimizer.step(chosen(sums, mixers), row.lr);
  if (options.rest_scale > 0) rest_optimizer.step(chosen(sums, rest), row.lr * options.rest_scale);
  hybrid.refresh();
  ++step;
  seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  row.step = step;
  row.tokens = step * options.tokens_a_step();
  row.seconds = seconds;
  return row;
}

HeldOut HybridTrainer::State::held_out(const StopCheck& check_stop) const {
  const int64_t count = (options.held_out_tokens + options.length - 1) / options.length;
  const at::Tensor ids = rows_of(
      sequences(unseen ? *unseen : text, options.seed ^ kHeldOutSeed, 0, count, options.length),
      options.length);
  const HeldOut found = score_text(hybrid, ids, micro(), check_stop);
  hybrid.refresh();  // lets low-precision copies of the branches go
  return found;
}

TrainCheckpoint HybridTrainer::State::checkpoint() const {
  const TrainOptions& o = options;
  nlohmann::json branches = nlohmann::json::array();
  for (int l = 0; l < hybrid.layers(); ++l)
    branches.push_back(hybrid.plan().is_full(l) ? nlohmann::json()
                                                : hybrid.branch_options(l).to_json());
  TrainCheckpoint all;
  all.identity = nlohmann::json{
      {"stage", to_string(o.stage)},
      {"steps", o.steps},
      {"batch", o.batch},
      {"micro_batch", micro()},
      {"length", o.length},
      {"lr", o.lr},
      {"lr_final", o.lr_final},
      {"rest_scale", o.rest_scale},
      {"warmup", o.warmup},
      {"beta1", o.beta1},
      {"beta2", o.beta2},
      {"weight_decay", o.weight_decay},
      {"clip", o.clip},
      {"held_out_tokens", o.held_out_tokens},
      {"seed", o.seed},
      {"text", text.data_sha256()},
      {"teacher", teacher_id},
      {"plan", hybrid.plan().to_string()},
      {"train_part", to_string(hybrid.part())},
      {"branches",
       branches}}.dump();
  all.micro_batch = micro();
  all.step = step;
  all.seconds = seconds;
  if (before) all.before = {before->kl_nats, before->nll_nats};
  const auto put = [&](const std::vector<size_t>& which, const AdamW& optimizer) {
    for (size_t i = 0; i < which.size(); ++i)
      all.entries.push_back({pass.names()[which[i]], pass.masters()[which[i]],
                             optimizer.first_moments()[i], optimizer.second_moments()[i]});
  };
  put(mixers, mixer_optimizer);
  put(rest, rest_optimizer);
  return all;
}

HybridTrainer::HybridTrainer(HybridModel& hybrid, const TextSource& text, TrainOptions options,
                             std::string teacher_id) {
  options.check();
  if (hybrid.trainable() == 0)
    throw Error(to_string(options.stage), ErrorCode::bad_request, "nothing of this hybrid trains");
  hybrid.set_requires_grad(true);
  state_ = std::make_unique<State>(hybrid, text, options, std::move(teacher_id));
}

HybridTrainer::~HybridTrainer() {
  if (!state_) return;
  if (state_->next.valid()) state_->next.wait();
  state_->hybrid.set_requires_grad(false);
}

const TrainOptions& HybridTrainer::options() const { return state_->options; }
int64_t HybridTrainer::step() const { return state_->step; }
TrainStep HybridTrainer::train_one(const StopCheck& check_stop) {
  return state_->train_one(check_stop);
}
HeldOut HybridTrainer::held_out(const StopCheck& check_stop) const {
  return state_->held_out(check_stop);
}

TrainResult HybridTrainer::run(const std::function<void(const TrainStep&)>& on_step,
                               const StopCheck& check_stop) {
  State& s = *state_;
  TrainResult result;
  try {
    if (s.options.held_out_tokens > 0 && s.step == 0 && !s.before)
      s.before = s.held_out(check_stop);
    while (s.step < s.options.steps) {
      if (check_stop) check_stop();
      TrainStep row = s.train_one(check_stop);
      if (s.options.held_out_tokens > 0 && s.options.held_out_every > 0 &&
          s.step % s.options.held_out_every == 0 && s.step < s.options.steps)
        row.held_out = s.held_out(check_stop);
      if (on_step) on_step(row);
    }
    if (s.options.held_out_tokens > 0) result.after = s.held_out(check_stop);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::stopped) throw;
    result.stopped = true;
  }
  result.before = s.before;
  result.steps = s.step;
  result.tokens = s.step * s.options.tokens_a_step();
  result.seconds = s.seconds;
  return result;
}

void HybridTrainer::save(const std::string& path) const { state_->checkpoint().write(path); }

int64_t HybridTrainer::micro_batch_of(const std::string& path) {
  return TrainCheckpoint::micro_batch_of(path);
}

void HybridTrainer::resume(const std::string& path) {
  State& s = *state_;
  TrainCheckpoint all = s.checkpoint();
  all.read(path);
  if (all.step > s.options.steps)
    throw Error(to_string(s.options.stage), ErrorCode::bad_file,
                fmt::format("{}: step {} is outside this run", path, all.step));
  s.step = all.step;
  s.seconds = all.seconds;
  s.before.reset();
  if (all.before) s.before = HeldOut{all.before->first, all.before->second};
  s.mixer_optimizer.set_steps(all.step);
  s.rest_optimizer.set_steps(all.step);
  s.hybrid.refresh();
}

}  // namespace flashmorph
