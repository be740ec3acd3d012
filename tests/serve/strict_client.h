// SPDX-License-Identifier: Apache-2.0
// The engine over pipes as a strict client sees it; ENGINE is the path of its binary.
#pragma once

#include <poll.h>

#include <map>
#include <set>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "core/run/event.h"
#include "core/run/message.h"
#include "tests/support/engine.h"

namespace flashmorph::pipes {

using Json = nlohmann::json;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

inline const std::string kTeacher = RESOURCES_DIR "/demo/teacher";
inline const std::string kBranches = RESOURCES_DIR "/demo/branches/lightning.safetensors";

inline double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// A strict client: every line must be a message, every notification a known event with the next
// number.
class Engine {
 public:
  explicit Engine(const std::string& runs) {
    std::signal(SIGPIPE, SIG_IGN);
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
    pid_ = fork();
    if (pid_ == 0) {
      dup2(in[0], 0);
      dup2(out[1], 1);
      execl(ENGINE, ENGINE, "serve", "--runs", runs.c_str(), nullptr);
      _exit(127);
    }
    close(in[0]);
    close(out[1]);
    in_ = in[1];
    out_ = out[0];
  }
  ~Engine() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    close_input();
    close(out_);
  }

  void put(const std::string& line) {
    for (size_t at = 0; at < line.size();) {
      pollfd wait{in_, POLLOUT, 0};
      poll(&wait, 1, 100);
      if (wait.revents & (POLLERR | POLLHUP)) return;
      if (wait.revents & POLLOUT) {
        const ssize_t count =
            write(in_, line.data() + at, std::min<size_t>(4096, line.size() - at));
        if (count > 0) at += static_cast<size_t>(count);
      }
      drain(milliseconds(0));
    }
  }
  int64_t send(const std::string& method, const Json& params = Json::object()) {
    put(Message::request(++id_, method, params).to_line());
    return id_;
  }
  /// The answer, result or {"error": ...}.
  Json call(const std::string& method, const Json& params = Json::object()) {
    return answer(send(method, params));
  }
  Json answer(int64_t id) {
    until([&] { return answers.count(id) > 0; });
    const Json found = answers[id];
    return found.contains("result") ? found["result"] : found;
  }
  Json hello() { return call("hello", {{"protocol", {1, 0}}}); }

  template <typename F>
  bool until(F&& test, double patience_s = 60) {
    const auto start = Clock::now();
    while (!test()) {
      if (seconds_since(start) > patience_s || (ended && !drain(milliseconds(0)))) {
        ADD_FAILURE() << "what was waited for did not come; last line: " << last;
        return false;
      }
      drain(milliseconds(20));
    }
    return true;
  }
  void wait(const std::string& job, const std::string& state) {
    until([&] { return states[job] == state || (is_end(states[job]) && states[job] != state); });
    EXPECT_EQ(states[job], state) << job << ": " << last;
  }
  static bool is_end(const std::string& s) {
    return s == "finished" || s == "failed" || s == "cancelled" || s == "superseded";
  }

  void close_input() {
    if (in_ >= 0) close(in_);
    in_ = -1;
  }
  /// Exit code once the stream has ended; -1 if it does not.
  int leave(double patience_s = 30) {
    close_input();
    const auto start = Clock::now();
    while (!ended && seconds_since(start) < patience_s) drain(milliseconds(50));
    int status = 0;
    for (int i = 0; i < 200; ++i) {
      if (waitpid(pid_, &status, WNOHANG) == pid_) {
        pid_ = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      }
      std::this_thread::sleep_for(milliseconds(20));
    }
    return -1;
  }
  int64_t resident_bytes() const {
    std::ifstream file("/proc/" + std::to_string(pid_) + "/statm");
    int64_t total = 0, resident = 0;
    file >> total >> resident;
    return resident * sysconf(_SC_PAGESIZE);
  }

  bool drain(milliseconds patience) {
    pollfd wait{out_, POLLIN, 0};
    if (poll(&wait, 1, static_cast<int>(patience.count())) <= 0) return false;
    char piece[1 << 16];
    const ssize_t count = read(out_, piece, sizeof(piece));
    if (count <= 0) {
      ended = true;
      return false;
    }
    buffer_.append(piece, static_cast<size_t>(count));
    size_t start = 0;
    for (size_t end; (end = buffer_.find('\n', start)) != std::string::npos; start = end + 1)
      take(buffer_.substr(start, end - start));
    buffer_.erase(0, start);
    return true;
  }

  std::map<int64_t, Json> answers;
  std::map<std::string, std::string> states;  // of jobs
  std::map<std::string, Json> state_params;
  std::vector<std::pair<std::string, Json>> told;  // notifications
  int64_t nameless_errors = 0;
  std::string last;
  bool ended = false, keep = true;

 private:
  void take(const std::string& line) {
    last = line.substr(0, 500);
    Message message;
    try {
      message = Message::parse(line);
    } catch (const Error& error) {
      ADD_FAILURE() << "stdout carries something else: " << last;
      return;
    }
    if (message.kind == MessageKind::notification) {
      const auto event = event_of(message.method, message.body);
      EXPECT_TRUE(event.has_value()) << last;
      EXPECT_EQ(message.body.at("seq"), ++seq_) << last;
      if (message.method == "job.state") {
        const std::string job = message.body.at("job");
        EXPECT_FALSE(is_end(states[job])) << "after the last word: " << last;
        EXPECT_TRUE(answered_jobs_.count(job)) << "before the answer: " << last;
        states[job] = message.body.at("state");
        state_params[job] = message.body;
      }
      told.emplace_back(message.method, message.body);
    } else if (!message.id) {
      ++nameless_errors;
    } else {
      if (message.kind == MessageKind::result && message.body.is_object() &&
          message.body.contains("job"))
        answered_jobs_.insert(
            message.body["job"].dump().substr(1, message.body["job"].dump().size() - 2));
      EXPECT_EQ(answers.count(*message.id), 0u) << "answered twice: " << last;
      answers[*message.id] = message.kind == MessageKind::result ? Json{{"result", message.body}}
                                                                 : Json{{"error", message.body}};
    }
  }
  pid_t pid_ = -1;
  int in_ = -1, out_ = -1;
  int64_t id_ = 0;
  uint64_t seq_ = 0;
  std::string buffer_;
  std::set<std::string> answered_jobs_;
};

inline int code_of(const Json& answer) {
  return answer.contains("error") ? answer["error"]["code"].get<int>() : 0;
}

}  // namespace flashmorph::pipes
