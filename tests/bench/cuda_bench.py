#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times the CUDA kernels, and flash-linear-attention beside them in the same run.

  python3 cuda_bench.py LIBRARY [--peer] [--kinds fixed,token,delta] [--tokens 2048,8192,32768,131072] [--decode]

B=1, H=16, D=128, bf16.  GPU milliseconds, median of CUDA events, L2 overwritten before each call.  Floor: the bytes that
must move (method of results_h100.md) at the copy rate measured in this run.  --peer needs fla-core and einops.
Kinds: scalar decay fixed per head, scalar decay per token, the gated delta rule."""
import argparse
import math
import os
import statistics
import sys

import torch
from cuda_operators import Timer, inputs, load, slopes

HEADS, DIM = 16, 128


def copy_rate():
    """bytes per second of a device copy, read and write counted"""
    a = torch.empty(1 << 30, dtype=torch.int8, device='cuda')
    b = torch.empty_like(a)
    times = []
    for _ in range(12):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        b.copy_(a)
        stop.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(stop))
    return 2 * a.numel() / statistics.median(times) * 1e3


def peer_call(kind):
    os.environ.update(FLA_FLASH_QLA='0', FLA_CACHE_RESULTS='0')  # its own Triton path
    from triton.runtime import autotuner
    import triton.testing
    plain = autotuner.Autotuner.__init__

    def init(self, *a, **k):  # same candidates, shorter timing of each
        plain(self, *a, **k)
        self._do_bench = lambda call, quantiles=(0.5, 0.2, 0.8), **_: triton.testing.do_bench(
            call, warmup=5, rep=20, quantiles=quantiles)
    autotuner.Autotuner.__init__ = init
    from fla.ops.gated_delta_rule import chunk_gated_delta_rule
    from fla.ops.simple_gla import chunk_simple_gla
    import fla.ops.common.chunk_o as chunk_o
    if not getattr(chunk_o, 'TRITON_ABOVE_3_7_1', True):
        chunk_o.TRITON_ABOVE_3_7_1 = True  # the refusal of fla issue 640, lifted for timing
    if kind == 'fixed':
        gamma = slopes(HEADS)
        return lambda q, k, v, g, b: chunk_simple_gla(q, k, v, g_gamma=gamma)[0]
    if kind == 'delta':
        return lambda q, k, v, g, b: chunk_gated_delta_rule(q, k, v, g=g, beta=b)[0]
    return lambda q, k, v, g, b: chunk_simple_gla(q, k, v, g=g)[0]


def gates(kind, batch, tokens):
    """log decay and beta of a kind"""
    if kind == 'fixed':
        return slopes(HEADS), None
    g = torch.nn.functional.logsigmoid(torch.randn(batch, tokens, HEADS, device='cuda')) / 16
    return g, torch.randn(batch, tokens, HEADS, device='cuda').sigmoid() if kind == 'delta' else None


def operators(ops, kind):
    return ((ops.gated_delta_rule_forward, ops.gated_delta_rule_backward) if kind == 'delta' else
            (ops.scalar_decay_forward, ops.scalar_decay_backward))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('library')
    parser.add_argument('--peer', action='store_true')
    parser.add_argument('--kinds', default='fixed,token,delta')
    parser.add_argument('--tokens', default='2048,8192,32768,131072')
    parser.add_argument('--decode', action='store_true')
    args = parser.parse_args()
    ops = load(args.library)
    timer = Timer()
    rate = copy_rate()
    print(f'{torch.cuda.get_device_name()}, torch {torch.__version__}, copy {rate / 1e12:.2f} TB/s')
    scale = DIM ** -0.5
    for kind in args.kinds.split(','):
        op_forward, op_backward = operators(ops, kind)
        peer = peer_call(kind) if args.peer else None
        lengths = [int(tokens) for tokens in args.tokens.split(',')]
        # the peer tunes itself on its first call, whatever its length: make that a typical one
        for tokens in ([8192] if peer else []) + lengths:
            q, k, v, d_output = inputs(1, tokens, HEADS, DIM, 1)
            g, b = gates(kind, 1, tokens)
            rows = {}

            def forward():
                return op_forward(q, k, v, g, b, scale, None)

            def both():
                forward()
                return op_backward(q, k, v, g, b, scale, None, d_output, None)
            rows['ours'] = timer(forward), timer(both)
            if peer:
                leaves = [x.detach().requires_grad_() for x in (q, k, v)]
                leaves += [x.detach().requires_grad_() for x in (g, b) if x is not None and kind != 'fixed']
                given = leaves + [None] * (5 - len(leaves))
                with torch.no_grad():
                    first = timer(lambda: peer(q, k, v, g, b))
                second = timer(lambda: torch.autograd.grad(peer(*given), leaves, d_output), sleep_cycles=9_000_000)
                rows['fla'] = first, second
            heads = tokens * HEADS
            floor = heads * 1024 / rate * 1e3, heads * (1024 + 1792) / rate * 1e3
            for i, what in enumerate(('fwd', 'fwd+bwd')):
                line = f'{kind:6} T={tokens:<7} {what:8} floor {floor[i]:.4f}  ours {rows["ours"][i]:.4f}'
                line += f' ({rows["ours"][i] / floor[i]:.2f}x floor)'
                if peer:
                    line += f'  fla {rows["fla"][i]:.4f} ({rows["fla"][i] / rows["ours"][i]:.2f}x ours)'
                print(line, flush=True)
    for kind, batch in ((k, b) for k in args.kinds.split(',') for b in (1, 8, 64) if args.decode and k != 'token'):
        op_forward, _ = operators(ops, kind)
        count = max(2, min(64, math.ceil(160e6 / (batch * HEADS * DIM * DIM * 4))))
        states = [torch.randn(batch, HEADS, DIM, DIM, device='cuda') for _ in range(count)]
        q, k, v, _ = inputs(batch, 1, HEADS, DIM, 1)
        g, b = gates(kind, batch, 1)
        graph = torch.cuda.CUDAGraph()
        op_forward(q, k, v, g, b, scale, states[0])
        with torch.cuda.graph(graph):
            for state in states:
                op_forward(q, k, v, g, b, scale, state)
        us = timer(graph.replay) / count * 1e3
        print(f'decode {kind} B={batch:<3} ours {us:.2f} us in a graph of {count} calls '
              f'({batch * HEADS * DIM * DIM * 8 / us / 1e3:.0f} GB/s)', flush=True)


if __name__ == '__main__':
    sys.exit(main())
