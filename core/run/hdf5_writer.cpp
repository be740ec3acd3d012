// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <numeric>

#include <fmt/format.h>

#include "core/run/error.h"
#include "core/run/hdf5_calls.h"

namespace flashmorph::hdf5 {

namespace {

constexpr uint64_t kLeastChunk = uint64_t{64} << 10;  // bytes
constexpr uint64_t kMostChunk = uint64_t{256} << 10;
constexpr size_t kMemoryStep = size_t{1} << 20;

Id made(Handle id, Id::Close close, const std::string& what) {
  if (id < 0)
    throw Error("run", ErrorCode::internal, fmt::format("HDF5 cannot {}: {}", what, stack_text()));
  return {id, close};
}
void done(int status, const std::string& what) {
  if (status < 0)
    throw Error("run", ErrorCode::internal, fmt::format("HDF5 cannot {}: {}", what, stack_text()));
}

Id utf8_type(size_t width) {
  Id type = made(H5Tcopy(H5T_C_S1), close_type, "copy a type");
  done(H5Tset_size(type.get(), width), "set a string's size");
  done(H5Tset_cset(type.get(), H5T_CSET_UTF8), "set a string's encoding");
  done(H5Tset_strpad(type.get(), H5T_STR_NULLPAD), "set a string's padding");
  return type;
}

// Rows of the first dimension up to at least kLeastChunk; a single row above kMostChunk is cut
// along the next dimensions.
Shape chunk_of(const Shape& shape, size_t element_bytes) {
  Shape chunk = shape;
  for (uint64_t& size : chunk) size = std::max<uint64_t>(size, 1);
  uint64_t row_bytes =
      std::accumulate(chunk.begin() + 1, chunk.end(), uint64_t{element_bytes}, std::multiplies<>());
  for (size_t axis = 1; axis < chunk.size() && row_bytes > kMostChunk; ++axis) {
    const uint64_t rest = row_bytes / chunk[axis];
    chunk[axis] = std::max<uint64_t>(1, kMostChunk / std::max<uint64_t>(rest, 1));
    row_bytes = rest * chunk[axis];
  }
  chunk[0] = (kLeastChunk + row_bytes - 1) / row_bytes;
  return chunk;
}

// The memory driver's buffer; when it lets go of it, the first image->size() bytes are the file.
void* image_malloc(size_t size, H5FD_file_image_op_t, void*) { return std::malloc(size); }
void* image_memcpy(void* to, const void* from, size_t size, H5FD_file_image_op_t, void*) {
  return std::memcpy(to, from, size);
}
void* image_realloc(void* buffer, size_t size, H5FD_file_image_op_t, void*) {
  return std::realloc(buffer, size);
}
herr_t image_free(void* buffer, H5FD_file_image_op_t operation, void* udata) {
  auto& image = *static_cast<std::string*>(udata);
  if (operation == H5FD_FILE_IMAGE_OP_FILE_CLOSE && buffer != nullptr)
    std::memcpy(image.data(), buffer, image.size());
  std::free(buffer);
  return 0;
}
void* keep_udata(void* udata) { return udata; }
herr_t drop_udata(void*) { return 0; }

}  // namespace

Id& Id::operator=(Id&& other) noexcept {
  std::swap(id_, other.id_);
  std::swap(close_, other.close_);
  return *this;
}

Id::~Id() {
  if (id_ >= 0 && close_ != nullptr) close_(id_);
}

Writer::Writer(bool compress) : compress_(compress), image_(std::make_unique<std::string>()) {
  keep_quiet();
  const Id access = made(H5Pcreate(H5P_FILE_ACCESS), close_list, "make a property list");
  done(H5Pset_fapl_core(access.get(), kMemoryStep, 0), "choose the memory driver");
  // Format 1.10: its metadata carry checksums, so damage is noticed instead of misread.
  done(H5Pset_libver_bounds(access.get(), H5F_LIBVER_V110, H5F_LIBVER_V110), "choose the format");
  H5FD_file_image_callbacks_t calls = {image_malloc, image_memcpy, image_realloc, image_free,
                                       keep_udata,   drop_udata,   image_.get()};
  done(H5Pset_file_image_callbacks(access.get(), &calls), "watch the memory of the file");
  static std::atomic<uint64_t> count{0};  // the memory driver tells open files apart by name
  const std::string name = fmt::format("flashmorph-write-{}", count++);
  file_ = made(H5Fcreate(name.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access.get()), close_file,
               "make a file");
  make_groups_ = made(H5Pcreate(H5P_LINK_CREATE), close_list, "make a property list");
  done(H5Pset_create_intermediate_group(make_groups_.get(), 1), "set a property");
}

Id Writer::create(const std::string& path, Handle type, const Shape& shape, const Label& label,
                  const void* fill) {
  const Id properties = made(H5Pcreate(H5P_DATASET_CREATE), close_list, "make a property list");
  Id space;
  if (shape.empty()) {
    space = made(H5Screate(H5S_SCALAR), close_space, "make a space");
  } else {
    const std::vector<hsize_t> sizes(shape.begin(), shape.end());
    std::vector<hsize_t> most = sizes;
    most[0] = H5S_UNLIMITED;
    space = made(H5Screate_simple(static_cast<int>(sizes.size()), sizes.data(), most.data()),
                 close_space, "make a space");
    const Shape chunk = chunk_of(shape, H5Tget_size(type));
    const std::vector<hsize_t> chunk_sizes(chunk.begin(), chunk.end());
    done(H5Pset_chunk(properties.get(), static_cast<int>(chunk_sizes.size()), chunk_sizes.data()),
         "set chunks of " + path);
    if (compress_) {
      done(H5Pset_shuffle(properties.get()), "set shuffle");
      done(H5Pset_deflate(properties.get(), 4), "set gzip");
    }
    if (fill != nullptr)
      done(H5Pset_fill_value(properties.get(), type, fill), "set the fill value of " + path);
  }
  Id set = made(H5Dcreate2(file_.get(), path.c_str(), type, space.get(), make_groups_.get(),
                           properties.get(), H5P_DEFAULT),
                close_set, "make " + path);
  attribute(path, "unit", label.unit);
  attribute(path, "dims", label.dims);
  return set;
}

template <typename T>
void Writer::array(const std::string& path, std::span<const T> values, const Shape& shape,
                   const Label& label, T fill) {
  const uint64_t count =
      std::accumulate(shape.begin(), shape.end(), uint64_t{1}, std::multiplies<>());
  if (shape.empty() || count != values.size())
    throw Error("run", ErrorCode::internal,
                fmt::format("[Writer] {}: expected {} values, got {}", path, count, values.size()));
  const Handle type = made(H5Tcopy(file_type<T>()), nullptr, "copy a type").get();
  const Id owned(type, close_type);
  const Id set = create(path, type, shape, label, &fill);
  if (count > 0)
    done(H5Dwrite(set.get(), memory_type<T>(), H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()),
         "write " + path);
}

template void Writer::array(const std::string&, std::span<const uint8_t>, const Shape&,
                            const Label&, uint8_t);
template void Writer::array(const std::string&, std::span<const uint16_t>, const Shape&,
                            const Label&, uint16_t);
template void Writer::array(const std::string&, std::span<const uint32_t>, const Shape&,
                            const Label&, uint32_t);
template void Writer::array(const std::string&, std::span<const uint64_t>, const Shape&,
                            const Label&, uint64_t);
template void Writer::array(const std::string&, std::span<const float>, const Shape&, const Label&,
                            float);
template void Writer::array(const std::string&, std::span<const double>, const Shape&, const Label&,
                            double);

void Writer::strings(const std::string& path, const std::vector<std::string>& values, size_t width,
                     const Label& label) {
  std::string block(values.size() * width, '\0');
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i].size() > width)
      throw Error("run", ErrorCode::bad_request,
                  fmt::format("{}: expected at most {} bytes of text, got {}", path, width,
                              values[i].size()));
    std::copy(values[i].begin(), values[i].end(),
              block.begin() + static_cast<std::ptrdiff_t>(i * width));
  }
  const Id type = utf8_type(width);
  const Id set = create(path, type.get(), {values.size()}, label, nullptr);
  if (!values.empty())
    done(H5Dwrite(set.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, block.data()),
         "write " + path);
}

