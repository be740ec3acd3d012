// SPDX-License-Identifier: GPL-3.0-or-later
// How long the GUI thread is held: 200 gate rows a second at 48 layers for ten seconds, and a slider
// event to the repainted page. Prints rows for tests/bench/results_gui.md; asserts no times.
#include <QApplication>
#include <QElapsedTimer>
#include <QTest>
#include <QTimer>

#include "tests/widgets/fake_transport.h"
#include "tests/widgets/sample_run.h"
#include "widgets/pages/gates_page.h"
#include "widgets/pages/select_page.h"
#include "widgets/views/budget_slider.h"
#include "widgets/views/gate_bars.h"
#include "widgets/views/gate_lines.h"
#include "widgets/views/gate_rows.h"
#include "widgets/views/plan_strip.h"
#include "widgets/views/recall_map.h"

using namespace flashmorph;

namespace {

constexpr int kLayers = 48, kRowsPerSecond = 200, kSeconds = 10, kBatch_ms = 100;

/// The recorded stream as events, a batch every 100 ms as the engine sends them.
std::vector<QByteArray> stream() {
  std::vector<QByteArray> lines;
  const int perBatch = kRowsPerSecond * kBatch_ms / 1000, steps = kRowsPerSecond * kSeconds;
  for (int first = 1; first <= steps; first += perBatch) {
    GateStepsEvent event;
    event.job = "j1";
    for (int s = first; s < first + perBatch; ++s) {
      event.step.push_back(s);
      event.alpha.push_back(sample::gateRow(s, steps, kLayers));
      event.raw.push_back(event.alpha.back());
      event.loss.push_back(1.0 / s);
      event.penalty.push_back(0.1);
    }
    nlohmann::json params = params_of(event);
    params["seq"] = static_cast<int>(lines.size()) + 10;
    lines.push_back(QByteArray::fromStdString(nlohmann::json{{"jsonrpc", "2.0"}, {"method", "gates.steps"}, {"params", params}}.dump()));
  }
  return lines;
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

}  // namespace

class GuiBench : public QObject {
  Q_OBJECT

 private slots:
  void liveGates() {
    const auto lines = stream();
    EngineClient client;
    auto fake = std::make_unique<FakeTransport>();
    FakeTransport* engine = fake.get();
    const std::string uuid = new_uuid();
    engine->answers["run.open"] = [uuid](const nlohmann::json&) {
      return nlohmann::json{{"run", "r1"}, {"uuid", uuid}, {"name", "live"}, {"path", "/runs/live"}, {"kind", "gates"}, {"state", "running"}, {"layers", kLayers}, {"revision", 0}, {"config", {{"steps", kRowsPerSecond * kSeconds}}}};
    };
    client.connectTo(std::move(fake));
    RunStore store(&client);
    Workspace workspace;
    Selection selection;
    GatesPage page(&client, &store, &workspace, &selection);
    page.resize(1280, 800);
    page.show();
    size_t next = 0;
    double longest_ms = 0;
    QElapsedTimer gap, clock;
    QTimer beat, feed;
    beat.setTimerType(Qt::PreciseTimer);
    connect(&beat, &QTimer::timeout, this, [&] {
      longest_ms = std::max(longest_ms, static_cast<double>(gap.nsecsElapsed()) / 1e6 - 1);
      gap.restart();
    });
    feed.setTimerType(Qt::PreciseTimer);
    connect(&feed, &QTimer::timeout, this, [&] {
      if (next >= lines.size()) return;
      emit engine->lineArrived(lines[next]);
      ++next;
    });
    QTRY_VERIFY(client.isReady());
    engine->say("job.state", {{"job", "j1"}, {"kind", "gates"}, {"run", "r1"}, {"state", "running"}});
    QTRY_VERIFY(store.runOfHandle(QStringLiteral("r1")));
    workspace.setCurrentRun(store.runOfHandle(QStringLiteral("r1"))->uuid);
    const int before = page.lines()->paints(), beforeRows = page.rows()->paints();
    gap.start();
    clock.start();
    beat.start(1);
    feed.start(kBatch_ms);
    while (next < lines.size() || clock.elapsed() < kSeconds * 1000 + 300) QApplication::processEvents(QEventLoop::WaitForMoreEvents);
    const double seconds = static_cast<double>(clock.elapsed()) / 1000;
    QVERIFY(page.rows()->data().series->rows() >= static_cast<size_t>(kRowsPerSecond * (kSeconds - 1)));
    qInfo("| gates live, %d rows/s x %d layers, %d s | longest block %.1f ms | paints a second: rows %.1f, lines %.1f | longest paint: rows %.1f ms, lines %.1f ms |", kRowsPerSecond,
          kLayers, kSeconds, longest_ms, (page.rows()->paints() - beforeRows) / seconds, (page.lines()->paints() - before) / seconds, page.rows()->longestPaint_ms(), page.lines()->longestPaint_ms());
  }

  void sliderToPicture() {
    RunStore store(nullptr);
    Workspace workspace;
    Selection selection;
    SelectPage page(nullptr, &store, &workspace, &selection);
    page.resize(1280, 800);
    RunRecord record = sample::evaluated(kLayers);
    workspace.setCurrentRun(store.addRecord(record, QStringLiteral("seed1")));
    page.show();
    QTest::qWait(300);
    const GateScore score = record.score();
    std::vector<double> solve_ms, event_ms, paint_ms;
    QElapsedTimer clock;
    for (int round = 0; round < 3; ++round)
      for (int K = 1; K < kLayers; ++K) {
        clock.start();
        const BudgetSolution solution = solve_budget(score.score, score.tie_break, K);
        solve_ms.push_back(static_cast<double>(clock.nsecsElapsed()) / 1e6);
        QCOMPARE(solution.budget, K);
        clock.start();
        page.slider()->setValue(K);
        event_ms.push_back(static_cast<double>(clock.nsecsElapsed()) / 1e6);
        clock.start();
        for (QWidget* view : std::initializer_list<QWidget*>{page.slider(), page.bars(), page.strip(), page.map()}) view->repaint();
        paint_ms.push_back(static_cast<double>(clock.nsecsElapsed()) / 1e6);
        QApplication::processEvents();
        QCOMPARE(page.strip()->plan(), solution.plan);
      }
    qInfo("| slider event, %d layers | solver median %.3f ms, longest %.3f ms | page values median %.2f ms, longest %.2f ms | repaint of bars, strip, slider, map median %.2f ms, longest %.2f ms |",
          kLayers, median(solve_ms), *std::max_element(solve_ms.begin(), solve_ms.end()), median(event_ms), *std::max_element(event_ms.begin(), event_ms.end()), median(paint_ms),
          *std::max_element(paint_ms.begin(), paint_ms.end()));
  }
};

QTEST_MAIN(GuiBench)
#include "gui_bench.moc"
