// SPDX-License-Identifier: Apache-2.0
#include "core/serve/dispatcher.h"

#include <optional>

#include <fmt/format.h>

#include "core/run/message.h"
#include "core/run/strict_json.h"
#include "core/serve/failure.h"
#include "core/serve/methods.h"

namespace flashmorph {

using Json = nlohmann::json;

void Dispatcher::add(const std::string& name, Where where, MethodBody body) {
  entries_[name] = {where, std::move(body)};
}

void Dispatcher::too_long() {
  outbox_.answer(Message::error(
      std::nullopt,
      Error("protocol", ErrorCode::parse_error,
            fmt::format("a line of more than {} bytes was left out", kMaxLineBytes))));
}

void Dispatcher::do_it(int64_t id, const std::string& method, const MethodBody& body,
                       const Json& params) {
  Outbox& outbox = outbox_;
  const Responder later{
      [&outbox, id](Json result) { outbox.answer(Message::result(id, std::move(result))); },
      [&outbox, id](const Error& error) { outbox.answer(Message::error(id, error)); }};
  try {
    Reply reply = body(params, later);
    if (!reply.later) outbox.answer(Message::result(id, std::move(reply.result)));
    if (reply.after) reply.after();
  } catch (...) {
    outbox.answer(
        Message::error(id, error_of(std::current_exception(), method.substr(0, method.find('.')))));
  }
}

void Dispatcher::take(std::string_view line) {
  std::optional<int64_t> id;
  try {
    const Message message = Message::parse(line);
    id = message.id;
    if (message.kind != MessageKind::request)
      throw Error("protocol", ErrorCode::invalid_request,
                  "message: expected a request with an integer id");
    if (!greeted_ && message.method != "hello")
      throw Error("protocol", ErrorCode::no_hello,
                  fmt::format("{} before hello", quote(message.method)), "say hello first");
    const auto entry = entries_.find(message.method);
    const MethodSpec* spec = find_method(message.method);
    if (entry == entries_.end() || !spec) {
      std::vector<std::string> names;
      for (const auto& [name, one] : entries_) names.push_back(name);
      const std::string near = nearest_word(message.method, names);
      throw Error("protocol", ErrorCode::method_not_found,
                  fmt::format("there is no method {}", quote(message.method)),
                  near.empty() ? std::string() : fmt::format("did you mean {}?", near));
    }
    check_params(*spec, message.body);
    Json given = Json::object();  // null means absent
    for (const auto& [key, value] : message.body.items())
      if (!value.is_null()) given[key] = value;
    const auto task = [this, number = *id, name = message.method, &body = entry->second.body,
                       params = std::move(given)] { do_it(number, name, body, params); };
    if (entry->second.where == Where::control)
      task();
    else if (!clerk_.give(task))
      throw Error("protocol", ErrorCode::busy,
                  fmt::format("{} requests are waiting", Clerk::kMostWaiting), "ask again later");
  } catch (...) {
    outbox_.answer(Message::error(id, error_of(std::current_exception(), "protocol")));
  }
}

}  // namespace flashmorph
