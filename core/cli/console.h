// SPDX-License-Identifier: Apache-2.0
// The terminal face of the engine: progress bars, tables, gate bars and heat maps in color blocks, plain lines otherwise.
#pragma once

#include <chrono>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "core/run/layer_plan.h"
#include "core/run/progress.h"

namespace flashmorph {

/// Where results and progress go. Results to stdout, progress and notices to stderr, so that pipes stay clean.
class Console {
 public:
  /// json: no pictures and no progress on stdout; quiet: no progress at all.
  Console(bool json, bool quiet);

  bool json() const { return json_; }
  bool color() const { return color_; }

  /// A sentence about what goes on (stderr).
  void note(const std::string& text);
  /// A line of the result (stdout); nothing under --json.
  void line(const std::string& text = {});
  /// Progress of long work: one bar with tokens/s, ETA and memory on a terminal, else a line every ten seconds.
  void progress(const std::string& stage, const Progress& progress, const std::string& extra = {});
  /// Ends the bar.
  void finish_progress();

 private:
  using Clock = std::chrono::steady_clock;
  bool json_, quiet_, terminal_, color_;
  bool bar_open_ = false;
  std::string stage_, last_end_;
  Clock::time_point stage_start_{}, last_print_{};
  int64_t first_done_ = 0, first_tokens_ = 0;
};

/// Columns padded to their widest cell; the first is left-aligned, the others right. rows[0] is the header.
std::string text_table(const std::vector<std::vector<std::string>>& rows);
/// One line per layer: number, bar of its gate in [0, 1], value, and a mark for layers the plan keeps full.
std::string gate_bars(const std::vector<double>& alpha, const LayerPlan* plan, int width = 40);
/// Recall by length (columns) and depth (rows, 0 on top) in color blocks or plain numbers; value[n][d], NaN: not run.
std::string heat_map(const std::vector<int64_t>& lengths, const std::vector<double>& depths,
                     const std::vector<std::vector<double>>& value, bool color);
/// Which layers are full, as .F..FF: one character a layer.
std::string plan_strip(const LayerPlan& plan);
/// "1.5 k", "12.3 M", "97.8 MB", "1 h 05 min": numbers for people.
std::string human_count(double count);
std::string human_bytes(double bytes);
std::string human_seconds(double seconds);
/// Resident memory of this process, bytes; 0 if unknown.
int64_t resident_bytes();
/// Largest resident memory so far, bytes.
int64_t peak_resident_bytes();

}  // namespace flashmorph
