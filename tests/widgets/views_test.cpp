// SPDX-License-Identifier: GPL-3.0-or-later
// Painted views: known values give known pixels, pointing and keys move the shared selection, tables
// hold the same values.
#include <QAbstractItemModelTester>
#include <QApplication>
#include <QMouseEvent>
#include <QPainter>
#include <QSignalSpy>
#include <QTest>

#include "tests/widgets/sample_run.h"
#include "widgets/format/format.h"
#include "widgets/pages/run_values.h"
#include "widgets/state/selection.h"
#include "widgets/views/budget_slider.h"
#include "widgets/views/color_scale.h"
#include "widgets/views/compare_table.h"
#include "widgets/views/curve_chart.h"
#include "widgets/views/difference_map.h"
#include "widgets/views/gate_bars.h"
#include "widgets/views/gate_lines.h"
#include "widgets/views/gate_rows.h"
#include "widgets/views/plan_grid.h"
#include "widgets/views/plan_strip.h"
#include "widgets/views/recall_map.h"
#include "widgets/views/slot_style.h"
#include "widgets/views/table_model.h"

using namespace flashmorph;

class ViewsTest : public QObject {
  Q_OBJECT

 private:
  static QImage imageOf(View& view, QSize size) {
    view.resize(size);
    QImage image(size, QImage::Format_ARGB32);
    image.fill(view.palette().color(QPalette::Base));
    QPainter painter(&image);
    painter.setFont(view.font());
    view.draw(painter, QRectF(QPointF(0, 0), QSizeF(size)));
    return image;
  }
  static std::shared_ptr<RecallGrid> grid(const std::vector<std::vector<double>>& cells) {
    auto made = std::make_shared<RecallGrid>(std::vector<int64_t>{1024, 2048}, std::vector<double>{0.0, 1.0}, 4);
    for (size_t i = 0; i < cells.size(); ++i)
      for (size_t r = 0; r < cells[i].size(); ++r) made->cells[i].add(static_cast<int>(r), cells[i][r], 0.5);
    return made;
  }

 private slots:
  void mapsZoomTogether() {
    Selection selection;
    RecallMap one, two;
    RecallGrid grid;
    grid.lengths = {1024, 2048, 4096, 8192};
    grid.depths = {0, 0.25, 0.5, 0.75, 1};
    grid.trials = 8;
    grid.cells.resize(20);
    for (RecallMap* map : {&one, &two}) {
      map->resize(420, 260);
      map->setSelection(&selection);
      map->setData(std::make_shared<RecallGrid>(grid));
    }
    const QRectF area(0, 0, 420, 260);
    const double whole = two.cellRect({3, 4}, area).width();
    selection.selectCell({3, 4});
    QTest::keyClick(&one, Qt::Key_Plus);
    QVERIFY(!selection.zoom().isAll());
    QCOMPARE(two.cellRect({3, 4}, area).width(), 2 * whole);
    // The last cell is at the lower right end, and found there.
    const QRectF last = two.cellRect({3, 4}, area);
    QVERIFY(two.cellAt(last.center()) == (CellRef{3, 4}));
    // Walking takes the zoomed part along.
    for (int i = 0; i < 3; ++i) QTest::keyClick(&one, Qt::Key_Left);
    QVERIFY(selection.cell() == (CellRef{0, 4}));
    QVERIFY(two.cellAt(two.cellRect({0, 4}, area).center()) == (CellRef{0, 4}));
    QTest::keyClick(&one, Qt::Key_0);
    QVERIFY(selection.zoom().isAll());
    QCOMPARE(two.cellRect({3, 4}, area).width(), whole);
    // Every number of cells: zooming in ends at one cell, out at all.
    for (int i = 0; i < 10; ++i) QTest::keyClick(&one, Qt::Key_Plus);
    QVERIFY(two.cellRect(selection.cell(), area).width() > 3.9 * whole);
    for (int i = 0; i < 10; ++i) QTest::keyClick(&one, Qt::Key_Minus);
    QVERIFY(selection.zoom().isAll());
  }

