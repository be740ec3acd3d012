// SPDX-License-Identifier: Apache-2.0
#include "core/cli/console.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <fstream>

#include <fmt/format.h>

namespace flashmorph {

namespace {

int64_t status_kilobytes(std::string_view field) {
  std::ifstream file("/proc/self/status");
  for (std::string text; std::getline(file, text);)
    if (text.starts_with(field)) return std::atoll(text.c_str() + field.size());
  return 0;
}

size_t display_width(std::string_view text) {
  size_t width = 0;
  for (const char c : text) width += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return width;
}

// cividis at nine points: dark blue to yellow, readable for color-blind people.
constexpr std::array<std::array<int, 3>, 9> kCividis{{{0, 34, 78},
                                                      {18, 53, 112},
                                                      {59, 73, 108},
                                                      {87, 93, 109},
                                                      {112, 113, 115},
                                                      {138, 134, 120},
                                                      {167, 155, 113},
                                                      {198, 178, 97},
                                                      {254, 232, 56}}};

std::array<int, 3> cividis(double value) {
  const double at = std::clamp(value, 0.0, 1.0) * (kCividis.size() - 1);
  const auto low = std::min(static_cast<size_t>(at), kCividis.size() - 2);
  std::array<int, 3> color{};
  for (size_t c = 0; c < 3; ++c)
    color[c] = static_cast<int>(std::lround(kCividis[low][c] + (at - static_cast<double>(low)) *
                                                                   (kCividis[low + 1][c] - kCividis[low][c])));
  return color;
}

}  // namespace

Console::Console(bool json, bool quiet)
    : json_(json),
      quiet_(quiet),
      terminal_(isatty(STDERR_FILENO) == 1),
      color_(isatty(STDOUT_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr) {}

void Console::note(const std::string& text) {
  finish_progress();
  if (!quiet_) fmt::print(stderr, "{}\n", text);
}

void Console::line(const std::string& text) {
  finish_progress();
  if (!json_) fmt::print("{}\n", text);
}

void Console::progress(const std::string& stage, const Progress& progress, const std::string& extra) {
  if (quiet_) return;
  const auto now = Clock::now();
  if (stage != stage_) {
    finish_progress();
    stage_ = stage;
    stage_start_ = now;
    last_print_ = {};
    first_done_ = progress.done;
    first_tokens_ = progress.tokens;
  }
  const bool last = progress.done >= progress.total;
  const std::string end = last ? fmt::format("{} {} {}", stage, progress.total, progress.tokens) : std::string();
  if (last && end == last_end_) return;  // the end was said
  last_end_ = end;
  const auto pause = terminal_ ? std::chrono::milliseconds(100) : std::chrono::milliseconds(10000);
  if (!last && last_print_.time_since_epoch().count() != 0 && now - last_print_ < pause) return;
  last_print_ = now;
  const double seconds = std::chrono::duration<double>(now - stage_start_).count();
  const auto fresh = static_cast<double>(progress.done - first_done_);
  std::string text = fmt::format("{} {} of {} {}", stage, progress.done, progress.total, progress.what);
  if (seconds > 0.5 && progress.tokens > first_tokens_)
    text += fmt::format(", {} tokens/s", human_count(static_cast<double>(progress.tokens - first_tokens_) / seconds));
  if (!last && fresh >= 1)
    text += fmt::format(", {} left", human_seconds(seconds / fresh * static_cast<double>(progress.total - progress.done)));
  text += fmt::format(", {}", human_bytes(static_cast<double>(resident_bytes())));
  if (!extra.empty()) text += ", " + extra;
  if (terminal_) {
    const int width = 24;
    const int filled = progress.total > 0 ? static_cast<int>(width * progress.done / progress.total) : 0;
    std::string bar;
    for (int i = 0; i < width; ++i) bar += i < filled ? "█" : "░";
    fmt::print(stderr, "\r{} {}\033[K", bar, text);
    std::fflush(stderr);
    bar_open_ = true;
  } else {
    fmt::print(stderr, "{}\n", text);
  }
  if (last) finish_progress();
}

void Console::finish_progress() {
  if (bar_open_) fmt::print(stderr, "\n");
  bar_open_ = false;
  if (!stage_.empty()) stage_.clear();
}

std::string text_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> width;
  for (const auto& row : rows)
    for (size_t c = 0; c < row.size(); ++c) {
      if (c == width.size()) width.push_back(0);
      width[c] = std::max(width[c], display_width(row[c]));
    }
  std::string text;
  for (size_t r = 0; r < rows.size(); ++r) {
    std::string one;
    for (size_t c = 0; c < rows[r].size(); ++c) {
      const std::string pad(width[c] - display_width(rows[r][c]), ' ');
      one += (c > 0 ? "  " : "") + (c == 0 ? rows[r][c] + pad : pad + rows[r][c]);
    }
    one.erase(one.find_last_not_of(' ') + 1);
    text += one + '\n';
    if (r == 0) {
      size_t total = 0;
      for (const size_t w : width) total += w;
      text += std::string(total + 2 * (width.empty() ? 0 : width.size() - 1), '-') + '\n';
    }
  }
  return text;
}

std::string gate_bars(const std::vector<double>& alpha, const LayerPlan* plan, int width) {
  static constexpr std::array<const char*, 8> kEighths{"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  std::string text;
  for (size_t l = 0; l < alpha.size(); ++l) {
    const int eighths = static_cast<int>(std::lround(std::clamp(alpha[l], 0.0, 1.0) * width * 8));
    std::string bar;
    for (int i = 0; i < eighths / 8; ++i) bar += "█";
    bar += kEighths[static_cast<size_t>(eighths % 8)];
    const size_t drawn = static_cast<size_t>(eighths / 8 + (eighths % 8 != 0));
    text += fmt::format("{:>4} {} {}{} {:.3f}\n", l, plan && plan->is_full(static_cast<int>(l)) ? "F" : ".", bar,
                        std::string(static_cast<size_t>(width) - drawn, ' '), alpha[l]);
  }
  return text;
}

std::string heat_map(const std::vector<int64_t>& lengths, const std::vector<double>& depths,
                     const std::vector<std::vector<double>>& value, bool color) {
  std::string text = " depth";
  for (const int64_t length : lengths) text += fmt::format("{:>8}", length);
  text += "  tokens\n";
  for (size_t d = 0; d < depths.size(); ++d) {
    text += fmt::format("{:>4.0f} %", depths[d] * 100);
    for (size_t n = 0; n < lengths.size(); ++n) {
      const double v = value[n][d];
      if (std::isnan(v)) {
        text += "    ////";
      } else if (color) {
        const auto [r, g, b] = cividis(v);
        text += fmt::format("\033[48;2;{};{};{}m\033[38;2;{}m{:>7.2f} \033[0m", r, g, b,
                            v > 0.55 ? "0;0;0" : "255;255;255", v);
      } else {
        text += fmt::format("{:>8.2f}", v);
      }
    }
    text += '\n';
  }
  return text;
}

std::string plan_strip(const LayerPlan& plan) {
  std::string text(static_cast<size_t>(plan.layers), '.');
  for (const int layer : plan.full) text[static_cast<size_t>(layer)] = 'F';
  return text;
}

std::string human_count(double count) {
  for (const auto& [unit, word] : {std::pair{1e9, " G"}, std::pair{1e6, " M"}, std::pair{1e3, " k"}})
    if (count >= unit) return fmt::format("{:.{}f}{}", count / unit, count >= 100 * unit ? 0 : 1, word);
  return fmt::format("{:.0f}", count);
}

std::string human_bytes(double bytes) {
  for (const auto& [unit, word] : {std::pair{1e9, "GB"}, std::pair{1e6, "MB"}, std::pair{1e3, "kB"}})
    if (bytes >= unit) return fmt::format("{:.{}f} {}", bytes / unit, bytes >= 100 * unit ? 0 : 1, word);
  return fmt::format("{:.0f} B", bytes);
}

std::string human_seconds(double seconds) {
  if (seconds < 10) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole / 60 % 60);
}

int64_t resident_bytes() { return status_kilobytes("VmRSS:") * 1024; }
int64_t peak_resident_bytes() { return status_kilobytes("VmHWM:") * 1024; }

}  // namespace flashmorph
