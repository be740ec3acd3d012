// SPDX-License-Identifier: GPL-3.0-or-later
// Views to files. Everything is written to a temporary file that takes the name at the end.
#include "widgets/pages/view_export.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <numeric>

#include <QBuffer>
#include <QFileDialog>
#include <QImage>
#include <QMessageBox>
#include <QPainter>
#include <QSaveFile>
#include <QSvgGenerator>

#include "widgets/shell/theme.h"
#include "widgets/views/view.h"

namespace flashmorph {

namespace {

QString write(const QString& file, const QByteArray& bytes) {
  QSaveFile out(file);
  if (!out.open(QIODevice::WriteOnly) || out.write(bytes) != bytes.size() || !out.commit())
    return QObject::tr("%1 could not be written: %2").arg(file, out.errorString());
  return {};
}

QString writePicture(ExportFormat format, const QString& file, double scale, QSize size, const QString& title, const QColor& paper, const QFont& font,
                     const std::function<void(QPainter&)>& draw) {
  if (size.width() < 16 || size.height() < 16 || size.width() > 16000 || size.height() > 16000)
    return QObject::tr("pictures are 16 to 16000 pixels a side, not %1 x %2").arg(size.width()).arg(size.height());
  QByteArray bytes;
  QBuffer buffer(&bytes);
  buffer.open(QIODevice::WriteOnly);
  if (format == ExportFormat::svg) {
    QSvgGenerator svg;
    svg.setOutputDevice(&buffer);
    svg.setSize(size);
    svg.setViewBox(QRect(QPoint(0, 0), size));
    svg.setTitle(title);
    svg.setResolution(96);
    QPainter painter(&svg);
    painter.setFont(font);
    painter.fillRect(QRect(QPoint(0, 0), size), paper);
    draw(painter);
    painter.end();
  } else {
    const double factor = std::clamp(scale, 1.0, 4.0);
    QImage image(size * factor, QImage::Format_ARGB32_Premultiplied);
    if (image.isNull()) return QObject::tr("no memory for a picture of %1 x %2").arg(size.width() * factor).arg(size.height() * factor);
    image.setDevicePixelRatio(factor);
    image.fill(paper);
    QPainter painter(&image);
    painter.setFont(font);
    draw(painter);
    painter.end();
    if (!image.save(&buffer, "PNG")) return QObject::tr("the picture could not be encoded");
  }
  buffer.close();
  return write(file, bytes);
}

/// Light colors while it lives.
class OnPaper {
 public:
  explicit OnPaper(View& view) : m_view(view), m_before(view.palette()), m_set(view.testAttribute(Qt::WA_SetPalette)) { m_view.setPalette(lightPalette()); }
  ~OnPaper() { m_view.setPalette(m_set ? m_before : QPalette()); }
  OnPaper(const OnPaper&) = delete;
  OnPaper& operator=(const OnPaper&) = delete;

 private:
  View& m_view;
  QPalette m_before;
  bool m_set;
};

}  // namespace

bool formatOfFile(const QString& file, ExportFormat& format) {
  static constexpr std::pair<const char*, ExportFormat> kEndings[] = {
      {".png", ExportFormat::png}, {".svg", ExportFormat::svg}, {".csv", ExportFormat::csv}, {".json", ExportFormat::json}};
  for (const auto& [ending, of] : kEndings)
    if (file.endsWith(QLatin1String(ending), Qt::CaseInsensitive)) {
      format = of;
      return true;
    }
  return false;
}

QString exportTable(const Table& table, ExportFormat format, const QString& file) {
  return write(file, QByteArray::fromStdString(format == ExportFormat::csv ? table.to_csv() : table.to_json().dump(1) + "\n"));
}

QString exportView(View& view, ExportFormat format, const QString& file, double scale, QSize size) {
  if (format == ExportFormat::csv || format == ExportFormat::json) return exportTable(view.table(), format, file);
  if (size.isEmpty()) size = view.size();
  const OnPaper paper(view);
  return writePicture(format, file, scale, size, view.accessibleName(), view.palette().color(QPalette::Base), view.font(),
                      [&](QPainter& painter) { view.draw(painter, QRectF(QPointF(0, 0), QSizeF(size))); });
}

QString exportViews(const std::vector<View*>& views, const std::vector<int>& heights, int width, ExportFormat format, const QString& file, double scale) {
  if (views.empty() || views.size() != heights.size()) return QObject::tr("nothing to draw");
  if (format == ExportFormat::csv || format == ExportFormat::json) return exportTable(views.front()->table(), format, file);
  std::vector<std::unique_ptr<OnPaper>> papers;
  for (View* view : views) papers.push_back(std::make_unique<OnPaper>(*view));
  const QSize size(width, std::accumulate(heights.begin(), heights.end(), 0));
  return writePicture(format, file, scale, size, views.front()->accessibleName(), views.front()->palette().color(QPalette::Base), views.front()->font(), [&](QPainter& painter) {
    double y = 0;
    for (size_t i = 0; i < views.size(); ++i) {
      painter.save();
      views[i]->draw(painter, QRectF(0, y, width, heights[i]));
      painter.restore();
      y += heights[i];
    }
  });
}

void askAndExport(View& view, QWidget* parent) {
  QString chosen;
  const QString filters = QObject::tr("PNG picture (*.png);;PNG picture, twice as large (*.png);;PNG picture, four times as large (*.png);;SVG drawing (*.svg);;CSV table (*.csv);;JSON table (*.json)");
  QString file = QFileDialog::getSaveFileName(parent, QObject::tr("Export %1").arg(view.accessibleName()), {}, filters, &chosen);
  if (file.isEmpty()) return;
  ExportFormat format = ExportFormat::png;
  if (!formatOfFile(file, format)) {
    const QString ending = chosen.section(QStringLiteral("(*"), 1).section(u')', 0, 0);
    file += ending.isEmpty() ? QStringLiteral(".png") : ending;
    formatOfFile(file, format);
  }
  const double scale = chosen.contains(QObject::tr("four times")) ? 4 : chosen.contains(QObject::tr("twice")) ? 2 : 1;
  const QString why = exportView(view, format, file, scale);
  if (!why.isEmpty()) QMessageBox::warning(parent, QObject::tr("Export"), why);
}

}  // namespace flashmorph
