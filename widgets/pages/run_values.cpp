// SPDX-License-Identifier: GPL-3.0-or-later
// Records to the values of views.
#include "widgets/pages/run_values.h"

#include <algorithm>
#include <cmath>

#include <QCoreApplication>
#include <QDir>
#include <QFile>

#include "core/run/error.h"
#include "widgets/views/color_scale.h"

namespace flashmorph {

std::shared_ptr<const StepSeries> layerSeries(const RunRecord& record) {
  auto series = std::make_shared<StepSeries>();
  series->layers = record.layers;
  const auto L = static_cast<size_t>(std::max(record.layers, 0));
  const bool gates = !record.gates.alpha.empty();
  const std::vector<float>& values = gates ? record.gates.alpha : record.layer.loss;
  series->quantity = gates ? QStringLiteral("gate") : QStringLiteral("loss");
  if (L == 0) return series;
  const size_t rows = std::min(values.size() / L, record.rows());
  series->step.assign(record.steps.step.begin(), record.steps.step.begin() + static_cast<std::ptrdiff_t>(rows));
  series->value.assign(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(rows * L));
  if (!gates) {
    // The first steps are far above the rest: the scale ends where 98 % of the values do.
    std::vector<float> finite;
    for (const float v : series->value)
      if (std::isfinite(v)) finite.push_back(v);
    if (!finite.empty()) {
      const auto at = finite.begin() + static_cast<std::ptrdiff_t>(static_cast<double>(finite.size() - 1) * 0.98);
      std::nth_element(finite.begin(), at, finite.end());
      series->high = *at > 0 ? static_cast<double>(*at) : 1;
    }
  }
  return series;
}

std::vector<double> layerValues(const RunRecord& record, const StepSeries& series) {
  std::vector<double> now(static_cast<size_t>(std::max(record.layers, 0)), std::nan(""));
  if (series.rows() == 0) {
    for (size_t l = 0; l < now.size(); ++l)
      if (l < record.gates.score.size()) now[l] = static_cast<double>(record.gates.score[l]);
      else if (l < record.layer.error.size()) now[l] = static_cast<double>(record.layer.error[l]);
    return now;
  }
  for (size_t l = 0; l < now.size(); ++l) now[l] = static_cast<double>(series.at(series.rows() - 1, static_cast<int>(l)));
  return now;
}

std::vector<CurveChartData> sideCurves(const RunRecord& record, const StepSeries& series) {
  std::vector<CurveChartData> out;
  std::vector<double> steps(record.steps.step.begin(), record.steps.step.end());
  const auto asDoubles = [](const std::vector<float>& v) { return std::vector<double>(v.begin(), v.end()); };
  CurveChartData loss;
  loss.title = loss.yName = QStringLiteral("loss");
  loss.unit = QStringLiteral("nat");
  int place = 0;
  for (const auto& [name, values] : record.steps.loss) {
    if (name == "penalty" || name == "relative") continue;
    if (std::none_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); })) continue;
    if (name == "align") loss.unit = QStringLiteral("1");
    loss.curves.push_back({QString::fromStdString(name), steps, asDoubles(values), place == 0 ? QColor() : colorAt(ColorScale::depth, 0.33 * place), place > 0});
    ++place;
  }
  if (loss.curves.size() == 1) {
    loss.title = loss.curves[0].name == u"ce" ? QStringLiteral("answer loss") : loss.curves[0].name == u"align" ? QStringLiteral("alignment loss") : loss.curves[0].name;
  }
  if (!loss.curves.empty()) out.push_back(std::move(loss));
  if (!record.gates.alpha.empty()) {
    CurveChartData penalty;
    penalty.title = QStringLiteral("penalty (lambda)");
    penalty.yName = QStringLiteral("lambda");
    penalty.fromZero = true;
    penalty.curves.push_back({{}, steps, asDoubles(record.gates.penalty), {}, false});
    out.push_back(std::move(penalty));
    CurveChartData mean;
    mean.title = mean.yName = QStringLiteral("mean gate");
    mean.fromZero = true;
    Curve curve;
    for (size_t row = 0; row < series.rows(); ++row) {
      double sum = 0;
      for (int l = 0; l < series.layers; ++l) sum += static_cast<double>(series.at(row, l));
      curve.x.push_back(static_cast<double>(series.step[row]));
      curve.y.push_back(sum / std::max(1, series.layers));
    }
    mean.curves.push_back(std::move(curve));
    out.push_back(std::move(mean));
  } else if (!record.steps.lr.empty()) {
    CurveChartData lr;
    lr.title = lr.yName = QStringLiteral("learning rate");
    lr.fromZero = true;
    lr.curves.push_back({{}, steps, asDoubles(record.steps.lr), {}, false});
    out.push_back(std::move(lr));
  }
  if (record.layer.error.empty()) return out;  // gate runs measure none
  CurveChartData error;
  error.title = QStringLiteral("held-out error per layer");
  error.xName = QStringLiteral("layer");
  error.yName = QStringLiteral("relative error");
  error.points = error.fromZero = true;
  Curve curve;
  for (size_t l = 0; l < record.layer.error.size(); ++l) {
    curve.x.push_back(static_cast<double>(l));
    curve.y.push_back(static_cast<double>(record.layer.error[l]));
  }
  error.curves.push_back(std::move(curve));
  out.push_back(std::move(error));
  return out;
}

