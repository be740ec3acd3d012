// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>

#include <fmt/format.h>

#include "core/run/error.h"
#include "core/run/hdf5_calls.h"
#include "core/run/strict_json.h"

namespace flashmorph::hdf5 {

namespace {

constexpr uint64_t kMostBytes = uint64_t{256} << 20;  // read from one file in all
constexpr uint64_t kMostChunkBytes = uint64_t{64}
                                     << 20;  // the library holds a whole chunk in memory
constexpr size_t kMostNames = 65536;
constexpr size_t kMostText = size_t{16} << 20;
constexpr int kMostRank = 8;

herr_t collect(unsigned, const H5E_error2_t* error, void* out) {
  auto& lines = *static_cast<std::vector<std::string>*>(out);
  if (error->desc != nullptr && lines.size() < 64) lines.emplace_back(error->desc);
  return 0;
}

// True only if every part of the path is a plain link inside this file.
bool has_hard_link(Handle file, const std::string& path) {
  if (path == "/") return true;
  for (size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    const std::string part = path.substr(0, slash);
    if (H5Lexists(file, part.c_str(), H5P_DEFAULT) <= 0) return false;
    H5L_info_t info;
    if (H5Lget_info(file, part.c_str(), &info, H5P_DEFAULT) < 0 || info.type != H5L_TYPE_HARD)
      return false;
    if (slash == std::string::npos) return true;
  }
}

herr_t take_name(hid_t, const char* name, const H5L_info_t* info, void* out) {
  auto& names = *static_cast<std::vector<std::string>*>(out);
  if (info->type != H5L_TYPE_HARD) return 0;
  if (names.size() >= kMostNames) return 1;
  names.emplace_back(name);
  return 0;
}

}  // namespace

void keep_quiet() {
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  H5PLset_loading_state(0);  // a file must not make the library load code
}

std::string stack_text() {
  std::vector<std::string> lines;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, collect, &lines);
  H5Eclear2(H5E_DEFAULT);
  if (lines.empty()) return "no reason given";
  const size_t shown = std::min<size_t>(lines.size(), 3);
  std::string text = lines[lines.size() - shown];
  for (size_t i = lines.size() - shown + 1; i < lines.size(); ++i) text += ": " + lines[i];
  return text;
}

Reader::Reader(std::string_view bytes, std::string where)
    : where_(std::move(where)), bytes_left_(kMostBytes) {
  keep_quiet();
  const Id access(H5Pcreate(H5P_FILE_ACCESS), close_list);
  // The library wants a changeable buffer, but only copies it.
  if (bytes.empty() || H5Pset_fapl_core(access.get(), size_t{64} << 10, 0) < 0 ||
      H5Pset_file_image(access.get(), const_cast<char*>(bytes.data()), bytes.size()) < 0)
    throw Error("run", ErrorCode::bad_file, fmt::format("{}: is empty", where_));
  static std::atomic<uint64_t> count{0};
  const std::string name = fmt::format("flashmorph-read-{}", count++);
  file_ = Id(H5Fopen(name.c_str(), H5F_ACC_RDONLY, access.get()), close_file);
  if (file_.get() < 0)
    throw Error("run", ErrorCode::bad_file,
                fmt::format("{}: is no whole HDF5 file: {}", where_, stack_text()));
}

void Reader::refuse(const std::string& path, const std::string& what) const {
  H5Eclear2(H5E_DEFAULT);
  throw Error("run", ErrorCode::bad_file, fmt::format("{}: {}: {}", where_, path, what));
}

bool Reader::has(const std::string& path) const { return has_hard_link(file_.get(), path); }

Id Reader::open(const std::string& path) const {
  if (!has(path)) refuse(path, "is missing");
  H5O_info_t info;
  if (H5Oget_info_by_name(file_.get(), path.c_str(), &info, H5P_DEFAULT) < 0)
    refuse(path, stack_text());
  if (info.type != H5O_TYPE_DATASET) refuse(path, "expected a dataset");
  Id set(H5Dopen2(file_.get(), path.c_str(), H5P_DEFAULT), close_set);
  if (set.get() < 0) refuse(path, stack_text());
  const Id properties(H5Dget_create_plist(set.get()), close_list);
  if (properties.get() < 0) refuse(path, stack_text());
  const H5D_layout_t layout = H5Pget_layout(properties.get());
  if (layout != H5D_COMPACT && layout != H5D_CONTIGUOUS && layout != H5D_CHUNKED)
    refuse(path, "its values lie outside the file");
  if (H5Pget_external_count(properties.get()) != 0) refuse(path, "its values lie outside the file");
  const int filters = H5Pget_nfilters(properties.get());
  if (filters < 0 || filters > 8) refuse(path, "has too many filters");
  for (unsigned i = 0; i < static_cast<unsigned>(filters); ++i) {
    unsigned flags = 0, config = 0;
    size_t values = 0;
    const H5Z_filter_t filter =
        H5Pget_filter2(properties.get(), i, &flags, &values, nullptr, 0, nullptr, &config);
    if (filter != H5Z_FILTER_DEFLATE && filter != H5Z_FILTER_SHUFFLE &&
        filter != H5Z_FILTER_FLETCHER32)
      refuse(path, fmt::format("filter {} is not read", static_cast<int>(filter)));
  }
  if (layout == H5D_CHUNKED) {
    std::array<hsize_t, H5S_MAX_RANK> sizes{};
    const int rank = H5Pget_chunk(properties.get(), static_cast<int>(sizes.size()), sizes.data());
    const Id type(H5Dget_type(set.get()), close_type);
    if (rank < 1 || rank > kMostRank || type.get() < 0) refuse(path, "its chunks cannot be read");
    uint64_t bytes = H5Tget_size(type.get());
    for (int i = 0; i < rank; ++i) {
      const uint64_t size = sizes[static_cast<size_t>(i)];
      if (size == 0 || bytes == 0 || size > kMostChunkBytes / bytes)
        refuse(path, "its chunks are too large");
      bytes *= size;
    }
  }
  return set;
}

