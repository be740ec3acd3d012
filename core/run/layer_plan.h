// SPDX-License-Identifier: Apache-2.0
// A layer plan: which layers keep full (softmax) attention. A value; evaluator, distiller and
// export take it as argument.
#pragma once

#include <compare>
#include <string>
#include <string_view>
#include <vector>

namespace flashmorph {

struct LayerPlan {
  int layers = 0;         ///< L, number of layers of the model
  std::vector<int> full;  ///< sorted, distinct, 0-based indices of the layers that stay full

  auto operator<=>(const LayerPlan&) const = default;

  int budget() const { return static_cast<int>(full.size()); }
  bool is_full(int layer) const;

  static LayerPlan all_full(int layers);
  static LayerPlan all_linear(int layers);
  /// Sorts and checks; throws Error(plan_impossible) on an index outside 0..layers-1 or a repeated
  /// one.
  static LayerPlan of(int layers, std::vector<int> full);
  /// Text form "L:ranges", as "28:1,11-14,16,21"; "28:" is all linear. Throws Error(bad_request)
  /// naming the position.
  static LayerPlan parse(std::string_view text);
  /// The text form; parse(to_string()) gives the plan back.
  std::string to_string() const;
};

}  // namespace flashmorph
