// SPDX-License-Identifier: Apache-2.0
// Runs the engine as a user would: words in, exit code and both streams out.
#pragma once

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace flashmorph {

struct EngineResult {
  int code = -1;    ///< exit code; 128 + signal when killed
  std::string out, err;
};

inline std::string read_whole(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// A scratch folder that goes away with the test.
class Scratch {
 public:
  explicit Scratch(const std::string& name)
      : path_(std::filesystem::temp_directory_path() / (name + "-" + std::to_string(getpid()))) {
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

/// signal_after: send `signal` so long after the start. input: given on stdin.
inline EngineResult run_engine(const std::string& engine, std::vector<std::string> words, const std::string& input = {},
                               std::optional<std::chrono::milliseconds> signal_after = {}, int signal = SIGKILL) {
  const Scratch scratch("engine-io");
  const std::string in = scratch / "in", out = scratch / "out", err = scratch / "err";
  std::ofstream(in, std::ios::binary) << input;
  words.insert(words.begin(), engine);
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const pid_t pid = fork();
  if (pid == 0) {
    dup2(open(in.c_str(), O_RDONLY), 0);
    dup2(open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), 1);
    dup2(open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), 2);
    execv(engine.c_str(), argv.data());
    _exit(127);
  }
  if (signal_after) {
    std::this_thread::sleep_for(*signal_after);
    kill(pid, signal);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  EngineResult result;
  result.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  result.out = read_whole(out);
  result.err = read_whole(err);
  return result;
}

}  // namespace flashmorph
