// SPDX-License-Identifier: Apache-2.0
#include "core/serve/line_reader.h"

#include <cerrno>

#include <poll.h>
#include <unistd.h>

namespace flashmorph {

namespace {

constexpr size_t kPiece = size_t{64} << 10;

}  // namespace

LineReader::LineReader(int descriptor, size_t most) : descriptor_(descriptor), most_(most) {}

// A line out of the buffer, if there is a whole one.
bool LineReader::take(std::string_view& line, Got& got) {
  const size_t end = buffer_.find('\n', scanned_);
  if (end == std::string::npos) {
    scanned_ = buffer_.size();
    if (buffer_.size() - start_ > most_) passing_over_ = true;
    if (passing_over_) start_ = scanned_ = buffer_.size();
    return false;
  }
  line = std::string_view(buffer_).substr(start_, end - start_);
  got = passing_over_ || line.size() > most_ ? Got::too_long : Got::line;
  passing_over_ = false;
  start_ = scanned_ = end + 1;
  return true;
}

LineReader::Got LineReader::next(std::string_view& line, std::chrono::milliseconds patience) {
  Got got = Got::nothing;
  if (take(line, got)) return got;
  if (ended_) return Got::end;
  const auto until = std::chrono::steady_clock::now() + patience;
  for (;;) {
    buffer_.erase(0, start_);
    scanned_ -= start_;
    start_ = 0;
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        until - std::chrono::steady_clock::now());
    pollfd wait{descriptor_, POLLIN, 0};
    const int ready = poll(&wait, 1, static_cast<int>(std::max<int64_t>(left.count(), 0)));
    if (ready < 0 && errno != EINTR) return ended_ = true, Got::end;
    if (ready <= 0) return Got::nothing;
    const size_t had = buffer_.size();
    buffer_.resize(had + kPiece);
    const ssize_t count = read(descriptor_, buffer_.data() + had, kPiece);
    buffer_.resize(had + (count > 0 ? static_cast<size_t>(count) : 0));
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) return Got::nothing;
    if (count <= 0) return ended_ = true, Got::end;
    if (take(line, got)) return got;
    if (left.count() <= 0) return Got::nothing;
  }
}

}  // namespace flashmorph
