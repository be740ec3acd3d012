// SPDX-License-Identifier: Apache-2.0
// SHA-256 of files, for naming models and data sets.
#pragma once

#include <filesystem>

#include "core/run/digest.h"

namespace flashmorph {

/// Of the bytes of a file. Throws Error(not_found, bad_file).
std::string sha256_file(const std::filesystem::path& path);

}  // namespace flashmorph