std::vector<std::string> Reader::names(const std::string& path) const {
  if (!has(path)) return {};
  H5O_info_t info;
  if (H5Oget_info_by_name(file_.get(), path.c_str(), &info, H5P_DEFAULT) < 0)
    refuse(path, stack_text());
  if (info.type != H5O_TYPE_GROUP) refuse(path, "expected a group");
  const Id group(H5Gopen2(file_.get(), path.c_str(), H5P_DEFAULT), close_group);
  std::vector<std::string> names;
  hsize_t at = 0;
  const herr_t status = group.get() < 0 ? -1
                                        : H5Literate(group.get(), H5_INDEX_NAME, H5_ITER_NATIVE,
                                                     &at, take_name, &names);
  if (status < 0) refuse(path, stack_text());
  if (status > 0) refuse(path, fmt::format("has more than {} members", kMostNames));
  std::sort(names.begin(), names.end());
  return names;
}

Shape Reader::shape(const std::string& path, size_t rank) const {
  const Id set = open(path);
  const Id space(H5Dget_space(set.get()), close_space);
  if (space.get() < 0) refuse(path, stack_text());
  const int found = H5Sget_simple_extent_ndims(space.get());
  if (H5Sget_simple_extent_type(space.get()) != (rank == 0 ? H5S_SCALAR : H5S_SIMPLE) ||
      found != static_cast<int>(rank))
    refuse(path, fmt::format("expected {} dimensions, got {}", rank, found));
  std::vector<hsize_t> sizes(rank);
  if (rank > 0 && H5Sget_simple_extent_dims(space.get(), sizes.data(), nullptr) < 0)
    refuse(path, stack_text());
  return {sizes.begin(), sizes.end()};
}

void Reader::read(const std::string& path, Handle wanted_type, Handle target_type,
                  size_t element_bytes, const Shape& wanted, void* out) const {
  const Id set = open(path);
  const Id type(H5Dget_type(set.get()), close_type);
  // The other byte order is the same type to a user.
  const Id swapped(H5Tcopy(wanted_type), close_type);
  const H5T_class_t kind = H5Tget_class(wanted_type);
  if (kind != H5T_STRING) H5Tset_order(swapped.get(), H5T_ORDER_BE);
  const bool same =
      type.get() >= 0 && (kind == H5T_STRING ? H5Tget_class(type.get()) == H5T_STRING
                                             : H5Tequal(type.get(), wanted_type) > 0 ||
                                                   H5Tequal(type.get(), swapped.get()) > 0);
  if (!same)
    refuse(path,
           fmt::format("expected {} of {} bits", kind == H5T_FLOAT ? "floats" : "unsigned integers",
                       8 * element_bytes));
  if (shape(path, wanted.size()) != wanted)
    refuse(path, "its sizes disagree with those of its neighbors");
  if (H5Dread(set.get(), target_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, out) < 0)
    refuse(path, stack_text());
}

template <typename T>
std::vector<T> Reader::array(const std::string& path, const Shape& wanted) const {
  uint64_t count = 1;
  for (const uint64_t size : wanted) {
    if (size != 0 && count > kMostBytes / size) refuse(path, "is too large");
    count *= size;
  }
  if (count > bytes_left_ / sizeof(T))
    refuse(path, fmt::format("is too large: more than {} bytes in this file", kMostBytes));
  if (shape(path, wanted.size()) != wanted)
    refuse(path, "its sizes disagree with those of its neighbors");  // before allocating
  bytes_left_ -= count * sizeof(T);
  std::vector<T> values(count);
  read(path, file_type<T>(), memory_type<T>(), sizeof(T), wanted, values.data());
  return values;
}

