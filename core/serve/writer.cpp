// SPDX-License-Identifier: Apache-2.0
#include "core/serve/writer.h"

#include <algorithm>
#include <cerrno>

#include <poll.h>
#include <unistd.h>

namespace flashmorph {

namespace {

// What a pipe that polls as writable takes without blocking.
constexpr size_t kPiece = 4096;
constexpr std::chrono::seconds kGrace{5};

}  // namespace

Writer::Writer(Outbox& outbox, int descriptor)
    : outbox_(outbox), descriptor_(descriptor), thread_([this] { loop(); }) {}

Writer::~Writer() {
  outbox_.close();
  leaving_ = true;
  thread_.join();
}

void Writer::loop() {
  while (!outbox_.drained()) {
    const auto line = outbox_.next(std::chrono::milliseconds(200));
    if (line && !broken_ && !put(*line)) broken_ = true;
  }
}

bool Writer::put(const std::string& line) {
  auto last = std::chrono::steady_clock::now();
  for (size_t at = 0; at < line.size();) {
    pollfd wait{descriptor_, POLLOUT, 0};
    const int ready = poll(&wait, 1, 100);
    if (ready < 0 && errno != EINTR) return false;
    if (ready > 0 && (wait.revents & (POLLERR | POLLHUP | POLLNVAL))) return false;
    if (ready <= 0) {
      if (leaving_ && std::chrono::steady_clock::now() - last > kGrace) return false;
      continue;
    }
    const ssize_t count = write(descriptor_, line.data() + at, std::min(kPiece, line.size() - at));
    if (count < 0 && errno != EINTR && errno != EAGAIN) return false;
    if (count > 0) {
      at += static_cast<size_t>(count);
      last = std::chrono::steady_clock::now();
    }
  }
  return true;
}

}  // namespace flashmorph