  void slotsBeyondZHaveTwoLetters() {
    QCOMPARE(slotLetter(0), QStringLiteral("A"));
    QCOMPARE(slotLetter(25), QStringLiteral("Z"));
    QCOMPARE(slotLetter(26), QStringLiteral("AA"));
    QCOMPARE(slotLetter(53), QStringLiteral("BB"));
  }

  void textOfNumbers() {
    QCOMPARE(format::number(0.789, 2), QStringLiteral("0.79"));
    QCOMPARE(format::number(std::nan("")), QStringLiteral("-"));
    QCOMPARE(format::number(-0.001, 2), QStringLiteral("0.00"));
    QCOMPARE(format::signedNumber(0.124, 2), QStringLiteral("+0.12"));
    QCOMPARE(format::signedNumber(-0.3, 1), QString(QChar(0x2212)) + QStringLiteral("0.3"));
    QCOMPARE(format::tokens(32768), QStringLiteral("32k"));
    QCOMPARE(format::tokens(320), QStringLiteral("320"));
    QCOMPARE(format::kibibytes(114688), QStringLiteral("112 KiB"));
    QCOMPARE(format::bytes(31e9), QStringLiteral("31 GB"));
    QCOMPARE(format::bytes(999950), QStringLiteral("1 MB"));
    QCOMPARE(format::duration(14), QStringLiteral("14 s"));
    QCOMPARE(format::duration(7500), QStringLiteral("2 h 5 min"));
    QCOMPARE(format::tokenRate(9100), QStringLiteral("9.1 k tokens/s"));
    QCOMPARE(format::layers(LayerPlan::parse("28:1,11-14")), QStringLiteral("1, 11-14"));
    QCOMPARE(format::pValue(0.0312), QStringLiteral("p = .031"));
  }

  void textReadsOnEveryColor() {
    for (const ColorScale scale : {ColorScale::cividis, ColorScale::viridis, ColorScale::redYellowGreen, ColorScale::blueWhiteOrange, ColorScale::depth})
      for (int i = 0; i <= 255; ++i) {
        const QColor color = colorAt(scale, i / 255.0);
        QVERIFY2(contrast(color, textOn(color)) >= 4.5, qPrintable(scaleName(scale) + color.name()));
      }
    QCOMPARE(colorAt(ColorScale::cividis, 0), QColor(0x00, 0x22, 0x4e));
    QCOMPARE(colorAt(ColorScale::cividis, 1), QColor(0xfe, 0xe8, 0x38));
    QCOMPARE(colorAt(ColorScale::blueWhiteOrange, 0.5), QColor(0xf7, 0xf7, 0xf7));
    QCOMPARE(colorAt(ColorScale::cividis, 7), colorAt(ColorScale::cividis, 1));
    QVERIFY(colorAt(ColorScale::cividis, std::nan("")) == QColor(128, 128, 128));
    for (const QRgb base : {0xffffffff, 0xff1e1f22}) {
      QPalette palette;
      palette.setColor(QPalette::Base, QColor::fromRgb(base));
      for (int layer = 0; layer < 48; ++layer) {
        QVERIFY(contrast(readable(layerColor(layer, 48), palette), QColor::fromRgb(base)) >= 4.5);
        QVERIFY(contrast(layerColor(layer, 48), QColor::fromRgb(base)) >= 3);  // lines and bars: graphics
      }
    }
  }

