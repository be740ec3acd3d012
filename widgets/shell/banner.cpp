// SPDX-License-Identifier: GPL-3.0-or-later
#include "widgets/shell/banner.h"

#include <QApplication>
#include <QClipboard>
#include <QHBoxLayout>
#include <QLabel>
#include <QPlainTextEdit>
#include <QPushButton>
#include <QSysInfo>
#include <QToolButton>
#include <QVBoxLayout>

namespace flashmorph {

namespace {
constexpr int kMostBanners = 4;
}

Banner::Banner(const Failure& failure, Level level, QWidget* parent) : QFrame(parent), m_failure(failure) {
  setObjectName(QStringLiteral("banner"));
  setAccessibleName(failure.message);
  setFrameShape(QFrame::StyledPanel);
  setAutoFillBackground(true);
  const bool dark = QApplication::palette().color(QPalette::Window).lightness() < 128;
  const QColor tint = level == Level::error ? QColor(0xc6, 0x28, 0x28) : level == Level::warning ? QColor(0xb5, 0x7a, 0x00) : QColor(0x1f, 0x5f, 0xbf);
  const QColor base = QApplication::palette().color(QPalette::Window);
  const double share = dark ? 0.28 : 0.13;
  const auto mix = [share](int a, int b) { return static_cast<int>(a * (1 - share) + b * share); };
  QPalette palette = QApplication::palette();
  palette.setColor(QPalette::Window, QColor(mix(base.red(), tint.red()), mix(base.green(), tint.green()), mix(base.blue(), tint.blue())));
  setPalette(palette);
  auto* layout = new QVBoxLayout(this);
  layout->setContentsMargins(10, 6, 6, 6);
  auto* row = new QHBoxLayout;
  m_text = new QLabel;
  m_text->setTextFormat(Qt::PlainText);
  m_text->setWordWrap(true);
  m_text->setTextInteractionFlags(Qt::TextSelectableByMouse);
  row->addWidget(m_text, 1);
  m_buttons = new QHBoxLayout;
  row->addLayout(m_buttons);
  m_details = new QPlainTextEdit(report());
  m_details->setReadOnly(true);
  m_details->setObjectName(QStringLiteral("bannerDetails"));
  m_details->setAccessibleName(tr("Details"));
  m_details->setMaximumHeight(180);
  m_details->hide();
  auto* details = new QPushButton(tr("Details"));
  details->setObjectName(QStringLiteral("bannerShowDetails"));
  details->setAccessibleName(tr("Details"));
  details->setCheckable(true);
  connect(details, &QPushButton::toggled, m_details, &QWidget::setVisible);
  auto* copy = new QPushButton(tr("Copy report"));
  copy->setObjectName(QStringLiteral("bannerCopy"));
  copy->setAccessibleName(tr("Copy report"));
  connect(copy, &QPushButton::clicked, this, [this] { QApplication::clipboard()->setText(report()); });
  auto* close = new QToolButton;
  close->setObjectName(QStringLiteral("bannerClose"));
  close->setText(QStringLiteral("✕"));
  close->setAutoRaise(true);
  close->setAccessibleName(tr("Close this message"));
  connect(close, &QToolButton::clicked, this, &Banner::closed);
  row->addWidget(details);
  row->addWidget(copy);
  row->addWidget(close);
  layout->addLayout(row);
  layout->addWidget(m_details);
  const QString sign = level == Level::error ? QStringLiteral("✕ ") : level == Level::warning ? QStringLiteral("! ") : QStringLiteral("i ");
  m_text->setText(sign + (failure.stage.isEmpty() ? QString() : failure.stage + QStringLiteral(": ")) + failure.message +
                  (failure.hint.isEmpty() ? QString() : QStringLiteral("\n") + failure.hint));
}

void Banner::addAction(const QString& text, std::function<void()> run, bool closes) {
  auto* button = new QPushButton(text);
  button->setObjectName(QStringLiteral("bannerAction_") + QString(text).remove(u' '));
  button->setAccessibleName(text);
  connect(button, &QPushButton::clicked, this, [this, run, closes] {
    run();
    if (closes) emit closed();
  });
  m_buttons->addWidget(button);
}

void Banner::countAgain() {
  ++m_times;
  QString text = m_text->text();
  const qsizetype at = text.indexOf(QStringLiteral("  (×"));
  if (at > 0) text.truncate(at);
  m_text->setText(text + QStringLiteral("  (×%1)").arg(m_times));
}

QString Banner::report() const {
  QStringList lines{QStringLiteral("%1 %2 on %3, Qt %4").arg(QApplication::applicationName(), QApplication::applicationVersion(), QSysInfo::prettyProductName(), QString::fromLatin1(qVersion())),
                    QStringLiteral("stage: %1").arg(m_failure.stage), QStringLiteral("message: %1").arg(m_failure.message)};
  if (!m_failure.hint.isEmpty()) lines << QStringLiteral("next step: %1").arg(m_failure.hint);
  if (m_failure.code) lines << QStringLiteral("code: %1").arg(m_failure.code);
  if (!m_failure.job.isEmpty()) lines << QStringLiteral("job: %1").arg(m_failure.job);
  if (!m_failure.details.isEmpty()) lines << QStringLiteral("engine output:") << m_failure.details;
  return lines.join(u'\n');
}

BannerStack::BannerStack(QWidget* parent) : QWidget(parent), m_layout(new QVBoxLayout(this)) {
  m_layout->setContentsMargins(0, 0, 0, 0);
  m_layout->setSpacing(2);
}

Banner* BannerStack::add(const Failure& failure, Banner::Level level) {
  for (Banner* banner : m_banners)
    if (banner->failure().message == failure.message && banner->failure().stage == failure.stage) {
      banner->countAgain();
      return banner;
    }
  while (m_banners.size() >= kMostBanners) remove(m_banners.first());
  auto* banner = new Banner(failure, level, this);
  m_layout->addWidget(banner);
  m_banners << banner;
  connect(banner, &Banner::closed, this, [this, banner] { remove(banner); });
  return banner;
}

void BannerStack::remove(Banner* banner) {
  m_banners.removeAll(banner);
  m_layout->removeWidget(banner);
  banner->hide();
  banner->deleteLater();
}

}  // namespace flashmorph
