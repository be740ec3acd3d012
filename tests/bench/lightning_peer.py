# SPDX-License-Identifier: Apache-2.0
"""Times a plain PyTorch chunked Lightning attention (one matmul for all chunks, a small matrix between them), the peer of
kernels_bench: same shapes, same lines. Run both in turn on a quiet machine: OMP_WAIT_POLICY=passive OMP_NUM_THREADS=2."""
import json
import time

import torch

C = 64


def slopes(heads):
    power = 1 << (heads.bit_length() - 1)
    first = [2.0 ** (-8.0 * (h + 1) / power) for h in range(power)]
    return first + [2.0 ** (-8.0 * (2 * j + 1) / (2 * power)) for j in range(heads - power)]


def tables(T, heads, dtype):
    g = -torch.tensor(slopes(heads))[:, None, None]
    i = torch.arange(C, dtype=torch.float32)
    lag = i[:, None] - i[None]
    inside = torch.exp(g * lag.clamp(min=0)) * (lag >= 0)
    entry, exit_ = torch.exp(g * (i[:, None] + 1)), torch.exp(g * (C - 1 - i[:, None]))
    n = torch.arange(-(-T // C), dtype=torch.float32)
    gap = n[:, None] - n[None] - 1
    between = torch.exp(g * C * gap.clamp(min=0)) * (gap >= 0)
    return [t.to(dtype) for t in (inside, entry, exit_, between)]


def lightning(q, k, v, tabs, scale):
    B, T, H, D = q.shape
    inside, entry, exit_, between = tabs
    q, k, v = (x.reshape(B, -1, C, H, D).permute(0, 3, 1, 2, 4) for x in (q, k, v))
    q = q * scale
    inside, entry, exit_ = inside[:, None], entry[:, None], exit_[:, None]
    written = (k * exit_).transpose(-1, -2) @ v
    states = (between @ written.flatten(-2)).view_as(written)
    o = (q @ states) * entry + ((q @ k.transpose(-1, -2)) * inside) @ v
    return o.permute(0, 2, 3, 1, 4).reshape(B, T, H, D)


def best(work, budget_s=1.0):
    work()
    ms, start = [], time.perf_counter()
    while len(ms) < 5 or (time.perf_counter() - start < budget_s and len(ms) < 200):
        begin = time.perf_counter()
        work()
        ms.append((time.perf_counter() - begin) * 1e3)
    ms.sort()
    return ms[0], ms[len(ms) // 2]


def main():
    for dtype in (torch.float32, torch.bfloat16):
        for B in (1, 4, 8):
            torch.manual_seed(7)
            q, k, v, d = (torch.randn(B, 512, 9, 64).to(dtype) for _ in range(4))
            tabs = tables(512, 9, dtype)
            with torch.no_grad():
                forward = best(lambda: lightning(q, k, v, tabs, 0.125))
            for x in (q, k, v):
                x.requires_grad_(True)
            both = best(lambda: torch.autograd.grad(lightning(q, k, v, tabs, 0.125), (q, k, v), d))
            print(json.dumps(dict(op='lightning', form='pytorch', dtype=str(dtype).split('.')[1], B=B, T=512, H=9, K=64,
                                  threads=torch.get_num_threads(), forward_best_ms=round(forward[0], 3),
                                  forward_median_ms=round(forward[1], 3), both_best_ms=round(both[0], 3),
                                  both_median_ms=round(both[1], 3))), flush=True)


if __name__ == '__main__':
    main()
