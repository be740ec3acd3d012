#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""fla exports without fla: the whole model in float64 numpy from config.json and the weights, token by token, against the engine.

    python check_fla.py FOLDER ...      (FOLDER.logits.safetensors beside each)

Follows what fla's gated_deltanet computes: q, k, v, short convolution, SiLU, q and k of unit length, beta = sigmoid(b) (times 2 with
allow_neg_eigval), log decay = -exp(A_log) softplus(a + dt_bias), S <- exp(g) S + k (beta (v - S^T k))^T, o = S^T q / sqrt(d),
RMSNorm(o) swish(g). Exit status: 0 all fine, 1 something is off.
"""
import json, os, sys

import numpy as np
from safetensors.numpy import load_file


def norm(x, w, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * w


def silu(x):
    return x / (1 + np.exp(-x))


def unit(x):
    return x / np.sqrt((x * x).sum(-1, keepdims=True) + 1e-6)


def conv(x, taps):
    width = taps.shape[-1]
    padded = np.concatenate([np.zeros((width - 1, x.shape[1])), x])
    return sum(padded[i : i + len(x)] * taps[:, 0, i] for i in range(width))


def forward(folder, ids):
    c = json.load(open(os.path.join(folder, "config.json")))
    w = {k: v.astype(np.float64) for k, v in load_file(os.path.join(folder, "model.safetensors")).items()}
    used = set()

    def get(name):
        used.add(name)
        return w[name]

    def linear(name, x):
        y = x @ get(name + ".weight").T
        return y + get(name + ".bias") if name + ".bias" in w else y

    H, d, eps, attn = c["num_heads"], c["head_dim"], c["norm_eps"], c["attn"]
    x = get("model.embeddings.weight")[ids]
    T = len(ids)
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        u = norm(x, get(at + "attn_norm.weight"), eps)
        q, k, v = (linear(at + f"attn.{n}_proj", u) for n in "qkv")
        if layer in attn["layers"]:
            G, hd = attn["num_kv_heads"], c["hidden_size"] // attn["num_heads"]
            freq = attn["rope_theta"] ** (-np.arange(0, hd, 2) / hd)
            angle = np.concatenate([np.outer(np.arange(T), freq)] * 2, -1)[:, None]
            turn = lambda y: y * np.cos(angle) + np.concatenate([-y[..., hd // 2 :], y[..., : hd // 2]], -1) * np.sin(angle)
            q, k, v = turn(q.reshape(T, H, hd)), turn(k.reshape(T, G, hd)), v.reshape(T, G, hd)
            k, v = k.repeat(H // G, 1), v.repeat(H // G, 1)
            s = np.einsum("ihd,jhd->hij", q, k) / np.sqrt(hd)
            s = np.where(np.tril(np.ones((T, T), bool)), s, -np.inf)
            p = np.exp(s - s.max(-1, keepdims=True))
            o = np.einsum("hij,jhd->ihd", p / p.sum(-1, keepdims=True), v).reshape(T, -1)
        else:
            if c["use_short_conv"]:
                q, k, v = (conv(y, get(at + f"attn.{n}_conv1d.weight")) for n, y in zip("qkv", (q, k, v)))
            q, k, v = (silu(y).reshape(T, H, -1) for y in (q, k, v))
            q, k = unit(q) / np.sqrt(d), unit(k)
            beta = 1 / (1 + np.exp(-linear(at + "attn.b_proj", u))) * (2 if c["allow_neg_eigval"] else 1)
            g = -np.exp(get(at + "attn.A_log")) * np.log1p(np.exp(linear(at + "attn.a_proj", u) + get(at + "attn.dt_bias")))
            state, rows = np.zeros((H, d, v.shape[-1])), []
            for t in range(T):
                state = np.exp(g[t])[:, None, None] * state
                error = v[t] - np.einsum("hkv,hk->hv", state, k[t])
                state = state + np.einsum("hk,hv->hkv", k[t], beta[t][:, None] * error)
                rows.append(np.einsum("hkv,hk->hv", state, q[t]))
            gate = silu(linear(at + "attn.g_proj", u))
            o = norm(np.stack(rows), get(at + "attn.o_norm.weight"), eps).reshape(T, -1) * gate
        x = x + linear(at + "attn.o_proj", o)
        u = norm(x, get(at + "mlp_norm.weight"), eps)
        x = x + linear(at + "mlp.down_proj", silu(linear(at + "mlp.gate_proj", u)) * linear(at + "mlp.up_proj", u))
    x = norm(x, get("model.norm.weight"), eps)
    head = get("model.embeddings.weight") if c["tie_word_embeddings"] else get("lm_head.weight")
    unread = set(w) - used
    assert not unread, f"tensors nobody reads: {sorted(unread)[:4]}"
    return x @ head.T


failed = 0
for folder in sys.argv[1:]:
    refs = load_file(folder + ".logits.safetensors")
    for i in range(3):
        want = refs[f"logits_{i}"]
        far = np.abs(forward(folder, refs[f"input_ids_{i}"]) - want).max()
        limit = 1e-3 + 1e-4 * np.abs(want).max()
        print("ok  " if far <= limit else "FAIL", os.path.basename(folder), i, f"{far:.2e} of {limit:.1e}")
        failed += not far <= limit
sys.exit(1 if failed else 0)
