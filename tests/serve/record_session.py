# SPDX-License-Identifier: Apache-2.0
# Records a session of `flashmorph serve` on the demo teacher: gates, select, evaluations in a slot.
# Each line of the output is {"t_s", "dir": ">" or "<", "message"}; paths are shortened to /demo and /runs.
# Usage: record_session.py ENGINE REPOSITORY OUT
import json, os, subprocess, sys, tempfile, threading, time

engine, repository, out = sys.argv[1:4]
demo = os.path.join(os.path.abspath(repository), "resources/demo")
runs = tempfile.mkdtemp()
process = subprocess.Popen([engine, "serve", "--runs", runs], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                           env=dict(os.environ, OMP_NUM_THREADS="2", OMP_WAIT_POLICY="passive"))
start, lines, lock = time.monotonic(), [], threading.Condition()


def note(direction, message):
    with lock:
        lines.append({"t_s": round(time.monotonic() - start, 3), "dir": direction, "message": message})
        lock.notify_all()


def listen():
    for line in process.stdout:
        note("<", json.loads(line))


reader = threading.Thread(target=listen, daemon=True)
reader.start()
next_id = 0


def wait(test, seconds=60):
    end = time.monotonic() + seconds
    with lock:
        while True:
            for line in lines:
                if line["dir"] == "<" and test(line["message"]):
                    return line["message"]
            if not lock.wait(max(0.01, end - time.monotonic())) and time.monotonic() > end:
                raise SystemExit("nothing came: " + "\n".join(json.dumps(line)[:600] for line in lines[-8:]))


def send(name, /, **params):
    global next_id
    next_id += 1
    message = {"jsonrpc": "2.0", "id": next_id, "method": name, "params": params}
    note(">", message)
    process.stdin.write(json.dumps(message, separators=(",", ":")) + "\n")
    process.stdin.flush()
    return next_id


def call(name, /, **params):
    number = send(name, **params)
    answer = wait(lambda m: m.get("id") == number)
    return answer.get("result", answer)


def ended(job):
    return wait(lambda m: m.get("method") == "job.state" and m["params"]["job"] == job
                and m["params"]["state"] in ("finished", "failed", "cancelled", "superseded"))


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
call("shutdown")
process.wait(30)
reader.join()
with open(out, "w") as file:
    for line in lines:
        text = json.dumps(line, separators=(",", ":"))
        file.write(text.replace(demo, "/demo").replace(runs, "/runs") + "\n")
print(len(lines), "lines,", process.returncode)
