// SPDX-License-Identifier: Apache-2.0
// Conventions. run: a handle ("r3", from run.open, run.create, a start), the name of a run in the
// folder of runs, or a path. plan: "L:ranges". Times end in _s, sizes in _bytes. A field that is
// null is unknown. Answers come in the order in which they are ready: model.load answers when the
// model is loaded, job.cancel at once.
#include "core/serve/methods.h"

#include <fmt/format.h>

#include "core/run/error.h"
#include "core/run/strict_json.h"

namespace flashmorph {

namespace {

using Fields = std::vector<MethodField>;

Fields join(Fields a, const Fields& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

const Fields kRunSummary = {
    {"run", "text", "handle for this session, as r3"},
    {"name", "text", "folder name"},
    {"path", "text", "folder on the engine's machine"},
    {"title", "text", "name given by the user, may be empty"},
    {"notes", "text", "notes of the user, may be empty"},
    {"uuid", "text", ""},
    {"parent_uuid", "text", "empty for a root"},
    {"kind", "text", "align, gates, select, eval, distill, finetune"},
    {"state", "text", "job state of the run's own job"},
    {"created_utc", "text", "2026-11-25T03:53:36Z"},
    {"revision", "integer", "commits so far; with uuid the key of a cached run file"},
    {"run_file_bytes", "integer", "size of run.fmrun"},
    {"layers", "integer", "L"},
    {"steps", "integer", "recorded step rows"},
    {"last_step", "integer", "number of the last recorded step, 0: none"},
    {"checkpoint", "boolean", "whether a start with resume has a checkpoint to go on from"},
    {"model", "text", "name of the teacher"},
    {"method", "text", "how the run scores layers; empty: it does not"},
    {"budget", "integer?", "K of the plan the run chose"},
    {"plan", "text?", "plan the run chose"},
    {"recall", "number?", "mean recall of that plan with aligned weights, any set"},
    {"weights_run", "text", "name of the run that made the weights: evaluations are kept there"},
    {"active_job", "text?", "job that writes the run now"}};

const Fields kStarted = {
    {"job", "text", "as j57; this answer comes before the job's first notification"},
    {"run", "text", "handle of the run that is written"},
    {"name", "text", "folder name of that run"},
    {"path", "text", "its folder on the engine's machine"},
    {"command", "text", "the same as one command line (Copy as CLI)"},
    {"estimate_s", "number?", "seconds of work, if steps were measured before; null: unknown"}};

std::vector<MethodSpec> build_methods() {
  std::vector<MethodSpec> table = {
      {"hello",
       "must be the first message (else 1002); another major ends the engine with 1001",
       {{"protocol", "list", "[major, minor] the client speaks"},
        {"client", "text?", "name and version"}},
       {{"protocol", "list", "[1, 0]"},
        {"engine", "text", "version"},
        {"commit", "text", "of the source"},
        {"features", "list", "of: pause, slots, preflight, cuda"},
        {"stages", "list", "stages that can be started"},
        {"devices", "list", "{id, name, total_bytes}; GPUs first, cpu last"},
        {"no_cuda", "text", "why there is no GPU or no own kernels; empty: all there"},
        {"max_line_bytes", "integer", "1048576"},
        {"runs", "text", "folder of runs"},
        {"pid", "integer", "of the engine"}},
       ""},
      {"shutdown",
       "save, stop, exit; answered at once, the stream ends when all is saved",
       {},
       {},
       ""},
      {"engine.status",
       "how the engine is",
       {},
       {{"t_s", "number", "since the start"},
        {"worker", "text", "idle or busy"},
        {"job", "text", "running job, empty: none"},
        {"step", "integer", "its step"},
        {"worker_age_s", "number", "since the worker's last sign of life"},
        {"rss_bytes", "integer", ""},
        {"gpu_used_bytes", "integer?", ""},
        {"outbox_bytes", "integer", "waiting to be written"},
        {"model", "object", "as the answer of model.load, or state unloaded"},
        {"queued", "integer", "jobs that wait"}},
       ""},
      {"model.inspect",
       "what a model is, from headers alone; 1006 names what is not supported",
       {{"model", "text", "folder or GGUF file"}},
       {{"name", "text", ""},
        {"family", "text", "llama, qwen2, qwen3, ..."},
        {"layers", "integer", "L"},
        {"hidden", "integer", ""},
        {"ffn", "integer", ""},
        {"heads", "integer", "query heads"},
        {"kv_heads", "integer", ""},
        {"head_dim", "integer", ""},
        {"vocab", "integer", ""},
        {"tied", "boolean", "head tied to the embedding"},
        {"qk_norm", "boolean", ""},
        {"qkv_bias", "boolean", ""},
        {"max_position", "integer", "trained length, tokens"},
        {"rope", "object", "{type, theta, factor}"},
        {"rms_norm_eps", "number", ""},
        {"dtype", "text", "of the file"},
        {"weights", "integer", "number of weights"},
        {"weights_bytes", "object", "{float32, bfloat16}: what loading takes"},
        {"kv_bytes_per_token", "integer", "all layers full, bfloat16"},
        {"tokens", "integer", "of the tokenizer"},
        {"budgets", "object", "{\"6:1\": K, \"3:1\": K, \"1:1\": K}"},
        {"unsupported", "list", "parts this engine cannot take, in words; empty: all is well"},
        {"targets", "list", "possible export targets: {name, state ok|warning|refused, reason}"}},
       ""},
      {"model.load",
       "loads teacher and, with aligned, branches; answered when done; 1003 while a job runs",
       {{"model", "text", "folder or GGUF file"},
        {"device", "text?", "auto, cpu, cuda:N"},
        {"dtype", "text?", "auto, float32, bfloat16"},
        {"threads", "integer?", "CPU threads, 0: all"},
        {"aligned", "text?", "run or branches.safetensors"}},
       {{"state", "text", "loaded"},
        {"model", "text", "path as asked for"},
        {"name", "text", ""},
        {"layers", "integer", "L"},
        {"device", "text", "cpu or cuda:N"},
        {"dtype", "text", "float32 or bfloat16"},
        {"bytes", "integer", "memory the weights take"},
        {"quantization", "text", "empty, or what the file was packed in: a degraded teacher"},
        {"branches", "text",
         "newest file of aligned branches, which starts without `aligned` use; empty: none"}},
       ""},
      {"model.unload",
       "gives the memory back; 1003 while a job runs",
       {},
       {{"freed_bytes", "integer", ""}},
       ""},
      {"run.list",
       "runs in the folder of runs; a run that cannot be read stays, with its error",
       {{"runs", "text?", "other folder of runs"},
        {"offset", "integer?", "first run, by name"},
        {"limit", "integer?", "at most so many, 200"}},
       {{"folder", "text", ""},
        {"total", "integer", "runs there are"},
        {"runs", "list",
         "summaries as run.open answers them (run only if it has a handle), or {name, path, "
         "error}"}},
       ""},
      {"run.create",
       "an empty run that a start with its name fills",
       {{"kind", "text", "align, gates, select, eval, distill, finetune"},
        {"name", "text?", "folder name; taken names get a number"},
        {"model", "text?", "teacher; the loaded one if absent"},
        {"parent", "text?", "run it comes from"},
        {"title", "text?", "name for people"},
        {"notes", "text?", ""}},
       kRunSummary,
       ""},
      {"run.open",
       "a handle; merges the journal a dead engine left behind",
       {{"run", "text", ""}},
       join(kRunSummary, {{"journal_rows", "integer", "events merged: more than 0 after a crash"},
                          {"config", "object", "options of the run"},
                          {"provenance", "object", ""},
                          {"eval_sets", "list", "names"}}),
       ""},
      {"run.close",
       "gives the handle back; 1003 while a job writes the run",
       {{"run", "text", ""}},
       {},
       ""},
      {"run.annotate",
       "name for people and notes (notes.json)",
       {{"run", "text", ""},
        {"title", "text?", "unchanged if absent"},
        {"notes", "text?", "unchanged if absent"}},
       {{"title", "text", ""}, {"notes", "text", ""}},
       ""},
      {"plan.save",
       "keeps a configuration in the run; an equal plan keeps its id and takes the new name",
       {{"run", "text", ""},
        {"plan", "text", "L:ranges"},
        {"name", "text?", "at most 64 bytes"},
        {"origin", "text?", "budget, hand (default) or a method"},
        {"lock_full", "list?", "layers"},
        {"lock_linear", "list?", "layers"}},
       {{"id", "text", "as p3"},
        {"plan", "text", ""},
        {"name", "text", ""},
        {"origin", "text", ""}},
       ""},
      {"plan.list",
       "configurations of the run",
       {{"run", "text", ""}},
       {{"plans", "list", "{id, name, origin, plan, lock_full, lock_linear}"}},
       ""},
      {"eval_set.save",
       "keeps an eval set in the run that made the weights; a name with other content is refused",
       {{"run", "text", ""},
        {"name", "text?", "[A-Za-z0-9._-]; default task-hash"},
        {"task", "text?", "passkey or needle"},
        {"lengths", "list?", "tokens, rising"},
        {"depths", "list?", "0..1, rising"},
        {"trials", "integer?", "prompts a cell"},
        {"seed", "integer?", ""},
        {"strings", "object?", "wording, passkeys, passkey_words: texts"}},
       {{"set", "object", "the set with every field"},
        {"hash", "text", "of everything but the name"},
        {"run", "text", "handle of the run that keeps it"}},
       ""},
      {"eval_set.list",
       "eval sets with what is known on them, from the run that made the weights",
       {{"run", "text", ""}},
       {{"run", "text", "handle of the run that keeps them"},
        {"sets", "list",
         "the sets, each with hash and evaluations [{plan, plan_id, name, weights, cells, "
         "complete, trials, hits, "
         "score, nll}]; complete: cells with all trials"}},
       ""},
      {"preflight",
       "what a start with these options would meet; distill and finetune load the model and "
       "measure some steps (1003 while a "
       "job runs), the others load nothing. Parameters as those of the start",
       {{"stage", "text", "align, gates, select, eval, ..."}},
       {{"rows", "list",
         "{name, level ok|warn|stop, text, cures [{text, set {option: value}}]}; one stop means "
         "the start would fail"},
        {"estimate_s", "number?", "seconds; null: nothing measured yet"},
        {"starts", "boolean", "no row says stop"},
        {"estimate_from", "text", "measured, recorded or guessed; empty without an estimate"},
        {"command", "text", "as one command line"}},
       "*"},
      {"align.start", "trains linear branches", {}, kStarted, "align"},
      {"gates.start", "trains gates", {}, kStarted, "gates"},
      {"select.start", "scores layers by another method", {}, kStarted, "select"},
      {"eval.start",
       "recall of plans; run: whose weights and plans, kept in the run that made the weights",
       {{"plan", "text?",
         "L:ranges, id or name of a saved plan, teacher, linear, uniform; same as plans [plan]"},
        {"slot", "text?",
         "a newer start in the slot supersedes the older; a slot goes before evaluations by hand"},
        {"brackets", "boolean?",
         "teacher and all-linear first where they are not known yet (default true)"}},
       join(kStarted, {{"set", "text", "name of the eval set"},
                       {"plans", "list", "plans to evaluate as text, in order, brackets first"},
                       {"cells", "integer", "cells of the plan asked for (of the plans, summed)"},
                       {"cached", "integer", "of these, cells known with all trials"},
                       {"trials", "integer", "prompts of everything the job covers"},
                       {"trials_cached", "integer", "of these, known"},
                       {"estimate_from", "text", "measured, recorded or guessed"}}),
       "eval"},
      {"distill.start", "trains the hybrid of a plan to its teacher", {}, kStarted, "distill"},
      {"finetune.start", "trains a hybrid on text", {}, kStarted, "finetune"},
      {"export.start",
       "writes a hybrid in the format of other software; parameters as flashmorph export",
       {{"run", "text", "whose plan, teacher and weights are meant"},
        {"plan", "text?", "L:ranges, id or name of a saved plan; the run's own"},
        {"model", "text?", "teacher; the run's"},
        {"aligned", "text?", "run or branches.safetensors; the run's"},
        {"hybrid", "text?", "run or hybrid.safetensors; the run's, if it trained one"},
        {"target", "text?",
         "transformers, fla, hypenet, gguf, plan; the first that is not refused"},
        {"dtype", "text?", "f32, bf16, f16, q8_0"},
        {"out", "text?", "folder inside the run; exports/TARGET"},
        {"max_shard_bytes", "integer?", ""}},
       join(kStarted, {{"target", "text", ""},
                       {"out", "text", "folder or file that will be written, inside the run"}}),
       ""},
      {"job.list",
       "jobs of this session, newest last; the last 256 that ended",
       {},
       {{"jobs", "list",
         "{job, kind, run, name, state, reason, slot, set, plan, done, total, what, error, "
         "freed_bytes, command}"}},
       ""},
      {"job.cancel",
       "answered within 100 ms; a job that ended answers its state",
       {{"job", "text", ""}, {"mode", "text?", "now (default) or after_checkpoint"}},
       {{"state", "text", ""}},
       ""},
      {"job.pause",
       "a training saves its checkpoint, gives the device free and keeps its turn: evaluations run "
       "meanwhile",
       {{"job", "text", ""}},
       {{"state", "text", ""},
        {"pausing", "boolean", "the state will change at the next safe point"}},
       ""},
      {"job.resume",
       "a paused job waits for its turn again",
       {{"job", "text", ""}},
       {{"state", "text", ""}},
       ""},
      {"file.list",
       "files of a run",
       {{"run", "text", ""}, {"under", "text?", "folder inside the run"}},
       {{"files", "list", "{path, bytes, modified_s, tag}, sorted by path, at most 4000"},
        {"truncated", "boolean", ""}},
       ""},
      {"file.read",
       "a piece of a file of a run",
       {{"run", "text", ""},
        {"path", "text", "relative to the run folder; links that leave it are refused"},
        {"offset", "integer?", "first byte, 0"},
        {"bytes", "integer?", "at most and by default 524288"},
        {"tag", "text?", "of the first piece: refused with 1007 if the file has changed since"}},
       {{"data", "text", "base64"},
        {"offset", "integer", ""},
        {"bytes", "integer", "in this piece"},
        {"total_bytes", "integer", "of the file"},
        {"end", "boolean", "nothing follows"},
        {"tag", "text", "names this version of the file"}},
       ""}};
  return table;
}

std::vector<NotificationSpec> build_notifications() {
  return {
      {"engine.heartbeat",
       "every 2 s, from the control thread",
       {{"t_s", "number", "since the start"},
        {"job", "text?", "running job"},
        {"step", "integer", "its step, or units done"},
        {"worker_age_s", "number", "since the worker's last sign of life; 0 when idle"},
        {"rss_bytes", "integer", ""},
        {"gpu_used_bytes", "integer?", "used on the device, by everybody"}},
       "newest"},
      {"engine.log",
       "what people may want to read",
       {{"level", "text", "debug, info, warning, error"},
        {"message", "text", ""},
        {"job", "text?", ""}},
       "the newest 1000"},
      {"engine.thinned",
       "only rows with step % every == 0 are sent from here on; 1: all again; files stay complete",
       {{"stream", "text", "gates.steps, ..."},
        {"every", "integer", ""},
        {"from_step", "integer", ""}},
       "kept"},
      {"model.state",
       "the model came or went",
       {{"state", "text", "loading, loaded, unloaded"},
        {"model", "text", "path"},
        {"bytes", "integer", ""}},
       "kept"},
      {"job.state",
       "queued, running, paused, cancelling, then one of finished, failed, cancelled, superseded",
       {{"job", "text", ""},
        {"state", "text", ""},
        {"kind", "text", "align, gates, ..."},
        {"run", "text", "handle"},
        {"reason", "text?", "what a queued job waits for, why a job was superseded"},
        {"freed_bytes", "integer?", "with cancelled, superseded, paused, failed"},
        {"error", "object?", "with failed: {code, message, data {stage, hint}}"}},
       "kept"},
      {"job.progress",
       "at most four times a second",
       {{"job", "text", ""},
        {"what", "text", "steps, prompts, ..."},
        {"done", "integer", ""},
        {"total", "integer", ""},
        {"eta_s", "number?", "median of recent steps; null for the first 20"},
        {"tokens_per_s", "number?", "null while unknown"}},
       "newest of each job"},
      {"align.steps",
       "rows of 100 ms",
       {{"job", "text", ""},
        {"step", "list", "[rows]"},
        {"loss", "list", "[rows] mean over layers"},
        {"layer_loss", "list?", "[rows][L]"},
        {"lr", "list?", "[rows]"},
        {"time_s", "list?", "[rows] since the start of the run"},
        {"tokens", "list?", "[rows] so far"},
        {"error", "list?", "[L] held-out relative error as of the last row"}},
       "thinned"},
      {"gates.steps",
       "rows of 100 ms",
       {{"job", "text", ""},
        {"step", "list", "[rows]"},
        {"alpha", "list", "[rows][L] after clamping"},
        {"raw", "list", "[rows][L] before"},
        {"loss", "list", "[rows] supervision term"},
        {"penalty", "list", "[rows] lambda"},
        {"relative", "list?", "[rows] relative alignment loss, null where there is none"},
        {"lr", "list?", "[rows]"},
        {"time_s", "list?", "[rows]"},
        {"tokens", "list?", "[rows] so far"}},
       "thinned"},
      {"train.steps",
       "rows of 100 ms of distill and finetune",
       {{"job", "text", ""},
        {"stage", "text", "distill or finetune"},
        {"step", "list", "[rows]"},
        {"loss", "list", "[rows] nat"},
        {"lr", "list?", "[rows]"},
        {"time_s", "list?", "[rows]"},
        {"tokens", "list?", "[rows] so far"},
        {"grad_norm", "list?", "[rows] before clipping"},
        {"held_out_kl", "list?", "[rows] nat, null where not measured"},
        {"held_out_nll", "list?", "[rows] nat, null where not measured"}},
       "thinned"},
      {"eval.cells",
       "changed cells, totals so far",
       {{"job", "text", ""},
        {"set", "text", "name"},
        {"plan", "text", "L:ranges"},
        {"weights", "text", "aligned or a checkpoint"},
        {"cells", "list",
         "[length index, depth index, trials, hits, score, nll, [score of each new trial]]"}},
       "kept"},
      {"eval.summary",
       "a plan is done (or the job was stopped)",
       {{"job", "text", ""},
        {"set", "text", ""},
        {"plan", "text", ""},
        {"weights", "text", ""},
        {"score", "number?", "mean over cells"},
        {"nll", "number?", "nat per answer token"},
        {"trials", "integer", ""},
        {"hits", "integer", ""},
        {"perplexity", "number?", "with text_tokens"},
        {"kl", "number?", "nat, with text_tokens"}},
       "kept"},
      {"run.committed",
       "the run file has a new revision",
       {{"run", "text", "handle"},
        {"revision", "integer", ""},
        {"bytes", "integer", ""},
        {"sha256", "text", "of run.fmrun"}},
       "kept"}};
}

// The parameter of this name, if the method has one; options of a stage are none of these.
const MethodField* find_param(const MethodSpec& method, const std::string& name) {
  for (const MethodField& field : method.params)
    if (field.name == name) return &field;
  return nullptr;
}

bool fits(const std::string& type, const nlohmann::json& value) {
  const std::string word = type.back() == '?' ? type.substr(0, type.size() - 1) : type;
  if (word == "text") return value.is_string();
  if (word == "integer") return value.is_number_integer();
  if (word == "number") return value.is_number();
  if (word == "boolean") return value.is_boolean();
  if (word == "list") return value.is_array();
  if (word == "object") return value.is_object();
  return true;
}

}  // namespace

const std::vector<MethodSpec>& methods() {
  static const std::vector<MethodSpec> table = build_methods();
  return table;
}

const std::vector<NotificationSpec>& notifications() {
  static const std::vector<NotificationSpec> table = build_notifications();
  return table;
}

const MethodSpec* find_method(const std::string& name) {
  for (const MethodSpec& method : methods())
    if (method.name == name) return &method;
  return nullptr;
}

void check_params(const MethodSpec& method, const nlohmann::json& params) {
  const auto refuse = [&](const std::string& what, const std::string& hint = {}) {
    throw Error("protocol", ErrorCode::bad_request, fmt::format("{}: {}", method.name, what), hint);
  };
  for (const auto& [key, value] : params.items()) {
    const MethodField* field = find_param(method, key);
    if (!field) {
      if (!method.stage.empty()) continue;  // run_config_of refuses it by name
      std::vector<std::string> names;
      for (const MethodField& one : method.params) names.push_back(one.name);
      const std::string near = nearest_word(key, names);
      refuse("unknown parameter " + quote(key),
             near.empty() ? std::string() : fmt::format("did you mean \"{}\"?", near));
    }
    if (value.is_null() && field->type.back() == '?') continue;
    if (!fits(field->type, value))
      refuse(fmt::format(
          "{}: expected {}, got {}", key,
          field->type.back() == '?' ? field->type.substr(0, field->type.size() - 1) : field->type,
          type_word(value)));
  }
  for (const MethodField& field : method.params)
    if (field.type.back() != '?' && !params.contains(field.name))
      refuse(fmt::format("{}: it is missing", field.name));
}

}  // namespace flashmorph
