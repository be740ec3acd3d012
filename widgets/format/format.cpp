// SPDX-License-Identifier: GPL-3.0-or-later
// Text of numbers and units.
#include "widgets/format/format.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace flashmorph::format {

namespace {
const QString kMissing = QStringLiteral("-");
constexpr QChar kMinus(0x2212), kThinSpace(0x2009);

QString scaled(double value, double step, const std::array<const char*, 5>& units) {
  if (!std::isfinite(value)) return kMissing;
  size_t unit = 0;
  double rest = std::abs(value);
  // 999.6 would round up to "1000": take the next unit then.
  while (unit + 1 < units.size() && rest >= step - 0.5) {
    rest /= step;
    ++unit;
  }
  const int digits = unit == 0 || rest >= 99.95 || std::lround(rest * 10) % 10 == 0 ? 0 : 1;
  const QString sign = value < 0 ? QString(kMinus) : QString();
  return sign + QString::number(rest, 'f', digits) + u' ' + QLatin1String(units[unit]);
}
}  // namespace

QString number(double value, int digits) {
  if (!std::isfinite(value)) return kMissing;
  QString text = QString::number(value, 'f', digits);
  if (text.startsWith(u'-')) {
    const bool zero = std::none_of(text.cbegin(), text.cend(), [](QChar c) { return c >= u'1' && c <= u'9'; });
    text.replace(0, 1, zero ? QString() : QString(kMinus));
  }
  return text;
}

QString compact(double value) {
  if (!std::isfinite(value)) return kMissing;
  if (value == 0) return QStringLiteral("0");
  const double size = std::abs(value);
  if (size >= 1e-4 && size < 1e7 && value == std::floor(value)) return QString::number(value, 'f', 0);
  return QString::number(value, 'g', 4);
}

QString signedNumber(double value, int digits) {
  const QString text = number(value, digits);
  if (text == kMissing || text.startsWith(kMinus)) return text;
  return text.toDouble() == 0 ? text : u'+' + text;
}

QString percent(double share, int digits) {
  return std::isfinite(share) ? number(100 * share, digits) + QStringLiteral(" %") : kMissing;
}

QString interval(const Interval& range, int digits) {
  if (!std::isfinite(range.low) || !std::isfinite(range.high)) return kMissing;
  return u'[' + number(range.low, digits) + QStringLiteral(", ") + number(range.high, digits) + u']';
}

QString signedInterval(const Interval& range, int digits) {
  if (!std::isfinite(range.low) || !std::isfinite(range.high)) return kMissing;
  return u'[' + signedNumber(range.low, digits) + QStringLiteral(", ") + signedNumber(range.high, digits) + u']';
}

QString count(int64_t value) {
  QString text = QString::number(std::abs(value));
  for (qsizetype at = text.size() - 3; at > 0; at -= 3) text.insert(at, kThinSpace);
  return value < 0 ? kMinus + text : text;
}

QString counted(int64_t value, const QString& one, const QString& many) {
  return count(value) + u' ' + (value == 1 ? one : many.isEmpty() ? one + u's' : many);
}

QString tokens(int64_t tokens) {
  if (tokens > 0 && tokens % 1024 == 0) return QString::number(tokens / 1024) + u'k';
  return QString::number(tokens);
}

QString tokenRate(double rate) {
  if (!std::isfinite(rate)) return kMissing;
  if (rate < 1000) return QString::number(rate, 'f', rate < 10 ? 1 : 0) + QStringLiteral(" tokens/s");
  if (rate < 1e6) return QString::number(rate / 1e3, 'f', rate < 1e5 ? 1 : 0) + QStringLiteral(" k tokens/s");
  return QString::number(rate / 1e6, 'f', 1) + QStringLiteral(" M tokens/s");
}

QString bytes(double value) { return scaled(value, 1000, {"B", "kB", "MB", "GB", "TB"}); }
QString kibibytes(double value) { return scaled(value, 1024, {"B", "KiB", "MiB", "GiB", "TiB"}); }

QString duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return kMissing;
  if (seconds < 1) return QStringLiteral("%1 ms").arg(std::lround(seconds * 1000));
  if (seconds < 10) return number(seconds, 1) + QStringLiteral(" s");
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  const auto two = [](int64_t a, const char* unit, int64_t b, const char* small) {
    QString text = QString::number(a) + u' ' + QLatin1String(unit);
    if (b > 0) text += u' ' + QString::number(b) + u' ' + QLatin1String(small);
    return text;
  };
  if (whole < 60) return QStringLiteral("%1 s").arg(whole);
  if (whole < 3600) return two(whole / 60, "min", whole % 60, "s");
  if (whole < 86400) return two(whole / 3600, "h", whole % 3600 / 60, "min");
  return two(whole / 86400, "d", whole % 86400 / 3600, "h");
}

QString progress(int64_t done, int64_t total) {
  return total > 0 ? count(done) + QStringLiteral(" of ") + count(total) : count(done);
}

QString layers(const LayerPlan& plan) {
  if (plan.full.empty()) return QStringLiteral("none");
  QString text = QString::fromStdString(plan.to_string());
  text.remove(0, text.indexOf(u':') + 1);
  return text.replace(u',', QStringLiteral(", "));
}

QString pValue(double p) {
  if (!std::isfinite(p)) return kMissing;
  return p < 0.001 ? QStringLiteral("p < .001") : QStringLiteral("p = ") + QString::number(p, 'f', p < 0.1 ? 3 : 2).mid(p < 1 ? 1 : 0);
}

}  // namespace flashmorph::format
