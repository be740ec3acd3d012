// SPDX-License-Identifier: Apache-2.0
// Private to run_file: the reading half.
#pragma once

#include "core/run/hdf5_file.h"
#include "core/run/run_record.h"

namespace flashmorph {

RunRecord read_record(const hdf5::Reader& in);

}  // namespace flashmorph
