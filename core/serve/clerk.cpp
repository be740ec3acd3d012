// SPDX-License-Identifier: Apache-2.0
#include "core/serve/clerk.h"

namespace flashmorph {

Clerk::Clerk() : thread_([this] { loop(); }) {}

Clerk::~Clerk() { stop(); }

bool Clerk::give(std::function<void()> task) {
  {
    const std::lock_guard guard(mutex_);
    if (stopping_ || tasks_.size() >= kMostWaiting) return false;
    tasks_.push_back(std::move(task));
  }
  changed_.notify_one();
  return true;
}

void Clerk::stop() {
  {
    const std::lock_guard guard(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Clerk::loop() {
  for (;;) {
    std::function<void()> task;
    {
      std::unique_lock guard(mutex_);
      changed_.wait(guard, [this] { return stopping_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task();
  }
}

}  // namespace flashmorph
