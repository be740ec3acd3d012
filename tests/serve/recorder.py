# SPDX-License-Identifier: Apache-2.0
# Drives `flashmorph serve` over pipes and keeps every line with its time: {"t_s", "dir": ">" or "<", "message"}.
import json, os, subprocess, tempfile, threading, time


class Recorder:
    def __init__(self, engine, arguments=()):
        self.runs = tempfile.mkdtemp()
        self.process = subprocess.Popen([engine, "serve", "--runs", self.runs, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=dict(os.environ, OMP_NUM_THREADS="2", OMP_WAIT_POLICY="passive"))
        self.start, self.lines, self.lock, self.next_id = time.monotonic(), [], threading.Condition(), 0
        self.reader = threading.Thread(target=self._listen, daemon=True)
        self.reader.start()

    def _note(self, direction, message):
        with self.lock:
            self.lines.append({"t_s": round(time.monotonic() - self.start, 3), "dir": direction, "message": message})
            self.lock.notify_all()

    def _listen(self):
        for line in self.process.stdout:
            self._note("<", json.loads(line))

    def wait(self, test, seconds=60):
        """the first message from the engine that passes the test, also one that came before"""
        end, seen = time.monotonic() + seconds, 0
        with self.lock:
            while True:
                while seen < len(self.lines):
                    line = self.lines[seen]
                    seen += 1
                    if line["dir"] == "<" and test(line["message"]):
                        return line["message"]
                if not self.lock.wait(max(0.01, end - time.monotonic())) and time.monotonic() > end:
                    raise SystemExit("nothing came: " + "\n".join(json.dumps(line)[:600] for line in self.lines[-8:]))

    def send(self, name, /, **params):
        self.next_id += 1
        message = {"jsonrpc": "2.0", "id": self.next_id, "method": name, "params": params}
        self._note(">", message)
        self.process.stdin.write(json.dumps(message, separators=(",", ":")) + "\n")
        self.process.stdin.flush()
        return self.next_id

    def call(self, name, /, seconds=60, **params):
        number = self.send(name, **params)
        answer = self.wait(lambda m: m.get("id") == number, seconds)
        return answer.get("result", answer)

    def ended(self, job, seconds=60):
        return self.wait(lambda m: m.get("method") == "job.state" and m["params"]["job"] == job
                         and m["params"]["state"] in ("finished", "failed", "cancelled", "superseded"), seconds)

    def write(self, out, shortened):
        """ends the engine; shortened: (path, what stands for it in the recording), the folder of runs becomes /runs"""
        self.call("shutdown")
        self.process.wait(30)
        self.reader.join()
        with open(out, "w") as file:
            for line in self.lines:
                text = json.dumps(line, separators=(",", ":")).replace(self.runs, "/runs")
                for path, short in shortened:
                    text = text.replace(path, short)
                file.write(text + "\n")
        print(len(self.lines), "lines,", self.process.returncode)
