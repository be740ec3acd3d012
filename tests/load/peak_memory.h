// SPDX-License-Identifier: Apache-2.0
// Most memory a piece of work held at once, in bytes above what the process held before.
#pragma once

#include <malloc.h>

#include <cstdint>
#include <fstream>
#include <string>

namespace flashmorph::testing {

inline int64_t status_bytes(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(field + ":")) return std::stoll(line.substr(field.size() + 1)) * 1024;
  return 0;
}

class PeakMemory {
 public:
  PeakMemory() {
    ::malloc_trim(0);  // memory that earlier work freed must not hide what this takes
    std::ofstream("/proc/self/clear_refs") << "5";  // the high-water mark starts anew
    before_bytes_ = status_bytes("VmRSS");
  }
  int64_t bytes() const { return status_bytes("VmHWM") - before_bytes_; }

 private:
  int64_t before_bytes_ = 0;
};

}  // namespace flashmorph::testing
