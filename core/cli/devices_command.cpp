// SPDX-License-Identifier: Apache-2.0
// flashmorph devices: what the engine can compute on, and why not on a GPU.
#include <thread>

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include "core/cli/program.h"
#include "kernels/cuda_library.h"

namespace flashmorph {

CommandBody add_devices_command(CLI::App& app) {
  app.footer("Example: flashmorph devices --json");
  return [](CommandContext& context) {
    const kernels::CudaStatus& cuda = kernels::load_cuda();
    nlohmann::json json{{"cpu", {{"threads", at::get_num_threads()}, {"capability", at::get_cpu_capability()}}},
                        {"cuda", {{"available", cuda.available}, {"own_kernels", cuda.own_kernels}, {"reason", cuda.reason}}}};
    json["cuda"]["devices"] = nlohmann::json::array();
    context.console.line(fmt::format("cpu      {} threads, {}", at::get_num_threads(), at::get_cpu_capability()));
    for (const kernels::CudaDevice& device : cuda.devices) {
      context.console.line(fmt::format("cuda:{}   {}, {}, compute capability {}.{}", device.index, device.name,
                                       human_bytes(static_cast<double>(device.memory_bytes)), device.capability_major,
                                       device.capability_minor));
      json["cuda"]["devices"].push_back({{"id", fmt::format("cuda:{}", device.index)},
                                         {"name", device.name},
                                         {"total_bytes", device.memory_bytes},
                                         {"capability", fmt::format("{}.{}", device.capability_major, device.capability_minor)}});
    }
    if (!cuda.reason.empty()) context.console.line((cuda.available ? "kernels  " : "no GPU   ") + cuda.reason);
    if (context.console.json()) fmt::print("{}\n", json.dump());
    return 0;
  };
}

}  // namespace flashmorph
