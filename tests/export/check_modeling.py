#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""resources/modeling by itself: the chunked recurrence against a float64 token loop, and HypeNet's options that our exports do not
use (no RoPE in full layers, output gate, logits scaling, fewer key/value heads in lightning layers) with cache and left padding.

    python check_modeling.py RESOURCES/modeling
"""
import importlib.util, os, sys, types

import torch

package = types.ModuleType("modeling")
package.__path__ = [sys.argv[1]]
sys.modules["modeling"] = package
for name in ("configuration_flashmorph", "modeling_flashmorph"):
    spec = importlib.util.spec_from_file_location(f"modeling.{name}", os.path.join(sys.argv[1], name + ".py"))
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
code, Config = sys.modules["modeling.modeling_flashmorph"], sys.modules["modeling.configuration_flashmorph"].FlashMorphConfig
failed = 0


def check(name, far, limit):
    global failed
    print("ok  " if far <= limit else "FAIL", name, f"{far:.2e} of {limit:.0e}")
    failed += not far <= limit


torch.manual_seed(1)
for T in (1, 63, 64, 65, 200):
    q, k, v = (torch.randn(2, 3, T, 8, dtype=torch.float64) for _ in range(3))
    decay = -torch.tensor([0.7, 0.01, 0.0], dtype=torch.float64)
    first = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    state, rows = first.clone(), []
    for t in range(T):
        state = decay.exp().view(1, 3, 1, 1) * state + k[:, :, t, :, None] * v[:, :, t, None, :]
        rows.append((q[:, :, t, None, :] @ state)[:, :, 0])
    want = torch.stack(rows, 2)
    o, last = code.lightning_chunks(q, k, v, decay, first.float())
    check(f"recurrence, {T} tokens", max((o - want).abs().max().item() / want.abs().max().item(), (last - state).abs().max().item() / state.abs().max().item()), 2e-6)

for options in ({}, {"attn_use_rope": False, "attn_logits_scaling": "hype 20", "attn_use_output_gate": True},
                {"lightning_nkv": 2, "lightning_use_short_conv": True, "lightning_scale": "1/d"}, {"lightning_use_output_norm": False, "lightning_use_output_gate": False}):
    config = Config(vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
                    mixer_types=["lightning-attn", "attn", "lightning-attn", "attn"], qk_norm=True, initializer_range=0.3, **options)
    model = code.FlashMorphForCausalLM(config).eval()
    ids = torch.randint(0, 50, (1, 90))
    with torch.no_grad():
        full = model(ids, use_cache=False).logits
        cache, parts = None, []
        for piece in (ids[:, :40], ids[:, 40:41], ids[:, 41:42], ids[:, 42:]):
            out = model(piece, past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            parts.append(out.logits)
        check(f"{options or 'default'}: in pieces", (torch.cat(parts, 1) - full).abs().max().item(), 1e-4)
        padded = torch.cat([torch.zeros(1, 7, dtype=torch.long), ids], 1)
        mask = torch.ones_like(padded)
        mask[:, :7] = 0
        check(f"{options or 'default'}: left padding", (model(padded, attention_mask=mask).logits[:, 7:] - full).abs().max().item(), 1e-4)
    model.train()
    loss = model(ids, labels=ids).loss
    loss.backward()
    grads = [p.grad for p in model.parameters()]
    check(f"{options or 'default'}: parameters without a finite gradient", float(sum(g is None or not torch.isfinite(g).all() for g in grads)), 0)
sys.exit(1 if failed else 0)
