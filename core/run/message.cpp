// SPDX-License-Identifier: Apache-2.0
#include "core/run/message.h"

#include <fmt/format.h>

#include "core/run/strict_json.h"

namespace flashmorph {

namespace {

using Json = nlohmann::json;

[[noreturn]] void refuse(const std::string& what) {
  throw Error("protocol", ErrorCode::invalid_request, "message: " + what);
}

}  // namespace

Message Message::request(int64_t id, std::string method, Json params) {
  return {MessageKind::request, id, std::move(method), std::move(params)};
}

Message Message::notification(std::string method, Json params) {
  return {MessageKind::notification, std::nullopt, std::move(method), std::move(params)};
}

Message Message::of(const Event& event, uint64_t seq) {
  Json params = params_of(event);
  params["seq"] = seq;
  return notification(method_of(event), std::move(params));
}

Message Message::result(int64_t id, Json value) {
  return {MessageKind::result, id, {}, std::move(value)};
}

Message Message::error(std::optional<int64_t> id, const Error& error, Json data) {
  data["stage"] = error.stage();
  if (!error.hint().empty()) data["hint"] = error.hint();
  return {MessageKind::error,
          id,
          {},
          {{"code", static_cast<int>(error.code())},
           {"message", error.message()},
           {"data", std::move(data)}}};
}

std::string Message::to_line() const {
  Json json{{"jsonrpc", "2.0"}};
  if (id)
    json["id"] = *id;
  else if (kind == MessageKind::error)
    json["id"] = nullptr;
  if (kind == MessageKind::request || kind == MessageKind::notification) {
    json["method"] = method;
    json["params"] = body;
  } else {
    json[kind == MessageKind::result ? "result" : "error"] = body;
  }
  std::string line = json.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n';
  if (line.size() > kMaxLineBytes)
    throw Error("protocol", ErrorCode::internal,
                fmt::format("message {} has {} bytes, a line at most {}", method, line.size(),
                            kMaxLineBytes));
  return line;
}

Message Message::parse(std::string_view line) {
  if (!line.empty() && line.back() == '\n') line.remove_suffix(1);
  const Json json = read_strict_json(line, "message", "protocol", ErrorCode::parse_error,
                                     {kMaxLineBytes, kMaxMessageDepth});
  if (json.is_array()) refuse("batches are not read");
  if (!json.is_object()) refuse("expected an object, got " + type_word(json));
  const auto version = json.find("jsonrpc");
  if (version == json.end() || *version != "2.0") refuse("expected \"jsonrpc\": \"2.0\"");

  Message message;
  const auto id = json.find("id");
  if (id != json.end() && !id->is_null()) {
    if (!id->is_number_integer() ||
        (id->is_number_unsigned() && id->get<uint64_t>() > uint64_t{INT64_MAX}))
      refuse("expected an integer id, got " + type_word(*id));
    message.id = id->get<int64_t>();
  }
  for (const auto& [key, value] : json.items())
    if (key != "jsonrpc" && key != "id" && key != "method" && key != "params" && key != "result" &&
        key != "error")
      refuse("unknown member " + quote(key));
  if (json.contains("method")) {
    if (json.contains("result") || json.contains("error")) refuse("a method and an answer in one");
    if (!json["method"].is_string())
      refuse("expected a string as method, got " + type_word(json["method"]));
    if (id != json.end() && id->is_null()) refuse("a request needs an integer id, got null");
    message.method = json["method"].get<std::string>();
    message.kind = message.id ? MessageKind::request : MessageKind::notification;
    message.body = json.value("params", Json::object());
    if (!message.body.is_object())
      refuse("expected an object as params, got " + type_word(message.body));
    return message;
  }
  if (json.contains("params")) refuse("params without a method");
  if (json.contains("result") == json.contains("error"))
    refuse("expected a method, or one of result and error");
  if (json.contains("result")) {
    if (!message.id) refuse("a result without an id");
    message.kind = MessageKind::result;
    message.body = json["result"];
    return message;
  }
  message.kind = MessageKind::error;
  message.body = json["error"];
  if (!message.body.is_object() || !message.body.contains("code") ||
      !message.body["code"].is_number_integer() || !message.body.contains("message") ||
      !message.body["message"].is_string())
    refuse("expected an error with code and message");
  return message;
}

Error Message::to_error() const {
  const Json data = body.value("data", Json::object());
  const auto text = [&](const char* key) {
    return data.is_object() && data.contains(key) && data[key].is_string()
               ? data[key].get<std::string>()
               : std::string();
  };
  return {text("stage"), static_cast<ErrorCode>(body.at("code").get<int>()),
          body.at("message").get<std::string>(), text("hint")};
}

}  // namespace flashmorph