namespace {
double numberOf(const nlohmann::json& json, const char* key) {
  return json.is_object() && json.contains(key) && json[key].is_number() ? json[key].get<double>() : 0;
}
QString textOf(const nlohmann::json& json, const char* key) {
  return json.is_object() && json.contains(key) && json[key].is_string() ? QString::fromStdString(json[key].get<std::string>()) : QString();
}
}  // namespace

std::optional<double> kvBytesPerToken(const RunRecord& record, int fullLayers) {
  const double size = numberOf(record.model, "kv_heads") * numberOf(record.model, "head_dim");
  if (size <= 0) return {};
  const double bytes = textOf(record.model, "file_dtype") == u"float32" ? 4 : 2;
  return 2 * size * bytes * fullLayers;
}

double closeBand(const RunRecord& record, const std::vector<double>& score) {
  if (!record.gates.alpha.empty()) return kCloseGap;
  double low = INFINITY, high = -INFINITY;
  for (const double s : score)
    if (std::isfinite(s)) {
      low = std::min(low, s);
      high = std::max(high, s);
    }
  return high > low ? 0.02 * (high - low) : kCloseGap;
}

QString teacherId(const RunRecord& record) { return textOf(record.model, "weights_sha256"); }

int64_t trainedLength(const RunRecord& record) { return static_cast<int64_t>(numberOf(record.model, "max_position")); }

int startBudget(const RunRecord& record) {
  for (const SavedPlan& plan : record.plans)
    if (plan.origin == "budget" || plan.origin == record.gates.score_method) return plan.plan.budget();
  return budget_of_ratio(std::max(1, record.layers), 3);
}

QString swapText(const LayerPlan& from, const LayerPlan& to) {
  QStringList words;
  for (int l = 0; l < from.layers; ++l)
    if (from.is_full(l) && !to.is_full(l)) words += QStringLiteral("−%1").arg(l);
  for (int l = 0; l < from.layers; ++l)
    if (!from.is_full(l) && to.is_full(l)) words += QStringLiteral("+%1").arg(l);
  return words.join(u' ');
}

int planDistance(const LayerPlan& a, const LayerPlan& b) {
  int distance = 0;
  for (int l = 0; l < a.layers; ++l) distance += a.is_full(l) != b.is_full(l);
  return distance;
}

std::shared_ptr<const TruthTable> TruthTable::read(const QString& path, const QString& teacher, int layers) {
  QFile file(path);
  if (path.isEmpty() || !file.open(QIODevice::ReadOnly) || file.size() > 32 * 1024 * 1024) return {};
  const QByteArray text = file.readAll();
  const auto json = nlohmann::json::parse(text.begin(), text.end(), nullptr, false);
  if (json.is_discarded() || textOf(json, "format") != u"flashmorph-plan-truth" || numberOf(json, "version") != 1) return {};
  if (numberOf(json, "layers") != layers || numberOf(json, "batches_done") != numberOf(json, "batches")) return {};
  if (textOf(json, "teacher_sha256") != teacher || !json.contains("rows") || !json["rows"].is_array()) return {};
  auto table = std::make_shared<TruthTable>();
  const auto mean = [](const nlohmann::json& values) -> std::optional<double> {
    if (!values.is_array() || values.empty()) return {};
    double sum = 0;
    for (const auto& v : values) {
      if (!v.is_number()) return {};
      sum += v.get<double>();
    }
    return sum / static_cast<double>(values.size());
  };
  for (const auto& row : json["rows"]) {
    if (!row.is_array() || row.size() != 3 || !row[0].is_string()) return {};
    const auto nll = mean(row[1]), recall = mean(row[2]);
    if (!nll || !recall) return {};
    try {
      table->m_rows[LayerPlan::parse(row[0].get<std::string>())] = {*nll, *recall};
    } catch (const Error&) {
      return {};
    }
  }
  return table;
}

std::shared_ptr<const TruthTable> TruthTable::find(const RunRecord& record) {
  const QString teacher = teacherId(record);
  if (teacher.isEmpty() || record.layers < 1) return {};
  QStringList places{textOf(record.config, "truth")};
  QDir up(QCoreApplication::applicationDirPath());
  for (int i = 0; i < 4; ++i) {
    for (const char* folder : {"resources/demo", "share/flashmorph/demo"}) {
      QDir demo(up.filePath(QLatin1String(folder)));
      for (const QString& name : demo.entryList({QStringLiteral("truth_*.json")}, QDir::Files)) places += demo.filePath(name);
    }
    if (!up.cdUp()) break;
  }
  for (const QString& place : places)
    if (auto table = read(place, teacher, record.layers)) return table;
  return {};
}

std::optional<TruthTable::Rank> TruthTable::rankOf(const LayerPlan& plan) const {
  const auto own = m_rows.find(plan);
  if (own == m_rows.end()) return {};
  Rank rank{1, 0, own->second.nll_nats, own->second.recall, 0, plan};
  double best = own->second.nll_nats;
  for (const auto& [other, row] : m_rows) {
    if (other.budget() != plan.budget()) continue;
    ++rank.plans;
    rank.rank += row.nll_nats < own->second.nll_nats;
    if (row.nll_nats < best) {
      best = row.nll_nats;
      rank.best = other;
    }
  }
  rank.regret_nats = own->second.nll_nats - best;
  return rank;
}

}  // namespace flashmorph
