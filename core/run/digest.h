// SPDX-License-Identifier: Apache-2.0
// SHA-256 (FIPS 180-4) of bytes in memory: names eval sets and committed run files.
#pragma once

#include <string>
#include <string_view>

namespace flashmorph {

/// 64 lower-case hexadecimal digits.
std::string content_sha256(std::string_view bytes);

}  // namespace flashmorph
