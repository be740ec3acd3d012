// SPDX-License-Identifier: Apache-2.0
// run.fmrun: the HDF5 record of a run (workbench 6). The only place that knows its paths.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "core/run/run_record.h"

namespace flashmorph {

constexpr int kRunFormatMajor = 1;
constexpr int kRunFormatMinor = 0;

struct RunFileInfo {
  uint64_t bytes = 0;
  std::string sha256;  ///< of the file, hex
};

/// Writes a complete new file PATH.tmp, syncs it, renames it over PATH and syncs the folder: PATH
/// is at any time either the old or the new file. compress: gzip 4 + shuffle, for closed runs.
/// Throws Error(disk_full) when there is no room, Error(bad_file) when the place cannot be written,
/// Error(bad_request) for a record that contradicts itself; PATH is then as it was.
RunFileInfo write_run_file(const std::filesystem::path& path, const RunRecord& record,
                           bool compress = false);

/// Reads and checks. Unknown paths are ignored, a newer minor is read as far as known.
/// Throws Error(file_too_new) naming both versions, Error(bad_file) naming the path inside the
/// file, Error(not_found).
RunRecord read_run_file(const std::filesystem::path& path);

/// The bytes of the file write_run_file would write, and back: for tests, and for files that came
/// over the wire.
std::string run_file_bytes(const RunRecord& record, bool compress = false);
RunRecord run_file_of_bytes(const std::string& bytes, const std::string& where);

}  // namespace flashmorph