  // The fast thinning against a scan of every row for every column.
  void thinningKeepsExtremes() {
    StepSeries series;
    series.layers = 3;
    std::mt19937 random(5);
    std::uniform_real_distribution<float> any(0, 1);
    for (int s = 1; s <= 1000; ++s) {
      series.step.push_back(s * 3);
      for (int l = 0; l < 3; ++l) series.value.push_back(any(random) < 0.01F ? std::nanf("") : any(random));
    }
    for (const int columns : {1, 7, 100, 5000})
      for (const StepRange range : {StepRange{}, StepRange{500, 900}}) {
        const ThinnedSeries thin = thinToColumns(series, range, columns);
        const StepRange shown = series.clipped(range);
        size_t at = 0;
        for (int c = 0; c < columns; ++c) {
          std::vector<size_t> rows;
          for (size_t row = 0; row < series.rows(); ++row) {
            const double step = static_cast<double>(series.step[row]);
            if (step < shown.first || step > shown.last) continue;
            if (std::clamp(static_cast<int>((step - shown.first) / (shown.last - shown.first) * columns), 0, columns - 1) == c) rows.push_back(row);
          }
          if (rows.empty()) continue;
          QVERIFY(at < thin.column.size());
          QCOMPARE(thin.column[at], c);
          for (int l = 0; l < 3; ++l) {
            float low = std::nanf(""), high = low;
            for (const size_t row : rows)
              if (const float v = series.at(row, l); std::isfinite(v)) {
                low = std::isnan(low) ? v : std::min(low, v);
                high = std::isnan(high) ? v : std::max(high, v);
              }
            const size_t i = at * 3 + static_cast<size_t>(l);
            QVERIFY(thin.low[i] == low || (std::isnan(low) && std::isnan(thin.low[i])));
            QVERIFY(thin.high[i] == high || (std::isnan(high) && std::isnan(thin.high[i])));
          }
          ++at;
        }
        QCOMPARE(at, thin.column.size());
      }
    QVERIFY(thinToColumns(StepSeries{}, {}, 10).column.empty());
  }

  void stripShowsTheValuesOfItsSteps() {
    auto series = std::make_shared<StepSeries>();
    series->layers = 2;
    for (int s = 1; s <= 10; ++s) {
      series->step.push_back(s);
      series->value.push_back(1.0F);
      series->value.push_back(s <= 5 ? 0.25F : 0.75F);
    }
    GateRows rows;
    GateRowsData data;
    data.series = series;
    data.now = {1.0, 0.75};
    data.order = {1, 0};  // layer 1 on top
    rows.setData(data);
    const QSize size(700, 120);
    const QImage image = imageOf(rows, size);
    const QRectF area(QPointF(0, 0), QSizeF(size));
    const QRectF strip = GateRows::stripRect(rows.rowRect(1, area));
    const auto at = [&](double part) { return image.pixelColor(static_cast<int>(strip.left() + part * strip.width()), static_cast<int>(strip.center().y())); };
    QCOMPARE(at(0.2), colorAt(ColorScale::cividis, 0.25));
    QCOMPARE(at(0.9), colorAt(ColorScale::cividis, 0.75));
    QVERIFY(rows.rowRect(1, area).top() < rows.rowRect(0, area).top());
    // The bar of layer 1 ends at three quarters.
    const QRectF bar = GateRows::barRect(rows.rowRect(1, area));
    QCOMPARE(image.pixelColor(static_cast<int>(bar.left() + 0.70 * bar.width()), static_cast<int>(bar.center().y())), layerColor(1, 2));
    QVERIFY(image.pixelColor(static_cast<int>(bar.left() + 0.80 * bar.width()), static_cast<int>(bar.center().y())) != layerColor(1, 2));
    // Zoomed into the second half nothing of the first is left.
    rows.setRange({6, 10});
    const QImage zoomed = imageOf(rows, size);
    QCOMPARE(zoomed.pixelColor(static_cast<int>(strip.left() + 4), static_cast<int>(strip.center().y())), colorAt(ColorScale::cividis, 0.75));
  }

  void fortyEightRowsOfTwelvePixels() {
    GateRows rows;
    GateRowsData data;
    data.now.assign(48, 0.5);
    rows.setData(data);
    const QSize size(600, rows.minimumSizeHint().height());
    const QRectF area(QPointF(0, 0), QSizeF(size));
    for (int l = 0; l < 48; ++l) QCOMPARE(rows.rowRect(l, area).height(), 12.0);
    QVERIFY(rows.rowRect(47, area).bottom() <= size.height());
  }

