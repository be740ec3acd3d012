#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs train_bench and a plain PyTorch script of the same work in alternation on the CPU and prints the median of the ratios
# (ours / theirs, below 1 is faster): on a busy machine only such pairs mean something.
# Usage: paired_cpu.sh TRAIN_BENCH BASELINE.py [PYTHON] [PAIRS]
set -euo pipefail
bench=$1 baseline=$2 python=${3:-python3} pairs=${4:-5}
export OMP_WAIT_POLICY=passive OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for stage in gates align; do
  batch=1
  [ $stage = align ] && batch=2
  ratios=()
  for _ in $(seq "$pairs"); do
    "$python" "$baseline" --stage $stage --shape smollm2-135m --device cpu --dtype fp32 --linear torch --variants naive \
      --lengths 512 --batch 1 --align-seq 512 --align-batches $batch --steps 5 --seconds 20 --no-selfcheck \
      --out "$scratch/theirs.json" > /dev/null
    "$bench" --stage $stage --shape smollm2-135m --length 512 --batch $batch --steps 5 > "$scratch/ours.json"
    ratios+=("$("$python" - "$scratch" << 'PY'
import json, sys
ours = json.load(open(sys.argv[1] + '/ours.json'))['ms']
theirs = json.load(open(sys.argv[1] + '/theirs.json'))['rows'][0]['ms']
print(f'{ours:.0f}/{theirs:.0f}={ours / theirs:.3f}')
PY
)")
  done
  echo "$stage: ${ratios[*]}"
  printf '%s\n' "${ratios[@]#*=}" | sort -n | awk -v stage=$stage '{x[NR]=$1} END {print stage " median ratio " x[int((NR+1)/2)]}'
done
