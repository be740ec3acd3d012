// SPDX-License-Identifier: Apache-2.0
#include "core/cli/workbench_picture.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include <fmt/format.h>

namespace flashmorph {

namespace {

constexpr size_t kMostSaid = 4096;  // bytes of what the program says that are kept

std::string last_line(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  const size_t at = text.rfind('\n');
  return at == std::string::npos ? text : text.substr(at + 1);
}

std::string verdict(int status) {
  if (WIFSIGNALED(status)) return fmt::format("ended by signal {}", WTERMSIG(status));
  return WEXITSTATUS(status) == 0 ? std::string()
                                  : fmt::format("exit status {}", WEXITSTATUS(status));
}

}  // namespace

std::filesystem::path workbench_beside() {
  std::error_code failed;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", failed);
  return failed ? std::filesystem::path() : self.parent_path() / "flashmorph-workbench";
}

std::vector<std::string> picture_words(const std::string& program, const std::string& view,
                                       const std::filesystem::path& run,
                                       const std::filesystem::path& file,
                                       const std::vector<std::string>& plans) {
  std::vector<std::string> words{program, "--export", view, run.string(), "-o", file.string()};
  std::string list;
  for (const std::string& plan : plans) list += (list.empty() ? "" : ";") + plan;
  if (!list.empty()) words.insert(words.end(), {"--plan", list});
  return words;
}

std::string run_words(std::vector<std::string> words, std::chrono::milliseconds limit) {
  int pipes[2];
  if (pipe2(pipes, O_CLOEXEC) != 0) return std::strerror(errno);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, pipes[1], 2);
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  pid_t child = 0;
  const int failed =
      posix_spawn(&child, words.front().c_str(), &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(pipes[1]);
  if (failed != 0) {
    close(pipes[0]);
    return std::strerror(failed);
  }
  const auto end = std::chrono::steady_clock::now() + limit;
  std::string said;
  bool open = true;
  int status = 0;
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        end - std::chrono::steady_clock::now());
    if (left.count() <= 0) {
      kill(child, SIGKILL);
      waitpid(child, &status, 0);
      close(pipes[0]);
      return fmt::format("not done after {} s", limit.count() / 1000);
    }
    // Its stderr may outlive it in a process it started, so the end of the child is what counts.
    pollfd wait{open ? pipes[0] : -1, POLLIN, 0};
    poll(&wait, 1, static_cast<int>(std::min<int64_t>(left.count(), 50)));
    char bytes[1024];
    if (wait.revents != 0) {
      const ssize_t got = read(pipes[0], bytes, sizeof bytes);
      if (got <= 0) open = false;
      if (got > 0) said.append(bytes, static_cast<size_t>(got));
      if (said.size() > kMostSaid) said.erase(0, said.size() - kMostSaid);
      if (got > 0) continue;
    }
    if (waitpid(child, &status, WNOHANG) == child) break;
  }
  close(pipes[0]);
  const std::string why = verdict(status), line = last_line(said);
  return why.empty() || line.empty() ? why : fmt::format("{}: {}", why, line);
}

}  // namespace flashmorph
