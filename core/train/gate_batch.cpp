// SPDX-License-Identifier: Apache-2.0
#include "core/train/gate_batch.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/run/error.h"

namespace flashmorph {

namespace {

struct Sequence {
  TokenIds ids;
  std::vector<int64_t> columns;  // loss positions
};

std::vector<int64_t> range(int64_t first, int64_t end) {
  std::vector<int64_t> all;
  for (int64_t i = first; i < end; ++i) all.push_back(i);
  return all;
}

Sequence passkey_sequence(const PasskeyData& passkeys, uint64_t index, const GateOptions& options) {
  const Sample sample = passkeys.sample(index);
  // Cross-entropy is measured where the state must produce the token, whatever the samples'
  // position option.
  const std::string position =
      options.supervision == "answer" ? "predict" : passkeys.options().position;
  const bool all = options.tokens == "all" && options.supervision != "answer";
  const bool tail = options.tokens == "qa" && options.supervision != "answer";
  const auto length = static_cast<int64_t>(sample.ids.size());
  return {sample.ids, Sample::measured(all    ? range(position == "predict" ? 1 : 0, length)
                                       : tail ? sample.qa
                                              : sample.answer,
                                       position)};
}

Sequence text_sequence(const TextSource& text, uint64_t index, const GateOptions& options) {
  const int64_t length = options.text_length;
  return {text.take(options.seed, index, length),
          range(0, options.supervision == "ce" ? length - 1 : length)};
}

}  // namespace

GateBatch gate_batch(const PasskeyData& passkeys, const TextSource* text,
                     const GateOptions& options, int64_t step, int64_t multiple) {
  const bool of_text = options.supervision == "lm" || options.supervision == "ce";
  const bool labelled = !options.is_alignment();
  std::vector<Sequence> sequences;
  int64_t longest = 1;
  for (int64_t i = 0; i < options.batch; ++i) {
    const auto index = static_cast<uint64_t>(step * options.batch + i);
    sequences.push_back(of_text ? text_sequence(*text, index, options)
                                : passkey_sequence(passkeys, index, options));
    longest = std::max(longest, static_cast<int64_t>(sequences.back().ids.size()));
  }
  longest = (longest + multiple - 1) / multiple * multiple;

  GateBatch batch;
  std::vector<int64_t> rows, columns, labels;
  batch.ids = at::zeros({options.batch, longest}, at::kLong);
  for (int64_t b = 0; b < options.batch; ++b) {
    const Sequence& one = sequences[static_cast<size_t>(b)];
    std::copy(one.ids.begin(), one.ids.end(), batch.ids.mutable_data_ptr<int64_t>() + b * longest);
    batch.tokens += static_cast<int64_t>(one.ids.size());
    for (const int64_t column : one.columns) {
      rows.push_back(b);
      columns.push_back(column);
      if (labelled) labels.push_back(one.ids[static_cast<size_t>(column) + 1]);
    }
  }
  if (rows.empty())
    throw Error("gates", ErrorCode::bad_request,
                fmt::format("step {} has no position to learn from", step + 1),
                "use samples with answers, or tokens all");
  const auto vector = [](const std::vector<int64_t>& values) {
    return at::tensor(at::ArrayRef<int64_t>(values), at::kLong);
  };
  batch.rows = vector(rows);
  batch.columns = vector(columns);
  if (labelled) batch.labels = vector(labels);
  return batch;
}

}  // namespace flashmorph
