#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""fla exports in fla itself, on a GPU: loads, logits against the engine, cached generation against the full forward.

    python check_fla_gpu.py FOLDER ...   (FOLDER.logits.safetensors beside each)

An environment of its own: torch, transformers 5, flash-linear-attention 0.6.0 (it breaks the stock Qwen3.5 class on machines without
a GPU, so keep it apart). fla builds its softmax layers with flash_attn; when that package is missing, PyTorch's attention stands in.
Exit status: 0 all fine, 1 something is off.
"""
import importlib.util, sys, types

import torch

if importlib.util.find_spec("flash_attn") is None:
    def flash_attn_func(q, k, v, causal=True, window_size=(-1, -1), softmax_scale=None, **_):
        assert causal and tuple(window_size) == (-1, -1)
        T, S, groups = q.shape[1], k.shape[1], q.shape[2] // k.shape[2]
        q, k, v = (x.transpose(1, 2) for x in (q, k.repeat_interleave(groups, 2), v.repeat_interleave(groups, 2)))
        mask = torch.ones(T, S, dtype=torch.bool, device=q.device).tril(S - T)
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, mask, scale=softmax_scale).transpose(1, 2)

    def missing(*_, **__):
        raise NotImplementedError("variable-length attention has no stand-in here")

    stand_in = types.ModuleType("flash_attn")
    stand_in.__spec__ = importlib.util.spec_from_loader("flash_attn", None)
    stand_in.__version__ = "2.8.0"
    stand_in.flash_attn_func, stand_in.flash_attn_varlen_func = flash_attn_func, missing
    padding = types.ModuleType("flash_attn.bert_padding")
    padding.index_first_axis = padding.pad_input = padding.unpad_input = missing
    stand_in.bert_padding = padding
    sys.modules.update({"flash_attn": stand_in, "flash_attn.bert_padding": padding})

import fla  # noqa: E402, F401  (registers the model types)
from safetensors.torch import load_file  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

failed = 0
with torch.no_grad():
    for folder in sys.argv[1:]:
        model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
        model = model.cuda().eval()
        leftover = {k: sorted(v)[:4] for k, v in info.items() if v}
        print("ok  " if not leftover else "FAIL", folder, "keys", leftover)
        failed += bool(leftover)
        refs = load_file(folder + ".logits.safetensors")
        for i in range(3):
            ids, want = refs[f"input_ids_{i}"][None].cuda(), refs[f"logits_{i}"]
            got = model(ids).logits[0].float().cpu()
            p = want.log_softmax(-1)
            kl = (p.exp() * (p - got.log_softmax(-1))).sum(-1).mean().item()
            top = (got.argmax(-1) == want.argmax(-1)).float().mean().item()
            fine = kl < 1e-4 and top > 0.98  # Triton multiplies in tf32
            print("ok  " if fine else "FAIL", f"logits {i}: max-abs {(got - want).abs().max():.2e}, KL {kl:.1e}, top-1 {top:.3f}")
            failed += not fine
        more = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, min_new_tokens=8, do_sample=False, pad_token_id=0)
        full = model(more).logits[0, ids.shape[1] - 1 : -1].argmax(-1)
        same = (full == more[0, ids.shape[1] :]).float().mean().item()
        print("ok  " if same == 1 else "FAIL", f"cached generation: {same:.2f} of the tokens as without cache")
        failed += same != 1
sys.exit(1 if failed else 0)