  void pointingSelectsAlike() {
    const RunRecord record = sample::gates(28, 50);
    const auto series = layerSeries(record);
    const GateScore score = record.score();
    Selection selection;
    GateRows rows;
    GateRowsData data;
    data.series = series;
    data.now = layerValues(record, *series);
    rows.setData(data);
    rows.setSelection(&selection);
    rows.resize(800, 400);
    const QPoint five = rows.rowRect(5, QRectF(rows.rect())).center().toPoint(), nine = rows.rowRect(9, QRectF(rows.rect())).center().toPoint();
    QTest::mouseMove(&rows, five);
    QMouseEvent move(QEvent::MouseMove, five, rows.mapToGlobal(five), Qt::NoButton, Qt::NoButton, Qt::NoModifier);
    QApplication::sendEvent(&rows, &move);
    QCOMPARE(selection.hoveredLayer(), 5);
    QTest::mouseClick(&rows, Qt::LeftButton, {}, five);
    QCOMPARE(selection.layers(), std::set<int>{5});
    QTest::mouseClick(&rows, Qt::LeftButton, Qt::ControlModifier, nine);
    QCOMPARE(selection.layers(), (std::set<int>{5, 9}));
    QTest::mouseClick(&rows, Qt::LeftButton, {}, nine);
    QTest::keyClick(&rows, Qt::Key_Down);
    QCOMPARE(selection.layers(), std::set<int>{10});
    QTest::keyClick(&rows, Qt::Key_Escape);
    QVERIFY(selection.layers().empty());

    GateBars bars;
    bars.setData({score.score, {}, solve_budget(score.score, score.tie_break, 7), false});
    bars.setSelection(&selection);
    bars.resize(700, 130);
    for (int l = 0; l < 28; ++l) QCOMPARE(bars.layerAt(bars.columnRect(l, QRectF(bars.rect())).center()), l);
    QSignalSpy locks(&bars, &LayerView::lockPressed);
    selection.select(3);
    QTest::keyClick(&bars, Qt::Key_F);
    QCOMPARE(locks.count(), 1);
    QCOMPARE(locks[0][0].toChar(), QChar(u'F'));

    PlanStrip strip;
    strip.setData(LayerPlan::parse("28:1,11-14"));
    strip.setSelection(&selection);
    strip.resize(700, 44);
    QTest::mouseClick(&strip, Qt::LeftButton, {}, strip.cellRect(12, QRectF(strip.rect())).center().toPoint());
    QCOMPARE(selection.layers(), std::set<int>{12});

    GateLines lines;
    lines.setData({series, {}, {}});
    lines.setSelection(&selection);
    lines.resize(800, 300);
    // At the end of a line the nearest line is that of a layer with this very value.
    const int last = static_cast<int>(series->rows()) - 1;
    const QPointF end = lines.pointOf(series->step.back(), static_cast<double>(series->at(static_cast<size_t>(last), 20)));
    const int found = lines.layerAt(end - QPointF(1, 0));
    QVERIFY(found >= 0);
    QVERIFY(std::abs(series->at(static_cast<size_t>(last), found) - series->at(static_cast<size_t>(last), 20)) < 0.02F);
  }

  void brushZooms() {
    const RunRecord record = sample::gates(8, 100);
    GateLines lines;
    lines.setData({layerSeries(record), {}, {}});
    lines.resize(800, 300);
    QSignalSpy brushed(&lines, &GateLines::rangeBrushed);
    const QPoint from = lines.pointOf(20, 0.5).toPoint(), to = lines.pointOf(60, 0.5).toPoint();
    QTest::mousePress(&lines, Qt::LeftButton, {}, from);
    QMouseEvent move(QEvent::MouseMove, to, lines.mapToGlobal(to), Qt::LeftButton, Qt::LeftButton, Qt::NoModifier);
    QApplication::sendEvent(&lines, &move);
    QTest::mouseRelease(&lines, Qt::LeftButton, {}, to);
    QCOMPARE(brushed.count(), 1);
    const auto range = brushed[0][0].value<StepRange>();
    QVERIFY(std::abs(range.first - 20) <= 1 && std::abs(range.last - 60) <= 1);
    QTest::mouseDClick(&lines, Qt::LeftButton, {}, from);
    QVERIFY(brushed.last()[0].value<StepRange>().isAll());
  }

