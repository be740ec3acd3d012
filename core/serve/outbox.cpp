// SPDX-License-Identifier: Apache-2.0
#include "core/serve/outbox.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/serve/row_batch.h"

namespace flashmorph {

namespace {

using Clock = std::chrono::steady_clock;
constexpr size_t kBatchBytes = size_t{256} << 10;  // a line of rows stays far below its limit
constexpr size_t kLogBytes = size_t{16} << 10;
constexpr int64_t kMostThinned = 4096;
constexpr size_t kOverhead = 128;  // of a queued item

std::string params_text(const Event& event) {
  return params_of(event).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

Outbox::Outbox(OutboxLimits limits) : limits_(limits) {}

void Outbox::answer(const Message& message) {
  std::string line;
  try {
    line = message.to_line();
  } catch (const Error&) {
    line = Message::error(message.id, Error("protocol", ErrorCode::internal,
                                            "the answer does not fit a line of 1 MiB",
                                            "ask for less at a time, with limit or under"))
               .to_line();
  }
  const std::lock_guard guard(mutex_);
  push({"", std::move(line), ""});
}

void Outbox::tell(const Event& event) {
  const std::lock_guard guard(mutex_);
  if (closed_) return;
  if (!is_step_rows(event)) {
    // What is said after rows is read after them.
    if (!std::holds_alternative<HeartbeatEvent>(event) &&
        !std::holds_alternative<JobProgressEvent>(event) &&
        !std::holds_alternative<LogEvent>(event))
      flush_rows();
    push_event(event);
    return;
  }
  if (rows_ && append_rows(*rows_, event)) {
    if (line_size(*rows_) >= kBatchBytes) flush_rows();
    return;
  }
  flush_rows();
  rows_ = event;
  rows_due_ = Clock::now() + limits_.batch;
  filled_.notify_one();
}

void Outbox::push_event(const Event& event) {
  Item item{method_of(event), {}, {}};
  if (const auto* log = std::get_if<LogEvent>(&event)) {
    LogEvent cut = *log;
    if (cut.message.size() > kLogBytes) cut.message = cut.message.substr(0, kLogBytes) + " ...";
    item.text = params_text(cut);
    if (logs_.size() >= limits_.logs) {
      bytes_ -= logs_.front()->text.size() + kOverhead;
      items_.erase(logs_.front());
      logs_.pop_front();
    }
    push(std::move(item));
    logs_.push_back(std::prev(items_.end()));
    return;
  }
  item.text = params_text(event);
  if (std::holds_alternative<HeartbeatEvent>(event))
    put_newest("heartbeat", std::move(item));
  else if (const auto* progress = std::get_if<JobProgressEvent>(&event))
    put_newest("progress " + progress->job, std::move(item));
  else
    push(std::move(item));
}

void Outbox::put_newest(const std::string& key, Item item) {
  item.key = key;
  if (const auto waiting = newest_.find(key); waiting != newest_.end()) {
    bytes_ += item.text.size();
    bytes_ -= waiting->second->text.size();
    *waiting->second = std::move(item);
    return;
  }
  push(std::move(item));
  newest_[key] = std::prev(items_.end());
}

void Outbox::push(Item item) {
  bytes_ += item.text.size() + kOverhead;
  items_.push_back(std::move(item));
  filled_.notify_one();
}

void Outbox::flush_rows() {
  if (!rows_) return;
  Event rows = std::move(*rows_);
  rows_.reset();
  const int64_t before = every_;
  if (bytes_ > limits_.soft_bytes)
    every_ = std::min(every_ * 2, kMostThinned);
  else if (bytes_ < limits_.soft_bytes / 4)
    every_ = 1;
  if (every_ != before) push_event(ThinnedEvent{method_of(rows), every_, first_step(rows)});
  if (every_ > 1) keep_every(rows, every_);
  if (row_count(rows) > 0) push_event(rows);
}

void Outbox::wait_for_room(const std::function<bool()>& give_up) {
  std::unique_lock guard(mutex_);
  while (bytes_ >= limits_.hard_bytes && !closed_) {
    guard.unlock();
    const bool enough = give_up && give_up();
    guard.lock();
    if (enough) return;
    emptied_.wait_for(guard, std::chrono::milliseconds(20));
  }
}

std::optional<std::string> Outbox::next(std::chrono::milliseconds patience) {
  const auto until = Clock::now() + patience;
  std::unique_lock guard(mutex_);
  for (;;) {
    const auto now = Clock::now();
    if (rows_ && (closed_ || now >= rows_due_)) flush_rows();
    if (!items_.empty()) break;
    if (closed_ || now >= until) return std::nullopt;
    filled_.wait_until(guard, rows_ ? std::min(until, rows_due_) : until);
  }
  Item item = std::move(items_.front());
  if (!logs_.empty() && logs_.front() == items_.begin()) logs_.pop_front();
  if (!item.key.empty()) newest_.erase(item.key);
  items_.pop_front();
  bytes_ -= item.text.size() + kOverhead;
  if (bytes_ < limits_.hard_bytes) emptied_.notify_all();
  if (item.method.empty()) return std::move(item.text);
  // {"a":1} becomes {"seq":N,"a":1}
  const std::string rest = item.text.size() > 2 ? "," + item.text.substr(1) : std::string("}");
  return fmt::format("{{\"jsonrpc\":\"2.0\",\"method\":\"{}\",\"params\":{{\"seq\":{}{}}}\n",
                     item.method, ++seq_, rest);
}

void Outbox::close() {
  const std::lock_guard guard(mutex_);
  flush_rows();
  closed_ = true;
  filled_.notify_all();
  emptied_.notify_all();
}

bool Outbox::drained() const {
  const std::lock_guard guard(mutex_);
  return closed_ && items_.empty() && !rows_;
}

size_t Outbox::bytes() const {
  const std::lock_guard guard(mutex_);
  return bytes_;
}

}  // namespace flashmorph