template std::vector<uint8_t> Reader::array(const std::string&, const Shape&) const;
template std::vector<uint16_t> Reader::array(const std::string&, const Shape&) const;
template std::vector<uint32_t> Reader::array(const std::string&, const Shape&) const;
template std::vector<uint64_t> Reader::array(const std::string&, const Shape&) const;
template std::vector<float> Reader::array(const std::string&, const Shape&) const;
template std::vector<double> Reader::array(const std::string&, const Shape&) const;

namespace {

// Fixed-length strings only: variable ones lead through the file's heap.
size_t string_width(Handle type) {
  if (H5Tget_class(type) != H5T_STRING || H5Tis_variable_str(type) != 0) return 0;
  return H5Tget_size(type);
}

std::string cut(const char* begin, size_t width) {
  const std::string_view block(begin, width);
  std::string text(block.substr(0, block.find('\0')));
  return text;
}

}  // namespace

std::vector<std::string> Reader::strings(const std::string& path, size_t count,
                                         size_t width) const {
  const Id set = open(path);
  const Id type(H5Dget_type(set.get()), close_type);
  const size_t found = string_width(type.get());
  if (found == 0 || found > width)
    refuse(path, fmt::format("expected text of a fixed length of at most {} bytes", width));
  if (count > bytes_left_ / width) refuse(path, "is too large");
  if (shape(path, 1) != Shape{count})
    refuse(path, "its sizes disagree with those of its neighbors");
  bytes_left_ -= count * width;
  std::string block(count * found, '\0');
  if (count > 0 && H5Dread(set.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, block.data()) < 0)
    refuse(path, stack_text());
  std::vector<std::string> values;
  for (size_t i = 0; i < count; ++i) values.push_back(cut(block.data() + i * found, found));
  return values;
}

std::string Reader::text(const std::string& path) const {
  const Id set = open(path);
  const Id type(H5Dget_type(set.get()), close_type);
  const size_t width = string_width(type.get());
  if (width == 0) refuse(path, "expected text of a fixed length");
  if (width > std::min<uint64_t>(kMostText, bytes_left_)) refuse(path, "is too large");
  shape(path, 0);
  bytes_left_ -= width;
  std::string block(width, '\0');
  if (H5Dread(set.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, block.data()) < 0)
    refuse(path, stack_text());
  return cut(block.data(), block.size());
}

Id Reader::attribute(const std::string& path, const std::string& name) const {
  if (!has(path) || H5Aexists_by_name(file_.get(), path.c_str(), name.c_str(), H5P_DEFAULT) <= 0)
    return {};
  Id attribute(H5Aopen_by_name(file_.get(), path.c_str(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT),
               close_attribute);
  if (attribute.get() < 0) refuse(path, fmt::format("attribute {}: {}", name, stack_text()));
  const Id space(H5Aget_space(attribute.get()), close_space);
  if (space.get() < 0 || H5Sget_simple_extent_npoints(space.get()) != 1)
    refuse(path, fmt::format("attribute {}: expected one value", name));
  return attribute;
}

std::optional<std::string> Reader::text_attribute(const std::string& path,
                                                  const std::string& name) const {
  const Id found = attribute(path, name);
  if (found.get() < 0) return std::nullopt;
  const Id type(H5Aget_type(found.get()), close_type);
  const size_t width = string_width(type.get());
  if (width == 0 || width > 65536)
    refuse(path, fmt::format("attribute {}: expected text of a fixed length", name));
  std::string block(width, '\0');
  if (H5Aread(found.get(), type.get(), block.data()) < 0)
    refuse(path, fmt::format("attribute {}: {}", name, stack_text()));
  return cut(block.data(), block.size());
}

std::optional<uint64_t> Reader::integer_attribute(const std::string& path,
                                                  const std::string& name) const {
  const Id found = attribute(path, name);
  if (found.get() < 0) return std::nullopt;
  const Id type(H5Aget_type(found.get()), close_type);
  int64_t value = 0;
  if (H5Tget_class(type.get()) != H5T_INTEGER || H5Tget_size(type.get()) > 8 ||
      H5Aread(found.get(), H5T_NATIVE_INT64, &value) < 0 || value < 0)
    refuse(path, fmt::format("attribute {}: expected an integer of at least 0", name));
  return static_cast<uint64_t>(value);
}

std::optional<double> Reader::number_attribute(const std::string& path,
                                               const std::string& name) const {
  const Id found = attribute(path, name);
  if (found.get() < 0) return std::nullopt;
  const Id type(H5Aget_type(found.get()), close_type);
  double value = 0;
  if ((H5Tget_class(type.get()) != H5T_FLOAT && H5Tget_class(type.get()) != H5T_INTEGER) ||
      H5Tget_size(type.get()) > 8 || H5Aread(found.get(), H5T_NATIVE_DOUBLE, &value) < 0)
    refuse(path, fmt::format("attribute {}: expected a number", name));
  return value;
}

}  // namespace flashmorph::hdf5
