// SPDX-License-Identifier: Apache-2.0
// Files as bytes: a read-only memory map for weights, a bounded read for texts, an atomic writer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace flashmorph {

/// A regular file mapped for reading. The bytes cannot be written to: doing so ends the process.
class FileMap {
 public:
  /// Throws Error: not_found when nothing is there, bad_file when it is not a regular file or
  /// cannot be mapped.
  explicit FileMap(const std::filesystem::path& path);
  ~FileMap();
  FileMap(FileMap&& other) noexcept;
  FileMap& operator=(FileMap&& other) noexcept;

  const std::filesystem::path& path() const { return path_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }

  /// Tells the system that these bytes are not needed soon; they are read again from disk if they
  /// are.
  void release(size_t offset, size_t size) const;

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

/// The whole text of a regular file of at most max_bytes. Throws Error(not_found, bad_file).
std::string read_text(const std::filesystem::path& path, size_t max_bytes);

/// Writes a file whole or not at all: NAME.tmp, sync, rename, sync of the folder. Destroyed before
/// commit(), it leaves no trace.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Throws Error(disk_full) when the disk, the quota or a size limit is reached, Error(bad_file)
  /// on other failures.
  void write(std::span<const std::byte> bytes);
  void commit();

 private:
  [[noreturn]] void fail(const char* what, int error) const;
  std::filesystem::path path_, temporary_;
  int descriptor_ = -1;
};

}  // namespace flashmorph
