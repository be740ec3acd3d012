// SPDX-License-Identifier: Apache-2.0
// The writer: the one thread that puts the outbox on the wire.
#pragma once

#include <atomic>
#include <thread>

#include "core/serve/outbox.h"

namespace flashmorph {

class Writer {
 public:
  /// Borrows both. A reader that is gone is no error: broken() tells.
  Writer(Outbox& outbox, int descriptor);
  /// Closes the outbox and writes what waits, unless the reader takes nothing for 5 s.
  ~Writer();
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  bool broken() const { return broken_; }

 private:
  void loop();
  bool put(const std::string& line);

  Outbox& outbox_;
  const int descriptor_;
  std::atomic<bool> broken_{false}, leaving_{false};
  std::thread thread_;
};

}  // namespace flashmorph