void Writer::text(const std::string& path, const std::string& value, const Label& label) {
  const Id type = utf8_type(std::max<size_t>(value.size(), 1));
  const Id set = create(path, type.get(), {}, label, nullptr);
  const std::string block = value.empty() ? std::string(1, '\0') : value;
  done(H5Dwrite(set.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, block.data()),
       "write " + path);
}

void Writer::attribute(const std::string& path, const std::string& name, const std::string& value) {
  const Id type = utf8_type(std::max<size_t>(value.size(), 1));
  const Id space = made(H5Screate(H5S_SCALAR), close_space, "make a space");
  const Id attribute = made(H5Acreate_by_name(file_.get(), path.c_str(), name.c_str(), type.get(),
                                              space.get(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                            close_attribute, fmt::format("make attribute {} of {}", name, path));
  const std::string block = value.empty() ? std::string(1, '\0') : value;
  done(H5Awrite(attribute.get(), type.get(), block.data()), "write attribute " + name);
}

void Writer::attribute(const std::string& path, const std::string& name, uint64_t value) {
  const Id space = made(H5Screate(H5S_SCALAR), close_space, "make a space");
  const Id attribute =
      made(H5Acreate_by_name(file_.get(), path.c_str(), name.c_str(), H5T_STD_U64LE, space.get(),
                             H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
           close_attribute, fmt::format("make attribute {} of {}", name, path));
  done(H5Awrite(attribute.get(), H5T_NATIVE_UINT64, &value), "write attribute " + name);
}

void Writer::attribute(const std::string& path, const std::string& name, double value) {
  const Id space = made(H5Screate(H5S_SCALAR), close_space, "make a space");
  const Id attribute =
      made(H5Acreate_by_name(file_.get(), path.c_str(), name.c_str(), H5T_IEEE_F64LE, space.get(),
                             H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
           close_attribute, fmt::format("make attribute {} of {}", name, path));
  done(H5Awrite(attribute.get(), H5T_NATIVE_DOUBLE, &value), "write attribute " + name);
}

std::string Writer::finish() {
  done(H5Fflush(file_.get(), H5F_SCOPE_GLOBAL), "flush");
  const ssize_t size = H5Fget_file_image(file_.get(), nullptr, 0);
  done(size < 0 ? -1 : 0, "measure the file");
  // H5Fget_file_image would clear a flag of the superblock without renewing its checksum, and every
  // reader would then refuse the file; so the bytes are taken as the library leaves them when it
  // closes.
  image_->resize(static_cast<size_t>(size));
  file_ = Id();
  if (image_->compare(0, 4, "\x89HDF") != 0) done(-1, "close the file");
  return std::move(*image_);
}

}  // namespace flashmorph::hdf5
