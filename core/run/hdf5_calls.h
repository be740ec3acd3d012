// SPDX-License-Identifier: Apache-2.0
// Shared by hdf5_writer.cpp and hdf5_reader.cpp only: the library's header, its error stack as
// text, its types.
#pragma once

#include <string>
#include <type_traits>

#include <hdf5.h>

#include "core/run/hdf5_file.h"

namespace flashmorph::hdf5 {

/// The library never prints; its stack is read by stack_text() instead. Per thread.
void keep_quiet();
/// The innermost reasons of the last failure, outermost first, and the stack cleared.
std::string stack_text();

/// Closers with the signature of Id::Close.
inline int close_file(Handle id) { return H5Fclose(id); }
inline int close_set(Handle id) { return H5Dclose(id); }
inline int close_group(Handle id) { return H5Gclose(id); }
inline int close_object(Handle id) { return H5Oclose(id); }
inline int close_space(Handle id) { return H5Sclose(id); }
inline int close_type(Handle id) { return H5Tclose(id); }
inline int close_attribute(Handle id) { return H5Aclose(id); }
inline int close_list(Handle id) { return H5Pclose(id); }

template <typename T>
Handle memory_type() {
  if constexpr (std::is_same_v<T, uint8_t>)
    return H5T_NATIVE_UINT8;
  else if constexpr (std::is_same_v<T, uint16_t>)
    return H5T_NATIVE_UINT16;
  else if constexpr (std::is_same_v<T, uint32_t>)
    return H5T_NATIVE_UINT32;
  else if constexpr (std::is_same_v<T, uint64_t>)
    return H5T_NATIVE_UINT64;
  else if constexpr (std::is_same_v<T, float>)
    return H5T_NATIVE_FLOAT;
  else
    return H5T_NATIVE_DOUBLE;
}

/// Type in the file: little-endian whatever the machine.
template <typename T>
Handle file_type() {
  if constexpr (std::is_same_v<T, uint8_t>)
    return H5T_STD_U8LE;
  else if constexpr (std::is_same_v<T, uint16_t>)
    return H5T_STD_U16LE;
  else if constexpr (std::is_same_v<T, uint32_t>)
    return H5T_STD_U32LE;
  else if constexpr (std::is_same_v<T, uint64_t>)
    return H5T_STD_U64LE;
  else if constexpr (std::is_same_v<T, float>)
    return H5T_IEEE_F32LE;
  else
    return H5T_IEEE_F64LE;
}

}  // namespace flashmorph::hdf5
