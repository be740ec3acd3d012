// SPDX-License-Identifier: GPL-3.0-or-later
#include "widgets/state/workspace.h"

#include <algorithm>

#include <QDir>
#include <QFile>
#include <QFileInfo>
#include <QJsonArray>
#include <QJsonDocument>
#include <QSaveFile>
#include <QUndoCommand>

namespace flashmorph {

namespace {

constexpr qsizetype kRecent = 12;

// Redo and undo as functions; steps with the same merge key become one.
class Step : public QUndoCommand {
 public:
  Step(const QString& text, std::function<void()> redo, std::function<void()> undo, const QString& mergeKey)
      : QUndoCommand(text), m_redo(std::move(redo)), m_undo(std::move(undo)), m_key(mergeKey) {}
  void redo() override { m_redo(); }
  void undo() override { m_undo(); }
  int id() const override { return m_key.isEmpty() ? -1 : 1; }
  bool mergeWith(const QUndoCommand* other) override {
    const auto* step = static_cast<const Step*>(other);
    if (step->m_key != m_key) return false;
    m_redo = step->m_redo;
    return true;
  }

 private:
  std::function<void()> m_redo, m_undo;
  QString m_key;
};

QJsonObject toObject(const CompareSlot& slot) {
  return {{"run", slot.run}, {"plan", slot.plan}, {"set", slot.set}, {"weights", slot.weights}, {"label", slot.label}};
}
CompareSlot toSlot(const QJsonObject& o) {
  return {o["run"].toString(), o["plan"].toString(), o["set"].toString(), o["weights"].toString(QStringLiteral("aligned")),
          o["label"].toString()};
}
QStringList toList(const QJsonValue& value) {
  QStringList list;
  for (const QJsonValue& item : value.toArray())
    if (item.isString() && list.size() < kRecent) list << item.toString();
  return list;
}
QJsonObject toObject(const QHash<QString, QString>& map) {
  QJsonObject object;
  for (auto it = map.begin(); it != map.end(); ++it)
    if (!it.value().isEmpty()) object[it.key()] = it.value();
  return object;
}

// Twelve colors that stay apart for most kinds of color vision, legible on light and dark.
constexpr std::array<QRgb, 12> kColors = {0xff0072b2, 0xffd55e00, 0xff009e73, 0xffcc79a7, 0xffb8860b, 0xff56a0d3,
                                          0xff8b5fbf, 0xffa0522d, 0xff2f9e9e, 0xffc44569, 0xff6b8e23, 0xff7a7a7a};

}  // namespace

Workspace::Workspace(const QString& file, QObject* parent) : QObject(parent), m_file(file) {
  m_save.setSingleShot(true);
  m_save.setInterval(500);
  m_undo.setUndoLimit(500);
  connect(&m_save, &QTimer::timeout, this, &Workspace::save);
}

Workspace::~Workspace() {
  if (m_save.isActive()) save();
}

void Workspace::touch() {
  if (!m_file.isEmpty() && !m_save.isActive()) m_save.start();
}

void Workspace::push(const QString& text, std::function<void()> redo, std::function<void()> undo, const QString& mergeKey) {
  m_undo.push(new Step(text, std::move(redo), std::move(undo), mergeKey));
  touch();
}

void Workspace::setCurrentRun(const QString& uuid) {
  if (uuid == m_currentRun) return;
  m_currentRun = uuid;
  touch();
  emit currentRunChanged(uuid);
}

int Workspace::budget(const QString& run) const { return m_budget.value(run, -1); }

void Workspace::applyBudget(const QString& run, int K) {
  if (budget(run) == K) return;
  if (K < 0)
    m_budget.remove(run);
  else
    m_budget[run] = K;
  touch();
  emit budgetChanged(run, K);
}

void Workspace::setBudget(const QString& run, int K) {
  const int before = budget(run);
  if (run.isEmpty() || before == K) return;
  push(tr("K %1").arg(K), [this, run, K] { applyBudget(run, K); }, [this, run, before] { applyBudget(run, before); },
       m_dragging ? QStringLiteral("drag%1 %2").arg(m_drag).arg(run) : QString());
}

void Workspace::beginDrag() {
  m_dragging = true;
  ++m_drag;
}

void Workspace::endDrag() { m_dragging = false; }

std::vector<Lock> Workspace::locks(const QString& run, int layers) const {
  std::vector<Lock> locks = m_locks.value(run);
  locks.resize(static_cast<size_t>(std::max(layers, 0)), Lock::free);
  return locks;
}

void Workspace::applyLocks(const QString& run, const std::vector<Lock>& locks) {
  m_locks[run] = locks;
  touch();
  emit locksChanged(run);
}

void Workspace::setLocks(const QString& run, const std::vector<Lock>& locks, const QString& what) {
  setLocksAndBudget(run, locks, budget(run), what);
}

void Workspace::setLocksAndBudget(const QString& run, const std::vector<Lock>& locks, int K, const QString& what) {
  const std::vector<Lock> before = m_locks.value(run);
  const int beforeK = budget(run);
  if (run.isEmpty() || (before == locks && beforeK == K)) return;
  push(what.isEmpty() ? tr("locks") : what,
       [this, run, locks, K] {
         applyLocks(run, locks);
         applyBudget(run, K);
       },
       [this, run, before, beforeK] {
         applyLocks(run, before);
         applyBudget(run, beforeK);
       });
}

void Workspace::applySlots(const std::array<CompareSlot, kSlots>& all) {
  m_slots = all;
  touch();
  emit slotsChanged();
}

void Workspace::setSlot(int index, const CompareSlot& slot) {
  if (index < 0 || index >= kSlots || this->slot(index) == slot) return;
  const auto before = m_slots;
  auto after = m_slots;
  after[static_cast<size_t>(index)] = slot;
  push(tr("slot %1").arg(QChar(u'A' + index)), [this, after] { applySlots(after); }, [this, before] { applySlots(before); });
}

int Workspace::addToCompare(const CompareSlot& slot) {
  int index = 0;
  while (index < kSlots - 1 && !m_slots[static_cast<size_t>(index)].isEmpty()) ++index;
  setSlot(index, slot);
  return index;
}

void Workspace::swapSlots(int a, int b) {
  if (a == b || a < 0 || b < 0 || a >= kSlots || b >= kSlots) return;
  const auto before = m_slots;
  auto after = m_slots;
  std::swap(after[static_cast<size_t>(a)], after[static_cast<size_t>(b)]);
  push(tr("swap %1 and %2").arg(QChar(u'A' + a)).arg(QChar(u'A' + b)), [this, after] { applySlots(after); },
       [this, before] { applySlots(before); });
}

void Workspace::setCurrentSlot(int index) {
  if (index == m_currentSlot || index < 0 || index >= kSlots) return;
  m_currentSlot = index;
  emit currentSlotChanged(index);
}

void Workspace::setName(const QString& run, const QString& name) {
  const QString before = m_names.value(run);
  if (before == name) return;
  const auto apply = [this, run](const QString& value) {
    m_names[run] = value;
    touch();
    emit nameChanged(run);
  };
  push(tr("rename"), [apply, name] { apply(name); }, [apply, before] { apply(before); });
}

void Workspace::setNotes(const QString& run, const QString& notes) {
  const QString before = m_notes.value(run);
  if (before == notes) return;
  const auto apply = [this, run](const QString& value) {
    m_notes[run] = value;
    touch();
    emit notesChanged(run);
  };
  push(tr("notes"), [apply, notes] { apply(notes); }, [apply, before] { apply(before); });
}

void Workspace::setPinned(const QString& run, bool pinned) {
  if (isPinned(run) == pinned) return;
  const auto apply = [this, run](bool value) {
    value ? void(m_pins.insert(run)) : void(m_pins.remove(run));
    touch();
    emit pinsChanged();
  };
  push(pinned ? tr("pin") : tr("unpin"), [apply, pinned] { apply(pinned); }, [apply, pinned] { apply(!pinned); });
}

void Workspace::setBaseline(const QString& run) {
  const QString before = m_baseline;
  if (before == run) return;
  const auto apply = [this](const QString& value) {
    m_baseline = value;
    touch();
    emit pinsChanged();
  };
  push(tr("baseline"), [apply, run] { apply(run); }, [apply, before] { apply(before); });
}

void Workspace::setVisible(const QString& run, bool visible) {
  if (isVisible(run) == visible) return;
  visible ? void(m_hidden.remove(run)) : void(m_hidden.insert(run));
  touch();
  emit pinsChanged();
}

QColor Workspace::color(const QString& run) const {
  const auto it = m_colors.find(run);
  if (it != m_colors.end()) return *it;
  // The color least used so far, so that a new run stands out from the others.
  std::array<int, kColors.size()> uses{};
  for (const QColor& color : m_colors)
    for (size_t i = 0; i < kColors.size(); ++i)
      if (color.rgb() == kColors[i]) ++uses[i];
  const size_t least = static_cast<size_t>(std::min_element(uses.begin(), uses.end()) - uses.begin());
  const QColor color = QColor::fromRgb(kColors[least]);
  m_colors.insert(run, color);
  return color;
}

void Workspace::setColor(const QString& run, const QColor& color) {
  const QColor before = this->color(run);
  if (!color.isValid() || before == color) return;
  const auto apply = [this, run](const QColor& value) {
    m_colors[run] = value;
    touch();
    emit colorChanged(run);
  };
  push(tr("color"), [apply, color] { apply(color); }, [apply, before] { apply(before); });
}

void Workspace::setView(const QString& key, const QJsonValue& value) {
  if (m_view.value(key) == value) return;
  m_view[key] = value;
  touch();
  emit viewChanged(key);
}

void Workspace::addRecentRun(const QString& path) {
  m_recentRuns.removeAll(path);
  m_recentRuns.prepend(path);
  m_recentRuns = m_recentRuns.mid(0, kRecent);
  touch();
  emit recentChanged();
}

void Workspace::addRecentModel(const QString& path) {
  m_recentModels.removeAll(path);
  m_recentModels.prepend(path);
  m_recentModels = m_recentModels.mid(0, kRecent);
  touch();
  emit recentChanged();
}

QJsonObject Workspace::toJson() const {
  QJsonObject budgets, locks, colors;
  for (auto it = m_budget.begin(); it != m_budget.end(); ++it) budgets[it.key()] = it.value();
  for (auto it = m_locks.begin(); it != m_locks.end(); ++it) {
    QString letters;  // one of - F L a layer
    for (const Lock lock : it.value()) letters += lock == Lock::full ? u'F' : lock == Lock::linear ? u'L' : u'-';
    if (letters.contains(u'F') || letters.contains(u'L')) locks[it.key()] = letters;
  }
  for (auto it = m_colors.begin(); it != m_colors.end(); ++it) colors[it.key()] = it.value().name();
  QJsonArray slotArray;
  for (const CompareSlot& slot : m_slots) slotArray << toObject(slot);
  return {{"format", "flashmorph-workspace"}, {"version", 1}, {"run", m_currentRun}, {"budgets", budgets}, {"locks", locks},
          {"slots", slotArray}, {"slot", m_currentSlot}, {"names", toObject(m_names)}, {"notes", toObject(m_notes)},
          {"pins", QJsonArray::fromStringList(QStringList(m_pins.begin(), m_pins.end()))},
          {"hidden", QJsonArray::fromStringList(QStringList(m_hidden.begin(), m_hidden.end()))}, {"baseline", m_baseline},
          {"colors", colors}, {"view", m_view}, {"recent_runs", QJsonArray::fromStringList(m_recentRuns)},
          {"recent_models", QJsonArray::fromStringList(m_recentModels)}};
}

void Workspace::fromJson(const QJsonObject& json) {
  m_undo.clear();
  m_currentRun = json["run"].toString();
  m_baseline = json["baseline"].toString();
  m_budget.clear();
  const QJsonObject budgets = json["budgets"].toObject();
  for (auto it = budgets.begin(); it != budgets.end(); ++it)
    if (it.value().isDouble() && it.value().toInt(-1) >= 0) m_budget[it.key()] = it.value().toInt();
  m_locks.clear();
  const QJsonObject locks = json["locks"].toObject();
  for (auto it = locks.begin(); it != locks.end(); ++it) {
    std::vector<Lock> list;
    for (const QChar letter : it.value().toString().left(4096))
      list.push_back(letter == u'F' ? Lock::full : letter == u'L' ? Lock::linear : Lock::free);
    m_locks[it.key()] = list;
  }
  m_slots = {};
  const QJsonArray all = json["slots"].toArray();
  for (int i = 0; i < kSlots && i < all.size(); ++i) m_slots[static_cast<size_t>(i)] = toSlot(all[i].toObject());
  m_currentSlot = std::clamp(json["slot"].toInt(), 0, kSlots - 1);
  const auto texts = [&json](const char* key) {
    QHash<QString, QString> map;
    const QJsonObject object = json[QLatin1String(key)].toObject();
    for (auto it = object.begin(); it != object.end(); ++it) map[it.key()] = it.value().toString();
    return map;
  };
  m_names = texts("names");
  m_notes = texts("notes");
  m_pins.clear();
  for (const QJsonValue& run : json["pins"].toArray()) m_pins.insert(run.toString());
  m_hidden.clear();
  for (const QJsonValue& run : json["hidden"].toArray()) m_hidden.insert(run.toString());
  m_colors.clear();
  const QJsonObject colors = json["colors"].toObject();
  for (auto it = colors.begin(); it != colors.end(); ++it)
    if (const QColor color(it.value().toString()); color.isValid()) m_colors[it.key()] = color;
  m_view = json["view"].toObject();
  m_recentRuns = toList(json["recent_runs"]);
  m_recentModels = toList(json["recent_models"]);
  emit restored();
}

bool Workspace::save() {
  m_save.stop();
  if (m_file.isEmpty()) return true;
  QDir().mkpath(QFileInfo(m_file).absolutePath());
  QSaveFile file(m_file);
  if (!file.open(QIODevice::WriteOnly)) return false;
  file.write(QJsonDocument(toJson()).toJson(QJsonDocument::Indented));
  return file.commit();
}

bool Workspace::load() {
  QFile file(m_file);
  if (m_file.isEmpty() || !file.open(QIODevice::ReadOnly)) return false;
  const QByteArray bytes = file.read(16 << 20);
  file.close();
  const QJsonDocument document = QJsonDocument::fromJson(bytes);
  if (!document.isObject()) {
    QFile::remove(m_file + QStringLiteral(".broken"));
    QFile::rename(m_file, m_file + QStringLiteral(".broken"));
    return false;
  }
  fromJson(document.object());
  return true;
}

}  // namespace flashmorph
