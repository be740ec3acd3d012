#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rebuild the tokenizers of the peer tests from pip packages, and (re)write the golden id files.

    python make_tokenizers.py build smollm2 SmolLM2-135M-Instruct.Q4_1.gguf  OUT/tokenizer.json
    python make_tokenizers.py build qwen2   qwen.tiktoken                    OUT/tokenizer.json
    python make_tokenizers.py build qwen35  qwen.tiktoken                    OUT/tokenizer.json   # Qwen3.5's rule on that vocabulary
    python make_tokenizers.py build llama3  tokenizer.model                  OUT/tokenizer.json
    python make_tokenizers.py golden NAME OUT/tokenizer.json NAME.json
    python make_tokenizers.py random NAME OUT/tokenizer.json OUT/random.json   # 1500 random strings, every kind of character
    python make_tokenizers.py check  NAME.json OUT/tokenizer.json     # exit 1 on any difference

packaging/fetch_test_data fetches the inputs. Needs `tokenizers`; `gguf` for smollm2. The demo tokenizer's golden file is
`golden demo resources/demo/teacher/tokenizer.json tests/data/golden/tokenizers/demo.json`.
"""
import base64, json, os, sys, unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE

QWEN2_SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
               r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN35_SPLIT = QWEN2_SPLIT.replace(r"\p{L}+|", r"[\p{L}\p{M}]+|").replace(r"[^\s\p{L}\p{N}]+", r"[^\s\p{L}\p{M}\p{N}]+")
LLAMA3_SPLIT = QWEN2_SPLIT.replace(r"|\p{N}|", r"|\p{N}{1,3}|")


def byte_chars():
    """GPT-2's printable stand-in character for each byte."""
    keep = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    table, n = {}, 0
    for b in range(256):
        table[b] = chr(b) if b in keep else chr(256 + n)
        n += b not in keep
    return table


def read_ranks(path):
    with open(path, "rb") as f:
        return {base64.b64decode(t): int(r) for t, r in (ln.split() for ln in f.read().splitlines() if ln)}


def canonical_merges(ranks):
    """One merge per token: the last pair that BPE joins to form it (gives Qwen's own merges.txt)."""
    out = []
    for token, rank in ranks.items():
        if len(token) == 1:
            continue
        parts = [bytes([b]) for b in token]
        while len(parts) > 2:
            best = min((ranks.get(parts[i] + parts[i + 1], 1 << 60), i) for i in range(len(parts) - 1))
            if best[0] >= rank:
                break
            i = best[1]
            parts[i:i + 2] = [parts[i] + parts[i + 1]]
        if len(parts) == 2:
            out.append((rank, parts[0], parts[1]))
    return [(a, b) for _, a, b in sorted(out)]


def all_split_merges(ranks):
    """Every way to cut a token in two known pieces (what the Llama-3 tokenizer.json has)."""
    out = []
    for token, rank in ranks.items():
        cuts = [(ranks[token[:i]], ranks[token[i:]], token[:i], token[i:]) for i in range(1, len(token))
                if token[:i] in ranks and token[i:] in ranks]
        out += [(rank, *c) for c in sorted(cuts)]
    return [(c[3], c[4]) for c in sorted(out, key=lambda c: c[:3])]


def from_ranks(ranks, merges, split, nfc, ignore_merges):
    ch = byte_chars()
    s = lambda b: "".join(ch[x] for x in b)
    tok = Tokenizer(BPE(vocab={s(t): r for t, r in ranks.items()}, merges=[(s(a), s(b)) for a, b in merges],
                        unk_token=None, fuse_unk=False, byte_fallback=False, ignore_merges=ignore_merges))
    if nfc:
        tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(split), behavior="isolated", invert=False),
                                                 pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    return tok


