#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The study of which layers of SmolLM2-135M must stay full attention, with the engine alone (results: study_smollm2.md).

  python3 study_smollm2.py run ENGINE MODEL.gguf TEXT.txt OUT [--devices cuda:0,cuda:1] [--processes 4] [--small]
          [--branch gdn] [--align STEPS] [--distill STEPS] [--plans uniform=30:0,3,7,11,15,18,22,26 ...] [--only recommended_short-s1]
  python3 study_smollm2.py table OUT > table.md

run: cuts TEXT into a part for training and selection (the first nine tenths) and a part for evaluation, aligns the branches
(OUT/runs/align), then trains gates and runs the other selectors, --processes at a time on each device, then evaluates every plan
that came out on the held-out part.  Each finished job leaves OUT/rows/NAME.json, and what has its row is not run again, so a
study that was cut short goes on where it stopped.  --small: toy sizes, to try the script on a CPU.
table: the Markdown table of the rows there are.
"""
import argparse
import concurrent.futures
import json
import os
import queue
import shutil
import statistics
import subprocess
import sys
import time

LAYERS = 30
# The data selectors see: as the evaluation asks, on other text, words and seeds.
SHORT = '--passkeys 3 --passkey-words 6 --length-min 512 --length-max 2048 --length-count 7'
CALIBRATION = '--passkeys 3 --passkey-words 6 --length-min 1024 --length-max 1024 --length-count 1 --samples 16 --text-tokens 16384'


def jobs(small):
    """name, command and its flags, budget: what is chosen how"""
    steps = (lambda n: max(4, n // 100)) if small else (lambda n: n)
    short = SHORT.replace('2048', '576') if small else SHORT
    calibration = CALIBRATION.replace('1024 ', '512 ').replace('16384', '1024').replace('samples 16', 'samples 2') if small else CALIBRATION
    rows = []
    for seed in (1, 2, 3):  # the presets as they are
        for preset in ('recommended', 'paper'):
            data = short if small else ''
            rows.append((f'{preset}-s{seed}', f'gates --preset {preset} --steps {steps(2000)} --budget 8 --seed {seed} {data}'))
    for seed in (1, 2, 3):
        rows.append((f'recommended_short-s{seed}', f'gates --preset recommended --steps {steps(600)} --budget 8 --seed {seed} {short}'))
        rows.append((f'recommended_120-s{seed}', f'gates --preset recommended --steps {steps(120)} --budget 8 --seed {seed} {short}'))
    rows.append(('paper_short-s1', f'gates --preset paper --steps {steps(600)} --budget 8 --seed 1 {short}'))
    rows.append(('residual_budget-s1', f'gates --preset paper --penalty budget --steps {steps(600)} --budget 8 --seed 1 {short}'))
    for budget in (4, 15):
        rows.append((f'recommended_short-K{budget}-s1', f'gates --preset recommended --steps {steps(600)} --budget {budget} --seed 1 {short}'))
    for seed in (1, 2, 3):
        rows.append((f'greedy_add-s{seed}', f'select --method greedy_add --budget 15 --seed {seed} {calibration}'))
        rows.append((f'swap_nll-s{seed}', f'select --method swap_nll --budget 8 --seed {seed} {calibration}'))
    rows.append(('greedy_drop-s1', f'select --method greedy_drop --budget 4 --seed 1 {calibration}'))
    for method in ('swap_kl', 'recall_drop', 'halo', 'ga_s2', 'local_mse', 'local_rel'):
        rows.append((f'{method}-s1', f'select --method {method} --budget 8 --seed 1 {calibration}'))
    for seed in (1, 2, 3, 4, 5):
        rows.append((f'random-s{seed}', f'select --method random --budget 8 --seed {seed} {calibration}'))
    return rows


def plan_text(kept):
    """layers as the engine writes a plan: 30:1,3-5"""
    kept, parts, i = sorted(kept), [], 0
    while i < len(kept):
        j = i
        while j + 1 < len(kept) and kept[j + 1] == kept[j] + 1:
            j += 1
        parts.append(str(kept[i]) if i == j else f'{kept[i]}-{kept[j]}')
        i = j + 1
    return f'{LAYERS}:' + ','.join(parts)


def layers_of(text):
    kept = []
    for part in filter(None, text.split(':')[1].split(',')):
        first, _, last = part.partition('-')
        kept += range(int(first), int(last or first) + 1)
    return kept


def top(row, budget):
    return sorted(row['order'][:budget])


class Study:
    def __init__(self, options):
        self.o = options
        self.rows = os.path.join(options.out, 'rows')
        os.makedirs(self.rows, exist_ok=True)
        os.makedirs(os.path.join(options.out, 'logs'), exist_ok=True)
        self.align_text = os.path.join(options.out, 'train.txt')
        self.eval_text = os.path.join(options.out, 'held_out.txt')
        if not os.path.exists(self.eval_text):
            text = open(options.text, encoding='utf-8').read()
            cut = text.index('\n\n', len(text) * 9 // 10)
            open(self.align_text, 'w', encoding='utf-8').write(text[:cut])
            open(self.eval_text, 'w', encoding='utf-8').write(text[cut + 2:])

    def path(self, name):
        return os.path.join(self.rows, name + '.json')

    def row(self, name):
        return json.load(open(self.path(name)))

    def call(self, name, words, text, device, run=None):
        """one engine command; run: an existing run it works in, else a new one called name"""
        if os.path.exists(self.path(name)):
            return
        started = time.time()
        runs = os.path.join(self.o.out, 'runs')
        if run is None:
            shutil.rmtree(os.path.join(runs, name), ignore_errors=True)  # of a try that left no row
        command = [self.o.engine] + words.split() + ['--model', self.o.model, '--text', text, '--device', device, '--runs', runs,
                                                    '--run', run or name, '--threads', '4', '--json', '--quiet']
        if name != 'align' and run is None:
            command += ['--aligned', os.path.join(runs, 'align')]
        with open(os.path.join(self.o.out, 'logs', name + '.log'), 'w') as log:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=log, text=True)
        print(f'{time.time() - self.o.started:6.0f} s  {name}: exit {done.returncode}, {time.time() - started:.0f} s', flush=True)
        if done.returncode not in (0, 134, 139) or not done.stdout.strip():
            return
        result = json.loads(done.stdout)
        result.update(command=words, exit=done.returncode, wall_s=time.time() - started)
        with open(self.path(name) + '.tmp', 'w') as f:
            json.dump(result, f)
        os.replace(self.path(name) + '.tmp', self.path(name))

    def all(self, work, processes=None):
        """work: (name, words, text[, run]), or a list of them, done one after the other; --processes at a time on each device"""
        free = queue.Queue()
        for _ in range(processes or self.o.processes):
            for device in self.o.devices.split(','):
                free.put(device)

        def one(item):
            device = free.get()
            try:
                for one in item if isinstance(item, list) else [item]:
                    if len(one) < 4 or os.path.exists(self.path(one[3])):
                        self.call(*one[:3], device, *one[3:])
            finally:
                free.put(device)
        with concurrent.futures.ThreadPoolExecutor(free.qsize()) as pool:
            list(pool.map(one, work))

    def plans(self):
        """(label, seed, budget, kept) of every row there is"""
        found = []
        for k in (4, 8, 15):
            found.append(('uniform', 1, k, [i * LAYERS // k for i in range(k)]))
        for name, _ in jobs(self.o.small):
            if not os.path.exists(self.path(name)):
                continue
            row, label, seed = self.row(name), name.split('-')[0], int(name.split('-s')[-1])
            if '-K' in name:
                budgets = [int(name.split('-K')[1].split('-')[0])]
            elif label == 'random' or label.startswith('recommended'):
                budgets = [8]  # the penalty was fitted to this budget
            elif seed > 1:
                budgets = [8]
            else:
                budgets = [4, 8, 15]
            for k in budgets:
                found.append((label, seed, k, row['full_layers'] if k == row['budget'] else top(row, k)))
        return found

    def run(self):
        small = self.o.small
        align = f'--branch {self.o.branch} ' + ('--align-steps 2 --align-batch 2 --align-length 128 --held-out-tokens 256' if small else
                                                f'--align-steps {self.o.align} --align-batch 96 --align-length 512 --held-out-tokens 65536')
        self.call('align', 'align --seed 1 ' + align, self.align_text, self.o.devices.split(',')[0])
        if not os.path.exists(self.path('align')):
            sys.exit('the alignment failed; see logs/align.log')
        only = tuple(filter(None, self.o.only.split(',')))
        self.all([(name, words, self.align_text) for name, words in jobs(small) if not only or name.startswith(only)])
        if not self.o.only:
            self.evaluate()
        if self.o.distill:
            self.distill()

    def distill(self):
        """equal tokens for the sets of K = 8 that the question is about, then the same recall map and text KL of each"""
        small = self.o.small
        given = dict(plan.split('=') for plan in self.o.plans)
        wanted = {}
        if not given and self.evals():
            best = min((e for e in self.evals().items() if len(layers_of(e[0])) == 8), key=lambda e: statistics.mean(v['answer_nll_nats'] for v in e[1]))
            wanted['best'] = best[0]
        for label, seed, budget, kept in self.plans():
            if budget == 8 and seed == 1 and label in ('uniform', 'greedy_add', 'paper', 'recommended_short') and label not in given:
                wanted[label] = plan_text(kept)
        wanted.update(given)
        names = {}  # equal plans are trained once
        for label, plan in wanted.items():
            names.setdefault(plan, []).append(label)
        steps = '--distill-steps 2 --distill-batch 2 --distill-length 64 --held-out-tokens 256' if small else \
            f'--distill-steps {self.o.distill} --distill-batch 96 --distill-micro-batch 32 --distill-length 512 --distill-lr 3e-4 --held-out-tokens 16384'
        shape = '--lengths 512 --depths 0,1 --trials 1 --text-tokens 512' if small else \
            '--lengths 512,1024,2048,4096 --depths 0,0.25,0.5,0.75,1 --trials 16 --text-tokens 65536'
        work = []
        for plan, labels in names.items():
            name = 'distill-' + '_'.join(labels)
            work.append([(name, f'distill --seed 1 --plan {plan} {steps}', self.align_text)] +
                        [(f'after-{seed}-{name}', f'eval {shape} --passkeys 3 --passkey-words 6 --seed {seed} --weights distilled', self.eval_text, name)
                         for seed in (101, 102, 103)])
        self.all(work, 1)

    def evals(self):
        """plan -> its evaluations over seeds, before distilling"""
        found = {}
        for file in sorted(os.listdir(self.rows)):
            if file.startswith('eval-'):
                for plan in self.row(file[:-5])['plans']:
                    found.setdefault(plan['plan'], []).append(plan)
        return found

    def evaluate(self):
        texts = sorted({plan_text(kept) for *_, kept in self.plans()} | {f'{LAYERS}:0-{LAYERS - 1}', f'{LAYERS}:'})
        work = []
        shape = '--lengths 512 --depths 0,1 --trials 1 --text-tokens 512' if self.o.small else \
            '--lengths 512,1024,2048 --depths 0,0.25,0.5,0.75,1 --trials 16 --text-tokens 65536'
        for seed in (101, 102, 103):
            known = set()
            for file in os.listdir(self.rows):
                if file.startswith(f'eval-{seed}-'):
                    known |= {plan['plan'] for plan in self.row(file[:-5])['plans']}
            rest = [p for p in texts if p not in known]
            pieces = [rest[i:i + 8] for i in range(0, len(rest), 8)]
            first = sum(file.startswith(f'eval-{seed}-') for file in os.listdir(self.rows))
            for i, piece in enumerate(pieces):
                work.append((f'eval-{seed}-{first + i}',
                             f'eval {shape} --passkeys 3 --passkey-words 6 --seed {seed} --plans ' + ' '.join(piece), self.eval_text))
        self.all(work)

    def table(self):
        evals = self.evals()
        align = self.row('align')
        print(f"Alignment: {align.get('tokens', 0) / 1e6:.1f}M tokens, {align['wall_s']:.0f} s, "
              f"mean held-out relative error {statistics.mean(align['error']):.3f}.\n" if 'error' in align else '')
        groups = {}
        for label, seed, budget, kept in self.plans():
            groups.setdefault((budget, label), []).append((seed, kept))

        def summary(plans):
            values = [plan for text in plans for plan in evals.get(text, [])]
            if not values:
                return None
            pick = [[v['answer_nll_nats'] for v in values]] + [[v['recall_by_length'][i] for v in values] for i in range(len(values[0]['recall_by_length']))]
            pick.append([v['text']['kl_nats'] for v in values])
            return [(statistics.mean(x), statistics.stdev(x) if len(x) > 1 else 0.0) for x in pick], len(values)
        print('| K | selector | answer NLL | 512 | 1024 | 2048 | text KL | Mtok | s | kept layers (seed 1, 2, ...) |\n|---|---|---|---|---|---|---|---|---|---|')
        for name, text in (('teacher', f'{LAYERS}:0-{LAYERS - 1}'), ('all linear', f'{LAYERS}:')):
            got = summary([text])
            if got:
                print(f'| | {name} | ' + ' | '.join(f'{m:.3f}' for m, _ in got[0]) + ' | | | |')
        lines = []
        for (budget, label), members in groups.items():
            got = summary([plan_text(kept) for _, kept in members])
            if not got:
                continue
            cost = []
            for seed, _ in members:
                for name in (f'{label}-s{seed}', f'{label}-K{budget}-s{seed}'):
                    if os.path.exists(self.path(name)) and (budget == 8 or '-K' in name or f'{label}-K{budget}-s{seed}' not in os.listdir(self.rows)):
                        row = self.row(name)
                        tokens = row['tokens']
                        if 'steps' in row:  # one step: `forwards` passes, and a backward counted as two
                            tokens *= (row['forwards'] + 2 * row['backwards']) / max(1, row['steps'])
                        cost.append((tokens / 1e6, row['seconds']))
            cells = [f'{m:.3f} ± {s:.3f}' for m, s in got[0]]
            tokens, seconds = (f'{statistics.mean(c[0] for c in cost):.1f}', f'{statistics.mean(c[1] for c in cost):.0f}') if cost else ('0', '0')
            kept = '; '.join(','.join(map(str, k)) for _, k in sorted(members))
            lines.append((budget, got[0][0][0], f'| {budget} | {label} | ' + ' | '.join(cells) + f' | {tokens} | {seconds} | {kept} |'))
        for _, _, line in sorted(lines):
            print(line)
        print()
        distilled = {}
        for file in sorted(os.listdir(self.rows)):
            if file.startswith('after-'):
                name = file.split('-', 2)[2][:-5]
                distilled.setdefault(name, []).extend(self.row(file[:-5])['plans'])
        for name, plans in distilled.items():
            def cell(value, digits=3):
                found = [value(plan) for plan in plans]
                return f'{statistics.mean(found):.{digits}f} ± {statistics.stdev(found) if len(found) > 1 else 0:.{digits}f}'
            lengths = [cell(lambda plan: plan['recall_by_length'][i]) for i in range(len(plans[0]['recall_by_length']))]
            print(f"| {name[len('distill-'):]} | {cell(lambda plan: plan['answer_nll_nats'])} | " + ' | '.join(lengths)
                  + f" | {cell(lambda plan: plan['text']['kl_nats'])} | {cell(lambda plan: plan['text']['perplexity'], 2)}"
                  + f" | {self.row(name)['wall_s']:.0f} | {plans[0]['plan']} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest='verb', required=True)
    run = verbs.add_parser('run')
    for word in ('engine', 'model', 'text', 'out'):
        run.add_argument(word)
    run.add_argument('--devices', default='cuda:0')
    run.add_argument('--processes', type=int, default=4)
    run.add_argument('--branch', default='lightning', help='kind of the linear branches')
    run.add_argument('--align', type=int, default=420, metavar='STEPS', help='steps of 96 x 512 tokens of the alignment')
    run.add_argument('--plans', nargs='*', default=[], metavar='LABEL=PLAN', help='sets to distil beside those that this run selects')
    run.add_argument('--only', default='', help='only selectors whose names begin with one of these words (none: -), and no evaluation before distilling')
    run.add_argument('--distill', type=int, default=0, metavar='STEPS', help='then distil the sets the question is about, this many steps of 96 x 512 tokens')
    run.add_argument('--small', action='store_true')
    table = verbs.add_parser('table')
    table.add_argument('out')
    options = parser.parse_args()
    options.started = time.time()
    if options.verb == 'table':
        options.small = False
        study = Study.__new__(Study)
        study.o, study.rows = options, os.path.join(options.out, 'rows')
        study.table()
    else:
        Study(options).run()


if __name__ == '__main__':
    main()
