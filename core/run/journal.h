// SPDX-License-Identifier: Apache-2.0
// journal.jsonl: the notifications since the last commit, so that a crash loses at most a second.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/run/event.h"

namespace flashmorph {

/// Appends events to a journal that belongs to one revision of the run file. One thread at a time.
class Journal {
 public:
  /// Starts an empty journal for rows after `revision`, replacing the old one atomically.
  /// Throws Error(disk_full), Error(bad_file).
  Journal(std::filesystem::path path, uint64_t revision);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  /// One line, handed to the operating system at once. A failed or partial write is undone before
  /// it throws.
  void append(const Event& event);
  /// Everything appended so far is on the disk when this returns.
  void sync();

 private:
  std::filesystem::path path_;
  int file_ = -1;
  int64_t size_ = 0;  // bytes of whole lines
  uint64_t next_seq_ = 1;
  bool dirty_ = false;
};

struct JournalContent {
  uint64_t revision = 0;  ///< of the run file its rows follow
  std::vector<Event> events;
  bool torn = false;    ///< the last line was incomplete and is left out
  int64_t skipped = 0;  ///< whole lines that are no valid event
};

/// Nothing if there is no journal or not even its first line is whole. Never throws for bad
/// content.
std::optional<JournalContent> read_journal(const std::filesystem::path& path);

}  // namespace flashmorph
