// SPDX-License-Identifier: Apache-2.0
#include "core/run/file_io.h"

#include <cerrno>
#include <system_error>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/run/error.h"

namespace flashmorph {

namespace {

// Closes on every way out; close() reports what a delayed write had to say.
class OpenFile {
 public:
  OpenFile(const std::filesystem::path& path, int flags)
      : file_(::open(path.c_str(), flags | O_CLOEXEC, 0644)) {}
  ~OpenFile() {
    if (file_ >= 0) ::close(file_);
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  int get() const { return file_; }
  int close() {
    const int result = ::close(file_);
    file_ = -1;
    return result;
  }

 private:
  int file_;
};

void sync_folder(const std::filesystem::path& folder) {
  // Some file systems cannot sync a folder; the rename itself is done by then.
  const OpenFile handle(folder.empty() ? "." : folder, O_RDONLY | O_DIRECTORY);
  if (handle.get() >= 0) ::fsync(handle.get());
}

int write_all(int file, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    if (written == 0) return ENOSPC;
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return 0;
}

}  // namespace

void refuse_file_operation(const std::string& what, const std::filesystem::path& path,
                           int error_number) {
  const std::string reason = std::generic_category().message(error_number);
  const std::string message = fmt::format("{} {}: {}", what, path.string(), reason);
  switch (error_number) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      throw Error("run", ErrorCode::disk_full, message,
                  "free some space, or choose another folder of runs");
    case ENOENT:
      throw Error("run", ErrorCode::not_found, message);
    case EACCES:
    case EPERM:
    case EROFS:
      throw Error("run", ErrorCode::bad_file, message, "choose a folder that you may write to");
    default:
      throw Error("run", ErrorCode::bad_file, message);
  }
}

void write_file_atomic(const std::filesystem::path& path, std::string_view bytes) {
  const std::filesystem::path temporary = path.string() + ".tmp";
  const auto fail = [&](const char* what, int error_number) {
    ::unlink(temporary.c_str());
    refuse_file_operation(what, path, error_number);
  };
  {
    OpenFile file(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW);
    if (file.get() < 0) fail("cannot write", errno);
    if (const int error_number = write_all(file.get(), bytes)) fail("cannot write", error_number);
    if (::fsync(file.get()) != 0) fail("cannot write", errno);
    if (file.close() != 0) fail("cannot write", errno);
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) fail("cannot replace", errno);
  sync_folder(path.parent_path());
}

std::string read_whole_file(const std::filesystem::path& path, uint64_t most) {
  const OpenFile file(path, O_RDONLY | O_NONBLOCK);  // a pipe in place of a file must not hang us
  if (file.get() < 0) refuse_file_operation("cannot read", path, errno);
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) refuse_file_operation("cannot read", path, errno);
  if (!S_ISREG(info.st_mode))
    throw Error("run", ErrorCode::bad_file, fmt::format("{} is no regular file", path.string()));
  if (static_cast<uint64_t>(info.st_size) > most)
    throw Error("run", ErrorCode::bad_file,
                fmt::format("{} has {} bytes, at most {} are read", path.string(),
                            static_cast<uint64_t>(info.st_size), most));
  std::string bytes(static_cast<size_t>(info.st_size), '\0');
  size_t at = 0;
  while (at < bytes.size()) {
    const ssize_t got = ::read(file.get(), bytes.data() + at, bytes.size() - at);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) refuse_file_operation("cannot read", path, errno);
    if (got == 0) break;  // cut while we read
    at += static_cast<size_t>(got);
  }
  bytes.resize(at);
  return bytes;
}

int append_all(int file, std::string_view bytes, int64_t size) {
  const int error_number = write_all(file, bytes);
  if (error_number != 0 && ::ftruncate(file, size) == 0) ::lseek(file, size, SEEK_SET);
  return error_number;
}

}  // namespace flashmorph
