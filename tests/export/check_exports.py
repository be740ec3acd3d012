#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Exports in the eyes of stock transformers: every folder loads whole, computes what the engine computed, generates with a cache,
takes left padding, and survives save_pretrained.

    python check_exports.py LIST.json

LIST.json: [{"folder", "logits", "remote_code": bool, "teacher": folder or null (all layers full: logits equal its own bit for bit),
"greedy": file or null (the greedy continuation of prompt 0 is written there)}]. Exit status: 0 all fine, 1 something is off.
"""
import glob, json, os, struct, sys, tempfile

import torch
import transformers
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
bad = []


def check(name, ok, value=""):
    print(f"{'ok  ' if ok else 'FAIL'}  {name}  {value}", flush=True)
    if not ok:
        bad.append(name)


def names_in(folder):
    names = []
    for path in sorted(glob.glob(os.path.join(folder, "*.safetensors"))):
        with open(path, "rb") as file:
            head = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        names += [name for name in head if name != "__metadata__"]
    return names


def load(folder, remote):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, trust_remote_code=remote, output_loading_info=True,
                                                local_files_only=True)


@torch.no_grad()
def check_one(entry):
    folder, remote = entry["folder"], entry["remote_code"]
    label = os.path.basename(folder)
    model, info = load(folder, remote)
    model.eval()
    check(f"{label}: no missing, unexpected or mismatched tensor", not any(info.values()), {k: sorted(v)[:3] for k, v in info.items() if v})
    names = names_in(folder)
    check(f"{label}: names", set(names) <= set(model.state_dict()) and len(names) == len(set(names)), f"{len(names)} tensors")
    refs, texts = [], {}
    with safe_open(entry["logits"], "pt") as file:
        for i in range(sum(key.startswith("input_ids_") for key in file.keys())):
            refs.append((file.get_tensor(f"input_ids_{i}")[None], file.get_tensor(f"logits_{i}")))
        texts = {k: v for k, v in (file.metadata() or {}).items() if k.startswith("text_")}
    if texts:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=remote)
        for key, text in texts.items():
            check(f"{label}: ids of {key}", tokenizer(text)["input_ids"] == refs[int(key[5:])][0][0].tolist())
    for i, (ids, want) in enumerate(refs):
        got = model(ids, use_cache=False).logits[0]
        limit = 1e-3 + 1e-4 * want.abs().max().item()
        far = (got - want).abs().max().item()
        sure = want.topk(2, -1).values.diff(dim=-1)[:, 0].abs() > 2 * limit
        check(f"{label}: logits {i}", far <= limit and bool((got.argmax(-1) == want.argmax(-1))[sure].all()), f"{far:.2e} of {limit:.1e}")
    ids, want = refs[1]
    limit = 1e-3 + 1e-4 * want.abs().max().item()
    near = lambda a, b: (a - b).abs().max().item()
    if entry.get("teacher"):
        teacher = AutoModelForCausalLM.from_pretrained(entry["teacher"], dtype=torch.float32).eval()
        check(f"{label}: all layers full, equal to the teacher", near(teacher(ids).logits, model(ids).logits) == 0)
    # cache: token by token, and a prompt in two pieces
    out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, min_new_tokens=8, do_sample=False, use_cache=True,
                         return_dict_in_generate=True, output_logits=True, pad_token_id=0)
    full = model(out.sequences, use_cache=False).logits[0, ids.shape[1] - 1 : -1]
    d = near(full, torch.cat(out.logits))
    check(f"{label}: cached generation", d <= limit, f"{d:.2e}")
    half = ids.shape[1] // 2
    first = model(ids[:, :half], use_cache=True)
    second = model(ids[:, half:], past_key_values=first.past_key_values, use_cache=True)
    d = near(torch.cat([first.logits, second.logits], 1), model(ids, use_cache=False).logits)
    check(f"{label}: prompt in two pieces", d <= limit, f"{d:.2e}")
    d = near(model(ids, logits_to_keep=1).logits[:, 0], model(ids).logits[:, -1])
    check(f"{label}: logits_to_keep", d <= limit, f"{d:.2e}")
    # left padding: two rows of different length, prefilled and continued
    short = ids[:, : max(2, ids.shape[1] // 3)]
    pad = ids.shape[1] - short.shape[1]
    batch = torch.cat([ids, torch.nn.functional.pad(short, (pad, 0))])
    mask = torch.ones_like(batch)
    mask[1, :pad] = 0
    both = model.generate(batch, attention_mask=mask, max_new_tokens=6, min_new_tokens=6, do_sample=False, return_dict_in_generate=True,
                          output_logits=True, pad_token_id=0)
    alone = [model.generate(x, attention_mask=torch.ones_like(x), max_new_tokens=6, min_new_tokens=6, do_sample=False,
                            return_dict_in_generate=True, output_logits=True, pad_token_id=0) for x in (ids, short)]
    d = max(near(torch.stack(both.logits, 1)[row], torch.cat(alone[row].logits)) for row in (0, 1))
    check(f"{label}: left padding", d <= limit, f"{d:.2e}")
    if entry.get("greedy"):
        ids0 = refs[0][0]
        more = model.generate(ids0, attention_mask=torch.ones_like(ids0), max_new_tokens=16, min_new_tokens=16, do_sample=False, pad_token_id=0)
        json.dump(more[0, ids0.shape[1] :].tolist(), open(entry["greedy"], "w"))
    with tempfile.TemporaryDirectory() as again:
        model.save_pretrained(again)
        if remote:
            check(f"{label}: code travels along", os.path.exists(os.path.join(again, "modeling_flashmorph.py")))
        other, info = load(again, remote)
        d = near(other.eval()(ids).logits, model(ids).logits)
        check(f"{label}: save_pretrained and back", d == 0 and not any(info.values()), f"{d:.2e}")


for entry in json.load(open(sys.argv[1])):
    try:
        check_one(entry)
    except Exception as error:
        check(f"{os.path.basename(entry['folder'])}: {type(error).__name__}", False, str(error)[:400])
print(f"{len(bad)} failed")
sys.exit(1 if bad else 0)
