#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tokenizers in GGUF files through zw-tokenize: the tokens of the tokenizer.json they were made of, or refused.

usage: test_gguf_tokenizer.py ZW_TOKENIZE MODELS    (TAP on standard output)
"""

import json
import lzma
import os
import shutil
import struct
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import gguf_file  # noqa: E402
import to_gguf  # noqa: E402
from checkpoint import read_json, write_json  # noqa: E402
from gguf_runs import MODELS, TOOL, stored  # noqa: E402
from tap import done, ok  # noqa: E402


def write_tokenizer(folder, path, extra=None):
    """A file of nothing but the tokenizer, from a folder or a tokenizer.json."""
    keys = to_gguf.tokenizer_keys(folder, 0)
    gguf_file.write(path, {"general.architecture": "qwen3", **keys, **(extra or {})}, {})


def tokenize(model, *args, stdin=b""):
    return subprocess.run([TOOL, "-m", model, *args], input=stdin, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=300)


def texts():
    """Scripts, composed and not, white space, control characters, bytes that are no UTF-8, tokens."""
    return ("The device driver's ioctl()s: 1234 \u00e9 e\u0301 \uac01 \u1112\u1161\u11ab \n\n\t x\r\n "
            "\u4f60\u597d\uff0c\u4e16\u754c \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 \U0001f468\u200d\U0001f469 don't I'LL "
            "<|im_start|>user\nhi<|im_end|> <|endoftext|><think></think><tool_call> "
            "a\u0300\u0316b   \u3000 \u00a0c").encode() + b" \xff\xc3 \x00 end"


def stored_strings():
    """The strings of tests/unit/data/tokenizer-strings.xz, which make-tokenizer-strings describes."""
    path = os.path.join(MODELS, "..", "unit", "data", "tokenizer-strings.xz")
    with lzma.open(path) as f:
        data = f.read()
    at = 8

    def varint():
        nonlocal at
        v = shift = 0
        while True:
            b = data[at]
            at += 1
            v |= (b & 127) << shift
            shift += 7
            if b < 128:
                return v

    def skip_ids():
        n = varint() - 1
        for _ in range(n):
            varint()
        return n >= 0

    n = varint()
    at += n
    out = []
    for _ in range(struct.unpack_from("<I", data, 4)[0]):
        n = varint()
        out.append(data[at:at + n])
        at += n
        for _ in range(2):
            if skip_ids():
                skip_ids()
        skip_ids()
    return out


def with_marks(folder, out):
    """The tokenizer with the expression of Qwen3.5."""
    os.mkdir(out)
    tok = read_json(folder, "tokenizer.json")
    regex = tok["pre_tokenizer"]["pretokenizers"][0]["pattern"]
    regex["Regex"] = regex["Regex"].replace("?\\p{L}+", "?[\\p{L}\\p{M}]+").replace(
        "[^\\s\\p{L}\\p{N}]", "[^\\s\\p{L}\\p{M}\\p{N}]")
    write_json(tok, out, "tokenizer.json")
    return out


def tokenizers(tmp):
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    published = os.path.join(cache, "zhenwu", "qwen3-tokenizer.json")
    path = os.path.join(tmp, "tok.gguf")
    file = os.path.join(tmp, "texts")
    raw = texts() + b"\n".join(stored_strings())
    kdoc = stored("qwen3-kdoc")
    cases = [("qwen3-kdoc", kdoc), ("qwen3-kdoc with qwen35's expression",
                                    with_marks(kdoc, os.path.join(tmp, "kdoc35")))]
    if os.path.exists(published):
        folder = os.path.join(tmp, "published")
        os.mkdir(folder)
        shutil.copy(published, os.path.join(folder, "tokenizer.json"))
        cases.append(("the published Qwen3", folder))
        cases.append(("the published Qwen3 with qwen35's expression",
                      with_marks(folder, os.path.join(tmp, "published35"))))
    else:
        ok(True, "the published tokenizer # SKIP tests/unit/fetch-tokenizer has not run")
    with open(file, "wb") as f:
        f.write(raw)
    for name, folder in cases:
        write_tokenizer(folder, path)
        want, got = (tokenize(m, "-f", file, "--ids") for m in (folder, path))
        ok(want.returncode == 0 and got.returncode == 0 and want.stdout == got.stdout,
           f"{name}: the tokens of tokenizer.json ({len(raw)} bytes)", got.stderr)
        ids = os.path.join(tmp, "tok.json")
        with open(ids, "wb") as f:
            f.write(got.stdout)
        back = tokenize(path, "--decode", ids)
        ok(back.returncode == 0 and
           back.stdout == tokenize(folder, "--decode", ids).stdout and len(back.stdout) > 100,
           f"{name}: and back", back)


def tokenizer_keys(tmp):
    path = os.path.join(tmp, "tok.gguf")
    kdoc = stored("qwen3-kdoc")
    end = json.dumps([4093])
    write_tokenizer(kdoc, path, {"tokenizer.ggml.add_bos_token": True,
                                 "tokenizer.ggml.bos_token_id": 4093,
                                 "tokenizer.ggml.add_eos_token": True,
                                 "tokenizer.ggml.eos_token_id": 4094})
    got = json.loads(tokenize(path, "-p", "abc", "--ids").stdout)
    plain = json.loads(tokenize(kdoc, "-p", "abc", "--ids").stdout)
    ok(got == json.loads(end) + plain + [4094], "add_bos_token, add_eos_token", (got, plain))
    bad = []
    cases = [
        ({"tokenizer.ggml.model": "llama"}, "tokenizer.ggml.model|llama"),
        ({"tokenizer.ggml.pre": "default"}, "tokenizer.ggml.pre|default"),
        ({"tokenizer.ggml.pre": 5}, "tokenizer.ggml.pre|string"),
        ({"tokenizer.ggml.add_space_prefix": True}, "add_space_prefix"),
        ({"tokenizer.ggml.tokens": ["a", "b"]}, "token_type has 4096 entries|tokens 2"),
        ({"tokenizer.ggml.tokens": [1, 2]}, "tokenizer.ggml.tokens|string"),
        ({"tokenizer.ggml.merges": ["a b c"]}, "merge 0"),
        ({"tokenizer.ggml.merges": ["zzzz qqqq"]}, "merge 0"),
        ({"tokenizer.ggml.merges": "a b"}, "tokenizer.ggml.merges|array"),
        ({"tokenizer.ggml.add_bos_token": True}, "bos_token_id"),
        ({"tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.bos_token_id": 4096},
         "bos_token_id"),
        ({"tokenizer.ggml.add_bos_token": 1}, "add_bos_token|truth"),
        ({"tokenizer.chat_template": b"a\0b"}, "chat_template|NUL"),
    ]
    for keys, words in cases:
        write_tokenizer(kdoc, path, {k: (gguf_file.STRING, gguf_file.text(v))
                                     if isinstance(v, bytes) else v for k, v in keys.items()})
        p = tokenize(path, "-p", "abc")
        line = p.stderr.decode()
        if (p.returncode != 1 or line.count("\n") != 1 or "tok.gguf" not in line or
                not all(w in line for w in words.split("|"))):
            bad.append((keys, p.returncode, line))
    ok(not bad, f"tokenizers that are refused ({len(cases)} cases)", "\n".join(map(str, bad)))


def main():
    print("TAP version 13")
    with tempfile.TemporaryDirectory() as tmp:
        tokenizers(tmp)
        tokenizer_keys(tmp)
    return done()


if __name__ == "__main__":
    sys.exit(main())