  void sliderTicksAndRange() {
    BudgetSlider slider;
    slider.resize(400, 44);
    slider.setLayers(28, 1, 26);
    const auto ticks = slider.ticks();
    QCOMPARE(ticks.size(), size_t{3});
    QCOMPARE(ticks[0].K, 4);   // 28 / 7
    QCOMPARE(ticks[1].K, 7);   // 28 / 4
    QCOMPARE(ticks[2].K, 14);  // 28 / 2
    QSignalSpy moved(&slider, &QAbstractSlider::valueChanged);
    QTest::mouseClick(&slider, Qt::LeftButton, {}, QPoint(static_cast<int>(slider.xOf(7)), 14));
    QCOMPARE(slider.value(), 7);
    QTest::mouseClick(&slider, Qt::LeftButton, {}, QPoint(static_cast<int>(slider.xOf(28)), 14));
    QCOMPARE(slider.value(), 26);  // two layers are locked linear
    QTest::keyClick(&slider, Qt::Key_Home);
    QCOMPARE(slider.value(), 1);
    QTest::keyClick(&slider, Qt::Key_Right);
    QCOMPARE(slider.value(), 2);
  }

  void cutLiesBetweenKeptAndDropped() {
    GateBars bars;
    const std::vector<double> score{0.9, 0.1, 0.89, 0.5};
    bars.setData({score, {}, solve_budget(score, {}, 2), false});
    bars.resize(300, 120);
    const QRectF area(bars.rect());
    QCOMPARE(bars.cutX(area), bars.columnRect(2, area).right());
    QCOMPARE(bars.cutX(area), bars.columnRect(3, area).left());
  }

  void cellsHaveTheColorOfTheirScore() {
    RecallMap map;
    map.setData(grid({{1, 1, 1, 1}, {0, 0, 1, 1}, {0, 0, 0, 0}, {}}));
    const QSize size(420, 260);
    const QImage image = imageOf(map, size);
    const QRectF area(QPointF(0, 0), QSizeF(size));
    const auto corner = [&](CellRef cell) {
      const QRectF box = map.cellRect(cell, area);
      return image.pixelColor(static_cast<int>(box.left()) + 6, static_cast<int>(box.top()) + 6);
    };
    QCOMPARE(corner({0, 0}), colorAt(ColorScale::cividis, 1));
    QCOMPARE(corner({0, 1}), colorAt(ColorScale::cividis, 0.5));
    QCOMPARE(corner({1, 0}), colorAt(ColorScale::cividis, 0));
    QVERIFY(!map.cellColor({1, 1}).isValid());  // hatched
    QVERIFY(map.tipOf({0, 1}).contains(QStringLiteral("2 of 4 prompts")));
    QVERIFY(map.tipOf({0, 1}).contains(format::interval(wilson_interval(2, 4))));
    QVERIFY(map.tipOf({1, 1}).contains(QStringLiteral("not evaluated")));
    map.setScale(ColorScale::viridis);
    QCOMPARE(map.cellColor({0, 0}), colorAt(ColorScale::viridis, 1));
    map.setQuantity(RecallQuantity::nll);
    map.setNllTop(2);
    QCOMPARE(map.cellColor({0, 0}), colorAt(ColorScale::viridis, 0.75));  // 0.5 of 2 nat, light is good
    Selection selection;
    map.setSelection(&selection);
    map.resize(size);
    QTest::mouseClick(&map, Qt::LeftButton, {}, map.cellRect({1, 0}, area).center().toPoint());
    QCOMPARE(selection.cell(), (CellRef{1, 0}));
    QTest::keyClick(&map, Qt::Key_Down);
    QCOMPARE(selection.cell(), (CellRef{1, 1}));
    QTest::keyClick(&map, Qt::Key_Left);
    QCOMPARE(selection.cell(), (CellRef{0, 1}));
  }

