#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes golden/gguf_blocks.safetensors: random blocks of every GGUF type and what the gguf library decodes them to.

    python tests/data/make_gguf_blocks.py [OUT_FILE]

For each TYPE: `TYPE.bytes` u8 [blocks * size] and `TYPE.values` f32. Nibbles, fifth bits and packed scales are random
bytes, the float16 scales are random finite numbers, a zero and a subnormal among them. Needs gguf, numpy, safetensors.
"""
import os
import sys

import gguf
import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as T
from safetensors.numpy import save_file

# byte positions of the float16 fields in a block
HALVES = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208]}
BLOCKS = 6


def main():
    out = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden",
                                                             "gguf_blocks.safetensors")
    rng = np.random.default_rng(20)
    tensors = {}
    for kind, places in HALVES.items():
        elements, size = GGML_QUANT_SIZES[kind]
        raw = rng.integers(0, 256, (BLOCKS, size), dtype=np.uint8)
        for place in places:
            halves = rng.normal(0, 0.3, BLOCKS).astype(np.float16)
            halves[0], halves[1] = np.float16(0), np.float16(3e-7)  # zero, subnormal
            raw[:, place:place + 2] = halves.view(np.uint8).reshape(BLOCKS, 2)
        values = gguf.quants.dequantize(raw, kind)
        assert values.shape == (BLOCKS, elements), values.shape
        tensors[f"{kind.name}.bytes"] = raw.reshape(-1)
        tensors[f"{kind.name}.values"] = values.astype(np.float32).reshape(-1)
    # every finite float16, and bfloat16 numbers of every exponent
    halves = np.arange(0, 65536, 7, dtype=np.uint32).astype(np.uint16)
    halves = halves[(halves >> 10 & 31) != 31]
    for kind, raw in ((T.F16, halves), (T.BF16, halves)):
        values = gguf.quants.dequantize(raw.view(np.uint8).reshape(1, -1), kind)
        tensors[f"{kind.name}.bytes"] = raw.view(np.uint8)[:2048].copy()
        tensors[f"{kind.name}.values"] = values.astype(np.float32).reshape(-1)[:1024].copy()
        tensors[f"{kind.name}.bytes"] = np.concatenate([tensors[f"{kind.name}.bytes"], raw.view(np.uint8)[-2048:]])
        tensors[f"{kind.name}.values"] = np.concatenate([tensors[f"{kind.name}.values"],
                                                         values.astype(np.float32).reshape(-1)[-1024:]])
    save_file(tensors, out)
    os.chmod(out, 0o644)


if __name__ == "__main__":
    main()
