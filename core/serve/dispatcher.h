// SPDX-License-Identifier: Apache-2.0
// From a line to an answer: requests are read, checked against the table of methods and given to
// whoever does them.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "core/run/error.h"
#include "core/serve/clerk.h"
#include "core/serve/outbox.h"

namespace flashmorph {

/// Answers a request later, from any thread, once.
struct Responder {
  std::function<void(nlohmann::json)> ok;
  std::function<void(const Error&)> fail;
};

struct Reply {
  nlohmann::json result = nlohmann::json::object();
  std::function<void()> after = {};  ///< done when the answer is in the outbox
  bool later = false;                ///< the responder answers
};
using MethodBody = std::function<Reply(const nlohmann::json& params, const Responder& later)>;

class Dispatcher {
 public:
  Dispatcher(Outbox& outbox, Clerk& clerk) : outbox_(outbox), clerk_(clerk) {}

  enum class Where {
    control,  ///< at once: must not touch a disk
    clerk     ///< in order of arrival
  };
  /// name: of the table of methods.
  void add(const std::string& name, Where where, MethodBody body);

  /// One line of the client; never throws.
  void take(std::string_view line);
  void too_long();

  bool greeted() const { return greeted_; }
  void greet() { greeted_ = true; }

 private:
  struct Entry {
    Where where;
    MethodBody body;
  };
  void do_it(int64_t id, const std::string& method, const MethodBody& body,
             const nlohmann::json& params);

  Outbox& outbox_;
  Clerk& clerk_;
  std::map<std::string, Entry> entries_;
  bool greeted_ = false;
};

}  // namespace flashmorph
