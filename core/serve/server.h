// SPDX-License-Identifier: Apache-2.0
// `flashmorph serve`: the threads of a serving engine from start to end.
//   control   this one: reads requests, answers at once, beats every 2 s
//   clerk     requests that touch files, in order
//   worker    heavy jobs, one at a time, and loading models
//   writer    the outbox to the wire
//   recorder  one per open run (core/run/recorder.h)
#pragma once

#include <chrono>
#include <filesystem>

#include "core/run/progress.h"

namespace flashmorph {

struct ServeOptions {
  std::filesystem::path runs;  ///< folder of runs
  int input = 0, output = 1;   ///< descriptors of the wire
  std::chrono::milliseconds heartbeat{2000};
};

/// Serves until the input ends, the client is gone, shutdown, or `stop` is set (Ctrl-C); then the
/// running job saves and stops. Returns the program's exit code: 0, or 2 after a hello of another
/// protocol.
int serve(const ServeOptions& options, const StopFlag& stop);

/// The descriptor of the wire: stdout is duplicated, and whatever prints to stdout from here on
/// goes to stderr. Throws Error(internal).
int take_stdout();

}  // namespace flashmorph
