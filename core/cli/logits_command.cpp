// SPDX-License-Identifier: Apache-2.0
// flashmorph logits: the teacher's forward from the outside, so that anyone can check it against other software.
#include <memory>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/cli/program.h"
#include "core/jobs/session.h"
#include "core/run/error.h"

namespace flashmorph {

namespace {

struct Flags {
  std::string model, dtype = "float32", device = "cpu", branches, plan;
  std::vector<int64_t> ids;
  int greedy = 0;
  bool nll = false;
};

constexpr int kTop = 20;

// Mean next-token NLL with logits of a few hundred rows at a time.
double mean_nll(const Teacher& teacher, const at::Tensor& states, const at::Tensor& ids) {
  const int64_t rows = ids.numel() - 1;
  double total = 0;
  for (int64_t first = 0; first < rows; first += 256) {
    const int64_t count = std::min<int64_t>(256, rows - first);
    const at::Tensor logits = teacher.logits(states.slice(0, first, first + count)).to(at::kFloat);
    total -= logits.log_softmax(-1).gather(1, ids.slice(0, first + 1, first + 1 + count).unsqueeze(1)).sum().item<double>();
  }
  return total / static_cast<double>(rows);
}

}  // namespace

CommandBody add_logits_command(CLI::App& app) {
  auto flags = std::make_shared<Flags>();
  app.add_option("MODEL", flags->model, "Model directory or .gguf file")->required();
  app.add_option("--ids", flags->ids, "Token ids, separated by commas")->required()->delimiter(',');
  app.add_option("--dtype", flags->dtype, "float32 or bfloat16")->capture_default_str();
  app.add_option("--device", flags->device, "auto, cpu, cuda or cuda:N")->capture_default_str();
  app.add_option("--greedy", flags->greedy, "Also continue greedily by N tokens, one-token steps with cache");
  app.add_flag("--nll", flags->nll, "Also the mean negative log-likelihood of the ids, nats");
  app.add_option("--aligned", flags->branches, "branches.safetensors: logits of the hybrid that --plan says");
  app.add_option("--plan", flags->plan, "Layer plan as 28:1,11-14; default: all full, the teacher");
  app.footer("Example: flashmorph logits MODEL --ids 1,2,3 --greedy 8 --nll --json");
  return [flags](CommandContext& context) {
    const at::NoGradGuard no_grad;
    const at::Device device = parse_device(flags->device);
    Session session(flags->model, device, parse_dtype(flags->dtype, device));
    const Teacher& teacher = session.teacher();
    for (const int64_t id : flags->ids)
      if (id < 0 || id >= teacher.config().vocab)
        throw Error("eval", ErrorCode::bad_request,
                    fmt::format("--ids: {} is outside the vocabulary of {}", id, teacher.config().vocab));
    if (flags->nll && flags->ids.size() < 2)
      throw Error("eval", ErrorCode::bad_request, "--nll needs at least two ids");
    LayerPlan plan = LayerPlan::all_full(teacher.layers());
    if (!flags->plan.empty()) plan = LayerPlan::parse(flags->plan);
    if (!flags->branches.empty())
      session.load_branches(flags->branches);
    else if (plan.budget() < teacher.layers())
      throw Error("eval", ErrorCode::bad_request, "--plan has linear layers", "give --aligned branches.safetensors too");
    else
      session.make_branches({BranchOptions::of(BranchKind::window)}, 0);
    const MorphModel& model = session.model();
    const at::Tensor ids = at::tensor(at::ArrayRef<int64_t>(flags->ids), at::kLong).to(device);
    const at::Tensor states = model.states(ids.unsqueeze(0), plan).squeeze(0);
    const at::Tensor last = teacher.logits(states.select(0, -1)).to(at::kFloat).to(at::kCPU);
    const auto [values, top] = last.topk(std::min<int64_t>(kTop, last.numel()));
    nlohmann::json result{{"ids", flags->ids}};
    std::vector<double> top_logits;
    std::vector<int64_t> top_ids;
    for (int64_t i = 0; i < top.numel(); ++i) {
      top_ids.push_back(top[i].item<int64_t>());
      top_logits.push_back(values[i].item<double>());
    }
    result["top_ids"] = top_ids;
    result["top_logits"] = top_logits;
    if (flags->greedy > 0) result["greedy"] = model.greedy(flags->ids, plan, flags->greedy);
    if (flags->nll) result["nll"] = mean_nll(teacher, states, ids);
    if (context.console.json()) {
      fmt::print("{}\n", result.dump());
      return 0;
    }
    std::vector<std::vector<std::string>> rows{{"token", "id", "logit"}};
    for (size_t i = 0; i < top_ids.size(); ++i) {
      const std::string piece = session.tokenizer().decode(std::vector<int64_t>{top_ids[i]});
      rows.push_back({nlohmann::json(piece).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace),
                      fmt::format("{}", top_ids[i]), fmt::format("{:.4f}", top_logits[i])});
    }
    fmt::print("{}", text_table(rows));
    if (result.contains("greedy")) {
      const auto fresh = result["greedy"].get<std::vector<int64_t>>();
      fmt::print("greedy {}\n{}\n", fmt::join(fresh, ","), session.tokenizer().decode(fresh));
    }
    if (result.contains("nll"))
      fmt::print("nll {:.6f} nats a token, perplexity {:.3f}\n", result["nll"].get<double>(), std::exp(result["nll"].get<double>()));
    return 0;
  };
}

}  // namespace flashmorph