  // Hand-worked: four common trials with differences 1, 1, 0, 0 in the first cell.
  void pairedDifferences() {
    DifferenceMap map;
    const auto a = grid({{1, 1, 1, 0}, {1, 1}, {0, 0, 0, 0}, {1}}), b = grid({{0, 0, 1, 0}, {1, 1}, {1, 1, 1, 1}, {}});
    map.setData(a, b, QStringLiteral("A"), QStringLiteral("B"));
    const QString tip = map.tipOf({0, 0});
    QVERIFY2(tip.contains(QStringLiteral("A only 2, B only 0, both 1, neither 1")), qPrintable(tip));
    QVERIFY2(tip.contains(QStringLiteral("+0.500")), qPrintable(tip));
    // All trials together: 4 + 2 + 4, sum of differences 2 - 4 = -2, mean -0.2.
    const PairedStatistics all = compare(*a, *b);
    QCOMPARE(all.trials, int64_t{10});
    QCOMPARE(all.mean_difference, -0.2);
    // s^2 = (2 * 1.2^2 + 4 * 0.8^2 + 4 * 0.2^2) / 9, half width t(9) s / sqrt(10), t = 2.262.
    const double half = 2.262 * std::sqrt((2 * 1.44 + 4 * 0.64 + 4 * 0.04) / 9) / std::sqrt(10.0);
    QVERIFY(std::abs(all.interval.high - (-0.2 + half)) < 2e-3);
    QVERIFY(pairedText(all, QStringLiteral("A"), QStringLiteral("B")).contains(QStringLiteral("10 common trials")));
    QCOMPARE(map.range(), 1.0);
    QCOMPARE(map.cellColor({1, 0}), colorAt(ColorScale::blueWhiteOrange, 0));    // A lost all four
    QCOMPARE(map.cellColor({0, 1}), colorAt(ColorScale::blueWhiteOrange, 0.5));  // equal
    QVERIFY(!map.cellColor({1, 1}).isValid());                                   // B missing: hatched
  }

  void signTestDot() {
    auto many = std::make_shared<RecallGrid>(std::vector<int64_t>{1024}, std::vector<double>{0.5}, 6);
    auto other = std::make_shared<RecallGrid>(*many);
    for (int r = 0; r < 6; ++r) {
      many->cells[0].add(r, 1, 0);
      other->cells[0].add(r, 0, 0);
    }
    // Six wins of six: p = 2 / 64.
    QCOMPARE(compare(many->cells[0], other->cells[0]).sign_test_p, 2.0 / 64);
    DifferenceMap map;
    map.setData(many, other, QStringLiteral("A"), QStringLiteral("B"));
    QVERIFY(map.tipOf({0, 0}).contains(QStringLiteral("p = .031")));
    const QSize size(400, 240);
    const QImage image = imageOf(map, size);
    const QRectF cell = map.cellRect({0, 0}, QRectF(QPointF(0, 0), QSizeF(size)));
    QVERIFY(image.pixelColor(static_cast<int>(cell.right()) - 6, static_cast<int>(cell.top()) + 6) != map.cellColor({0, 0}));
  }

  void planGridMarksDifferences() {
    PlanGrid grid;
    grid.setData({{0, QStringLiteral("gates"), LayerPlan::parse("10:1-3")}, {1, QStringLiteral("uniform"), LayerPlan::parse("10:1,4,7")}, {2, QStringLiteral("other model"), LayerPlan::parse("8:1")}});
    QCOMPARE(grid.rows().size(), size_t{2});
    QVERIFY(!grid.differs(1) && grid.differs(2) && grid.differs(3) && grid.differs(4) && !grid.differs(0));
  }

