// SPDX-License-Identifier: GPL-3.0-or-later
// Bytes to lines with a bound: a line above the limit is dropped to its end and its size told.
#pragma once

#include <QByteArray>

#include "core/run/message.h"

namespace flashmorph {

class LineSplitter {
 public:
  explicit LineSplitter(qint64 limit = static_cast<qint64>(kMaxLineBytes)) : m_limit(limit) {}

  void add(const QByteArray& bytes) { m_bytes += bytes; }

  enum class Next { none, line, tooLong };
  /// line: the next complete line without its newline; tooLong: one was dropped, droppedBytes() long.
  Next next(QByteArray* line) {
    const qsizetype end = m_bytes.indexOf('\n', m_from);
    if (end < 0) {
      if (m_from > 0) m_bytes.remove(0, m_from);
      m_from = 0;
      if (m_dropping || m_bytes.size() > m_limit) {
        m_dropping = true;
        m_dropped += m_bytes.size();
        m_bytes.clear();
      }
      return Next::none;
    }
    const qsizetype size = end - m_from;
    if (m_dropping || size > m_limit) {
      m_lastDropped = m_dropped + size;
      m_dropped = 0;
      m_dropping = false;
      m_from = end + 1;
      return Next::tooLong;
    }
    *line = m_bytes.mid(m_from, size);
    m_from = end + 1;
    return Next::line;
  }
  qint64 droppedBytes() const { return m_lastDropped; }
  bool hasLine() const { return m_bytes.indexOf('\n', m_from) >= 0; }

 private:
  qint64 m_limit;
  QByteArray m_bytes;
  qsizetype m_from = 0;
  bool m_dropping = false;
  qint64 m_dropped = 0, m_lastDropped = 0;
};

}  // namespace flashmorph
