# SPDX-License-Identifier: Apache-2.0
# Records gates and evaluations of a model with aligned branches, for `flashmorph-workbench --replay`: gate training by the preset
# `recommended`, then the recall map of the chosen plan, of the other budgets of its order and of the uniform plan.
# ALIGNED: a branches.safetensors (a run folder would keep the evaluations in itself).
# Usage: record_replay.py ENGINE MODEL ALIGNED TEXT OUT [DEVICE [STEPS]]
import os, sys

from recorder import Recorder

engine, model, aligned, text, out = sys.argv[1:6]
device = sys.argv[6] if len(sys.argv) > 6 else "cuda:0"
steps = int(sys.argv[7]) if len(sys.argv) > 7 else 600
session = Recorder(engine)
call, wait, ended = session.call, session.wait, session.ended


def plan_of(layers, kept):
    kept, parts, i = sorted(kept), [], 0
    while i < len(kept):
        j = i
        while j + 1 < len(kept) and kept[j + 1] == kept[j] + 1:
            j += 1
        parts.append(str(kept[i]) if i == j else f"{kept[i]}-{kept[j]}")
        i = j + 1
    return f"{layers}:" + ",".join(parts)


call("hello", protocol=[1, 0], client="recorder 1")
layers = call("model.inspect", model=model)["layers"]
call("model.load", seconds=120, model=model, device=device, aligned=aligned)
gates = call("gates.start", run="smollm2-gates", model=model, aligned=aligned, device=device, text=text, preset="recommended", steps=steps, budget=8)
ended(gates["job"], 300)
opened = call("run.open", run=gates["run"])
rows = [line["message"]["params"] for line in session.lines if line["message"].get("method") == "gates.steps"]
last = rows[-1]["alpha"][-1]
order = sorted(range(layers), key=lambda layer: -last[layer])
call("eval_set.save", run=gates["run"], name="passkey-3x6", task="passkey", lengths=[512, 1024, 2048, 4096], depths=[0, 0.25, 0.5, 0.75, 1], trials=8, seed=101,
     strings={"passkeys": "3", "passkey_words": "6"})
for kept in [order[:8], order[:4], [i * layers // 8 for i in range(8)], order[:15]]:
    job = call("eval.start", run=gates["run"], plan=plan_of(layers, kept), set="passkey-3x6", slot="budget")
    ended(job["job"], 240)
call("plan.save", run=gates["run"], plan=plan_of(layers, order[:8]), name="recommended, 8")
call("eval_set.list", run=gates["run"])
call("plan.list", run=gates["run"])
call("run.list")
call("run.open", run=gates["run"])
session.write(out, [(os.path.abspath(model), "/models/SmolLM2-135M"), (model, "/models/SmolLM2-135M"), (aligned, "/runs/align"), (text, "/text")])
