// SPDX-License-Identifier: GPL-3.0-or-later
// Views filled from a record, drawn to a file.
#include "widgets/pages/run_export.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include <QFileInfo>
#include <QRegularExpression>

#include "core/run/error.h"
#include "core/run/run_file.h"
#include "widgets/format/format.h"
#include "widgets/pages/run_values.h"
#include "widgets/pages/view_export.h"
#include "widgets/views/curve_chart.h"
#include "widgets/views/difference_map.h"
#include "widgets/views/gate_bars.h"
#include "widgets/views/gate_lines.h"
#include "widgets/views/gate_rows.h"
#include "widgets/views/plan_grid.h"
#include "widgets/views/plan_strip.h"
#include "widgets/views/recall_map.h"
#include "widgets/views/slot_style.h"

namespace flashmorph {

namespace {

[[noreturn]] void refuse(const QString& message, const QString& hint) {
  throw Error("export", ErrorCode::bad_request, message.toStdString(), hint.toStdString());
}

BudgetSolution solutionOf(const RunRecord& record, int budget, std::vector<double>& score) {
  const GateScore gates = record.score();
  score = gates.score;
  if (score.size() != static_cast<size_t>(record.layers)) refuse(QObject::tr("the run has no scores"), QObject::tr("export gates or curves"));
  return solve_budget(score, gates.tie_break, budget >= 0 ? budget : startBudget(record), {}, closeBand(record, score));
}

struct Known {
  QString name;
  LayerPlan plan;
  std::shared_ptr<const RecallGrid> grid;
};

std::vector<Known> knownOf(const RunRecord& record, const QString& set, QString& name) {
  const SetEvaluations* from = nullptr;
  QStringList names;
  for (const SetEvaluations& one : record.evals) {
    names += QString::fromStdString(one.set.name);
    if (!one.evaluations.empty() && (set.isEmpty() || names.back() == set)) from = &one;
  }
  if (!from) refuse(set.isEmpty() ? QObject::tr("the run has no evaluations") : QObject::tr("the run has no evaluations on a set \"%1\"").arg(set.left(64)),
                    names.isEmpty() ? QObject::tr("evaluate with flashmorph eval") : QObject::tr("it has %1").arg(names.join(QStringLiteral(", "))));
  name = QString::fromStdString(from->set.name);
  std::vector<Known> known;
  for (const Evaluation& evaluation : from->evaluations)
    if (const SavedPlan* plan = record.find_plan(evaluation.plan_id))
      known.push_back({QString::fromStdString(plan->name.empty() ? plan->id : plan->name), plan->plan, std::make_shared<RecallGrid>(evaluation.grid)});
  return known;
}

std::vector<Known> chosen(const RunRecord& record, const std::vector<Known>& known, const QString& words) {
  std::vector<Known> out;
  for (const QString& raw : words.split(u';', Qt::SkipEmptyParts)) {
    const QString word = raw.trimmed();
    const auto at = std::find_if(known.begin(), known.end(), [&](const Known& one) {
      const SavedPlan* saved = record.find_plan(one.plan);
      return one.name == word || QString::fromStdString(one.plan.to_string()) == word || (saved && QString::fromStdString(saved->id) == word);
    });
    if (at == known.end()) {
      QStringList names;
      for (const Known& one : known) names += one.name;
      refuse(QObject::tr("the plan \"%1\" is not evaluated in this run").arg(word.left(64)), QObject::tr("there are %1").arg(names.mid(0, 12).join(QStringLiteral(", "))));
    }
    out.push_back(*at);
  }
  return out;
}

Known ownPlan(const RunRecord& record, const std::vector<Known>& known) {
  for (const SavedPlan& plan : record.plans)
    if (plan.origin == "budget" || plan.origin == record.gates.score_method)
      for (const Known& one : known)
        if (one.plan == plan.plan) return one;
  return known.front();
}

void drawRecall(const RunRecord& record, const RunExport& request, ExportFormat format, QSize size) {
  QString set;
  const auto known = knownOf(record, request.set, set);
  const Known one = request.plan.isEmpty() ? ownPlan(record, known) : chosen(record, known, request.plan).front();
  RecallMap map;
  map.setData(one.grid);
  map.setScale(scaleOfName(request.colors));
  map.setTrainedLength(trainedLength(record));
  map.setTitle(QObject::tr("%1, K %2: %3").arg(set).arg(one.plan.budget()).arg(format::layers(one.plan)),
               QObject::tr("mean %1; all answers right 95 % %2 (Wilson, %3)").arg(format::number(one.grid->mean_score(), 3), format::interval(one.grid->interval()), format::counted(one.grid->trials_run(), QObject::tr("prompt"))));
  const QString why = exportView(map, format, request.file, request.scale, size.isEmpty() ? QSize(640, 360) : size);
  if (!why.isEmpty()) refuse(why, {});
}

void drawCompare(const RunRecord& record, const RunExport& request, ExportFormat format, QSize size) {
  QString set;
  const auto known = knownOf(record, request.set, set);
  auto places = request.plan.isEmpty() ? known : chosen(record, known, request.plan);
  if (places.size() > 4) places.resize(4);
  const Known& reference = places.front();
  std::vector<std::unique_ptr<View>> views;
  Table all;
  auto grid = std::make_unique<PlanGrid>();
  std::vector<PlanGridRow> rows;
  for (size_t i = 0; i < places.size(); ++i) rows.push_back({static_cast<int>(i), places[i].name, places[i].plan});
  grid->setData(rows);
  const int gridHeight = grid->minimumSizeHint().height();
  for (size_t i = 0; i < places.size(); ++i) {
    const QString letter = slotLetter(static_cast<int>(i));
    if (i == 0) {
      auto map = std::make_unique<RecallMap>();
      map->setData(places[i].grid);
      map->setScale(scaleOfName(request.colors));
      map->setTitle(QObject::tr("%1: %2 on %3").arg(letter, places[i].name, set), QObject::tr("mean %1").arg(format::number(places[i].grid->mean_score(), 3)));
      views.push_back(std::move(map));
    } else {
      auto map = std::make_unique<DifferenceMap>();
      map->setData(places[i].grid, reference.grid, letter, QStringLiteral("A"));
      map->setTitle(QObject::tr("%1 − A: %2 against %3").arg(letter, places[i].name, reference.name), pairedText(compare(*places[i].grid, *reference.grid), letter, QStringLiteral("A")));
      Table table = map->table();
      if (all.columns.empty()) {
        all.columns = {"slot", "plan", "reference_plan"};
        all.columns.insert(all.columns.end(), table.columns.begin(), table.columns.end());
      }
      for (auto& row : table.rows) {
        std::vector<TableValue> line{letter.toStdString(), places[i].plan.to_string(), reference.plan.to_string()};
        line.insert(line.end(), row.begin(), row.end());
        all.rows.push_back(std::move(line));
      }
      views.push_back(std::move(map));
    }
  }
  QString why;
  if (format == ExportFormat::csv || format == ExportFormat::json) {
    if (all.columns.empty()) refuse(QObject::tr("one plan alone cannot be compared"), QObject::tr("evaluate another, or export recall"));
    why = exportTable(all, format, request.file);
  } else {
    std::vector<View*> stack{grid.get()};
    std::vector<int> heights{gridHeight};
    const int each = size.isEmpty() ? 300 : std::max(150, (size.height() - gridHeight) / static_cast<int>(views.size()));
    for (const auto& view : views) {
      stack.push_back(view.get());
      heights.push_back(each);
    }
    why = exportViews(stack, heights, size.isEmpty() ? 720 : size.width(), format, request.file, request.scale);
  }
  if (!why.isEmpty()) refuse(why, {});
}

void drawSteps(const RunRecord& record, const RunExport& request, ExportFormat format, QSize size) {
  const auto series = layerSeries(record);
  QString why;
  if (request.view == u"curves") {
    std::vector<std::unique_ptr<CurveChart>> charts;
    std::vector<View*> views;
    Table all;
    for (auto& data : sideCurves(record, *series)) {
      const QString quantity = data.yName, unit = data.unit;
      charts.push_back(std::make_unique<CurveChart>());
      charts.back()->setData(std::move(data));
      const Table table = charts.back()->table();
      if (table.rows.empty()) continue;
      views.push_back(charts.back().get());
      all.columns = {"quantity", "curve", "unit", "x_name", "x", "value"};
      for (const auto& row : table.rows) all.rows.push_back({quantity.toStdString(), row[0], unit.toStdString(), table.columns[1], row[1], row[2]});
    }
    if (views.empty()) refuse(QObject::tr("the run has no steps"), QObject::tr("export select or recall"));
    if (format == ExportFormat::csv || format == ExportFormat::json) why = exportTable(all, format, request.file);
    else why = exportViews(views, std::vector<int>(views.size(), size.isEmpty() ? 200 : size.height() / static_cast<int>(views.size())), size.isEmpty() ? 640 : size.width(), format, request.file, request.scale);
  } else if (series->rows() == 0) {
    refuse(QObject::tr("the run has no gates over steps"), QObject::tr("export select, recall or plans"));
  } else if (request.view == u"lines") {
    GateLines lines;
    lines.setData({series, {}, {}});
    why = exportView(lines, format, request.file, request.scale, size.isEmpty() ? QSize(900, 360) : size);
  } else {
    GateRows rows;
    GateRowsData data;
    data.series = series;
    data.now = layerValues(record, *series);
    std::vector<double> score;
    if (!record.gates.alpha.empty()) {
      data.plan = solutionOf(record, request.budget, score).plan;
      data.score = score;
    }
    rows.setScale(scaleOfName(request.colors));
    rows.setData(std::move(data));
    why = exportView(rows, format, request.file, request.scale, size.isEmpty() ? QSize(900, std::max(160, 30 + record.layers * 16)) : size);
  }
  if (!why.isEmpty()) refuse(why, {});
}

void drawPlan(const RunRecord& record, const RunExport& request, ExportFormat format, QSize size) {
  QString why;
  if (request.view == u"plans") {
    PlanGrid grid;
    std::vector<PlanGridRow> rows;
    for (const SavedPlan& plan : record.plans) rows.push_back({static_cast<int>(rows.size()), QString::fromStdString(plan.name.empty() ? plan.id : plan.name), plan.plan});
    if (rows.empty()) refuse(QObject::tr("the run has no plans"), QObject::tr("export strip for the plan of a budget"));
    grid.setData(std::move(rows));
    why = exportView(grid, format, request.file, request.scale, size.isEmpty() ? QSize(860, grid.minimumSizeHint().height()) : size);
  } else {
    std::vector<double> score;
    const BudgetSolution solution = solutionOf(record, request.budget, score);
    PlanStrip strip;
    strip.setData(solution.plan);
    if (request.view == u"strip") {
      why = exportView(strip, format, request.file, request.scale, size.isEmpty() ? QSize(860, 48) : size);
    } else {
      GateBars bars;
      bars.setData({score, {}, solution, record.state == "running"});
      const QSize whole = size.isEmpty() ? QSize(860, 220) : size;
      why = exportViews({&bars, &strip}, {whole.height() - 48, 48}, whole.width(), format, request.file, request.scale);
    }
  }
  if (!why.isEmpty()) refuse(why, {});
}

}  // namespace

QStringList exportViewNames() {
  return {QStringLiteral("gates"), QStringLiteral("lines"), QStringLiteral("strip"), QStringLiteral("select"),
          QStringLiteral("recall"), QStringLiteral("compare"), QStringLiteral("plans"), QStringLiteral("curves")};
}

QString exportRun(const RunExport& request) {
  try {
    if (!exportViewNames().contains(request.view)) refuse(QObject::tr("there is no view \"%1\"").arg(request.view.left(64)), QObject::tr("views are %1").arg(exportViewNames().join(QStringLiteral(", "))));
    ExportFormat format = ExportFormat::png;
    if (!formatOfFile(request.file, format)) refuse(QObject::tr("\"%1\" has no known ending").arg(request.file.left(200)), QObject::tr("use .png, .svg, .csv or .json"));
    if (!(request.scale >= 1 && request.scale <= 4)) refuse(QObject::tr("scale: expected 1 to 4, got %1").arg(request.scale), {});
    const QFileInfo at(request.run);
    const RunRecord record = read_run_file((at.isDir() ? request.run + QStringLiteral("/run.fmrun") : request.run).toStdString());
    if (record.layers < 1) refuse(QObject::tr("the run has no layers"), {});
    if (request.view == u"recall") drawRecall(record, request, format, request.size);
    else if (request.view == u"compare") drawCompare(record, request, format, request.size);
    else if (request.view == u"gates" || request.view == u"lines" || request.view == u"curves") drawSteps(record, request, format, request.size);
    else drawPlan(record, request, format, request.size);
    return {};
  } catch (const Error& error) {
    return QString::fromStdString(error.message() + (error.hint().empty() ? "" : "; " + error.hint()));
  } catch (const std::exception& error) {
    return QString::fromUtf8(error.what());
  }
}

}  // namespace flashmorph
