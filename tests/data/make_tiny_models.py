#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the small random models of tests/data/golden/tiny: one directory per family and per way of writing it.

    python tests/data/make_tiny_models.py [OUT_DIR]

Needs torch, transformers 5.17, tokenizers, safetensors, gguf. Each directory holds config.json, the weights and
golden.safetensors: `input_ids` [1, 24] i64 and `logits` [1, 24, V] f32 (weights as stored, float32 arithmetic, eager).
"""
import json
import os
import shutil
import sys

import gguf
import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

TOKENS = 24
VOCAB = 136
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def base(**kw):
    d = dict(vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=256, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2,
             tie_word_embeddings=True)
    d.update(kw)
    return d


def rope(theta, kind="default", **kw):
    return dict(rope_theta=theta, rope_type=kind, **kw)


LLAMA3 = dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)

# name: (class prefix, config, dtype of the files, extra)
MODELS = {
    "qwen3_tied": ("Qwen3", base(head_dim=16, rms_norm_eps=1e-6, rope_parameters=rope(1e6)), "bfloat16", {"tokenizer": "qwen2"}),
    "qwen3_untied_bias": ("Qwen3", base(head_dim=16, num_hidden_layers=3, rms_norm_eps=1e-6, attention_bias=True,
                                        tie_word_embeddings=False, rope_parameters=rope(1e6)), "float32", {}),
    "qwen2_tied": ("Qwen2", base(rms_norm_eps=1e-6, rope_parameters=rope(1e6)), "bfloat16", {"legacy": True}),
    "qwen2_untied": ("Qwen2", base(num_key_value_heads=1, rms_norm_eps=1e-6, tie_word_embeddings=False,
                                   rope_parameters=rope(1e6)), "float16", {}),
    "llama_tied": ("Llama", base(rope_parameters=rope(1e5)), "float32", {"tokenizer": "smollm", "gguf": True}),
    "llama_untied_bias": ("Llama", base(head_dim=16, attention_bias=True, mlp_bias=True, tie_word_embeddings=False,
                                        rope_parameters=rope(1e4)), "float16", {}),
    "llama_llama3": ("Llama", base(head_dim=16, rope_parameters=rope(5e5, "llama3", **LLAMA3)), "bfloat16", {"legacy": True}),
    "llama_sharded": ("Llama", base(num_hidden_layers=3, tie_word_embeddings=False, rope_parameters=rope(1e4)), "bfloat16",
                      {"shard": "24KB"}),
    "llama_linear": ("Llama", base(num_hidden_layers=1, rope_parameters=rope(1e4, "linear", factor=4.0)), "bfloat16", {}),
    "llama_dynamic": ("Llama", base(num_hidden_layers=1, max_position_embeddings=16,
                                    rope_parameters=rope(1e4, "dynamic", factor=4.0)), "bfloat16", {}),
    "llama_yarn": ("Llama", base(num_hidden_layers=1, max_position_embeddings=64,
                                 rope_parameters=rope(1e4, "yarn", factor=4.0, original_max_position_embeddings=16)),
                   "bfloat16", {}),
}


def byte_chars():
    """GPT-2's printable stand-ins for the bytes."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table, extra = {}, 0
    for b in range(256):
        table[b] = chr(b) if b in keep else chr(256 + extra)
        extra += b not in keep
    return table


