#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""fla exports in fla itself: keys, logits against the engine, cached generation against the full forward. Prints one row per export.

    FLASHMORPH_FLA_FOLDER=DIR export_peer_test --gtest_filter='Fla.*'      (makes exports of every kind)
    python check_fla_gpu.py DIR/llama DIR/smollm2 ...                      (FOLDER.logits.safetensors beside each)

An environment of its own: torch, transformers from 5.6.2, fla-core and flash-linear-attention 0.6.0, einops (together they break the
stock Qwen3.5 class on machines without a GPU, so keep it apart). fla builds its softmax layers with flash_attn; when that package is
missing, PyTorch's attention stands in. Without a GPU, TRITON_INTERPRET=1 runs what Triton's interpreter can: prompts of up to 64 tokens.
Exit status: 0 all fine, 1 something is off.
"""
import importlib.util, os, sys, types, warnings

import torch

warnings.filterwarnings("ignore")
os.environ.setdefault("TRITON_F32_DEFAULT", "ieee")  # else Triton multiplies float32 with 10 bits of mantissa
GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
STAND_IN = importlib.util.find_spec("flash_attn") is None
if STAND_IN:
    def flash_attn_func(q, k, v, causal=True, window_size=(-1, -1), softmax_scale=None, **_):
        assert causal and tuple(window_size) == (-1, -1)
        T, S, groups = q.shape[1], k.shape[1], q.shape[2] // k.shape[2]
        q, k, v = (x.transpose(1, 2) for x in (q, k.repeat_interleave(groups, 2), v.repeat_interleave(groups, 2)))
        mask = torch.ones(T, S, dtype=torch.bool, device=q.device).tril(S - T)
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, mask, scale=softmax_scale).transpose(1, 2)

    def flash_attn_varlen_func(q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q=None, max_seqlen_k=None, **options):
        rows = []  # rows of several sequences lie one after another
        for a, b, c, d in zip(cu_seqlens_q[:-1].tolist(), cu_seqlens_q[1:].tolist(), cu_seqlens_k[:-1].tolist(), cu_seqlens_k[1:].tolist()):
            rows.append(flash_attn_func(q[None, a:b], k[None, c:d], v[None, c:d], **options)[0])
        return torch.cat(rows)

    def missing(*_, **__):
        raise NotImplementedError("flash_attn's own padding has no stand-in here")

    stand_in = types.ModuleType("flash_attn")
    stand_in.__spec__ = importlib.util.spec_from_loader("flash_attn", None)
    stand_in.__version__ = "2.8.0"
    stand_in.flash_attn_func, stand_in.flash_attn_varlen_func = flash_attn_func, flash_attn_varlen_func
    padding = types.ModuleType("flash_attn.bert_padding")
    padding.index_first_axis = padding.pad_input = padding.unpad_input = missing
    stand_in.bert_padding = padding
    sys.modules.update({"flash_attn": stand_in, "flash_attn.bert_padding": padding})

import fla  # noqa: E402  (registers the model types)
import transformers  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
name = torch.cuda.get_device_name() if GPU else "Triton's interpreter"
print(f"{name}, torch {torch.__version__}, transformers {transformers.__version__}, fla {fla.__version__},"
      f" attention: {'PyTorch in place of flash_attn' if STAND_IN else 'flash_attn'}")
print(f"{'export':16} {'keys':>5} {'tokens':>7} {'max-abs':>9} {'of':>6} {'KL nats':>9} {'top-1':>6} {'cached':>7} {'bf16 KL':>9}  verdict")
failed = 0
with torch.no_grad():
    for folder in sys.argv[1:]:
        model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
        model = model.to(DEVICE).eval()
        leftover = {k: sorted(map(str, v))[:4] for k, v in info.items() if v}
        refs = load_file(folder + ".logits.safetensors")
        prompts = [(refs[f"input_ids_{i}"][None].to(DEVICE), refs[f"logits_{i}"]) for i in range(3)]
        prompts = [one for one in prompts if GPU or one[0].shape[1] <= 64]
        far = large = kl = same = tokens = low = 0.0

        def rows(ids):
            return model(ids).logits[0].float().cpu()

        def divergence(want, got):
            p = want.log_softmax(-1)
            return (p.exp() * (p - got.log_softmax(-1))).sum().item()

        for ids, want in prompts:
            got = rows(ids)
            far, large, tokens = max(far, (got - want).abs().max().item()), max(large, want.abs().max().item()), tokens + len(want)
            kl += divergence(want, got)
            same += (got.argmax(-1) == want.argmax(-1)).sum().item()
        ids = prompts[-1][0]
        more = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=16, min_new_tokens=16, do_sample=False, pad_token_id=0)
        full = model(more).logits[0, ids.shape[1] - 1 : -1].float()
        chosen = full.gather(-1, more[0, ids.shape[1] :, None])[:, 0]
        cached = ((full.max(-1).values - chosen) < 0.01).float().mean().item()  # near ties may fall either way
        if GPU:
            model = model.to(torch.bfloat16)
            low = sum(divergence(want, rows(ids)) for ids, want in prompts) / tokens
        # Kernels that ask for tf32 themselves keep 10 bits; a wrong layout costs more than 1 nat, in bfloat16 too.
        fine = not leftover and kl / tokens < 1e-3 and same / tokens > 0.98 and cached == 1 and low < 0.2
        print(f"{os.path.basename(folder):16} {'ok' if not leftover else 'FAIL':>5} {int(tokens):7} {far:9.2e} {large:6.1f} {kl / tokens:9.1e}"
              f" {same / tokens:6.3f} {cached:7.2f} {low:9.1e}  {'ok' if fine else 'FAIL'}{'' if not leftover else ' ' + str(leftover)}")
        failed += not fine
print("all fine" if not failed else f"{failed} FAILED")
sys.exit(1 if failed else 0)