def build(name, src):
    if name == "smollm2":
        import gguf
        kv = {k: f.contents() for k, f in gguf.GGUFReader(src).fields.items() if k.startswith("tokenizer.")}
        assert kv["tokenizer.ggml.model"] == "gpt2" and kv["tokenizer.ggml.pre"] == "smollm"
        names = kv["tokenizer.ggml.tokens"]
        tok = Tokenizer(BPE(vocab={t: i for i, t in enumerate(names)},
                            merges=[tuple(m.split(" ", 1)) for m in kv["tokenizer.ggml.merges"]],
                            unk_token=None, fuse_unk=False, byte_fallback=False, ignore_merges=False))
        tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                                     pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
        tok.decoder = decoders.ByteLevel()
        tok.add_special_tokens([AddedToken(names[i], normalized=False, special=True)
                                for i, ty in enumerate(kv["tokenizer.ggml.token_type"]) if ty == 3])
        return tok
    ranks = read_ranks(src)
    if name in ("qwen2", "qwen35"):
        assert len(ranks) == 151643
        tok = from_ranks(ranks, canonical_merges(ranks), QWEN35_SPLIT if name == "qwen35" else QWEN2_SPLIT, nfc=True, ignore_merges=False)
        tok.add_special_tokens([AddedToken(t, normalized=False, special=True)
                                for t in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")])
        return tok
    if name == "llama3":
        assert len(ranks) == 128000
        tok = from_ranks(ranks, all_split_merges(ranks), LLAMA3_SPLIT, nfc=False, ignore_merges=True)
        sp = ["<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>",
              "<|finetune_right_pad_id|>", "<|reserved_special_token_2|>", "<|start_header_id|>", "<|end_header_id|>",
              "<|eom_id|>", "<|eot_id|>", "<|python_tag|>"]
        sp += [f"<|reserved_special_token_{i}|>" for i in range(3, 3 + 256 - len(sp))]
        tok.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in sp])
        tok.post_processor = processors.TemplateProcessing(
            single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|>:1 $B:1",
            special_tokens=[("<|begin_of_text|>", 128000)])
        return tok
    sys.exit(f"unknown tokenizer {name!r}")


