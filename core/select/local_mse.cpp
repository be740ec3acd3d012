// SPDX-License-Identifier: Apache-2.0
#include "core/select/local_mse.h"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include "core/run/error.h"
#include "core/select/ranking.h"

namespace flashmorph {

LocalErrors local_errors(Calibration& calibration, const std::string& tokens) {
  if (tokens != "answer" && tokens != "all")
    throw Error("select", ErrorCode::bad_request,
                fmt::format("local_tokens is \"{}\"", tokens.substr(0, 40)), "give answer or all");
  const at::NoGradGuard no_grad;
  const MorphModel& model = calibration.model();
  const Teacher& teacher = model.teacher();
  const int L = model.layers();
  LocalErrors errors;
  std::vector<double> norm(static_cast<size_t>(L), 0.0);
  errors.squared.assign(static_cast<size_t>(L), 0.0);
  SweepCost cost;
  const std::vector<PromptBatch>& batches = calibration.answers().batches();
  for (size_t b = 0; b < batches.size(); ++b) {
    const PromptBatch& batch = batches[b];
    const int64_t B = batch.ids.size(0), T = batch.ids.size(1);
    // The answer tokens themselves (rows hold the positions before them), or every real token.
    at::Tensor sequence = batch.rows.sequence, position = batch.rows.position + 1;
    if (tokens == "all") {
      const at::Tensor real =
          at::arange(T, batch.ids.options()).unsqueeze(0) < batch.lengths.unsqueeze(1);
      const at::Tensor where = real.nonzero();
      sequence = where.select(1, 0);
      position = where.select(1, 1);
    }
    errors.tokens += sequence.size(0);
    const RopeTable rope = teacher.rope_table(0, T);
    at::Tensor x = teacher.embed(batch.ids);
    for (int l = 0; l < L; ++l) {
      const at::Tensor full = mixer_output(model, l, x, rope, true, &calibration.stop());
      const at::Tensor linear = mixer_output(model, l, x, rope, false, &calibration.stop());
      const auto chosen = [&](const at::Tensor& h) {
        return h.index({sequence, position}).to(at::kDouble);
      };
      errors.squared[static_cast<size_t>(l)] +=
          (chosen(linear) - chosen(full)).square().sum().item<double>();
      norm[static_cast<size_t>(l)] += chosen(full).square().sum().item<double>();
      x = add_mlp(model, l, x + full, &calibration.stop());
      cost.flops += layer_flops(teacher.config(), B, T, true);
      ++cost.layer_passes;
      calibration.report("layers", static_cast<int64_t>(b) * L + l + 1,
                         static_cast<int64_t>(batches.size()) * L);
    }
    cost.tokens += B * T;
  }
  calibration.count(1, cost);
  for (size_t l = 0; l < norm.size(); ++l) {
    errors.relative.push_back(norm[l] > 0 ? errors.squared[l] / norm[l] : 0.0);
    errors.squared[l] /= static_cast<double>(errors.tokens);
  }
  return errors;
}

std::vector<double> closed_form_alpha(const std::vector<double>& c, double lambda) {
  std::vector<double> alpha;
  for (const double one : c) {
    if (lambda <= 0)
      alpha.push_back(1.0);
    else
      alpha.push_back(
          one > 0 ? std::max(0.0, 1.0 - lambda * static_cast<double>(c.size()) / (2.0 * one))
                  : 0.0);
  }
  return alpha;
}

double closed_form_lambda(const std::vector<double>& c, double budget) {
  const auto sum = [&](double lambda) {
    const std::vector<double> alpha = closed_form_alpha(c, lambda);
    return std::accumulate(alpha.begin(), alpha.end(), 0.0);
  };
  // The sum falls from L at 0 to 0 at high.
  double low = 0, high = c.empty() ? 0.0
                                   : 2.0 * *std::max_element(c.begin(), c.end()) /
                                         static_cast<double>(c.size());
  for (int i = 0; i < 200; ++i) {
    const double middle = 0.5 * (low + high);
    (sum(middle) > budget ? low : high) = middle;
  }
  return budget >= static_cast<double>(c.size()) ? 0.0 : high;
}

namespace {

SelectorResult select_local(const SelectorInput& input, Calibration& calibration, bool relative) {
  const LocalErrors errors = local_errors(calibration, input.local_tokens);
  const double lambda = closed_form_lambda(errors.squared, input.budget);
  SelectorResult result;
  result.score = relative ? errors.relative : errors.squared;
  result.plan = keep_top(result.score, input.budget);
  result.detail = {{"squared", errors.squared},
                   {"relative", errors.relative},
                   {"loss_tokens", errors.tokens},
                   {"closed_form_lambda", lambda},
                   {"closed_form_alpha", closed_form_alpha(errors.squared, lambda)},
                   {"closed_form_alpha_at_0.1", closed_form_alpha(errors.squared, 0.1)}};
  return result;
}

}  // namespace

SelectorResult select_local_mse(const SelectorInput& input, Calibration& calibration) {
  return select_local(input, calibration, false);
}

SelectorResult select_local_rel(const SelectorInput& input, Calibration& calibration) {
  return select_local(input, calibration, true);
}

}  // namespace flashmorph