  void tablesAreModels() {
    const RunRecord record = sample::gates(6, 20);
    const auto series = layerSeries(record);
    GateLines lines;
    lines.setData({series, {}, {}});
    GateRows rows;
    GateRowsData data;
    data.series = series;
    data.now = layerValues(record, *series);
    rows.setData(data);
    RecallMap map;
    map.setData(grid({{1, 0}, {1}}));
    PlanStrip strip;
    strip.setData(LayerPlan::parse("6:1,3"));
    CurveChart chart;
    chart.setData({QStringLiteral("loss"), QStringLiteral("step"), QStringLiteral("loss"), QStringLiteral("nat"), {{QStringLiteral("ce"), {1, 2}, {3, 2.5}, {}, false}}, {}, false, false});
    for (View* view : std::initializer_list<View*>{&lines, &rows, &map, &strip, &chart}) {
      QAbstractItemModelTester tester(view->model(), QAbstractItemModelTester::FailureReportingMode::QtTest);
      QVERIFY(view->model()->rowCount() > 0);
      QVERIFY(!view->accessibleName().isEmpty());
    }
    QCOMPARE(lines.model()->rowCount(), 120);
    QCOMPARE(lines.model()->data(lines.model()->index(7, 2), TableModel::SortRole).toFloat(), series->at(1, 1));
    // Growing and shrinking data under a model somebody looks at.
    TableModel model;
    QAbstractItemModelTester tester(&model, QAbstractItemModelTester::FailureReportingMode::QtTest);
    model.setTable({{"a"}, {{int64_t{1}}}});
    model.setTable({{"a"}, {{int64_t{1}}, {2.5}, {std::string("x")}}});
    QCOMPARE(model.rowCount(), 3);
    model.setTable({{"a"}, {{int64_t{4}}}});
    QCOMPARE(model.data(model.index(0, 0), TableModel::SortRole).toInt(), 4);
    model.setTable({{"a", "b"}, {}});
    QCOMPARE(model.columnCount(), 2);
    CompareTable table;
    QAbstractItemModelTester compared(table.model(), QAbstractItemModelTester::FailureReportingMode::QtTest);
    table.setData({QStringLiteral("A"), QStringLiteral("B")}, {{QStringLiteral("K"), {}, {QStringLiteral("7"), QStringLiteral("7")}}, {QStringLiteral("seed"), {}, {QStringLiteral("1"), QStringLiteral("2")}}});
    QCOMPARE(table.model()->rowCount(), 2);
    table.setDifferencesOnly(true);
    QCOMPARE(table.model()->rowCount(), 1);
    QCOMPARE(table.model()->index(0, 0).data().toString(), QStringLiteral("seed"));
  }

  void emptyAndHostileValues() {
    for (const QSize size : {QSize(3, 3), QSize(200, 40), QSize(900, 500)}) {
      GateRows rows;
      GateLines lines;
      GateBars bars;
      PlanStrip strip;
      PlanGrid plans;
      RecallMap map;
      DifferenceMap difference;
      CurveChart chart;
      std::vector<View*> views{&rows, &lines, &bars, &strip, &plans, &map, &difference, &chart};
      for (View* view : views) imageOf(*view, size);
      auto series = std::make_shared<StepSeries>();
      series->layers = 1;
      series->step = {5};
      series->value = {std::nanf("")};
      GateRowsData data;
      data.series = series;
      data.now = {std::nan("")};
      data.score = {std::nan("")};
      rows.setData(data);
      lines.setData({series, {0, 7}, {}});
      bars.setData({{std::nan("")}, {}, solve_budget({std::nan("")}, {}, 1), false});
      map.setData(std::make_shared<RecallGrid>());
      chart.setData({QStringLiteral("x"), {}, {}, {}, {{{}, {1}, {std::nan("")}, {}, false}, {{}, {1}, {5}, {}, false}}, {}, false, false});
      for (View* view : views) imageOf(*view, size);
      for (View* view : views) view->table();
    }
  }
};

QTEST_MAIN(ViewsTest)
#include "views_test.moc"
