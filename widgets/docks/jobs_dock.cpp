// SPDX-License-Identifier: GPL-3.0-or-later
#include "widgets/docks/jobs_dock.h"

#include <cmath>

#include <QHBoxLayout>
#include <QLabel>
#include <QProgressBar>
#include <QPushButton>
#include <QScrollArea>
#include <QVBoxLayout>

#include "widgets/client/engine_client.h"
#include "widgets/format/format.h"
#include "widgets/state/job_list.h"

namespace flashmorph {

namespace {
constexpr qint64 kForceAfter_ms = 2000;
constexpr int kShownOver = 8;  // jobs that are over and still listed
}  // namespace

JobsDock::JobsDock(EngineClient* client, JobList* jobs, QWidget* parent)
    : QDockWidget(tr("Jobs"), parent), m_client(client), m_jobs(jobs) {
  setObjectName(QStringLiteral("jobsDock"));
  setAccessibleName(tr("Jobs"));
  auto* scroll = new QScrollArea;
  scroll->setObjectName(QStringLiteral("jobsScroll"));
  scroll->setAccessibleName(tr("Jobs"));
  scroll->setWidgetResizable(true);
  scroll->setFrameShape(QFrame::NoFrame);
  auto* body = new QWidget;
  m_layout = new QVBoxLayout(body);
  m_layout->setContentsMargins(6, 4, 6, 4);
  m_empty = new QLabel(tr("No jobs yet."));
  m_layout->addWidget(m_empty);
  m_layout->addStretch(1);
  scroll->setWidget(body);
  setWidget(scroll);
  connect(jobs, &JobList::jobAdded, this, &JobsDock::rebuild);
  connect(jobs, &JobList::reset, this, &JobsDock::rebuild);
  connect(jobs, &JobList::jobEnded, this, &JobsDock::rebuild);
  connect(jobs, &JobList::jobChanged, this, &JobsDock::refresh);
  m_tick.setInterval(500);
  connect(&m_tick, &QTimer::timeout, this, [this] {
    bool waiting = false;
    for (const Job& job : m_jobs->jobs())
      if (job.stopAsked && !job.isOver()) {
        refresh(job.id);
        waiting = true;
      }
    if (!waiting) m_tick.stop();
  });
}

JobsDock::Row JobsDock::makeRow(const QString& id) {
  Row row;
  row.widget = new QWidget;
  auto* layout = new QHBoxLayout(row.widget);
  layout->setContentsMargins(0, 0, 0, 0);
  row.text = new QLabel;
  row.text->setTextInteractionFlags(Qt::TextSelectableByMouse);
  row.text->setMinimumWidth(260);
  row.bar = new QProgressBar;
  row.bar->setTextVisible(true);
  row.bar->setAccessibleName(tr("Progress of %1").arg(id));
  row.bar->setObjectName(QStringLiteral("progress_") + id);
  row.bar->setMaximumHeight(18);
  const auto button = [&](const QString& text, const char* name) {
    auto* b = new QPushButton(text);
    b->setObjectName(QLatin1String(name) + id);
    b->setAccessibleName(QStringLiteral("%1 %2").arg(text, id));
    return b;
  };
  row.pause = button(tr("Pause"), "pause_");
  row.cancel = button(tr("Cancel"), "cancel_");
  row.force = button(tr("Force stop"), "force_");
  row.resume = button(tr("Resume"), "resume_");
  row.force->setToolTip(tr("Ends the engine at once: whatever is not committed is lost"));
  layout->addWidget(row.text, 1);
  layout->addWidget(row.bar, 1);
  for (QPushButton* b : {row.pause, row.resume, row.cancel, row.force}) layout->addWidget(b);
  connect(row.cancel, &QPushButton::clicked, this, [this, id] {
    m_jobs->cancel(id);
    m_tick.start();
  });
  connect(row.pause, &QPushButton::clicked, this, [this, id] {
    const Job* job = m_jobs->find(id);
    if (!job) return;
    job->state == u"paused" ? m_client->resumeJob(id) : m_client->pauseJob(id);
  });
  connect(row.force, &QPushButton::clicked, this, [this] { m_client->forceStop(); });
  connect(row.resume, &QPushButton::clicked, this, [this, id] { emit resumeAsked(id); });
  return row;
}

void JobsDock::rebuild() {
  for (const Row& row : std::as_const(m_rows)) {
    m_layout->removeWidget(row.widget);
    row.widget->deleteLater();
  }
  m_rows.clear();
  int over = 0;
  for (const Job& job : m_jobs->jobs()) over += job.isOver() ? 1 : 0;
  int at = 0;
  for (const Job& job : m_jobs->jobs()) {
    if (job.isOver() && over-- > kShownOver) continue;
    m_rows[job.id] = makeRow(job.id);
    m_layout->insertWidget(at++, m_rows[job.id].widget);
    refresh(job.id);
  }
  m_empty->setVisible(m_rows.isEmpty());
}

void JobsDock::refresh(const QString& id) {
  const auto it = m_rows.find(id);
  const Job* job = m_jobs->find(id);
  if (it == m_rows.end() || !job) return;
  const bool stopping = job->stopAsked && !job->isOver();
  QString text = QStringLiteral("%1  %2  %3").arg(job->id, job->kind, stopping ? tr("stopping") : job->state);
  if (!job->reason.isEmpty()) text += QStringLiteral(" (%1)").arg(job->reason);
  if (job->failure) text += QStringLiteral(": ") + job->failure->message;
  if (!job->isOver() && std::isfinite(job->eta_s)) text += tr(", %1 left").arg(format::duration(job->eta_s));
  it->text->setText(text);
  it->text->setToolTip(job->command);
  it->bar->setVisible(job->total > 0);
  if (job->total > 0) {
    it->bar->setRange(0, 1000);
    it->bar->setValue(static_cast<int>(1000.0 * static_cast<double>(job->done) / static_cast<double>(job->total)));
    it->bar->setFormat(QStringLiteral("%1 / %2 %3").arg(job->done).arg(job->total).arg(job->what));
  }
  const bool training = job->kind == u"gates" || job->kind == u"align" || job->kind == u"distill" || job->kind == u"finetune";
  it->pause->setVisible(!job->isOver() && training && m_client->info().has(QStringLiteral("pause")));
  it->pause->setText(job->state == u"paused" ? tr("Continue") : tr("Pause"));
  it->cancel->setVisible(!job->isOver());
  it->cancel->setEnabled(!stopping);
  it->cancel->setText(stopping ? tr("stopping") : tr("Cancel"));
  it->force->setVisible(stopping && m_jobs->now_ms() - job->stopAsked_ms >= kForceAfter_ms);
  it->resume->setVisible((job->state == u"cancelled" || job->state == u"failed") && training);
}

}  // namespace flashmorph