def make_tokenizer(kind):
    """Byte-level BPE of VOCAB tokens: three special ones, the ASCII bytes, some merges."""
    chars = byte_chars()
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] + [chars[b] for b in (10, *range(32, 127))]
    merges = []
    pairs = [("t", "h"), ("th", "e"), (chars[32], "the"), ("i", "n"), ("a", "n"), ("e", "r"), ("o", "n"), (chars[32], "a"),
             ("o", "r"), ("e", "n"), ("in", "g"), ("an", "d"), (chars[32], "and"), ("o", "f"), (chars[32], "of"), ("i", "s"),
             (chars[32], "is"), ("k", "e"), ("ke", "y"), (chars[32], "key"), ("p", "a"), ("pa", "s"), ("pas", "s"),
             (chars[32], "pass"), ("r", "e"), ("s", "t"), ("l", "l"), ("o", "u"), ("e", "s"), ("i", "t"), ("a", "t"),
             ("u", "r"), ("l", "e"), ("o", "m"), ("t", "o"), (chars[32], "to"), ("v", "e")]
    for a, b in pairs:
        if len(tokens) < VOCAB:
            merges.append((a, b))
            tokens.append(a + b)
    assert len(tokens) == VOCAB, len(tokens)
    tok = Tokenizer(BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges, unk_token=None, fuse_unk=False,
                        byte_fallback=False, ignore_merges=False))
    if kind == "smollm":
        tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                                     pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    else:
        from tokenizers import Regex, normalizers
        tok.normalizer = normalizers.NFC()
        rx = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
              r"|\s*[\r\n]+|\s+(?!\S)|\s+")
        tok.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(rx), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in tokens[:3]])
    return tok, tokens, merges


def randomise(model, seed):
    gen = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            r = torch.randn(p.shape, generator=gen)
            if "norm" in name:
                p.copy_(1 + 0.3 * r)
            elif name.endswith("bias"):
                p.copy_(0.3 * r)
            elif "embed" in name or "lm_head" in name:
                p.copy_(0.5 * r)
            else:
                p.copy_(r * p.shape[-1] ** -0.5)


def rewrite_config(path, legacy):
    cfg = json.load(open(path))
    cfg.pop("_name_or_path", None)
    if legacy:  # as transformers 4 wrote it: rope_theta and rope_scaling at the top, torch_dtype
        rp = cfg.pop("rope_parameters")
        cfg["rope_theta"] = rp.pop("rope_theta")
        cfg["rope_scaling"] = None if rp["rope_type"] == "default" else rp
        cfg["torch_dtype"] = cfg.pop("dtype")
        cfg.pop("layer_types", None)
    json.dump(cfg, open(path, "w"), indent=1, sort_keys=True)


def permute(w, heads):
    """The row order of GGUF's `llama` architecture (interleaved rotary pairs)."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def write_gguf(path, arch, cfg, weights, tok_parts, quant=None, rope_freqs=None):
    """weights: Hugging Face name -> float32 array; quant: type for matrices, else F32; rope_freqs: llama3's divisors."""
    _, tokens, merges = tok_parts
    w = gguf.GGUFWriter(path, arch)
    w.add_context_length(cfg["max_position_embeddings"])
    w.add_embedding_length(cfg["hidden_size"])
    w.add_block_count(cfg["num_hidden_layers"])
    w.add_feed_forward_length(cfg["intermediate_size"])
    w.add_head_count(cfg["num_attention_heads"])
    w.add_head_count_kv(cfg["num_key_value_heads"])
    w.add_layer_norm_rms_eps(cfg["rms_norm_eps"])
    w.add_rope_freq_base(cfg["rope_parameters"]["rope_theta"])
    hd = cfg.get("head_dim") or cfg["hidden_size"] // cfg["num_attention_heads"]
    w.add_rope_dimension_count(hd)
    if cfg.get("head_dim"):
        w.add_key_length(hd)
        w.add_value_length(hd)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("smollm" if arch == "llama" else "qwen2")
    w.add_token_list(tokens)
    w.add_token_types([3, 3, 3] + [1] * (len(tokens) - 3))
    w.add_token_merges([f"{a} {b}" for a, b in merges])
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_pad_token_id(2)
    w.add_add_bos_token(False)
    w.add_chat_template("{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}"
                        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
    names = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    inner = {"input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
             "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
             "self_attn.k_norm": "attn_k_norm", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate",
             "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
    for name, a in weights.items():
        stem, kind = name.rsplit(".", 1)
        if arch == "llama" and "q_proj" in stem:
            a = permute(a, cfg["num_attention_heads"])
        if arch == "llama" and "k_proj" in stem:
            a = permute(a, cfg["num_key_value_heads"])
        if stem in names:
            out = names[stem]
        else:
            layer, rest = stem.removeprefix("model.layers.").split(".", 1)
            out = f"blk.{layer}.{inner[rest]}"
        if quant is not None and a.ndim == 2 and a.shape[-1] % 32 == 0:
            w.add_tensor(f"{out}.{kind}", gguf.quants.quantize(a, quant), raw_dtype=quant)
        else:
            w.add_tensor(f"{out}.{kind}", np.ascontiguousarray(a))
    if rope_freqs is not None:
        w.add_tensor("rope_freqs.weight", rope_freqs)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def make(name, out):
    prefix, kw, dtype, extra = MODELS[name]
    folder = os.path.join(out, name)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    seed = 1 + list(MODELS).index(name)
    cfg = getattr(transformers, prefix + "Config")(**kw, attn_implementation="eager")
    model = getattr(transformers, prefix + "ForCausalLM")(cfg)
    randomise(model, seed)
    model.to(DTYPES[dtype]).eval()
    model.save_pretrained(folder, max_shard_size=extra.get("shard", "4GB"))
    os.remove(os.path.join(folder, "generation_config.json"))
    rewrite_config(os.path.join(folder, "config.json"), extra.get("legacy", False))
    # the goldens come from what is on disk, not from what was in memory
    model, info = getattr(transformers, prefix + "ForCausalLM").from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    assert not any(info.values()), info
    ids = torch.randint(0, VOCAB, (1, TOKENS), generator=torch.Generator().manual_seed(100 + seed))
    with torch.no_grad():
        logits = model.eval()(ids).logits
    save_file({"input_ids": ids, "logits": logits.contiguous()}, os.path.join(folder, "golden.safetensors"))
    if "tokenizer" in extra:
        tok, _, _ = make_tokenizer(extra["tokenizer"])
        tok.save(os.path.join(folder, "tokenizer.json"), pretty=False)
        json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|im_start|>", "eos_token": "<|im_end|>",
                   "pad_token": "<|im_end|>", "add_prefix_space": False, "clean_up_tokenization_spaces": False,
                   "model_max_length": kw["max_position_embeddings"]},
                  open(os.path.join(folder, "tokenizer_config.json"), "w"), indent=1)
    print(f"{name}: logits rms {logits.pow(2).mean().sqrt():.2f}, max {logits.abs().max():.1f}")
    return folder


