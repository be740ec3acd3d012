// SPDX-License-Identifier: Apache-2.0
// One line of the wire: a JSON-RPC 2.0 object of at most 1 MiB, no batches, integer ids (workbench
// 5).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "core/run/error.h"
#include "core/run/event.h"

namespace flashmorph {

constexpr size_t kMaxLineBytes = size_t{1} << 20;
constexpr int kMaxMessageDepth = 32;
constexpr int kProtocolMajor = 1, kProtocolMinor = 0;

enum class MessageKind { request, notification, result, error };

struct Message {
  MessageKind kind = MessageKind::notification;
  std::optional<int64_t>
      id;  ///< request, result, error; an error may have none (null: the request could not be read)
  std::string method;  ///< request, notification
  nlohmann::json
      body;  ///< params (object), result (anything) or error (object with code, message, data)

  static Message request(int64_t id, std::string method,
                         nlohmann::json params = nlohmann::json::object());
  static Message notification(std::string method, nlohmann::json params = nlohmann::json::object());
  /// Notification of an event with its sequence number.
  static Message of(const Event& event, uint64_t seq);
  static Message result(int64_t id, nlohmann::json value);
  static Message error(std::optional<int64_t> id, const Error& error,
                       nlohmann::json data = nlohmann::json::object());

  /// One line with its newline; non-finite numbers are null, bytes that are no UTF-8 are replaced.
  /// Throws Error(internal) above kMaxLineBytes.
  std::string to_line() const;
  /// Reads a line (with or without newline). Throws Error("protocol", parse_error |
  /// invalid_request) saying what is wrong.
  static Message parse(std::string_view line);

  /// The Error an error answer carries.
  Error to_error() const;
};

}  // namespace flashmorph
