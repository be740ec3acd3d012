// SPDX-License-Identifier: Apache-2.0
#include "core/serve/row_batch.h"

#include <type_traits>
#include <variant>

namespace flashmorph {

namespace {

template <typename E>
constexpr bool kIsRows = std::is_same_v<E, AlignStepsEvent> || std::is_same_v<E, GateStepsEvent> ||
                         std::is_same_v<E, TrainStepsEvent>;

// Calls what(column of a, column of b) for every column with one entry per row.
template <typename A, typename B, typename F>
void columns(A& a, B& b, F&& what) {
  using E = std::decay_t<A>;
  what(a.step, b.step);
  what(a.loss, b.loss);
  what(a.lr, b.lr);
  what(a.time_s, b.time_s);
  what(a.tokens, b.tokens);
  if constexpr (std::is_same_v<E, AlignStepsEvent>) what(a.layer_loss, b.layer_loss);
  if constexpr (std::is_same_v<E, TrainStepsEvent>) {
    what(a.grad_norm, b.grad_norm);
    what(a.held_out_kl, b.held_out_kl);
    what(a.held_out_nll, b.held_out_nll);
  }
  if constexpr (std::is_same_v<E, GateStepsEvent>) {
    what(a.alpha, b.alpha);
    what(a.raw, b.raw);
    what(a.penalty, b.penalty);
    what(a.relative, b.relative);
  }
}

template <typename E>
bool belong_together(const E& a, const E& b) {
  if (a.job != b.job || a.step.empty() || b.step.empty() || b.step.front() <= a.step.back())
    return false;
  if constexpr (std::is_same_v<E, TrainStepsEvent>)
    if (a.stage != b.stage) return false;
  if constexpr (std::is_same_v<E, AlignStepsEvent>)
    if (!a.error.empty()) return false;
  bool same = true;
  columns(a, b, [&](const auto& mine, const auto& other) {
    if (mine.empty() != other.empty()) same = false;
  });
  return same;
}

template <typename T>
size_t numbers(const std::vector<T>& column) {
  return column.size();
}
template <typename T>
size_t numbers(const std::vector<std::vector<T>>& matrix) {
  size_t count = 0;
  for (const auto& row : matrix) count += row.size();
  return count;
}

}  // namespace

bool is_step_rows(const Event& event) {
  return std::visit([](const auto& e) { return kIsRows<std::decay_t<decltype(e)>>; }, event);
}

int64_t row_count(const Event& event) {
  return std::visit(
      [](const auto& e) -> int64_t {
        if constexpr (kIsRows<std::decay_t<decltype(e)>>)
          return static_cast<int64_t>(e.step.size());
        return 0;
      },
      event);
}

int64_t first_step(const Event& event) {
  return std::visit(
      [](const auto& e) -> int64_t {
        if constexpr (kIsRows<std::decay_t<decltype(e)>>)
          return e.step.empty() ? 0 : e.step.front();
        return 0;
      },
      event);
}

size_t line_size(const Event& event) {
  constexpr size_t kNumber = 20;
  return std::visit(
      [](const auto& e) {
        size_t count = 8;
        if constexpr (kIsRows<std::decay_t<decltype(e)>>)
          columns(e, e, [&](const auto& column, const auto&) { count += numbers(column); });
        return kNumber * count;
      },
      event);
}

bool append_rows(Event& into, const Event& more) {
  return std::visit(
      [&](auto& a) {
        using E = std::decay_t<decltype(a)>;
        if constexpr (kIsRows<E>) {
          const E* b = std::get_if<E>(&more);
          if (!b || !belong_together(a, *b)) return false;
          columns(a, *b, [](auto& mine, const auto& other) {
            mine.insert(mine.end(), other.begin(), other.end());
          });
          if constexpr (std::is_same_v<E, AlignStepsEvent>) a.error = b->error;
          return true;
        }
        return false;
      },
      into);
}

void keep_every(Event& event, int64_t every) {
  std::visit(
      [&](auto& e) {
        using E = std::decay_t<decltype(e)>;
        if constexpr (kIsRows<E>) {
          std::vector<bool> kept;
          for (size_t i = 0; i < e.step.size(); ++i) kept.push_back(e.step[i] % every == 0);
          if constexpr (std::is_same_v<E, AlignStepsEvent>)
            if (!e.error.empty() && !kept.empty()) kept.back() = true;
          columns(e, e, [&](auto& column, auto&) {
            size_t to = 0;
            for (size_t i = 0; i < column.size() && i < kept.size(); ++i)
              if (kept[i]) {
                if (to != i) column[to] = std::move(column[i]);
                ++to;
              }
            column.resize(to);
          });
        }
      },
      event);
}

}  // namespace flashmorph
