#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads IN with the reference library, writes it to OUT with it, and prints what it saw.

    python resave_safetensors.py IN OUT
"""
import sys

from safetensors import safe_open
from safetensors.torch import save_file

with safe_open(sys.argv[1], framework="pt") as f:
    metadata = f.metadata()
    tensors = {name: f.get_tensor(name).contiguous() for name in f.keys()}
print(sorted(metadata.items()), {name: (str(t.dtype), list(t.shape)) for name, t in tensors.items()})
save_file(tensors, sys.argv[2], metadata=metadata)
