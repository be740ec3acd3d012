// SPDX-License-Identifier: Apache-2.0
// What waits to be written to the client: bounded, so that a slow reader costs rows but never
// memory, answers or results (workbench 5, back-pressure).
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "core/run/message.h"

namespace flashmorph {

struct OutboxLimits {
  size_t soft_bytes = size_t{4} << 20;   ///< above: step rows are thinned
  size_t hard_bytes = size_t{16} << 20;  ///< above: the worker waits
  size_t logs = 1000;                    ///< engine.log lines that may wait; the oldest go first
  std::chrono::milliseconds batch{100};  ///< step rows are gathered so long
};

/// Any thread puts in, the writer takes out. Sequence numbers are given when a line is taken, so
/// they rise without gaps in the stream whatever was left out. Heartbeat and progress (of each
/// job): the newest replaces the one that waits. Step rows: gathered, and thinned by powers of two
/// while more than soft_bytes wait, which is said by engine.thinned. All else is kept.
class Outbox {
 public:
  explicit Outbox(OutboxLimits limits = {});

  /// An answer. One that does not fit a line becomes an error of its request.
  void answer(const Message& message);
  /// A notification.
  void tell(const Event& event);
  /// Waits while more than hard_bytes wait; returns at once when `give_up` says so (asked every
  /// 20 ms) or after close(). For the worker, at a step boundary.
  void wait_for_room(const std::function<bool()>& give_up);

  /// The next line with its newline; nothing after `patience` without one, or when closed and
  /// empty.
  std::optional<std::string> next(std::chrono::milliseconds patience);
  /// Nothing more will be put in: gathered rows become lines, next() hands out what there is.
  void close();
  bool drained() const;  ///< closed and empty
  size_t bytes() const;  ///< of the lines that wait

 private:
  struct Item {
    std::string method, text;  ///< method empty: an answer's whole line; else params without seq
    std::string key;           ///< of the newest-only kinds
  };
  using Items = std::list<Item>;

  void push(Item item);
  void push_event(const Event& event);
  void flush_rows();
  void put_newest(const std::string& key, Item item);

  const OutboxLimits limits_;
  mutable std::mutex mutex_;
  std::condition_variable filled_, emptied_;
  Items items_;
  std::map<std::string, Items::iterator> newest_;
  std::deque<Items::iterator> logs_;
  size_t bytes_ = 0;
  uint64_t seq_ = 0;
  bool closed_ = false;
  std::optional<Event> rows_;
  std::chrono::steady_clock::time_point rows_due_{};
  int64_t every_ = 1;
};

}  // namespace flashmorph
