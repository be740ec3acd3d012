// SPDX-License-Identifier: Apache-2.0
// Lines from a file descriptor, bounded: a line without end costs no more memory than its limit.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

namespace flashmorph {

class LineReader {
 public:
  enum class Got {
    line,      ///< `line` is one, without its newline
    too_long,  ///< a line of more than the limit was passed over
    nothing,   ///< no whole line yet
    end        ///< end of the stream (an unfinished line is dropped), or the descriptor failed
  };

  /// Borrows the descriptor. most: bytes of a line without its newline.
  LineReader(int descriptor, size_t most);

  /// Waits at most `patience` for the next line. `line` is good until the next call.
  Got next(std::string_view& line, std::chrono::milliseconds patience);

 private:
  bool take(std::string_view& line, Got& got);

  const int descriptor_;
  const size_t most_;
  std::string buffer_;
  size_t start_ = 0, scanned_ = 0;  // of the current line; searched for a newline up to here
  bool passing_over_ = false;       // inside a line that is too long
  bool ended_ = false;
};

}  // namespace flashmorph
