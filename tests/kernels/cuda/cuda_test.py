#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The CUDA kernels against the token recurrence in float64: outputs, states and every gradient, odd lengths, memory
poisoned with NaN, repeated calls equal bit by bit.  python3 cuda_test.py LIBRARY [--quick]"""
import os
import sys

import torch

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'bench'))
from cuda_operators import (chunked, delta_chunked, delta_recurrence, inputs, load, recurrence,  # noqa: E402
                            relative_error, slopes)

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
    wanted = (decay in ('token', 'weak')) * ['d_log_decay'] + beta * ['d_beta']
    name = f'scalar_decay B={batch} T={tokens} H={heads} D={dim} decay={decay} beta={beta} state={state}'
    return compare(name, ops.scalar_decay_forward, ops.scalar_decay_backward, reference, (q, k, v, g, b), s, d_output, ds,
                   wanted)


def gated_delta(ops, batch, tokens, heads, dim, decay, expanded, state, reference):
    """expanded: k and v are one head seen by all, without a copy"""
    q, k, v, d_output = inputs(batch, tokens, heads, dim, tokens)
    generator = torch.Generator(device='cuda')
    generator.manual_seed(3)
    g = -decay * torch.rand(batch, tokens, heads, generator=generator, device='cuda')
    b = 2 * torch.rand(batch, tokens, heads, generator=generator, device='cuda')
    s = ds = None
    if expanded:
        k, v = (x[:, :, :1].expand_as(x) for x in (k, v))
    if state:
        s = torch.randn(batch, heads, dim, dim, generator=generator, device='cuda')
        ds = torch.randn(batch, heads, dim, dim, generator=generator, device='cuda')
    name = f'gated_delta B={batch} T={tokens} H={heads} D={dim} decay={decay} expanded={expanded} state={state}'
    return compare(name, ops.gated_delta_rule_forward, ops.gated_delta_rule_backward, reference, (q, k, v, g, b), s,
                   d_output, ds, ['d_log_decay', 'd_beta'])


def compare(name, forward, backward, reference, given, s, d_output, ds, gates):
    q, k, v, g, b = given
    batch, _, heads, dim = q.shape
    scale = dim ** -0.5

    def run():
        poison()
        output, last = forward(q, k, v, g, b, scale, s)
        poison()
        return (output, last) + tuple(backward(q, k, v, g, b, scale, s, d_output, ds))
    names = ('output', 'final_state', 'dq', 'dk', 'dv', 'd_log_decay', 'd_beta', 'd_state')
    got = dict(zip(names, run()))
    again = dict(zip(names, run()))
    equal = all(got[n] is None and again[n] is None or torch.equal(got[n], again[n]) for n in names)

    kind = torch.float64
    leaves = {'dq': q, 'dk': k, 'dv': v, 'd_state': torch.zeros(batch, heads, dim, dim, device='cuda') if s is None else s}
    for gate, x in (('d_log_decay', g), ('d_beta', b)):
        if gate in gates:
            leaves[gate] = x
    leaves = {n: x.detach().to(kind).requires_grad_() for n, x in leaves.items()}
    wide = (leaves['dq'], leaves['dk'], leaves['dv'], leaves.get('d_log_decay', g if g is None else g.to(kind)),
            leaves.get('d_beta'), scale, leaves['d_state'])
    output, last = reference(*wide)
    loss = (output * d_output.to(kind)).sum() + (0 if ds is None else (last * ds.to(kind)).sum())
    truth = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values()))), output=output, final_state=last)
    errors = {n: relative_error(got[n], x.detach()) for n, x in truth.items()}
    good = equal and all(e < (GATE_LIMIT if n == 'd_log_decay' else LIMIT) for n, e in errors.items())
    print(f'{"ok  " if good else "FAIL"} {name} equal={equal} ' + ' '.join(f'{n}={e:.1e}' for n, e in errors.items()), flush=True)
    return good


def main():
    ops = load(sys.argv[1])
    quick = '--quick' in sys.argv
    cases = [(1, 1, 2, 128, 'fixed', False, True, recurrence), (2, 1, 3, 64, 'token', True, True, recurrence),
             (1, 63, 2, 128, 'fixed', False, False, recurrence), (2, 100, 4, 64, 'token', True, True, recurrence),
             (1, 1000, 4, 128, 'token', True, True, chunked), (1, 1000, 2, 128, 'fixed', False, True, chunked)]
    if not quick:
        cases += [(40, 1, 8, 128, 'token', True, True, recurrence), (40, 1, 8, 64, 'fixed', False, True, recurrence),
                  (1, 1000, 16, 128, 'fixed', False, True, recurrence),
                  (1, 1000, 4, 128, 'token', True, True, recurrence),
                  (1, 1000, 4, 128, None, False, True, recurrence),
                  (1, 777, 8, 64, 'weak', False, True, recurrence),
                  (1, 20011, 16, 128, 'fixed', False, True, chunked),
                  (1, 20011, 4, 128, 'token', True, True, chunked),
                  (1, 20011, 4, 128, 'token', False, False, chunked),
                  (1, 20011, 4, 128, 'weak', False, True, chunked),
                  (3, 5000, 130, 64, 'fixed', False, False, chunked)]
    delta_cases = [(1, 1, 2, 128, .1, False, True, delta_recurrence), (2, 63, 2, 64, .1, False, True, delta_recurrence),
                   (1, 64, 2, 128, .1, False, False, delta_recurrence), (2, 100, 3, 128, .3, True, True, delta_recurrence)]
    if not quick:
        delta_cases += [(2, 1, 3, 64, .1, False, False, delta_recurrence), (40, 1, 8, 64, .1, False, True, delta_recurrence),
                        (40, 1, 8, 128, .1, False, True, delta_recurrence), (1, 64, 4, 64, .1, False, True, delta_recurrence),
                        (1, 777, 4, 64, .05, True, True, delta_recurrence),
                        (1, 1000, 4, 128, .02, False, True, delta_recurrence),
                        (1, 1000, 4, 128, 4., False, True, delta_recurrence),
                        (2, 5000, 16, 128, .01, False, True, delta_chunked),
                        (3, 5000, 20, 64, .1, False, False, delta_chunked),
                        (1, 20011, 16, 128, .1, False, True, delta_chunked)]
    good = []
    if '--only-delta' not in sys.argv:
        good += [scalar_decay(ops, *case) for case in cases]
    if '--only-scalar' not in sys.argv:
        good += [gated_delta(ops, *case) for case in delta_cases]
    print(f'{sum(good)} of {len(good)} passed')
    sys.exit(not all(good))


if __name__ == '__main__':
    main()
