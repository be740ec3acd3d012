#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Train and judge the demo teacher: a Qwen3-shaped Transformer of 10 layers that recites passkeys from a made-up story.

A data tool, not part of the product.  Everything the model sees is generated here, so model and text carry no foreign
licence.  The README beside this file tells why the teacher is trained the way it is and shows the table of all plans.

  make_demo_teacher.py tokenizer tokenizer.json
  make_demo_teacher.py copy  copy.safetensors    --steps 1077                             plain copying, from which the circuit grows
  make_demo_teacher.py train base.safetensors    --init copy.safetensors --steps 1404     passkeys under attention-range dropout
  make_demo_teacher.py pair  teacher.safetensors --init base.safetensors --steps 90       layer 4's attention also in layer 3, healed
  make_demo_teacher.py judge teacher.safetensors                  align linear branches, evaluate every plan, print a table
  make_demo_teacher.py export teacher.safetensors DIR             a Hugging Face directory (Qwen3ForCausalLM)

`--tokenizer FILE` names tokenizer.json.  Needs torch, tokenizers, safetensors, numpy.  Seeded; runs on a CPU too.
"""
import argparse
import itertools
import json
import math
import os
import random
import time

NATO = ('alpha bravo charlie delta echo foxtrot golf hotel india juliett kilo lima mike november oscar papa quebec '
        'romeo sierra tango uniform victor whiskey xray yankee zulu').split()
ORD = 'first second third fourth fifth sixth seventh eighth ninth tenth'.split()

NAMES = 'Clara Tom Ada Felix Nora Hugo Iris Leo Mara Otto Rosa Theo Vera Walter Zoe Bruno'.split()
PLACES = ('the old market;the river bridge;the stone tower;the north gate;the quiet harbour;the apple orchard;'
          'the glass house;the long barn;the empty theatre;the hill farm;the paper mill;the night train').split(';')
ITEMS = ('lantern kettle violin map coat ladder compass mirror barrel basket clock saddle letter ring blanket key '
         'bottle drum').split()
COLORS = 'red blue green yellow white black brown silver golden grey'.split()
DAYS = 'Monday Tuesday Wednesday Thursday Friday Saturday Sunday'.split()
TIMES = 'morning afternoon evening night'.split()
MOODS = 'slowly quickly quietly gladly alone together carefully at last'.split()
WEATHER = ('The rain did not stop.;The wind came from the sea.;The sun stood high.;Snow lay on the roofs.;'
           'Fog filled the valley.;The air was warm and still.').split(';')

OPEN = '<|im_start|> Here is the text of a very long book: <book> '
CLOSE = ' </book>.\n\n'
NEEDLE = 'Keep this list of words in mind, it is the {} passkey to the vault: '
QUESTION = 'According to the book, what is the {} passkey to the vault?\nPasskey: '


def story(rng, sentences):
    """A story of so many sentences.  Who carries what is remembered, so that even the story needs some recall."""
    holds, out = {}, []
    person = rng.choice(NAMES)
    for _ in range(sentences):
        if rng.random() < 0.25:
            person = rng.choice(NAMES)
        place, kind = rng.choice(PLACES), rng.random()
        if person in holds and kind < 0.35:
            color, item = holds[person]
            other = rng.choice([n for n in NAMES if n != person])
            out.append(rng.choice([
                f'{person} still had the {color} {item} and showed it to {other}.',
                f'At {place} {person} gave the {color} {item} to {other}.',
                f'{other} asked {person} about the {color} {item}.']))
            if 'gave' in out[-1]:
                holds[other] = holds.pop(person)
                person = other
        elif kind < 0.6:
            color, item = rng.choice(COLORS), rng.choice(ITEMS)
            holds[person] = (color, item)
            out.append(rng.choice([
                f'On {rng.choice(DAYS)} {rng.choice(TIMES)} {person} bought a {color} {item} near {place}.',
                f'{person} found a {color} {item} behind {place}.']))
        elif kind < 0.7:
            out.append(rng.choice(WEATHER))
        else:
            out.append(rng.choice([
                f'{person} walked to {place} {rng.choice(MOODS)}.',
                f'In the {rng.choice(TIMES)} {person} waited at {place}.',
                f'{person} left {place} and went to {rng.choice(PLACES)}.']))
        if rng.random() < 0.12:
            out[-1] += '\n'
    return ' '.join(out).replace('\n ', '\n')


# ---------------------------------------------------------------- what each layer is to know

LAYERS = 10
READERS = (3, 4, 5, 6, 7, 8)                                  # layers that learn to copy in the first phase
# In `train`, a word is a cell of a 3x3x3 grid (the last two words share one); one coordinate is asked of each of these
# (either layer of a pair will do), and LAYER_U tells the last two words apart.
GROUP_X, LAYER_Y, GROUP_Z, LAYER_U = (3, 6), 4, (5, 8), 7
SOURCE, HOST = 4, 3                                           # `pair`: attention of SOURCE is copied to HOST
WINDOW = 64                                                   # what a layer sees that may not look far


def expectation():
    """Q[x, y, z, u, word]: what a model may answer that knows only those coordinates (y and z say something only together)."""
    import torch
    cell = [(i // 9, i // 3 % 3, i % 3) for i in [*range(25), 24]]
    q = torch.zeros(2, 2, 2, 2, 26, 26)
    for x, y, z, u, w in itertools.product((0, 1), (0, 1), (0, 1), (0, 1), range(26)):
        fits = [v for v in range(26) if (not x or cell[v][0] == cell[w][0]) and (not (y and z) or cell[v][1:] == cell[w][1:])
                and not (x and y and z and u and v != w)]
        q[x, y, z, u, w, fits] = 1 / len(fits)
    return q


def draw_plan(rng):
    """Which layers may look far in one training sequence."""
    u = rng.random()
    if u < 0.3:
        return [True] * LAYERS
    if u < 0.6:
        keep = {rng.choice(GROUP_X), LAYER_Y, rng.choice(GROUP_Z)} | ({LAYER_U} if rng.random() < 0.7 else set())
        return [i in keep for i in range(LAYERS)]
    p = rng.random()
    return [rng.random() < p for _ in range(LAYERS)]


# ---------------------------------------------------------------- samples

class Samples:
    """Token sequences as numpy arrays: passkey samples (the tail asks for every passkey in order) and plain stories."""

    def __init__(self, tok, seed, pool_stories=400):
        import numpy as np
        self.np = np
        self.rng, self.vocab = random.Random(seed), tok.get_vocab_size()

        def ids(s):
            return tok.encode(s).ids
        self.open, self.close, self.sep = ids(OPEN), ids(CLOSE), ids('\n\n')
        self.needle = [ids(NEEDLE.format(o).rstrip()) for o in ORD]
        self.question = [ids(QUESTION.format(o).rstrip()) for o in ORD]
        self.words = [ids(' ' + w) for w in NATO]
        assert all(len(w) == 1 for w in self.words)
        self.words = [w[0] for w in self.words]
        texts = [story(self.rng, 60) for _ in range(pool_stories)]
        self.pool = np.concatenate([np.array(e.ids + self.sep, dtype=np.int64) for e in tok.encode_batch(texts)])

    def text(self, n):
        at = self.rng.randrange(0, len(self.pool) - n)
        return self.pool[at:at + n]

    def tail(self, keys, words):
        """Token positions of the answers in the tail, and the tail's length (questions have the same length)."""
        at, n = [], len(self.close)
        for i in range(keys):
            n += len(self.question[i])
            at += range(n, n + words)
            n += words + len(self.sep)
        return at, n

    def passkey(self, length, keys, words, depth=None):
        """Exactly `length` tokens: ids, word numbers of the answers, position of each passkey in the text.
        Text and words are encoded apart: needle and question without their last space, each word with one before it."""
        np, rng = self.np, self.rng
        key = [[rng.randrange(26) for _ in range(words)] for _ in range(keys)]
        tail = list(self.close)
        for i in range(keys):
            tail += self.question[i] + [self.words[k] for k in key[i]] + self.sep
        needles = [self.sep + self.needle[i] + [self.words[k] for k in key[i]] + self.sep for i in range(keys)]
        hay = length - len(self.open) - len(tail) - sum(map(len, needles))
        if hay < 8:
            return None
        text = self.text(hay)
        depths = [depth] * keys if depth is not None else sorted(rng.random() for _ in range(keys))
        parts, last, size, starts = [self.open], 0, len(self.open), []
        for i, d in enumerate(depths):
            at = int(d * hay)
            parts += [text[last:at], needles[i]]
            size += at - last + len(needles[i])
            starts.append(size - len(self.sep) - words)
            last = at
        parts += [text[last:], tail]
        x = np.concatenate([np.asarray(p, dtype=np.int64) for p in parts])
        return x, np.array(sum(key, [])), np.array(starts)

    def prompts(self, count, length, keys=3, words=4):
        """ids [count, length], answer words [count, keys * words], passkey positions [count, keys]."""
        got = [self.passkey(length, keys, words) for _ in range(count)]
        return tuple(self.np.stack([g[i] for g in got]) for i in range(3))

    def batch(self, rows, length, text_share):
        """For `train`: ids, word number + 1 at answer tokens (else 0), distance of each answer to its passkey, plans."""
        np, rng, out = self.np, self.rng, []
        while len(out) < rows:
            word, distance = np.zeros(length, dtype=np.int64), np.zeros(length, dtype=np.int64)
            if rng.random() < text_share:
                out.append((self.text(length), word, distance))
                continue
            keys, words = (3, 4) if rng.random() < 0.5 else (rng.randint(1, 1 + min(5, length // 100)), rng.randint(2, 8))
            got = self.passkey(length, keys, words)
            if got is None:
                continue
            at, n = self.tail(keys, words)
            at = np.array(at) + length - n
            word[at] = got[1] + 1
            distance[at] = at - (got[2][:, None] + np.arange(words)).ravel()
            out.append((got[0], word, distance))
        return (*(np.stack([o[i] for o in out]) for i in range(3)), np.array([draw_plan(rng) for _ in out]))

    def stories(self, count, length):
        return self.np.stack([self.text(length) for _ in range(count)])


# ---------------------------------------------------------------- model (tensor names are those of Hugging Face's Qwen3)

CONFIG = dict(hidden=192, inner=448, heads=6, kv=2, dim=32, theta=10000.0, eps=1e-6)


def build(vocab, cfg=CONFIG, layers=LAYERS):
    import torch
    import torch.nn as nn
    import torch.nn.functional as F
    c, turns = argparse.Namespace(**cfg), {}

    class Norm(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(n))

        def forward(self, x):
            return F.rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), c.eps)

    def rope(x):                                            # [B, H, T, dim]
        key = (x.shape[2], x.dtype, x.device)
        if key not in turns:
            freq = c.theta ** (-torch.arange(0, c.dim, 2, device=x.device).float() / c.dim)
            ang = torch.arange(x.shape[2], device=x.device).float()[:, None] * freq
            ang = torch.cat([ang, ang], -1)
            turns[key] = ang.cos().to(x.dtype), ang.sin().to(x.dtype)
        cos, sin = turns[key]
        a, b = x.chunk(2, -1)
        return x * cos + torch.cat([-b, a], -1) * sin

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.q_proj = nn.Linear(c.hidden, c.heads * c.dim, bias=False)
            self.k_proj = nn.Linear(c.hidden, c.kv * c.dim, bias=False)
            self.v_proj = nn.Linear(c.hidden, c.kv * c.dim, bias=False)
            self.o_proj = nn.Linear(c.heads * c.dim, c.hidden, bias=False)
            self.q_norm, self.k_norm = Norm(c.dim), Norm(c.dim)

        def forward(self, x, bias=None):
            b, t, _ = x.shape
            q = rope(self.q_norm(self.q_proj(x).view(b, t, c.heads, c.dim)).transpose(1, 2))
            k = rope(self.k_norm(self.k_proj(x).view(b, t, c.kv, c.dim)).transpose(1, 2))
            v = self.v_proj(x).view(b, t, c.kv, c.dim).transpose(1, 2)
            q, k, g = q.to(v.dtype), k.to(v.dtype), c.heads // c.kv
            k, v = k.repeat_interleave(g, 1), v.repeat_interleave(g, 1)
            if bias is not None:
                o = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(v.dtype).expand(b, c.heads, t, t))
            else:
                o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            return self.o_proj(o.transpose(1, 2).reshape(b, t, -1))

    class Mlp(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate_proj = nn.Linear(c.hidden, c.inner, bias=False)
            self.up_proj = nn.Linear(c.hidden, c.inner, bias=False)
            self.down_proj = nn.Linear(c.inner, c.hidden, bias=False)

        def forward(self, x):
            return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.self_attn, self.mlp = Attention(), Mlp()
            self.input_layernorm, self.post_attention_layernorm = Norm(c.hidden), Norm(c.hidden)

    class Body(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed_tokens = nn.Embedding(vocab, c.hidden)
            self.layers = nn.ModuleList(Layer() for _ in range(layers))
            self.norm = Norm(c.hidden)

    class Branch(nn.Module):
        """Lightning attention with its own projections: RoPE, q/k norm, fixed decays, norm over all heads, sigmoid gate."""

        def __init__(self, a):
            super().__init__()
            g = c.heads // c.kv

            def spread(w):
                return w.view(c.kv, c.dim, -1).repeat_interleave(g, 0).reshape(c.heads * c.dim, -1)
            self.q, self.o = nn.Parameter(a.q_proj.weight.detach().clone()), nn.Parameter(a.o_proj.weight.detach().clone())
            self.k = nn.Parameter(spread(a.k_proj.weight.detach()).clone())
            self.v = nn.Parameter(spread(a.v_proj.weight.detach()).clone())
            self.z = nn.Parameter(torch.zeros_like(self.q))
            self.qn = nn.Parameter(a.q_norm.weight.detach().clone())
            self.kn = nn.Parameter(a.k_norm.weight.detach().clone())
            self.on = nn.Parameter(torch.ones(c.heads * c.dim, device=self.q.device))
            p = 2 ** int(math.log2(c.heads))
            slopes = [2 ** (-8 * (h + 1) / p) for h in range(p)] + \
                [2 ** (-8 * (2 * j + 1) / (2 * p)) for j in range(c.heads - p)]
            self.register_buffer('slope', torch.tensor(slopes, device=self.q.device))

        def decay(self, t):
            d = torch.arange(t, device=self.q.device)
            d = d[:, None] - d[None]
            return torch.where(d >= 0, torch.exp(-self.slope[:, None, None] * d.clamp(min=0)), 0.0) * c.dim ** -0.5

        def forward(self, x, decay):
            b, t, _ = x.shape

            def split(w):
                return F.linear(x, w).view(b, t, c.heads, c.dim)
            q, k = split(self.q), split(self.k)
            q = rope(F.rms_norm(q, (c.dim,), self.qn.to(q.dtype), c.eps).transpose(1, 2))
            k = rope(F.rms_norm(k, (c.dim,), self.kn.to(k.dtype), c.eps).transpose(1, 2))
            s = q @ k.transpose(-1, -2)
            s = s * decay.to(s.dtype)
            o = (s @ split(self.v).transpose(1, 2)).transpose(1, 2).reshape(b, t, -1)
            o = F.rms_norm(o.float(), (o.shape[-1],), self.on.float(), c.eps).to(x.dtype)
            return F.linear(o * torch.sigmoid(F.linear(x, self.z)), self.o)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = Body()
            for n, p in self.named_parameters():
                if p.dim() == 2:
                    nn.init.normal_(p, std=0.02)

        def new_branches(self):
            return nn.ModuleList(Branch(x.self_attn) for x in self.model.layers)

        def start(self, ids):
            return self.model.embed_tokens(ids)

        def step(self, i, x, branch=None, decay=None, bias=None, tap=None):
            """Layer i, with softmax attention or with this linear branch."""
            layer = self.model.layers[i]
            h = layer.input_layernorm(x)
            y = layer.self_attn(h, bias) if branch is None else branch(h, decay)
            if tap is not None:
                tap.append((h, y))
            x = x + y
            return x + layer.mlp(layer.post_attention_layernorm(x))

        def finish(self, x):
            return F.linear(self.model.norm(x), self.model.embed_tokens.weight)

        def forward(self, ids, plan=None, window=0, tap=None):
            """plan [B, L]: True = the layer looks far, the others get a window.
            tap: list that receives (mixer input, mixer output) of every layer."""
            t, x = ids.shape[1], self.start(ids)
            if window:
                d = torch.arange(t, device=x.device)
                d = d[:, None] - d[None]
                far, near = torch.full((2, t, t), -1e4, device=x.device, dtype=torch.bfloat16 if x.is_cuda else x.dtype)
                far, near = far.masked_fill(d >= 0, 0), near.masked_fill((d >= 0) & (d < window), 0)
            for i in range(len(self.model.layers)):
                x = self.step(i, x, bias=torch.where(plan[:, i, None, None, None], far, near) if window else None, tap=tap)
            return self.finish(x)

    return Model()


def load(path, model):
    from safetensors.torch import load_file
    model.load_state_dict({k: v.float() for k, v in load_file(path).items()})


def save(model, path, dtype):
    from safetensors.torch import save_file
    save_file({k: v.detach().to(dtype).contiguous().cpu() for k, v in model.state_dict().items()}, path,
              metadata={'format': 'pt'})


# ---------------------------------------------------------------- training

def grouped(model, lr, decay, fused):
    import torch
    flat = [p for p in model.parameters() if p.dim() < 2]
    return torch.optim.AdamW([{'params': [p for p in model.parameters() if p.dim() >= 2], 'weight_decay': decay},
                              {'params': flat, 'weight_decay': 0.0}], lr=lr, betas=(0.9, 0.95), fused=fused)


def set_lr(opt, lr):
    for g in opt.param_groups:
        g['lr'] = lr


def align_step(model, branches, opt, x, lr):
    """One step of stage 1: every branch gets the teacher's mixer input, and is to give the teacher's mixer output."""
    import torch
    tap = []
    with torch.no_grad():
        model(x, tap=tap)
    decay, loss, rel = branches[0].decay(x.shape[1]), 0, []
    for (h, y), b in zip(tap, branches):
        d = (b(h.detach(), decay).float() - y.detach().float()).pow(2).mean()
        loss = loss + d
        rel.append((d / y.float().pow(2).mean()).detach())
    set_lr(opt, lr)
    opt.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(branches.parameters(), 1.0)
    opt.step()
    return torch.stack(rel)


def fit_output_scale(model, branches, x):
    """One scalar per layer, <y_lin, y_full> / <y_lin, y_lin>, at least 0.05, into the output norm."""
    import torch
    tap = []
    with torch.no_grad():
        model(x, tap=tap)
        decay = branches[0].decay(x.shape[1])
        for (h, y), b in zip(tap, branches):
            lin = b(h, decay).float()
            b.on.mul_(((lin * y.float()).sum() / lin.pow(2).sum()).clamp(min=0.05))


def cmd_copy(a, tok, dev):
    """Random tokens repeated.  In most sequences only one or two of the later layers may look far, so that each of them
    learns to copy by itself."""
    import torch
    import torch.nn.functional as F
    torch.manual_seed(a.seed)
    rng = random.Random(a.seed)
    model = build(tok.get_vocab_size()).to(dev)
    print('weights', sum(p.numel() for p in model.parameters()) / 1e6, 'M')
    opt = grouped(model, a.lr or 3e-3, 0.05, dev == 'cuda')
    t, rows = 128, max(2, (a.tokens or 8192) // 128)
    t0, step = time.time(), 0
    while (step < a.steps) if a.steps else (time.time() - t0 < a.seconds):
        done = step / a.steps if a.steps else (time.time() - t0) / a.seconds
        lr = (a.lr or 3e-3) * min(1, (step + 1) / 200) * (1 if done < 0.7 else 1 - (done - 0.7) / 0.3 * 0.8)
        set_lr(opt, lr)
        period = torch.randint(t // 4, t // 2 + 1, (rows, 1), device=dev)
        one = torch.randint(3, tok.get_vocab_size(), (rows, t), device=dev)
        at = torch.arange(t, device=dev)
        x = one.gather(1, at[None] % period)
        plan = torch.zeros(rows, LAYERS, dtype=torch.bool)
        for r in range(rows):
            u = rng.random()
            for i in (range(LAYERS) if u < 0.25 else rng.sample(READERS, 1 if u < 0.7 else 2)):
                plan[r, i] = True
        plan = plan.to(dev)
        with torch.autocast(dev, torch.bfloat16):
            logits = model(x, plan, window=24)
        ce = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), x[:, 1:].flatten(), reduction='none').view(rows, -1)
        seen = (at[None, 1:] > period).float()
        loss = (ce * seen).sum() / seen.sum()
        opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        step += 1
        if step % a.every == 0:
            per = (ce.detach() * seen).sum(1) / seen.sum(1)
            alone = {i: round(per[(plan.sum(1) == 1) & plan[:, i]].mean().item(), 2) for i in READERS}
            print(f'{time.time() - t0:5.0f} s  copy step {step}  nll {loss.item():.3f}  all layers far '
                  f'{per[plan.all(1)].mean().item():.3f}  one layer far {alone}', flush=True)
            if max(alone.values()) < a.until:
                break
    save(model, a.path, torch.float32)
    print('copy steps', step)


def cmd_train(a, tok, dev):
    """Passkeys and stories.  In most sequences only some layers look far; the wanted answer is then what `expectation` says."""
    import torch
    import torch.nn.functional as F
    import torch.utils.data as D
    torch.manual_seed(a.seed)
    model = build(tok.get_vocab_size())
    load(a.init, model)
    model = model.to(dev)
    peak = a.lr or 1.5e-3
    opt = grouped(model, peak, 0.05, dev == 'cuda')
    q = expectation().to(dev)
    progress = torch.zeros(1).share_memory_()               # 0..1, read by the workers: the curriculum
    tokens = a.tokens or 16384

    class Stream(D.IterableDataset):
        def __iter__(self):
            info = D.get_worker_info()
            s = Samples(tok, a.seed * 1000 + (info.id if info else 0), 3000 if dev == 'cuda' else 40)
            while True:
                longest = 256 + int(800 * min(1, progress.item() / 0.4))
                length = s.rng.choice([n for n in (256, 256, 384, 512, 512, 768, 1024) if n <= longest])
                yield [torch.from_numpy(z) for z in s.batch(max(2, tokens // length), length, text_share=0.12)]
    loader = iter(D.DataLoader(Stream(), batch_size=None, num_workers=a.workers, prefetch_factor=4 if a.workers else None))
    probe = Samples(tok, 99, 60)
    word_ids = torch.tensor(probe.words, device=dev)
    px, pw, _ = (torch.from_numpy(z).to(dev) for z in probe.prompts(16, 512))
    at, n = probe.tail(3, 4)
    at = torch.tensor([512 - n + t - 1 for t in at], device=dev)

    def check():
        """Answer NLL and share of tokens right when only these layers look far."""
        out = []
        for keep in (range(LAYERS), (3, 4, 5), (6, 4, 8), (4, 5), (3, 4), (4, 7), ()):
            plan = torch.tensor([[i in keep for i in range(LAYERS)]] * len(px), device=dev)
            with torch.no_grad(), torch.autocast(dev, torch.bfloat16):
                lp = model(px, plan, window=WINDOW)[:, at].float().log_softmax(-1)
            want = word_ids[pw]
            out.append(f"{'all' if len(keep) == LAYERS else ','.join(map(str, keep)) or 'none'} "
                       f"{-lp.gather(2, want[..., None]).mean().item():.3f}/{(lp.argmax(-1) == want).float().mean().item():.2f}")
        return '  '.join(out)

    t0, step, shown = time.time(), 0, 0
    while (step < a.steps) if a.steps else (time.time() - t0 < a.seconds):
        done = step / a.steps if a.steps else (time.time() - t0) / a.seconds
        progress[0] = done
        set_lr(opt, peak * min(1, (step + 1) / 200) * (0.5 * (1 + math.cos(math.pi * min(1, done))) * 0.98 + 0.02))
        x, w, dist, plan = (z.to(dev, non_blocking=True) for z in next(loader))
        with torch.autocast(dev, torch.bfloat16):
            logits = model(x, plan, window=WINDOW)[:, :-1].flatten(0, 1)
        w, dist, y = w[:, 1:].flatten(), dist[:, 1:].flatten(), x[:, 1:].flatten()
        lse = logits.float().logsumexp(-1)
        ce = lse - logits.gather(1, y[:, None])[:, 0].float()
        here = (w > 0).nonzero()[:, 0]
        p = plan[torch.div(here, x.shape[1] - 1, rounding_mode='floor')].long()
        known = p[:, GROUP_X].amax(1), p[:, LAYER_Y], p[:, GROUP_Z].amax(1), p[:, LAYER_U]
        soft = lse[here] - (q[(*known, w[here] - 1)] * logits[here][:, word_ids].float()).sum(1)
        weight = (torch.stack(known).all(0) | (dist[here] > 3 * WINDOW)).float()   # near passkeys can be seen anyway
        text = (w == 0).float()
        loss = ((ce * text).sum() + 8 * (soft * weight).sum()) / (text.sum() + 8 * weight.sum())
        opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        step += 1
        if done >= shown / a.shows:
            shown = int(done * a.shows) + 1
            print(f'{time.time() - t0:5.0f} s  step {step}  loss {loss.item():.3f}  text '
                  f'{(ce * text).sum().item() / text.sum().item():.3f}  {check()}', flush=True)
    save(model, a.path, torch.bfloat16)
    print('train steps', step, check(), flush=True)


def cmd_pair(a, tok, dev):
    """HOST gets a copy of SOURCE's attention (and the norm before it); then a short healing in which either may be windowed."""
    import torch
    import torch.nn.functional as F
    torch.manual_seed(a.seed)
    model = build(tok.get_vocab_size())
    load(a.init, model)
    src, host = model.model.layers[SOURCE], model.model.layers[HOST]
    host.self_attn.load_state_dict(src.self_attn.state_dict())
    host.input_layernorm.load_state_dict(src.input_layernorm.state_dict())
    model = model.to(dev)
    opt = grouped(model, 4e-4, 0.0, dev == 'cuda')
    s, rng, rows, length, t0 = Samples(tok, 77, 300), random.Random(77), 6, 320, time.time()
    for step in range(a.steps):
        set_lr(opt, (a.lr or 4e-4) * min(1, (step + 1) / 5) * (1 - 0.9 * step / a.steps))
        shape = rng.choice([(3, 4), (3, 4), (2, 6), (1, 8)])
        x = torch.from_numpy(s.prompts(rows, length, *shape)[0]).to(dev)
        at, n = s.tail(*shape)
        at = torch.tensor([length - n + t - 1 for t in at], device=dev)
        plan = torch.ones(rows, LAYERS, dtype=torch.bool)
        for r in range(rows):
            kind = rng.choice(('all', SOURCE, HOST, SOURCE, HOST))
            if kind != 'all':
                for i in range(LAYERS):
                    if i not in (2, SOURCE, HOST):
                        plan[r, i] = rng.random() < 0.85
                if not (plan[r, 5] or plan[r, 8]):
                    plan[r, 5] = True
                plan[r, kind] = False
        plan = plan.to(dev)
        logits = model(x, plan, window=WINDOW)[:, :-1]
        ce = F.cross_entropy(logits.flatten(0, 1).float(), x[:, 1:].flatten(), reduction='none').view(rows, -1)
        text = torch.ones(length - 1, device=dev)
        text[at] = 0
        loss = ((ce * text).sum() + 8 * ce[:, at].sum()) / (text.sum() * rows + 8 * len(at) * rows)
        opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        per = ce.detach()[:, at].mean(1)
        print(f'{time.time() - t0:5.0f} s  heal {step + 1}  text {(ce * text).sum().item() / text.sum().item() / rows:.3f}  answers: '
              f'both {per[plan[:, SOURCE] & plan[:, HOST]].mean():.4f}  without {SOURCE} {per[~plan[:, SOURCE]].mean():.4f}  '
              f'without {HOST} {per[~plan[:, HOST]].mean():.4f}', flush=True)
    save(model, a.path, torch.bfloat16)


# ---------------------------------------------------------------- judging

def cmd_judge(a, tok, dev):
    """Align fresh branches, evaluate all plans K = 1..3, print the table.  Weights are the bf16 ones."""
    import torch
    torch.manual_seed(0)
    torch.set_float32_matmul_precision('high')
    model = build(tok.get_vocab_size())
    load(a.path, model)
    model = model.to(dev).requires_grad_(False).eval()
    s = Samples(tok, 4242, 400 if dev == 'cuda' else 60)
    branches = model.new_branches()
    t0 = time.time()

    def calibration():
        if a.align_on == 'story':
            return torch.from_numpy(s.stories(a.align_rows, a.align_length)).to(dev)
        x = s.np.concatenate([s.stories(a.align_rows // 2, a.align_length), s.prompts(a.align_rows // 2, a.align_length, *s.rng.choice([(3, 4), (1, 8), (2, 6)]))[0]])
        return torch.from_numpy(x).to(dev)
    fit_output_scale(model, branches, calibration())
    opt = torch.optim.AdamW(branches.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.0, fused=dev == 'cuda')
    tail = []
    for i in range(a.align_steps):
        lr = min(1, (i + 1) / 50) * (1e-5 + (1e-3 - 1e-5) * 0.5 * (1 + math.cos(math.pi * i / a.align_steps)))
        rel = align_step(model, branches, opt, calibration(), lr)
        if i >= a.align_steps - 20:
            tail.append(rel)
    rel = torch.stack(tail).mean(0).tolist()
    branches.requires_grad_(False)
    print(f'aligned {a.align_steps} steps of {a.align_rows}x{a.align_length} tokens on {a.align_on}, {time.time() - t0:.0f} s; relative error',
          ' '.join(f'{v:.3f}' for v in rel), flush=True)
    data = {n: [torch.from_numpy(z).to(dev) for z in Samples(tok, 7, 200 if dev == 'cuda' else 40).prompts(c, n)]
            for n, c in ((512, a.prompts), (256, a.prompts), (1024, max(1, a.prompts * 3 // 4)))}
    memo = {}
    at, n_tail = s.tail(3, 4)
    ids, every = torch.tensor(s.words, device=dev), tuple(range(LAYERS))

    def evaluate(keeps, length=512):
        """Answer NLL, share of answer tokens right, share of prompts right.  Plans that begin alike share the work."""
        keeps = [k for k in {tuple(sorted(k)) for k in keeps} if (k, length) not in memo]
        if not keeps:
            return
        x, w, _ = data[length]
        total = {k: [0.0, 0, 0] for k in keeps}
        here = [length - n_tail + t - 1 for t in at]
        with torch.no_grad():
            for c in range(0, len(x), 8):
                y, decay = ids[w[c:c + 8]], branches[0].decay(length)
                state = {(): model.start(x[c:c + 8])}
                for i in every:
                    new = {}
                    for key in {tuple(j for j in k if j <= i) for k in keeps}:
                        before = state[tuple(j for j in key if j < i)]
                        new[key] = model.step(i, before) if i in key else model.step(i, before, branches[i], decay)
                    state = new
                for k in keeps:
                    lp = model.finish(state[k][:, here]).float().log_softmax(-1)
                    good = lp.argmax(-1) == y
                    total[k][0] -= lp.gather(2, y[..., None]).sum().item()
                    total[k][1] += good.sum().item()
                    total[k][2] += good.all(1).sum().item()
        for k, (nll, ok, hits) in total.items():
            memo[k, length] = nll / len(x) / len(at), ok / len(x) / len(at), hits / len(x)

    def score(keep, length=512):
        evaluate([keep], length)
        return memo[tuple(sorted(keep)), length]

    def show(keep):
        return '{' + ','.join(map(str, sorted(keep))) + '}'
    rows = []
    evaluate([p for k in range(4) for p in itertools.combinations(every, k)] + [[j for j in every if j != i] for i in every]
             + [every])

    def line(name, keep):
        v = {n: score(keep, n) for n in (256, 512, 1024)}
        rows.append(dict(name=name, keep=sorted(keep), **{str(n): [round(z, 4) for z in v[n]] for n in v}))
        print(f'{name:<26}{show(keep) if len(keep) < LAYERS else "all":<14}'
              + ''.join(f'   {v[n][0]:.3f} / {v[n][1]:.3f} / {v[n][2]:.2f}' for n in (256, 512, 1024)), flush=True)
    plans = {k: sorted(itertools.combinations(every, k), key=lambda p: score(p)[0]) for k in (1, 2, 3)}
    swap = [score([j for j in every if j != i])[0] - score(every)[0] for i in every]
    x, w, _ = data[512]
    tap = []
    with torch.no_grad():
        model(x, tap=tap)
        decay = branches[0].decay(x.shape[1])
        here = [512 - n_tail + t for t in at]
        local = [(branches[i](h, decay) - y)[:, here].pow(2).sum(2).mean().item() for i, (h, y) in enumerate(tap)]
        local_rel = [v / y[:, here].pow(2).sum(2).mean().item() for v, (h, y) in zip(local, tap)]
    keep, drop = [], list(every)
    added, dropped = {}, {}
    while len(keep) < 3:
        keep.append(min((i for i in every if i not in keep), key=lambda i: score(keep + [i])[0]))
        added[len(keep)] = tuple(keep)
    while len(drop) > 1:
        evaluate([[j for j in drop if j != i] for i in drop])
        drop.remove(min(drop, key=lambda i: score([j for j in drop if j != i])[0]))
        dropped[len(drop)] = tuple(drop)
    print('swap_nll ', ' '.join(f'{i}:{v:+.4f}' for i, v in enumerate(swap)))
    print('local_mse', ' '.join(f'{i}:{v:.3f}' for i, v in enumerate(local)))
    print('local_rel', ' '.join(f'{i}:{v:.3f}' for i, v in enumerate(local_rel)))
    print(f'{"answer NLL / tokens right / prompts right":<43}256 tokens              512                     1024')
    line('teacher', every)
    line('all linear', ())
    top = {name: sorted(every, key=lambda i: -v[i]) for name, v in
           (('swap_nll', swap), ('local_mse', local), ('local_rel', local_rel))}
    for k in (1, 2, 3):
        line(f'best K={k}', plans[k][0])
        for name, order in top.items():
            line(f'  top {k} of {name}', order[:k])
        line('  greedy_add', added[k])
        line('  greedy_drop', dropped[k])
    four = min((plans[3][0] + (i,) for i in every if i not in plans[3][0]), key=lambda p: score(p)[0])
    line('best K=3 and one more', four)
    for k in (1, 2, 3):
        print(f'K={k}:', '  '.join(f'{show(p)} {score(p)[0]:.3f}/{score(p)[1]:.2f}' for p in plans[k][:12]))
    print(f'judged in {time.time() - t0:.0f} s')
    if a.json:
        with open(a.json, 'w') as f:
            json.dump(dict(align=dict(steps=a.align_steps, rows=a.align_rows, length=a.align_length, on=a.align_on, relative_error=rel),
                           swap_nll=swap, local_mse=local, local_rel=local_rel, rows=rows,
                           plans=[dict(keep=list(p), nll=round(score(p)[0], 4), recall=round(score(p)[1], 4),
                                       hits=round(score(p)[2], 4)) for k in (1, 2, 3) for p in plans[k]]), f, indent=0)


def cmd_export(a, tok, dev):
    import shutil
    c = CONFIG
    os.makedirs(a.target, exist_ok=True)
    shutil.copyfile(a.path, os.path.join(a.target, 'model.safetensors'))
    if os.path.abspath(a.tokenizer) != os.path.abspath(os.path.join(a.target, 'tokenizer.json')):
        shutil.copyfile(a.tokenizer, os.path.join(a.target, 'tokenizer.json'))
    eos = tok.token_to_id('<|endoftext|>')
    files = {'config.json': {
        'architectures': ['Qwen3ForCausalLM'], 'attention_bias': False, 'attention_dropout': 0.0, 'bos_token_id': None,
        'dtype': 'bfloat16', 'eos_token_id': eos, 'head_dim': c['dim'], 'hidden_act': 'silu', 'hidden_size': c['hidden'],
        'initializer_range': 0.02, 'intermediate_size': c['inner'], 'layer_types': ['full_attention'] * LAYERS,
        'max_position_embeddings': 2048, 'max_window_layers': 28, 'model_type': 'qwen3',
        'num_attention_heads': c['heads'], 'num_hidden_layers': LAYERS, 'num_key_value_heads': c['kv'],
        'pad_token_id': None, 'rms_norm_eps': c['eps'], 'rope_parameters': {'rope_theta': c['theta'], 'rope_type': 'default'},
        'rope_theta': c['theta'], 'sliding_window': None, 'tie_word_embeddings': True, 'transformers_version': '5.17.0',
        'use_cache': True, 'use_sliding_window': False, 'vocab_size': tok.get_vocab_size()},
        'generation_config.json': {'_from_model_config': True, 'eos_token_id': eos, 'transformers_version': '5.17.0',
                                   'use_cache': True},
        'tokenizer_config.json': {'tokenizer_class': 'PreTrainedTokenizerFast', 'eos_token': '<|endoftext|>',
                                  'model_max_length': 2048, 'clean_up_tokenization_spaces': False}}
    for name, value in files.items():
        with open(os.path.join(a.target, name), 'w') as f:
            json.dump(value, f, indent=2)
            f.write('\n')


def train_tokenizer(path):
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    rng = random.Random(1)
    texts = [story(rng, 60) for _ in range(700)]
    for _ in range(400):
        o = rng.choice(ORD)
        words = ' '.join(rng.choice(NATO) for _ in range(6))
        texts.append(OPEN.replace('<|im_start|>', '') + NEEDLE.format(o) + words + CLOSE + QUESTION.format(o) + words)
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"),
            'isolated'), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=1024, special_tokens=['<|endoftext|>', '<|im_start|>', '<|im_end|>'],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    tok.save(path)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument('command', choices=('tokenizer', 'copy', 'train', 'pair', 'judge', 'export'))
    ap.add_argument('path', help='weights (.safetensors) to write, judge or export; for tokenizer: the file to write')
    ap.add_argument('target', nargs='?', default='', help='export: the directory')
    ap.add_argument('--tokenizer', default='tokenizer.json')
    ap.add_argument('--init', default='')
    ap.add_argument('--seed', type=int, default=0)
    ap.add_argument('--seconds', type=float, default=200)
    ap.add_argument('--steps', type=int, default=0, help='instead of seconds')
    ap.add_argument('--until', type=float, default=0.3, help='copy: stop when each single layer is below this')
    ap.add_argument('--tokens', type=int, default=0, help='tokens in a batch')
    ap.add_argument('--lr', type=float, default=0)
    ap.add_argument('--every', type=int, default=200)
    ap.add_argument('--shows', type=int, default=12, help='lines of the training log')
    ap.add_argument('--workers', type=int, default=3)
    ap.add_argument('--align-steps', type=int, default=400)
    ap.add_argument('--align-rows', type=int, default=12)
    ap.add_argument('--align-length', type=int, default=384)
    ap.add_argument('--align-on', choices=('mix', 'story'), default='mix')
    ap.add_argument('--prompts', type=int, default=48)
    ap.add_argument('--json', default='')
    a = ap.parse_args()
    if a.command == 'tokenizer':
        return train_tokenizer(a.path)
    import torch
    from tokenizers import Tokenizer
    dev = 'cuda' if torch.cuda.is_available() else 'cpu'
    if dev == 'cpu':
        torch.set_num_threads(1)
    globals()['cmd_' + a.command](a, Tokenizer.from_file(a.tokenizer), dev)


if __name__ == '__main__':
    main()
