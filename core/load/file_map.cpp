// SPDX-License-Identifier: Apache-2.0
#include "core/load/file_map.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "core/load/text.h"
#include "core/run/error.h"

namespace flashmorph {

namespace {

std::string reason_of(int error) { return std::generic_category().message(error); }

// An open regular file, closed at the end of its scope.
class Descriptor {
 public:
  explicit Descriptor(const std::filesystem::path& path) {
    if (path.native().find('\0') != std::string::npos)
      refuse_file(path.native(), "", "the name holds a NUL");
    // O_NONBLOCK: opening a pipe by mistake must not wait for its writer.
    number_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (number_ < 0 && (errno == ENOENT || errno == ENOTDIR))
      throw Error("load", ErrorCode::not_found,
                  fmt::format("{}: no such file", in_quotes(path.native(), 1024)));
    if (number_ < 0)
      refuse_file(path.native(), "", fmt::format("cannot be opened: {}", reason_of(errno)));
    struct stat info {};
    if (::fstat(number_, &info) != 0 || !S_ISREG(info.st_mode)) {
      ::close(number_);
      refuse_file(path.native(), "", "not a regular file");
    }
    size_ = static_cast<size_t>(info.st_size);
  }
  ~Descriptor() { ::close(number_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int number() const { return number_; }
  size_t size() const { return size_; }

 private:
  int number_ = -1;
  size_t size_ = 0;
};

}  // namespace

FileMap::FileMap(const std::filesystem::path& path) : path_(path) {
  const Descriptor file(path);
  size_ = file.size();
  if (size_ == 0) return;
  void* const at = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.number(), 0);
  if (at == MAP_FAILED)
    refuse_file(path.native(), "", fmt::format("cannot be mapped: {}", reason_of(errno)));
  data_ = static_cast<const std::byte*>(at);
}

FileMap::~FileMap() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

FileMap::FileMap(FileMap&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

FileMap& FileMap::operator=(FileMap&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

void FileMap::release(size_t offset, size_t size) const {
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t first = (offset + page - 1) / page * page;  // pages shared with a neighbour stay
  const size_t last = std::min(offset + size, size_) / page * page;
  if (first < last) ::madvise(const_cast<std::byte*>(data_) + first, last - first, MADV_DONTNEED);
}

std::string read_text(const std::filesystem::path& path, size_t max_bytes) {
  const Descriptor file(path);
  if (file.size() > max_bytes)
    refuse_file(path.native(), "",
                fmt::format("{} bytes, at most {} are read", file.size(), max_bytes));
  std::string text(file.size(), '\0');
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t got = ::read(file.number(), text.data() + done, text.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0)
      refuse_file(path.native(), "", fmt::format("cannot be read: {}", reason_of(errno)));
    if (got == 0) break;  // shortened while we read
    done += static_cast<size_t>(got);
  }
  text.resize(done);
  return text;
}

AtomicFile::AtomicFile(std::filesystem::path path) : path_(std::move(path)), temporary_(path_) {
  temporary_ += fmt::format(".{}.tmp", ::getpid());
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor_ < 0) fail("cannot be created", errno);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::fail(const char* what, int error) const {
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  throw Error("load", full ? ErrorCode::disk_full : ErrorCode::bad_file,
              fmt::format("{} {}: {}", in_quotes(path_.native(), 1024), what, reason_of(error)),
              full ? "free some space, then try again" : "check the folder and its permissions");
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  constexpr size_t kMostAtOnce = size_t{1} << 30;
  while (!bytes.empty()) {
    const ssize_t put = ::write(descriptor_, bytes.data(), std::min(bytes.size(), kMostAtOnce));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) fail("cannot be written", errno);
    bytes = bytes.subspan(static_cast<size_t>(put));
  }
}

void AtomicFile::commit() {
  if (::fsync(descriptor_) != 0) fail("cannot be written", errno);
  const int closed = ::close(std::exchange(descriptor_, -1));
  if (closed != 0 || ::rename(temporary_.c_str(), path_.c_str()) != 0) {
    const int error = errno;
    ::unlink(temporary_.c_str());
    fail("cannot be written", error);
  }
  const auto folder = path_.has_parent_path() ? path_.parent_path() : std::filesystem::path(".");
  const int handle = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (handle >= 0) {
    ::fsync(handle);
    ::close(handle);
  }
}

}  // namespace flashmorph
