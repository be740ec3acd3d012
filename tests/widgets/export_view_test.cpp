// SPDX-License-Identifier: GPL-3.0-or-later
// Exported files, read back by other eyes: QImage, an XML reader, a CSV split by hand, a JSON parser.
#include <QDir>
#include <QImage>
#include <QTemporaryDir>
#include <QTest>
#include <QXmlStreamReader>

#include <nlohmann/json.hpp>

#include "core/run/run_file.h"
#include "tests/widgets/sample_run.h"
#include "widgets/format/format.h"
#include "widgets/pages/run_export.h"
#include "widgets/pages/view_export.h"
#include "widgets/shell/theme.h"
#include "widgets/views/recall_map.h"

using namespace flashmorph;

class ExportViewTest : public QObject {
  Q_OBJECT

 private slots:
  void initTestCase() {
    QVERIFY(m_folder.isValid());
    m_record = sample::evaluated();
    write_run_file((m_folder.path() + QStringLiteral("/run.fmrun")).toStdString(), m_record, true);
  }

  void everyViewInEveryFormat() {
    for (const QString& view : exportViewNames())
      for (const char* ending : {"png", "svg", "csv", "json"}) {
        RunExport request;
        request.view = view;
        request.run = m_folder.path();
        request.file = m_folder.filePath(view + u'.' + QLatin1String(ending));
        const QString why = exportRun(request);
        QVERIFY2(why.isEmpty(), qPrintable(view + QStringLiteral(": ") + why));
        QFile file(request.file);
        QVERIFY(file.open(QIODevice::ReadOnly));
        const QByteArray bytes = file.readAll();
        const QByteArray kind(ending);
        if (kind == "png") {
          const QImage image = QImage::fromData(bytes, "PNG");
          QVERIFY(!image.isNull());
          QVERIFY(image.allGray() == false);
        } else if (kind == "svg") {
          QXmlStreamReader xml(bytes);
          int shapes = 0;
          while (!xml.atEnd()) {
            xml.readNext();
            shapes += xml.isStartElement() && (xml.name() == u"path" || xml.name() == u"rect" || xml.name() == u"polyline" || xml.name() == u"text");
          }
          QVERIFY2(!xml.hasError(), qPrintable(xml.errorString()));
          QVERIFY(shapes > 10);
        } else if (kind == "csv") {
          const auto lines = bytes.split('\n');
          QVERIFY(lines.size() > 2);
          QCOMPARE(lines[1].count(',') >= lines[0].count(','), true);
        } else {
          const auto json = nlohmann::json::parse(bytes.begin(), bytes.end());
          QVERIFY(json.is_array() && !json.empty() && json[0].is_object());
        }
      }
  }

  void recallNumbersComeBack() {
    RunExport request;
    request.view = QStringLiteral("recall");
    request.run = m_folder.filePath(QStringLiteral("run.fmrun"));
    request.file = m_folder.filePath(QStringLiteral("cells.json"));
    request.plan = QStringLiteral("swap");
    QCOMPARE(exportRun(request), QString());
    QFile file(request.file);
    QVERIFY(file.open(QIODevice::ReadOnly));
    const QByteArray bytes = file.readAll();
    const auto rows = nlohmann::json::parse(bytes.begin(), bytes.end());
    const auto plan = std::find_if(m_record.plans.begin(), m_record.plans.end(), [](const SavedPlan& one) { return one.name == "swap"; });
    QVERIFY(plan != m_record.plans.end());
    const RecallGrid& grid = m_record.grid(sample::set(), plan->id, "aligned");
    QCOMPARE(rows.size(), grid.cells.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      const RecallCell& cell = grid.cells[i];
      QCOMPARE(rows[i]["trials"].get<int>(), cell.trials);
      QCOMPARE(rows[i]["hits"].get<int>(), cell.hits);
      QVERIFY(std::abs(rows[i]["score"].get<double>() - cell.score) < 1e-6);
      QVERIFY(std::abs(rows[i]["hit_rate_low"].get<double>() - wilson_interval(cell.hits, cell.trials).low) < 1e-9);
      QVERIFY(rows[i].contains("nll_nats_per_token") && rows[i].contains("length_tokens") && rows[i].contains("depth_percent"));
    }
  }

  void scaleAndColors() {
    RecallMap map;
    map.resize(400, 240);
    map.setPalette(darkPalette());
    auto grid = std::make_shared<RecallGrid>(std::vector<int64_t>{1024}, std::vector<double>{0.5}, 1);
    grid->cells[0].add(0, 1, 0);
    map.setData(grid);
    const QString file = m_folder.filePath(QStringLiteral("scaled.png"));
    QCOMPARE(exportView(map, ExportFormat::png, file, 3), QString());
    const QImage image(file);
    QCOMPARE(image.size(), QSize(1200, 720));
    QCOMPARE(image.pixelColor(2, 2), lightPalette().color(QPalette::Base));  // paper, though the window is dark
    QCOMPARE(map.palette().color(QPalette::Base), darkPalette().color(QPalette::Base));
    const QPointF cell = map.cellRect({0, 0}, QRectF(0, 0, 400, 240)).topLeft() + QPointF(8, 8);
    QCOMPARE(image.pixelColor(static_cast<int>(3 * cell.x()), static_cast<int>(3 * cell.y())), colorAt(ColorScale::cividis, 1));
  }

  void refusalsSayWhatAndNext() {
    const auto why = [&](const char* view, const QString& run, const QString& file, const QString& plan = {}) {
      RunExport request;
      request.view = QLatin1String(view);
      request.run = run;
      request.file = file;
      request.plan = plan;
      return exportRun(request);
    };
    const QString good = m_folder.path(), png = m_folder.filePath(QStringLiteral("x.png"));
    QVERIFY(why("pie", good, png).contains(QStringLiteral("gates, lines")));
    QVERIFY(why("gates", good, m_folder.filePath(QStringLiteral("x.bmp"))).contains(QStringLiteral(".svg")));
    QVERIFY(!why("gates", m_folder.filePath(QStringLiteral("nowhere")), png).isEmpty());
    QVERIFY(why("recall", good, png, QStringLiteral("unknown")).contains(QStringLiteral("gates")));
    QVERIFY(!why("gates", good, QStringLiteral("/nowhere/at/all.png")).isEmpty());
    QFile broken(m_folder.filePath(QStringLiteral("broken.fmrun")));
    QVERIFY(broken.open(QIODevice::WriteOnly));
    broken.write("\x89HDF\r\n\x1a\n nonsense");
    broken.close();
    QVERIFY(!why("gates", broken.fileName(), png).isEmpty());
    QVERIFY(!QFile::exists(png));
  }

 private:
  QTemporaryDir m_folder;
  RunRecord m_record;
};

QTEST_MAIN(ExportViewTest)
#include "export_view_test.moc"
