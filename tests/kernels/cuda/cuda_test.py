#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The CUDA kernels against the token recurrence in float64: outputs, states and every gradient, odd lengths, memory
poisoned with NaN, repeated calls equal bit by bit.  python3 cuda_test.py LIBRARY [--quick]"""
import os
import sys

import torch

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'bench'))
from cuda_operators import chunked, inputs, load, recurrence, relative_error, slopes  # noqa: E402

# bf16 inputs and products: measured 1.5e-3 to 4e-3; decay gradients sum differences of such numbers
LIMIT, GATE_LIMIT = 6e-3, 1.5e-2


def poison():
    """fills what the allocator will hand out next with NaN"""
    for size in (1 << 20, 1 << 24, 1 << 26):
        blocks = [torch.full((size // 4,), float('nan'), device='cuda') for _ in range(2)]
        del blocks


def scalar_decay(ops, batch, tokens, heads, dim, decay, beta, state, reference):
    q, k, v, d_output = inputs(batch, tokens, heads, dim, tokens)
    generator = torch.Generator(device='cuda')
    generator.manual_seed(3)

    def uniform(*shape):
        return torch.rand(*shape, generator=generator, device='cuda')
    g = b = s = ds = None
    if decay == 'fixed':
        g = slopes(heads)
    elif decay == 'token':
        g = slopes(heads) * 2 * uniform(batch, tokens, heads)
    elif decay == 'weak':
        g = -1e-3 * uniform(batch, tokens, heads)
    if beta:
        b = uniform(batch, tokens, heads) * 2
    if state:
        s = torch.randn(batch, heads, dim, dim, generator=generator, device='cuda')
        ds = torch.randn(batch, heads, dim, dim, generator=generator, device='cuda')
    scale = dim ** -0.5

    def run():
        poison()
        output, last = ops.scalar_decay_forward(q, k, v, g, b, scale, s)
        poison()
        return (output, last) + tuple(ops.scalar_decay_backward(q, k, v, g, b, scale, s, d_output, ds))
    names = ('output', 'final_state', 'dq', 'dk', 'dv', 'd_log_decay', 'd_beta', 'd_state')
    got = dict(zip(names, run()))
    again = dict(zip(names, run()))
    equal = all(got[n] is None and again[n] is None or torch.equal(got[n], again[n]) for n in names)

    kind = torch.float64
    leaves = {'dq': q, 'dk': k, 'dv': v, 'd_state': s if state else torch.zeros(batch, heads, dim, dim, device='cuda')}
    if decay in ('token', 'weak'):
        leaves['d_log_decay'] = g
    if beta:
        leaves['d_beta'] = b
    leaves = {n: x.detach().to(kind).requires_grad_() for n, x in leaves.items()}
    wide = (leaves['dq'], leaves['dk'], leaves['dv'], leaves.get('d_log_decay', g if g is None else g.to(kind)),
            leaves.get('d_beta'), scale, leaves['d_state'])
    output, last = reference(*wide)
    loss = (output * d_output.to(kind)).sum() + ((last * ds.to(kind)).sum() if state else 0)
    truth = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values()))), output=output, final_state=last)
    errors = {n: relative_error(got[n], x.detach()) for n, x in truth.items()}
    good = equal and all(e < (GATE_LIMIT if n == 'd_log_decay' else LIMIT) for n, e in errors.items())
    print(f'{"ok  " if good else "FAIL"} scalar_decay B={batch} T={tokens} H={heads} D={dim} decay={decay} beta={beta} '
          f'state={state} equal={equal} ' + ' '.join(f'{n}={e:.1e}' for n, e in errors.items()), flush=True)
    return good


def main():
    ops = load(sys.argv[1])
    quick = '--quick' in sys.argv
    cases = [(1, 1, 2, 128, 'fixed', False, True, recurrence), (2, 1, 3, 64, 'token', True, True, recurrence),
             (1, 63, 2, 128, 'fixed', False, False, recurrence), (2, 100, 4, 64, 'token', True, True, recurrence),
             (1, 1000, 4, 128, 'token', True, True, chunked), (1, 1000, 2, 128, 'fixed', False, True, chunked)]
    if not quick:
        cases += [(1, 1000, 16, 128, 'fixed', False, True, recurrence),
                  (1, 1000, 4, 128, 'token', True, True, recurrence),
                  (1, 1000, 4, 128, None, False, True, recurrence),
                  (1, 777, 8, 64, 'weak', False, True, recurrence),
                  (1, 20011, 16, 128, 'fixed', False, True, chunked),
                  (1, 20011, 4, 128, 'token', True, True, chunked),
                  (1, 20011, 4, 128, 'token', False, False, chunked),
                  (1, 20011, 4, 128, 'weak', False, True, chunked),
                  (3, 5000, 130, 64, 'fixed', False, False, chunked)]
    good = [scalar_decay(ops, *case) for case in cases]
    print(f'{sum(good)} of {len(good)} passed')
    sys.exit(not all(good))


if __name__ == '__main__':
    main()
