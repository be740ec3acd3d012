// SPDX-License-Identifier: Apache-2.0
#include "core/cli/program.h"

#include <csignal>
#include <cstdlib>
#include <exception>
#include <map>
#include <new>

#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <unistd.h>

#include "core/run/error.h"
#include "flashmorph_version.h"

namespace flashmorph {

namespace {

// Shared with the signal handler: the first Ctrl-C asks for a stop at the next safe point, the second ends at once.
StopFlag* interrupted = nullptr;
volatile std::sig_atomic_t interrupts = 0;

void on_interrupt(int) {
  interrupts = interrupts + 1;
  if (interrupts > 1) _exit(3);
  if (interrupted) interrupted->set();
  constexpr char kText[] = "\nstopping at the next safe point; press Ctrl-C again to end at once\n";
  [[maybe_unused]] const auto written = write(STDERR_FILENO, kText, sizeof(kText) - 1);
}

int report(const Console& console, const Error& error) {
  if (console.json())
    fmt::print("{}\n", nlohmann::json{{"error",
                                       {{"code", static_cast<int>(error.code())},
                                        {"message", error.message()},
                                        {"data", {{"stage", error.stage()}, {"hint", error.hint()}}}}}}
                           .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  if (error.code() == ErrorCode::stopped)
    fmt::print(stderr, "stopped: {}\n", error.message());
  else
    fmt::print(stderr, "error: {}\n", error.message());
  if (!error.hint().empty()) fmt::print(stderr, "  {}\n", error.hint());
  return exit_code(error.code());
}

// The first line of what LibTorch says; the rest is a C++ stack.
std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

Error as_error(const std::exception& failure) {
  const std::string text = first_line(failure.what());
  if (dynamic_cast<const std::bad_alloc*>(&failure) || dynamic_cast<const c10::OutOfMemoryError*>(&failure) ||
      text.find("not enough memory") != std::string::npos || text.find("out of memory") != std::string::npos)
    return {"run", ErrorCode::out_of_memory, "out of memory: " + text, "use a shorter length or a smaller batch"};
  return {"run", ErrorCode::internal, text, "please report this sentence together with the command"};
}

}  // namespace

std::string CommandContext::command_line() const {
  std::string line;
  for (const std::string& word : command) {
    const bool plain = !word.empty() && word.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                                               "_-+=./:,@%") == std::string::npos;
    std::string quoted = "'";
    for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
    line += (line.empty() ? "" : " ") + (plain ? word : quoted + "'");
  }
  return line;
}

int run_program(int argc, char** argv) {
  CLI::App app("FlashMorph turns a pretrained Transformer into a hybrid attention model: it aligns a linear branch beside every\n"
               "softmax layer, trains one gate per layer, keeps the layers a budget allows and measures the recall that is left.\n"
               "A first look: flashmorph inspect MODEL; the whole way: flashmorph run --model MODEL --budget K.",
               "flashmorph");
  app.set_version_flag("--version", fmt::format("flashmorph {} ({}), LibTorch {}", FLASHMORPH_VERSION, FLASHMORPH_COMMIT,
                                                FLASHMORPH_TORCH_VERSION));
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);
  CommonFlags common;
  std::map<const CLI::App*, CommandBody> bodies;
  const auto add = [&](const std::string& name, const std::string& what, const std::function<CommandBody(CLI::App&)>& make) {
    CLI::App* command = app.add_subcommand(name, what);
    bodies[command] = make(*command);
    if (!command->get_option_no_throw("--json"))
      command->add_flag("--json", common.json, "One JSON object on stdout, for machines");
    if (!command->get_option_no_throw("--quiet")) command->add_flag("--quiet", common.quiet, "No progress");
  };
  add("inspect", "What a model is, without loading its weights", add_inspect_command);
  add("devices", "What the engine can compute on, and why not on a GPU", add_devices_command);
  for (auto& [name, make] : stage_commands()) {
    static const std::map<std::string, std::string> kWhat{
        {"align", "Stage 1: every linear branch learns its layer's softmax output"},
        {"gates", "Stage 2: one gate per layer learns whether the layer must stay full"},
        {"select", "Other selectors: uniform, swap_nll, greedy_add, halo, ..."},
        {"eval", "Recall by length and depth, answer NLL, text KL and perplexity of layer plans"},
        {"compare", "Two to eight plans side by side, trial by trial"},
        {"distill", "Stage 3: the hybrid of a plan learns its teacher's next-token distribution; --preflight says what it takes"},
        {"finetune", "Stage 4: a distilled hybrid learns from text at long context"},
        {"run", "The whole way in one command: align, gates, plan, recall maps"}};
    add(name, kWhat.at(name), make);
  }
  add("truth", "Every plan of small budgets of a small model, measured: what selectors are judged by", add_truth_command);
  add("export", "A hybrid in the format of other software, or its plan; --check: who reads it", add_export_command);
  add("serve", "The engine behind a window: JSON-RPC on stdin and stdout", add_serve_command);
  add("tokens", "Ids of the text on stdin, or text of ids", add_tokens_command);
  add("logits", "Logits, greedy continuation and likelihood of ids, to check the engine against other software",
      add_logits_command);
  add("corpus", "Text made by the engine, for those who have none", add_corpus_command);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& wrong) {
    const int code = app.exit(wrong);
    return code == 0 ? 0 : 2;
  }
  StopFlag stop;
  interrupted = &stop;
  std::signal(SIGINT, on_interrupt);
  std::signal(SIGTERM, on_interrupt);
  std::signal(SIGPIPE, SIG_IGN);
  Console console(common.json, common.quiet);
  CommandContext context{console, stop, std::vector<std::string>(argv, argv + argc)};
  if (!context.command.empty()) context.command[0] = "flashmorph";
  try {
    const CommandBody& body = bodies.at(app.get_subcommands().front());
    return body(context);
  } catch (const Error& error) {
    console.finish_progress();
    return report(console, error);
  } catch (const std::exception& failure) {
    console.finish_progress();
    return report(console, as_error(failure));
  }
}

}  // namespace flashmorph