NFD = lambda s: unicodedata.normalize("NFD", s)
CASES = [
    ("empty", ""), ("one_space", " "), ("two_spaces", "  "), ("seventeen_spaces", " " * 17),
    ("leading_space", " hello"), ("trailing_space", "hello "), ("inner_spaces", "a b  c   d    e"),
    ("hundred_spaces_x", " " * 100 + "x"), ("newline", "\n"), ("two_newlines", "\n\n"), ("ten_newlines_x", "\n" * 10 + "x"),
    ("crlf", "\r\n"), ("crlf_text", "a\r\nb\r\n\r\nc\r"), ("space_newline_mix", " \n \n\t x \n"),
    ("newline_then_spaces", "line\n   "), ("tabs", "\t\tif x:\n\t\t\treturn\t1"),
    ("digits", "1234567890"), ("numbers", "3.14159 2,718,281 1e-10 -42 0x1F"), ("digits_and_spaces", "a 1  2   3 12  345   6789"),
    ("version", "v1.2.3-rc4+build.567"), ("arabic_indic_digits", "١٢٣٤٥٦"), ("other_numerals", "½ ² Ⅷ ① ൧൨ 三 ㊿"),
    ("contractions_lower", "I'm you're he'll we've I'd it's don't"), ("contractions_upper", "I'M YOU'RE HE'LL WE'VE I'D IT'S DON'T"),
    ("contractions_mixed", "'tis 'Twas o'clock y'all'd've x's'T 'Ll"), ("curly_apostrophe", "I’m don’t ‘quoted’ “text”"),
    ("long_s_apostrophe", "it'ſ don'ſ x'ſy"), ("punctuation_runs", "!!!??? ... --- /// ***"), ("punct_then_newlines", "end.\n\n(next)!\r\n\"q\""),
    ("email_path", "foo_bar-baz.qux@example.com C:\\dir\\file.txt"), ("url", "https://example.org/a/b?c=d&e=%20f#g"),
    ("cpp", "template <typename T>\nauto f(const T& x) -> decltype(x * 2) { return x << 1; } // ok"),
    ("python", "def f(x):\n    if x > 0:\n        return x ** 2\n    return None\n"), ("json", "{\"a\": [1, 2.5, null], \"b\\n\": \"\\u00e9\"}"),
    ("latex", "$\\frac{\\partial L}{\\partial w_{ij}} = \\sum_{k=1}^{N} x_k^2$"), ("identifiers", "getHTTPResponseCode2xx __init__ HTML5 iPhone14ProMax"),
    ("long_word", "supercalifragilisticexpialidocious antidisestablishmentarianism"), ("letter_run", "a" * 200),
    ("chinese", "你好，世界！今天天气很好。"), ("japanese", "これはテストです。カタカナ ひらがな 漢字 ﾊﾝｶｸ"), ("korean", "안녕하세요 세계"),
    ("korean_nfd", NFD("안녕하세요 세계")), ("thai", "สวัสดีชาวโลก ที่นี่ น้ำ"), ("devanagari", "नमस्ते दुनिया क्षेत्र"),
    ("arabic_marks", "مَرْحَبًا بِالعَالَم"), ("hebrew_points", "שָׁלוֹם עוֹלָם"), ("russian_greek", "Привет, мир! Γειά σου Κόσμε"),
    ("vietnamese_nfc", "Tiếng Việt rất đẹp"), ("vietnamese_nfd", NFD("Tiếng Việt rất đẹp")), ("cafe_nfc", "café naïve Ångström"),
    ("cafe_nfd", NFD("café naïve Ångström")), ("compat_chars", "\u212b \u2126 ﬁ ﬀ ǅ ß İ ı"), ("lone_mark", "\u0301abc a\u0301\u0327 \u20dd"),
    ("emoji", "😀👍 ok 🎉🎉"), ("emoji_zwj", "👩‍👩‍👧‍👦 🏳️‍🌈 🇫🇷 👍🏽 1️⃣ #️⃣"), ("zero_width", "a\u200bb\u200cc\u200dd\ufeffe\u2060f"),
    ("unicode_spaces", "a\u00a0b\u2003c\u3000d\u202fe\u1680f"), ("line_separators", "a\u0085b\u2028c\u2029d\u000be\u000cf"), ("bidi", "x\u202eabc\u202c y"),
    ("control_chars", "a\x00b\x01c\x07d\x1be\x7ff"), ("rare_bytes", "a\x04b\x06c\x13\x14d\x16e\x1df"),
    ("astral_planes", "𝒳𝔘𝟘 𠜎 \U00040000z \U000f0000 \U0010ffff"), ("byte_level_lookalikes", "Ġhello Ċ Ā ▁under"),
    ("chat_specials", "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"), ("endoftext_inside", "one<|endoftext|>two <|endoftext|> three"),
    ("llama_specials", "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>"),
    ("almost_specials", "<|im_start <|im_end| <|IM_START|> <| im_start |> <|endoftext"),
]


