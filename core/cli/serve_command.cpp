// SPDX-License-Identifier: Apache-2.0
// flashmorph serve: the engine behind a window, JSON-RPC 2.0 on stdin and stdout.
#include <memory>

#include "core/cli/program.h"
#include "core/run/run_folder.h"
#include "core/serve/server.h"

namespace flashmorph {

CommandBody add_serve_command(CLI::App& app) {
  auto runs = std::make_shared<std::string>();
  app.add_option("--runs", *runs, "Folder of runs; default $XDG_DATA_HOME/flashmorph/runs");
  app.footer(
      "One JSON object per line on stdin and stdout; everything else goes to stderr.\n"
      "Example: echo "
      "'{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"hello\",\"params\":{\"protocol\":[1,0]}}' | "
      "flashmorph serve");
  return [runs](CommandContext& context) {
    ServeOptions options;
    options.runs = std::filesystem::absolute(runs->empty() ? default_runs_folder()
                                                           : std::filesystem::path(*runs));
    options.output = take_stdout();
    return serve(options, context.stop);
  };
}

}  // namespace flashmorph
