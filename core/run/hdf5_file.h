// SPDX-License-Identifier: Apache-2.0
// The part of the HDF5 C API that a run file needs: each call wrapped once, checked, its error
// stack in the message, nothing printed. Files are built and read in memory, so the disk is
// file_io's business alone.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace flashmorph::hdf5 {

using Shape = std::vector<uint64_t>;
using Handle = int64_t;  // hid_t

/// An open object of the library, closed with it.
class Id {
 public:
  using Close = int (*)(Handle);
  Id() = default;
  Id(Handle id, Close close) : id_(id), close_(close) {}
  Id(Id&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Id& operator=(Id&& other) noexcept;
  ~Id();
  Handle get() const { return id_; }

 private:
  Handle id_ = -1;
  Close close_ = nullptr;
};

/// What a dataset says about itself: unit, and the names of its dimensions as "step,layer".
struct Label {
  std::string unit, dims;
};

/// Builds a file of format 1.10 in memory. Missing groups on the way are made. Throws Error("run",
/// internal).
class Writer {
 public:
  /// compress: gzip 4 + shuffle on arrays.
  explicit Writer(bool compress);

  /// An array of any rank >= 1: first dimension unlimited, chunks of 64 to 256 KiB. T: uint8_t,
  /// uint16_t, uint32_t, uint64_t, float, double. fill: value of what is not written.
  template <typename T>
  void array(const std::string& path, std::span<const T> values, const Shape& shape,
             const Label& label, T fill = T{});
  /// [n] fixed-length UTF-8 strings of `width` bytes; each must fit.
  void strings(const std::string& path, const std::vector<std::string>& values, size_t width,
               const Label& label);
  /// One fixed-length UTF-8 string.
  void text(const std::string& path, const std::string& value, const Label& label);
  void attribute(const std::string& path, const std::string& name, const std::string& value);
  void attribute(const std::string& path, const std::string& name, uint64_t value);
  void attribute(const std::string& path, const std::string& name, double value);
  /// Closes the file and gives its bytes.
  std::string finish();

 private:
  Id create(const std::string& path, Handle type, const Shape& shape, const Label& label,
            const void* fill);
  bool compress_;
  std::unique_ptr<std::string> image_;  // outlives file_, which fills it when it closes
  Id file_, make_groups_;
};

/// Reads a file of unknown origin. Only hard links, fixed-size types and the filters gzip, shuffle
/// and fletcher32 are followed; sizes are checked before anything is allocated. Throws Error("run",
/// bad_file) "WHERE: PATH: what".
class Reader {
 public:
  Reader(std::string_view bytes, std::string where);

  const std::string& where() const { return where_; }
  bool has(const std::string& path) const;
  /// Names in a group, sorted; at most 65536.
  std::vector<std::string> names(const std::string& path) const;
  /// Sizes of a dataset of rank `rank`.
  Shape shape(const std::string& path, size_t rank) const;
  /// Exactly of type T (any byte order) and of this shape.
  template <typename T>
  std::vector<T> array(const std::string& path, const Shape& shape) const;
  /// [n] fixed-length strings of at most `width` bytes.
  std::vector<std::string> strings(const std::string& path, size_t count, size_t width) const;
  std::string text(const std::string& path) const;
  /// Nothing if the attribute is absent.
  std::optional<std::string> text_attribute(const std::string& path, const std::string& name) const;
  std::optional<uint64_t> integer_attribute(const std::string& path, const std::string& name) const;
  std::optional<double> number_attribute(const std::string& path, const std::string& name) const;
  [[noreturn]] void refuse(const std::string& path, const std::string& what) const;

 private:
  Id open(const std::string& path) const;
  Id attribute(const std::string& path, const std::string& name) const;
  void read(const std::string& path, Handle file_type, Handle memory_type, size_t element_bytes,
            const Shape& shape, void* out) const;

  std::string where_;
  Id file_;
  mutable uint64_t
      bytes_left_;  // of everything read, so that a small file cannot ask for the whole memory
};

}  // namespace flashmorph::hdf5