def random_cases(tok):
    """Strings of pieces that pre-tokenizers treat differently, then the characters of Unicode 14, each between letters."""
    import random
    rng = random.Random(20)
    assigned = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")]
    spaces = [c for c in assigned if c.isspace()] + ["\u180e", "\u200b", "\ufeff"]
    marks = [c for c in assigned if unicodedata.category(c)[0] == "M"]
    numbers = [c for c in assigned if unicodedata.category(c)[0] == "N"]
    odd = [c for c in assigned if unicodedata.normalize("NFC", unicodedata.normalize("NFD", c)) != c]
    specials = [t.content for t in tok.get_added_tokens_decoder().values()]
    kinds = [lambda: rng.choice(" \n\t\r'"), lambda: rng.choice("abcdesTxyz") * rng.randint(1, 3), lambda: rng.choice("0123456789"),
             lambda: rng.choice(spaces), lambda: rng.choice(marks), lambda: rng.choice(numbers), lambda: rng.choice(odd),
             lambda: rng.choice(assigned), lambda: rng.choice(specials), lambda: rng.choice(specials)[:rng.randint(1, 9)],
             lambda: rng.choice(["'s", "'LL", "'re", "\u2019s", "'\u017f", "\r\n", " the", "ing", "...", "();", "\u1100\u1161\u11a8", "  "])]
    cases = [(f"random {i}", "".join(rng.choice(kinds)() for _ in range(rng.randint(1, 24)))) for i in range(1500)]
    # ideographs and syllables are alike: one in fifty
    swept = [c for i, c in enumerate(assigned) if i % 50 == 0 or ord(c) < 0x3400 or unicodedata.category(c) != "Lo"]
    for start in range(0, len(swept), 64):
        cases.append((f"from U+{ord(swept[start]):04X}", "".join(f"a{c}b {c}1" for c in swept[start:start + 64])))
    return cases


def encode_all(tok, cases=CASES):
    rows = []
    for name, text in cases:
        tok.encode_special_tokens = False
        ids = tok.encode(text, add_special_tokens=False).ids
        with_bos = tok.encode(text, add_special_tokens=True).ids
        tok.encode_special_tokens = True
        plain = tok.encode(text, add_special_tokens=False).ids
        tok.encode_special_tokens = False
        row = {"name": name, "text": text, "ids": ids}
        if with_bos != ids:
            row["ids_with_bos"] = with_bos
        if plain != ids:
            row["ids_specials_as_text"] = plain
        dec = tok.decode(ids, skip_special_tokens=False)
        if dec != text:
            row["decoded"] = dec
        rows.append(row)
    return rows


def main():
    if len(sys.argv) == 5 and sys.argv[1] == "build":
        _, _, name, src, out = sys.argv
        os.makedirs(os.path.dirname(os.path.abspath(out)), exist_ok=True)
        tok = build(name, src)
        tok.save(out)
        m = json.loads(tok.to_str())["model"]
        print(f"{name}: {tok.get_vocab_size(with_added_tokens=True)} tokens, {len(m['merges'])} merges -> {out}")
    elif len(sys.argv) == 5 and sys.argv[1] in ("golden", "random"):
        _, _, name, src, out = sys.argv
        import tokenizers
        tok = Tokenizer.from_file(src)
        j = json.loads(tok.to_str())
        head = {"tokenizer": name, "made_with": f"tokenizers {tokenizers.__version__}",
                "vocab_size": tok.get_vocab_size(with_added_tokens=True), "merges": len(j["model"]["merges"]),
                "ignore_merges": j["model"]["ignore_merges"], "unk_token": j["model"]["unk_token"],
                "normalizer": j["normalizer"], "pre_tokenizer": j["pre_tokenizer"], "post_processor": j["post_processor"],
                "added_tokens": [[t["id"], t["content"]] for t in j["added_tokens"] if "reserved" not in t["content"]]}
        cases = random_cases(tok) if sys.argv[1] == "random" else CASES
        with open(out, "w") as f:
            f.write(json.dumps(head, ensure_ascii=True, indent=1)[:-2] + ',\n "cases": [\n  ')
            f.write(",\n  ".join(json.dumps(r, ensure_ascii=True) for r in encode_all(tok, cases)) + "\n ]\n}\n")
        print(f"wrote {out}: {len(cases)} cases, {os.path.getsize(out)} bytes")
    elif len(sys.argv) == 4 and sys.argv[1] == "check":
        want = json.load(open(sys.argv[2]))["cases"]
        got = encode_all(Tokenizer.from_file(sys.argv[3]))
        bad = [w["name"] for w, g in zip(want, got) if w != g]
        print(f"{len(want) - len(bad)} passed, {len(bad)} failed" + (f": {bad}" if bad else ""))
        sys.exit(bool(bad) or len(want) != len(got))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
