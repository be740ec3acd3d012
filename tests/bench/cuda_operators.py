# SPDX-License-Identifier: Apache-2.0
"""What the CUDA tests and benchmarks share: the operators, inputs, the token recurrence, timing."""
import os
import statistics

import torch

SCALAR = 'Tensor q, Tensor k, Tensor v, Tensor? log_decay, Tensor? beta, float scale, Tensor? state'
DELTA = 'Tensor q, Tensor k, Tensor v, Tensor log_decay, Tensor beta, float scale, Tensor? state'
SCHEMAS = (
    f'scalar_decay_forward({SCALAR}) -> (Tensor output, Tensor final_state)',
    f'scalar_decay_backward({SCALAR}, Tensor d_output, Tensor? d_final_state) -> '
    '(Tensor dq, Tensor dk, Tensor dv, Tensor? d_log_decay, Tensor? d_beta, Tensor d_state)',
    f'gated_delta_rule_forward({DELTA}) -> (Tensor output, Tensor final_state)',
    f'gated_delta_rule_backward({DELTA}, Tensor d_output, Tensor? d_final_state) -> '
    '(Tensor dq, Tensor dk, Tensor dv, Tensor d_log_decay, Tensor d_beta, Tensor d_state)')
_library = None


def load(path):
    """the operators of libflashmorph_kernels_cuda.so, under the schemas of kernels/register.cpp"""
    global _library
    _library = torch.library.Library('flashmorph', 'DEF')
    for schema in SCHEMAS:
        _library.define(schema)
    torch.ops.load_library(os.path.abspath(path))
    return torch.ops.flashmorph


def slopes(heads, device='cuda'):
    """Lightning's log decays for a power of two of heads (method 2.5)"""
    h = torch.arange(heads, device=device, dtype=torch.float32)
    return -(2.0 ** (-8.0 * (h + 1) / heads))


def inputs(batch, tokens, heads, dim, seed, device='cuda'):
    """q, k of unit norm, v and d_output normal: [B, T, H, D] bf16"""
    generator = torch.Generator(device=device)
    generator.manual_seed(seed)

    def normal():
        return torch.randn(batch, tokens, heads, dim, generator=generator, device=device)
    unit = torch.nn.functional.normalize
    return tuple(x.bfloat16() for x in (unit(normal(), dim=-1), unit(normal(), dim=-1), normal(), normal()))


def recurrence(q, k, v, log_decay, beta, scale, state):
    """token by token in the dtype of the arguments, differentiable: (output, final state)"""
    tokens, heads = q.shape[1:3]
    outputs = []
    for t in range(tokens):
        g = log_decay if log_decay is None or log_decay.dim() == 1 else log_decay[:, t]
        if g is not None:
            state = state * g.exp().reshape(-1, heads, 1, 1)
        r = v[:, t]
        if beta is not None:
            r = r * beta[:, t, :, None]
        state = state + k[:, t, :, :, None] * r[:, :, None, :]
        outputs.append(scale * torch.einsum('bhk,bhkv->bhv', q[:, t], state))
    return torch.stack(outputs, 1), state


def chunked(q, k, v, log_decay, beta, scale, state, chunk=50):
    """the same by chunks, for lengths at which the token loop takes too long"""
    tokens, heads = q.shape[1:3]
    outputs = []
    if beta is not None:
        v = v * beta[..., None]
    for t in range(0, tokens, chunk):
        cut = slice(t, min(t + chunk, tokens))
        n = cut.stop - t
        cq, ck, cv = (x[:, cut].transpose(1, 2) for x in (q, k, v))
        if log_decay is None:
            g = q.new_zeros(1, 1, n)
        elif log_decay.dim() == 1:
            g = log_decay[None, :, None].expand(1, heads, n)
        else:
            g = log_decay[:, cut].transpose(1, 2)
        b = g.cumsum(-1)
        weight = (b[..., :, None] - b[..., None, :]).masked_fill(
            torch.ones(n, n, dtype=torch.bool, device=q.device).triu(1), float('-inf')).exp()
        o = (weight * (cq @ ck.transpose(-1, -2))) @ cv + b.exp()[..., None] * (cq @ state)
        state = b[..., -1, None, None].exp() * state + (ck * (b[..., -1:] - b).exp()[..., None]).transpose(-1, -2) @ cv
        outputs.append(scale * o.transpose(1, 2))
    return torch.cat(outputs, 1), state


def delta_recurrence(q, k, v, log_decay, beta, scale, state):
    """the gated delta rule token by token, differentiable: (output, final state)"""
    outputs = []
    for t in range(q.shape[1]):
        state = state * log_decay[:, t, :, None, None].exp()
        known = torch.einsum('bhk,bhkv->bhv', k[:, t], state)
        write = beta[:, t, :, None] * (v[:, t] - known)
        state = state + k[:, t, :, :, None] * write[:, :, None, :]
        outputs.append(scale * torch.einsum('bhk,bhkv->bhv', q[:, t], state))
    return torch.stack(outputs, 1), state


def delta_chunked(q, k, v, log_decay, beta, scale, state, chunk=50):
    """the same by chunks: the writes of a chunk solve (I + stril(beta K K^T)) U = beta (V - K+ S)"""
    outputs = []
    for t in range(0, q.shape[1], chunk):
        cut = slice(t, min(t + chunk, q.shape[1]))
        n = cut.stop - t
        cq, ck, cv = (x[:, cut].transpose(1, 2) for x in (q, k, v))
        b, write = log_decay[:, cut].transpose(1, 2).cumsum(-1), beta[:, cut].transpose(1, 2)[..., None]
        weight = (b[..., :, None] - b[..., None, :]).masked_fill(
            torch.ones(n, n, dtype=torch.bool, device=q.device).triu(1), float('-inf')).exp()
        known = b.exp()[..., None] * (ck @ state)
        triangle = (weight * (ck @ ck.transpose(-1, -2)) * write).tril(-1)
        u = torch.linalg.solve_triangular(triangle, write * (cv - known), upper=False, unitriangular=True)
        o = (weight * (cq @ ck.transpose(-1, -2))) @ u + b.exp()[..., None] * (cq @ state)
        state = b[..., -1, None, None].exp() * state + (ck * (b[..., -1:] - b).exp()[..., None]).transpose(-1, -2) @ u
        outputs.append(scale * o.transpose(1, 2))
    return torch.cat(outputs, 1), state


def relative_error(got, expected):
    got, expected = got.double(), expected.double()
    return float((got - expected).norm() / (expected.norm() + 1e-30))


class Timer:
    """median GPU milliseconds of a call: L2 overwritten before each, host kept ahead of the GPU"""

    def __init__(self):
        self.flush = torch.empty(256 << 20, dtype=torch.int8, device='cuda')

    def __call__(self, call, repeats=15, sleep_cycles=2_000_000):
        call()
        call()
        events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]
        for start, stop in events:
            self.flush.zero_()
            torch.cuda._sleep(sleep_cycles)
            start.record()
            call()
            stop.record()
            torch.cuda.synchronize()
        return statistics.median(start.elapsed_time(stop) for start, stop in events)
