// SPDX-License-Identifier: Apache-2.0
#include "core/run/journal.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include <fmt/format.h>

#include "core/run/error.h"
#include "core/run/file_io.h"
#include "core/run/message.h"

namespace flashmorph {

namespace {

constexpr uint64_t kMaxJournalBytes = uint64_t{512} << 20;

std::string head_line(uint64_t revision) {
  return nlohmann::json{{"journal", "flashmorph"}, {"version", 1}, {"revision", revision}}.dump() +
         "\n";
}

}  // namespace

Journal::Journal(std::filesystem::path path, uint64_t revision) : path_(std::move(path)) {
  const std::string head = head_line(revision);
  write_file_atomic(path_, head);
  file_ = open(path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (file_ < 0) refuse_file_operation("cannot open the journal", path_, errno);
  size_ = static_cast<int64_t>(head.size());
}

Journal::~Journal() {
  if (file_ >= 0) close(file_);
}

void Journal::append(const Event& event) {
  const std::string line = Message::of(event, next_seq_).to_line();
  if (const int failure = append_all(file_, line, size_))
    refuse_file_operation("cannot write the journal", path_, failure);
  ++next_seq_;
  size_ += static_cast<int64_t>(line.size());
  dirty_ = true;
}

void Journal::sync() {
  if (!dirty_) return;
  if (fdatasync(file_) != 0) refuse_file_operation("cannot write the journal", path_, errno);
  dirty_ = false;
}

std::optional<JournalContent> read_journal(const std::filesystem::path& path) {
  std::string text;
  try {
    text = read_whole_file(path, kMaxJournalBytes);
  } catch (const Error&) {
    return std::nullopt;
  }
  const size_t end_of_head = text.find('\n');
  if (end_of_head == std::string::npos) return std::nullopt;
  const nlohmann::json head = nlohmann::json::parse(text.substr(0, end_of_head), nullptr, false);
  if (!head.is_object() || head.value("journal", nlohmann::json()) != "flashmorph" ||
      !head.contains("revision") || !head["revision"].is_number_unsigned())
    return std::nullopt;
  JournalContent content;
  content.revision = head["revision"].get<uint64_t>();
  for (size_t at = end_of_head + 1; at < text.size();) {
    const size_t end = text.find('\n', at);
    if (end == std::string::npos) {
      content.torn = true;
      break;
    }
    try {
      const Message message = Message::parse(std::string_view(text).substr(at, end - at));
      std::optional<Event> event;
      if (message.kind == MessageKind::notification) event = event_of(message.method, message.body);
      if (event)
        content.events.push_back(std::move(*event));
      else
        ++content.skipped;
    } catch (const Error&) {
      ++content.skipped;
    }
    at = end + 1;
  }
  return content;
}

}  // namespace flashmorph