def llama3_divisors(cfg, head_dim):
    """Unscaled over scaled frequencies, as GGUF keeps the llama3 scaling."""
    config = transformers.LlamaConfig(**cfg)
    scaled, _ = transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    plain = cfg["rope_parameters"]["rope_theta"] ** -(torch.arange(0, head_dim, 2).float() / head_dim)
    return (plain / scaled).numpy()


def make_ggufs(out):
    """tiny/gguf: the weights of llama_tied, qwen3_tied, qwen2_tied (F32), llama_llama3 (BF16), all equal to the directories,
    and a Q8_0 llama."""
    folder = os.path.join(out, "gguf")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    for name, arch in (("llama_tied", "llama"), ("qwen3_tied", "qwen3"), ("qwen2_tied", "qwen2")):
        kw = MODELS[name][1]
        weights = {k: v.float().numpy() for k, v in load_file(os.path.join(out, name, "model.safetensors")).items()}
        parts = make_tokenizer("smollm" if arch == "llama" else "qwen2")
        write_gguf(os.path.join(folder, f"{name}.gguf"), arch, kw, weights, parts)
        if arch == "llama":
            write_gguf(os.path.join(folder, f"{name}_q8_0.gguf"), arch, kw, weights, parts, gguf.GGMLQuantizationType.Q8_0)


    kinds = gguf.GGMLQuantizationType
    weights = {k: v.float().numpy() for k, v in load_file(os.path.join(out, "llama_llama3", "model.safetensors")).items()}
    cfg = MODELS["llama_llama3"][1]
    write_gguf(os.path.join(folder, "llama_llama3.gguf"), "llama", cfg, weights, make_tokenizer("smollm"), kinds.BF16,
               llama3_divisors(cfg, 16))


def main():
    out = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden", "tiny")
    os.makedirs(out, exist_ok=True)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(2)
    for name in MODELS:
        make(name, out)
    make_ggufs(out)
    for root, _, files in os.walk(out):
        for f in files:
            os.chmod(os.path.join(root, f), 0o644)


if __name__ == "__main__":
    main()
