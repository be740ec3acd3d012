// SPDX-License-Identifier: Apache-2.0
// The clerk: one thread for requests that read and write files, in the order in which they came, so
// that the control thread never waits for a disk.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace flashmorph {

class Clerk {
 public:
  static constexpr size_t kMostWaiting = 512;

  Clerk();
  /// Finishes what was given.
  ~Clerk();
  Clerk(const Clerk&) = delete;
  Clerk& operator=(const Clerk&) = delete;

  /// False when kMostWaiting tasks wait. The task must not throw.
  bool give(std::function<void()> task);
  /// Finishes what was given and takes nothing more.
  void stop();

 private:
  void loop();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace flashmorph
