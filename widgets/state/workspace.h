// SPDX-License-Identifier: GPL-3.0-or-later
// What the user decides, with undo: current run, K, locks, slots A-D, names, notes, pins, colors.
// Kept in one JSON file that is replaced atomically, so that it is there after a crash too.
#pragma once

#include <array>
#include <functional>
#include <optional>
#include <vector>

#include <QColor>
#include <QHash>
#include <QJsonObject>
#include <QJsonValue>
#include <QObject>
#include <QSet>
#include <QString>
#include <QTimer>
#include <QUndoStack>

#include "core/run/budget_solver.h"
#include "core/run/layer_plan.h"

namespace flashmorph {

/// One of the four places of Compare: a plan with the run, weights and eval set to look at.
struct CompareSlot {
  QString run;      ///< uuid; empty: the slot is empty
  QString plan;     ///< text form "28:1,11-14"
  QString set;      ///< eval set name; may be empty: the page's current one
  QString weights = QStringLiteral("aligned");
  QString label;    ///< name for people, may be empty

  bool isEmpty() const { return run.isEmpty() || plan.isEmpty(); }
  bool operator==(const CompareSlot&) const = default;
};

class Workspace : public QObject {
  Q_OBJECT
 public:
  static constexpr int kSlots = 4;

  /// file: where it is kept; empty: nowhere (tests).
  explicit Workspace(const QString& file = {}, QObject* parent = nullptr);
  ~Workspace() override;

  QUndoStack* undoStack() { return &m_undo; }

  QString currentRun() const { return m_currentRun; }  ///< uuid
  void setCurrentRun(const QString& uuid);             ///< no undo step: it is navigation

  /// K of a run; -1: not chosen yet (views then take 3:1 or the run's own).
  int budget(const QString& run) const;
  /// One undo step; while `dragging` all moves join the step begun with beginDrag().
  void setBudget(const QString& run, int K);
  void beginDrag();
  void endDrag();
  bool isDragging() const { return m_dragging; }

  /// [layers] entries, all free where nothing is locked.
  std::vector<Lock> locks(const QString& run, int layers) const;
  void setLocks(const QString& run, const std::vector<Lock>& locks, const QString& what = {});
  /// Locks and the K that had to move for them in one step.
  void setLocksAndBudget(const QString& run, const std::vector<Lock>& locks, int K, const QString& what = {});

  const std::array<CompareSlot, kSlots>& compareSlots() const { return m_slots; }
  const CompareSlot& slot(int index) const { return m_slots[static_cast<size_t>(index)]; }
  void setSlot(int index, const CompareSlot& slot);
  /// Into the first empty slot, else the last. Returns the index.
  int addToCompare(const CompareSlot& slot);
  void swapSlots(int a, int b);
  void clearSlot(int index) { setSlot(index, {}); }
  int currentSlot() const { return m_currentSlot; }
  void setCurrentSlot(int index);

  QString name(const QString& run) const { return m_names.value(run); }
  void setName(const QString& run, const QString& name);
  QString notes(const QString& run) const { return m_notes.value(run); }
  void setNotes(const QString& run, const QString& notes);
  bool isPinned(const QString& run) const { return m_pins.contains(run); }
  void setPinned(const QString& run, bool pinned);
  QString baseline() const { return m_baseline; }
  void setBaseline(const QString& run);
  bool isVisible(const QString& run) const { return !m_hidden.contains(run); }
  void setVisible(const QString& run, bool visible);
  /// A run's color is fixed from its first sight, the same everywhere, changeable.
  QColor color(const QString& run) const;
  void setColor(const QString& run, const QColor& color);

  /// State of views that is kept but not undone: zoom, filters, page, docks. key: "gates/sort".
  QJsonValue view(const QString& key) const { return m_view.value(key); }
  void setView(const QString& key, const QJsonValue& value);

  QStringList recentRuns() const { return m_recentRuns; }      ///< paths, newest first
  QStringList recentModels() const { return m_recentModels; }
  void addRecentRun(const QString& path);
  void addRecentModel(const QString& path);

  QJsonObject toJson() const;
  void fromJson(const QJsonObject& json);  ///< unknown and broken parts are left out; clears undo
  /// Now; otherwise half a second after the last change. false: could not be written.
  bool save();
  bool load();  ///< false: no file, or an unreadable one (it is then kept beside as .broken)
  QString file() const { return m_file; }

 signals:
  void currentRunChanged(const QString& uuid);
  void budgetChanged(const QString& run, int K);
  void locksChanged(const QString& run);
  void slotsChanged();
  void currentSlotChanged(int index);
  void nameChanged(const QString& run);
  void notesChanged(const QString& run);
  void pinsChanged();  ///< pins, baseline, visibility
  void colorChanged(const QString& run);
  void viewChanged(const QString& key);
  void recentChanged();
  void restored();  ///< everything may have changed

 private:
  void push(const QString& text, std::function<void()> redo, std::function<void()> undo, const QString& mergeKey = {});
  void touch();
  void applyBudget(const QString& run, int K);
  void applyLocks(const QString& run, const std::vector<Lock>& locks);
  void applySlots(const std::array<CompareSlot, kSlots>& all);

  QString m_file;
  QUndoStack m_undo;
  QTimer m_save;
  QString m_currentRun, m_baseline;
  QHash<QString, int> m_budget;
  QHash<QString, std::vector<Lock>> m_locks;
  std::array<CompareSlot, kSlots> m_slots;
  int m_currentSlot = 0;
  QHash<QString, QString> m_names, m_notes;
  QSet<QString> m_pins, m_hidden;
  mutable QHash<QString, QColor> m_colors;
  QJsonObject m_view;
  QStringList m_recentRuns, m_recentModels;
  bool m_dragging = false;
  int m_drag = 0;
};

}  // namespace flashmorph
