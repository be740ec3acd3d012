// SPDX-License-Identifier: Apache-2.0
// Whole files in and out: atomic replacement, and the operating system's refusals in a sentence.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace flashmorph {

/// "WHAT PATH: reason" as an Error: no room (ENOSPC, EDQUOT, EFBIG) is disk_full, a missing file
/// not_found, anything else bad_file.
[[noreturn]] void refuse_file_operation(const std::string& what, const std::filesystem::path& path,
                                        int error_number);

/// Writes PATH.tmp, syncs it, renames it over PATH, syncs the folder. On failure PATH.tmp is gone
/// and PATH as it was. Throws Error("run", disk_full | bad_file).
void write_file_atomic(const std::filesystem::path& path, std::string_view bytes);

/// All bytes of a regular file of at most `most` bytes. Throws Error("run", not_found | bad_file).
std::string read_whole_file(const std::filesystem::path& path, uint64_t most);

/// Writes everything or nothing of `bytes` at the end of an open file of size `size`; returns
/// errno, 0 if all is well.
int append_all(int file, std::string_view bytes, int64_t size);

}  // namespace flashmorph
