# SPDX-License-Identifier: Apache-2.0
# Records a session of `flashmorph serve` on the demo teacher: gates, select, evaluations in a slot.  Paths are shortened to /demo and /runs.
# Usage: record_session.py ENGINE REPOSITORY OUT
import os, sys

from recorder import Recorder

engine, repository, out = sys.argv[1:4]
demo = os.path.join(os.path.abspath(repository), "resources/demo")
session = Recorder(engine)
call, send, wait, ended = session.call, session.send, session.wait, session.ended

call("hello", protocol=[1, 0], client="recorder 1")
call("model.inspect", model=demo + "/teacher")
call("model.load", model=demo + "/teacher", device="cpu", aligned=demo + "/branches/lightning.safetensors")
samples = dict(length_min=160, length_max=224, length_count=4, passkeys=1, passkey_words=4, budget=3)
call("preflight", stage="gates", steps=120, **samples)
gates = call("gates.start", run="demo-gates", steps=120, **samples)
ended(gates["job"])
call("run.open", run=gates["run"])
select = call("select.start", run="demo-halo", method="halo", samples=4, text_tokens=512, text_length=256, **samples)
ended(select["job"])
call("run.list")
call("eval_set.save", run=gates["run"], name="passkey-demo", task="passkey", lengths=[128, 192, 256], depths=[0, 0.5, 1], trials=6, seed=1,
     strings={"passkeys": "1", "passkey_words": "4"})
evaluation = call("eval.start", run=gates["run"], plan="10:1-3", set="passkey-demo", slot="budget")
wait(lambda m: m.get("method") == "eval.cells" and m["params"]["plan"] == "10:1-3")
newer = call("eval.start", run=gates["run"], plan="10:2-3", set="passkey-demo", slot="budget")
ended(evaluation["job"])
ended(newer["job"])
again = call("eval.start", run=gates["run"], plan="10:2-3", set="passkey-demo", slot="budget")
ended(again["job"])
call("plan.save", run=gates["run"], plan="10:1-2,4", name="by hand")
call("eval_set.list", run=gates["run"])
call("plan.list", run=gates["run"])
call("job.list")
call("job.cancel", job=again["job"])
failing = send("eval.start", run=gates["run"], plan="11:0", set="passkey-demo")
wait(lambda m: m.get("id") == failing)
broken = send("gates.start", stepz=3)
wait(lambda m: m.get("id") == broken)
call("file.list", run=gates["run"])
call("run.annotate", run=gates["run"], title="Demo gates", notes="recorded")
stopped = call("gates.start", run="demo-long", steps=5000, **samples)
wait(lambda m: m.get("method") == "gates.steps" and m["params"]["job"] == stopped["job"])
call("job.pause", job=stopped["job"])
wait(lambda m: m.get("method") == "job.state" and m["params"]["job"] == stopped["job"] and m["params"]["state"] == "paused")
call("job.resume", job=stopped["job"])
wait(lambda m: m.get("method") == "job.state" and m["params"]["job"] == stopped["job"] and m["params"]["state"] == "running")
call("job.cancel", job=stopped["job"])
ended(stopped["job"])
call("model.unload")
session.write(out, [(demo, "/demo")])
