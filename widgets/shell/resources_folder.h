// SPDX-License-Identifier: GPL-3.0-or-later
// Where the bundled demo and presets lie.
#pragma once

#include <QString>

namespace flashmorph {

/// FLASHMORPH_RESOURCES, share/flashmorph beside the program's folder, or resources/ of a source tree
/// above it. Empty if it is nowhere.
QString resourcesFolder();

}  // namespace flashmorph
