#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checkpoints as people's tools leave them, through zw-run on the device model in the process.

Each case is a stored model with something changed, and the tokens that transformers 5.12.1 makes of
it, or words of the refusal.

usage: test_variants.py ZW_RUN MODELS    (TAP on standard output; skipped without a firmware image)
"""

import os
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
from checkpoint import decode, encode, read_file, read_json, write_file, write_json  # noqa: E402
from tap import done, ok  # noqa: E402

ZW_RUN, MODELS = sys.argv[1:3]
TIED = "tiny-qwen3-tied"
IDS = [5, 17, 300, 2, 99, 41, 7, 8]
PLAIN = [8, 88, 88, 88, 88, 88]  # TIED as it is


class Copy:
    """A stored model copied to a new folder, to be changed."""

    def __init__(self, tmp, model=TIED):
        self.dir = tempfile.mkdtemp(dir=tmp)
        for name in os.listdir(os.path.join(MODELS, model)):
            path = os.path.join(MODELS, model, name)
            if os.path.isfile(path):
                shutil.copy(path, self.dir)
                os.chmod(self.path(name), 0o644)

    def path(self, name):
        return os.path.join(self.dir, name)

    def read(self, name):
        return read_json(self.dir, name)

    def write(self, name, value):
        write_json(value, self.dir, name)

    def update(self, name, **keys):
        self.write(name, {**self.read(name), **keys})
        return self

    def tensors(self):
        return read_file(self.path("model.safetensors"))

    def store(self, tensors, name="model.safetensors"):
        write_file(self.path(name), tensors)
        return self

    def run(self, *args, n=6):
        self.write("prompt.json", IDS)
        return subprocess.run(
            [ZW_RUN, "--device", "sim", "--quiet", "--model", self.dir, "--prompt-ids",
             self.path("prompt.json"), "--max-tokens", str(n), "--ids-out", self.path("out.json"),
             *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300)

    def gives(self, name, want, *args):
        p = self.run(*args, n=len(want))
        got = self.read("out.json") if p.returncode == 0 else p.stderr.decode()
        ok(got == want, name, got)
        return self

    def first_is_not(self, name, first):
        p = self.run(n=1)
        got = self.read("out.json") if p.returncode == 0 else p.stderr
        ok(isinstance(got, list) and len(got) == 1 and got != [first], name, got)

    def length(self, name, want):
        """The default of --max-tokens."""
        self.write("prompt.json", IDS)
        p = subprocess.run([ZW_RUN, "--device", "sim", "--quiet", "-m", self.dir, "--prompt-ids",
                            self.path("prompt.json")], stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, timeout=300)
        ok(p.stdout.decode().split() == [str(i) for i in PLAIN[:want]], name, p)

    def refused(self, name, *words):
        p = self.run()
        text = p.stderr.decode()
        ok(p.returncode == 1 and text.count("\n") == 1 and all(w in text for w in words), name,
           (p.returncode, p.stdout, text))
        return self


def heads(tmp):
    c = Copy(tmp)
    t = c.tensors()
    dtype, shape, raw = t["model.embed_tokens.weight"]
    row = len(raw) // shape[0]
    c.gives("the tied model", PLAIN)
    c.store({**t, "lm_head.weight": (dtype, shape, raw)})
    c.gives("tied, with a copy of the embedding as head", PLAIN)
    # torch.roll(embedding, -100, 0)
    c.store({**t, "lm_head.weight": (dtype, shape, raw[100 * row:] + raw[:100 * row])})
    c.gives("tied, with a head of its own: the file's head", [548, 463, 18, 158, 424, 14])


def names(tmp):
    c = Copy(tmp)
    t = c.tensors()
    short = {n.removeprefix("model."): v for n, v in t.items()}
    c.store(short).gives("tensor names without the prefix model.", PLAIN)
    first = next(n for n in t if "layers.0." in n)
    some = {n.removeprefix("model.") if n == first else n: v for n, v in t.items()}
    c.store(some).refused("some with the prefix, some without", first.removeprefix("model."))
    c = Copy(tmp, "tiny-qwen3")
    t = c.tensors()
    c.run()
    want = c.read("out.json")
    c.store({n.removeprefix("model."): v for n, v in t.items()})
    c.gives("untied, names without the prefix", want)


def indexes(tmp):
    c = Copy(tmp)
    t = c.tensors()
    keys = sorted(t)
    half = len(keys) // 2
    shards = {"model-00001-of-00002.safetensors": keys[:half],
              "model-00002-of-00002.safetensors": keys[half:]}
    index = {"weight_map": {k: f for f, ks in shards.items() for k in ks}}
    for name, ks in shards.items():
        c.store({k: t[k] for k in ks}, name)
    c.write("model.safetensors.index.json", index)
    c.refused("index with its shards beside a single file", "model.safetensors.index.json",
              "model.safetensors")
    for name in shards:
        os.unlink(c.path(name))
    c.refused("index without its shards beside a single file", "model.safetensors.index.json")
    c.write("model.safetensors.index.json", {"weight_map": {k: "model.safetensors" for k in keys}})
    c.gives("index that names the single file", PLAIN)
    os.unlink(c.path("model.safetensors"))
    c.write("model.safetensors.index.json", index)
    c.refused("index without its shards", "model.safetensors.index.json",
              "model-00001-of-00002.safetensors")
    for name, ks in shards.items():
        c.store({k: t[k] for k in ks}, name)
    c.gives("index with its shards", PLAIN)


def choosing(tmp):
    def gen(**keys):
        return Copy(tmp).update("generation_config.json", **keys)

    repeat = [563, 220, 413, 374, 242, 621]
    gen(repetition_penalty=1.8, no_repeat_ngram_size=1).gives(
        "repetition_penalty and no_repeat_ngram_size", repeat)
    Copy(tmp).gives("the same from the command line", repeat, "--repetition-penalty", "1.8",
                    "--no-repeat-ngram", "1")
    gen(repetition_penalty=1.8, no_repeat_ngram_size=1).gives(
        "the command line goes before the file", PLAIN, "--repetition-penalty", "1",
        "--no-repeat-ngram", "0")
    gen(repetition_penalty=1.8, no_repeat_ngram_size=1).gives(
        "the file is not read when told so", PLAIN, "--no-generation-config")
    gen(suppress_tokens=[88]).gives("suppress_tokens", [8, 118, 118, 118, 118, 118])
    gen(bad_words_ids=[[88]]).gives("bad_words_ids of one token", [8, 118, 118, 118, 118, 118])
    gen(bad_words_ids=[[8, 88]]).gives("bad_words_ids of two tokens", [8, 118])
    gen(sequence_bias=[[[8, 88], -1000.0]]).gives("sequence_bias bars as bad words do", [8, 118])
    gen(sequence_bias=[[[88], 1000.0]]).gives("sequence_bias of one token", [88] * 6)
    gen(begin_suppress_tokens=[8]).first_is_not("begin_suppress_tokens", 8)
    gen(eos_token_id=88).gives("eos_token_id ends", [8])
    gen(eos_token_id=88).gives("but not with --ignore-eos", PLAIN, "--ignore-eos")
    gen(eos_token_id=88, min_new_tokens=3).gives("min_new_tokens", [8, 118, 118])
    gen(eos_token_id=[700, -1]).gives("eos_token_id above the vocabulary", PLAIN)
    gen(max_new_tokens=2).length("max_new_tokens", 2)
    gen(max_length=11).length("max_length", 3)
    for key, value in {"num_beams": 4, "guidance_scale": 1.5, "generation_kwargs": {"a": 1},
                       "forced_eos_token_id": 3, "typical_p": 0.9, "max_time": 1.0,
                       "watermarking_config": {}, "num_return_sequences": 2}.items():
        gen(**{key: value}).refused(f"{key} is refused by name", "generation_config.json", key)
    gen(num_beams=1, guidance_scale=None, typical_p=1.0, diversity_penalty=0.0, constraints=[],
        token_healing=False).gives("values without effect are taken", PLAIN)
    old = Copy(tmp).update("config.json", suppress_tokens=[88], max_length=2)
    os.unlink(old.path("generation_config.json"))
    old.gives("without the file the keys of config.json hold", [8, 118, 118, 118, 118, 118])


def padding(tmp):
    """Rows without a token below an added token with a high id; one of them would win."""
    c = Copy(tmp, "qwen3-kdoc")
    base = c.run("--temperature", "0")
    want = c.read("out.json")
    t = c.tensors()
    dtype, shape, raw = t["model.embed_tokens.weight"]
    row = len(raw) // shape[0]
    best = raw[want[0] * row:(want[0] + 1) * row]
    # Four times the value, so that this row's logit is, too.
    loud = encode(4 * decode(best, dtype), dtype)
    t["model.embed_tokens.weight"] = (dtype, [shape[0] + 8, shape[1]], raw + loud + bytes(7 * row))
    c.store(t).update("config.json", vocab_size=shape[0] + 8)
    tok = c.read("tokenizer.json")
    tok["added_tokens"].append({**tok["added_tokens"][0], "id": shape[0] + 4, "content": "<far>"})
    c.write("tokenizer.json", tok)
    p = c.run("--temperature", "0")
    ok(p.returncode == 0 and p.stdout == base.stdout and c.read("out.json") == want,
       "rows without a token are never chosen", (c.read("out.json"), want, p.stderr))


def main():
    print("TAP version 13")
    with tempfile.TemporaryDirectory() as tmp:
        p = Copy(tmp).run()
        if p.returncode and b"firmware" in p.stderr:
            ok(True, "runs on sim # SKIP no firmware image: " + p.stderr.decode().strip())
        else:
            heads(tmp)
            names(tmp)
            indexes(tmp)
            choosing(tmp)
            padding(tmp)
    return done()


if __name__ == "__main__":
    sys.exit(main())
