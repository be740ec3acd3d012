// SPDX-License-Identifier: Apache-2.0
// Pictures of a run: the engine paints nothing itself; the window's program does, where it lies
// beside the engine.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

namespace flashmorph {

/// flashmorph-workbench in the folder of the running program, whether or not it is there.
std::filesystem::path workbench_beside();

/// The words that paint `view` of a run: program --export VIEW RUN -o FILE, and --plan with the
/// text forms of `plans` if there are any.
std::vector<std::string> picture_words(const std::string& program, const std::string& view,
                                       const std::filesystem::path& run,
                                       const std::filesystem::path& file,
                                       const std::vector<std::string>& plans = {});

/// Starts the words as a process of their own (no shell), waits at most `limit`, then kills it.
/// Returns why it failed, with the last line it wrote to stderr; empty: exit status 0.
std::string run_words(std::vector<std::string> words, std::chrono::milliseconds limit);

}  // namespace flashmorph
