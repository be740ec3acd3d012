#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A GGUF export in the eyes of llama.cpp (package xllamacpp): greedy continuation and perplexity against the engine's.

    python check_gguf.py MODEL.gguf LOGITS.safetensors GREEDY.json

LOGITS: what `flashmorph export` writes beside the file, or more. GREEDY: {"ids": what follows prompt 0, "margins": by how much each
was ahead, "tie": a difference below which llama.cpp may choose otherwise}; {} to skip. Perplexity: every token of prompt 1 after its
prefix, from llama.cpp's own log probabilities; it must lie within 0.5 % of the engine's. Exit status 0 or 1.
"""
import array, json, math, struct, sys

import xllamacpp


def read_safetensors(path):
    data = open(path, "rb").read()
    size = struct.unpack("<Q", data[:8])[0]
    head = json.loads(data[8 : 8 + size])
    out = {}
    for name, entry in head.items():
        if name == "__metadata__":
            continue
        begin, end = (8 + size + x for x in entry["data_offsets"])
        values = array.array({"I64": "q", "F32": "f"}[entry["dtype"]])
        values.frombytes(data[begin:end])
        out[name] = (entry["shape"], values)
    return out


model, logits_file, greedy_file = sys.argv[1:4]
tensors = read_safetensors(logits_file)
params = xllamacpp.CommonParams()
params.model.path = model
params.n_ctx = 256 + max(len(tensors[f"input_ids_{i}"][1]) for i in (0, 1))
params.verbosity = -1
server = xllamacpp.Server(params)


def complete(ids, count, probs):
    reply = server.handle_completions({"prompt": list(ids), "max_tokens": count, "temperature": 0, "n_probs": probs, "ignore_eos": True})
    if "choices" not in reply:
        sys.exit(f"llama.cpp refuses: {reply}")
    return reply["choices"][0]["logprobs"]["content"]


failed = 0
greedy = json.load(open(greedy_file))
if greedy:
    want = greedy["ids"]
    got = [token["id"] for token in complete(tensors["input_ids_0"][1], len(want), 1)]
    same = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), len(want))
    # After a near tie that fell otherwise the texts differ, so nothing behind it counts.
    fine = same == len(want) or greedy["margins"][same] < greedy["tie"]
    print("ok  " if fine else "FAIL", f"greedy continuation: {same} of {len(want)} tokens",
          "" if same == len(want) else f"then a choice that was {greedy['margins'][same]:.3f} nats ahead")
    failed += not fine
ids, (shape, logits) = tensors["input_ids_1"][1], tensors["logits_1"]
vocab, ours, theirs, count, top = shape[1], 0.0, 0.0, 0, 0
for t in range(1, len(ids)):
    row = logits[(t - 1) * vocab : t * vocab]
    most = max(row)
    ours += most + math.log(sum(math.exp(x - most) for x in row)) - row[ids[t]]
    token = complete(ids[:t], 1, vocab)[0]
    known = {one["id"]: one["logprob"] for one in token["top_logprobs"]}
    theirs -= known[ids[t]]
    top += token["id"] == row.index(most)
    count += 1
ours, theirs = math.exp(ours / count), math.exp(theirs / count)
close = abs(theirs / ours - 1) < 0.005
print("ok  " if close else "FAIL", f"perplexity {theirs:.4f}, the engine's {ours:.4f} ({100 * (theirs / ours - 1):+.3f} %), top-1 same {top} of {count}")
sys.exit(1 if failed or not close else 0)
