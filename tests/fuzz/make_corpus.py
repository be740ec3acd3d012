#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the seed corpus of the fuzz targets: small sound files, and damaged ones of every kind we know.

    python tests/fuzz/make_corpus.py        (after tests/data/make_tiny_models.py; needs gguf, numpy)
"""
import json
import os
import struct

import gguf
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
TINY = os.path.join(HERE, "..", "data", "golden", "tiny")


def put(target, name, data):
    folder = os.path.join(HERE, "corpus", target)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as f:
        f.write(data if isinstance(data, bytes) else data.encode())


def safetensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def make_safetensors():
    def t(dtype, shape, b, e):
        return {"dtype": dtype, "shape": shape, "data_offsets": [b, e]}
    put("safetensors", "two", safetensors({"__metadata__": {"format": "pt"}, "a": t("F32", [2, 2], 0, 16),
                                           "b": t("BF16", [3], 16, 22)}, bytes(22)))
    put("safetensors", "scalar_empty", safetensors({"s": t("I64", [], 0, 8), "e": t("F16", [0, 4], 8, 8)}, bytes(8)))
    put("safetensors", "hole", safetensors({"a": t("U8", [2], 0, 2), "b": t("U8", [2], 4, 6)}, bytes(6)))
    put("safetensors", "overlap", safetensors({"a": t("U8", [4], 0, 4), "b": t("U8", [4], 2, 6)}, bytes(6)))
    put("safetensors", "overflow", safetensors({"a": t("F32", [2**62, 4], 0, 16)}, bytes(16)))
    put("safetensors", "twice", safetensors(b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8",'
                                            b'"shape":[1],"data_offsets":[1,2]}}', bytes(2)))
    put("safetensors", "nul", safetensors({"a\0b": t("U8", [1], 0, 1)}, bytes(1)))
    put("safetensors", "nested", safetensors(b'{"a":' + b"[" * 64 + b"]" * 64 + b"}"))
    put("safetensors", "long", struct.pack("<Q", 2**63) + b"{}")


def tiny_gguf(path, arch, quant):
    rng = np.random.default_rng(3)
    w = gguf.GGUFWriter(path, arch)
    w.add_context_length(64), w.add_embedding_length(32), w.add_block_count(1), w.add_feed_forward_length(32)
    w.add_head_count(2), w.add_head_count_kv(1), w.add_layer_norm_rms_eps(1e-5), w.add_rope_freq_base(1e4)
    w.add_tokenizer_model("gpt2"), w.add_tokenizer_pre("smollm")
    tokens = ["<|end|>", "a", "b", "ab", "Ġ", "Ġa", "1", "."]
    w.add_token_list(tokens), w.add_token_types([3] + [1] * 7), w.add_token_merges(["a b", "Ġ a"])
    w.add_bos_token_id(0), w.add_eos_token_id(0)
    shapes = {"token_embd": (8, 32), "output_norm": (32,), "blk.0.attn_norm": (32,), "blk.0.ffn_norm": (32,),
              "blk.0.attn_q": (32, 32), "blk.0.attn_k": (16, 32), "blk.0.attn_v": (16, 32), "blk.0.attn_output": (32, 32),
              "blk.0.ffn_gate": (32, 32), "blk.0.ffn_up": (32, 32), "blk.0.ffn_down": (32, 32)}
    for name, shape in shapes.items():
        a = rng.normal(size=shape).astype(np.float32)
        if len(shape) == 2:
            w.add_tensor(name + ".weight", gguf.quants.quantize(a, quant), raw_dtype=quant)
        else:
            w.add_tensor(name + ".weight", a)
    w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file()
    w.close()


def make_gguf():
    kinds = gguf.GGMLQuantizationType
    for arch, quant in (("llama", kinds.Q4_0), ("qwen2", kinds.Q5_1), ("llama", kinds.Q8_0)):
        path = os.path.join(HERE, "corpus", "gguf", f"{arch}_{quant.name.lower()}")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        tiny_gguf(path, arch, quant)
        os.chmod(path, 0o644)

    def s(text):
        return struct.pack("<Q", len(text)) + text

    head = b"GGUF" + struct.pack("<I", 3)
    put("gguf", "empty", head + struct.pack("<QQ", 0, 0))
    put("gguf", "kinds", head + struct.pack("<QQ", 0, 6) + s(b"u8") + struct.pack("<IB", 0, 7) + s(b"f32")
        + struct.pack("<If", 6, 1e-5) + s(b"bool") + struct.pack("<IB", 7, 1) + s(b"text") + struct.pack("<I", 8) + s(b"x")
        + s(b"i16s") + struct.pack("<IIQhh", 9, 3, 2, -1, 1) + s(b"f64") + struct.pack("<Id", 12, 0.5))
    put("gguf", "huge_count", head + struct.pack("<QQ", 2**60, 2**60))
    put("gguf", "huge_string", head + struct.pack("<QQ", 0, 1) + struct.pack("<Q", 2**60) + b"abc" * 8)
    put("gguf", "huge_array", head + struct.pack("<QQ", 0, 1) + s(b"k") + struct.pack("<IIQ", 9, 8, 2**61) + bytes(16))
    put("gguf", "nested_array", head + struct.pack("<QQ", 0, 1) + s(b"k") + struct.pack("<IIQ", 9, 9, 1) + bytes(24))


def make_config():
    for name in sorted(os.listdir(TINY)):
        path = os.path.join(TINY, name, "config.json")
        if os.path.exists(path):
            put("config", name, json.dumps(json.load(open(path)), separators=(",", ":")))
    put("config", "nested", "[" * 200)
    put("config", "wrapper", '{"model_type":"gemma3","text_config":{"hidden_size":8}}')
    put("config", "both", '{"model_type":"llama","num_hidden_layers":1,"hidden_size":8,"intermediate_size":8,"vocab_size":8,'
        '"num_attention_heads":2,"rope_theta":10000.0,"rope_scaling":{"type":"linear","factor":2.0},'
        '"rope_parameters":{"rope_type":"linear","factor":2.0,"rope_theta":10000.0}}')


def make_tokenizer():
    for kind, model in (("smollm", "llama_tied"), ("qwen2", "qwen3_tied")):
        text = open(os.path.join(TINY, model, "tokenizer.json"), encoding="utf-8").read()
        put("tokenizer", kind, text.encode() + b"\0" + "The pass key is 71432, don't forget it.\n\n  x\u00e9".encode())
    put("tokenizer", "broken_text", text.encode() + b"\0\xff\xc3<|im_start|>\xf0\x9f")
    put("tokenizer", "nested", '{"a":' * 100 + "1" + "}" * 100)


def make_plan():
    for i, text in enumerate(("28:1,11-14,16,21", "8:", "1:0", "4096:0-4095", "3:0,0", "2147483648:", "5:3-1", "30:-1", "4:1,")):
        put("plan", f"{i}", text)


def make_run_config():
    for i, text in enumerate(("{}", '{"command":"gates","model":"m","penalty":"0.1","steps":20}', '{"lengths":[512,1024]}',
                              '{"depths":[0.0,0.5,1.0]}', '{"preset":"paper"}', '{"seed":9223372036854775807}',
                              '{"unknown":1}', '{"lr":1e400}', '{"branches":["gdn","lightning"]}')):
        put("run_config", f"{i}", text)


if __name__ == "__main__":
    make_safetensors()
    make_gguf()
    make_config()
    make_tokenizer()
    make_plan()
    make_run_config()
