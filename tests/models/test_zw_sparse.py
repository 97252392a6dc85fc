#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Sparse attention on the trained checkpoints: selections of everything against dense attention, bit by
bit; what a stated part of the keys costs in logits and perplexity; the command line.

usage: test_zw_sparse.py ZW_RUN ZW_PERPLEXITY ZW_BENCH MODELS    (TAP on standard output)

In a share (share.py) long texts are left out: for builds with sanitizers.
"""

import json
import math
import os
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
from checkpoint import np, read_json, write_json  # noqa: E402
import share  # noqa: E402
from tap import done, ok  # noqa: E402

ZW_RUN, ZW_PERPLEXITY, ZW_BENCH, MODELS = sys.argv[1:5]
KDOC = os.path.join(MODELS, "qwen3-kdoc")
AGENT = os.path.join(MODELS, "qwen3next-agent")
START = "The device driver registers its interrupt handler when the device is probed."
LENGTH = 1500


def run(tool, *args):
    return subprocess.run([tool, "--device", "sim", *args], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=600)


def checked(tool, *args):
    p = run(tool, *args)
    if p.returncode:
        raise RuntimeError(p.stderr.decode())
    return p


def logits(tmp, model, ids, *sparse):
    """The prompt's logits as a file, and how many of its tokens were sparse."""
    path, out, stats = (os.path.join(tmp, x) for x in ("ids.json", "l.npy", "stats.json"))
    write_json(ids, path)
    checked(ZW_RUN, "--model", model, "--prompt-ids", path, "--max-tokens", "0", "--quiet",
            "--ctx", "2048", "--logits-out", out, "--stats-json", stats, *sparse)
    with open(out, "rb") as f:
        data = f.read()
    return data, read_json(stats)["prefill"]["sparse_tokens"], np.load(out).astype(float)


def written_text(tmp):
    """What qwen3-kdoc writes: text of which it knows something."""
    out = os.path.join(tmp, "text.json")
    checked(ZW_RUN, "--model", KDOC, "--prompt", START, "--max-tokens", str(LENGTH), "--quiet",
            "--ignore-eos", "--temperature", "0.9", "--seed", "3", "--ids-out", out)
    ids = read_json(out)
    return ids if isinstance(ids, list) else ids["prompt"] + ids["generated"]


def difference(a, b):
    """Relative rms of the logits' difference, and the share of rows with the same best token."""
    return math.sqrt(((a - b) ** 2).sum() / (b * b).sum()), (a.argmax(1) == b.argmax(1)).mean()


def everything(tmp, texts):
    """Each with steps of 128 tokens and of 256."""
    for name, (model, ids) in texts.items():
        for chunk in ("128", "256"):
            want = logits(tmp, model, ids, "--chunk", chunk)
            for spec in ("slash,vertical=2048,slash=2048", "blocks,keep=64", "blocks,keep=64,group=32"):
                group = 32 if "group" in spec else 64
                got = logits(tmp, model, ids, "--chunk", chunk, "--sparse", spec)
                ok(got[0] == want[0] and got[1] == len(ids) // group * group and want[1] == 0,
                   f"{name}: {spec} in steps of {chunk}: the bits of all keys", got[1:2])


def a_part(tmp, texts):
    """Blocks of 32 and 64 tokens: a quarter of the prompt and less. Error, best token, bounds of both."""
    dense = {name: logits(tmp, model, ids)[2] for name, (model, ids) in texts.items()}
    for name, spec, most, least in [
            ("kdoc", "blocks,keep=12,group=32", 0.05, 0.95),
            ("kdoc", "slash,vertical=96,slash=160", 0.03, 0.96),
            ("agent", "blocks,keep=8,group=32", 0.05, 0.98),
            ("agent", "slash,vertical=96,slash=128", 0.03, 0.98)]:
        model, ids = texts[name]
        rms, same = difference(logits(tmp, model, ids, "--sparse", spec)[2], dense[name])
        ok(0 < rms < most and same > least,
           f"{name}, {len(ids)} tokens, {spec}: rms {rms:.4f}, same best token {same:.4f}")


def perplexity(tmp, ids):
    path = os.path.join(tmp, "ids.json")
    write_json(ids, path)

    def measure(*args):
        p = checked(ZW_PERPLEXITY, "--json", "-q", "--ids", "-c", str(len(ids)), *args, KDOC, path)
        return json.loads(p.stdout)["perplexity"]

    dense = measure()
    ok(measure("--sparse", "blocks,keep=64") == dense, f"perplexity {dense:.4f} with all blocks")
    for spec, most in [("blocks,keep=12,group=32", 1.015), ("slash,vertical=96,slash=160", 1.005),
                       ("blocks,keep=4,group=32", 1.15)]:
        got = measure("--sparse", spec)
        ok(got != dense and got < most * dense, f"{spec}: {got / dense:.4f} times that", got)


def command_line(tmp):
    for bad in ("", "x", "none,group=32", "slash,keep=3", "blocks,vertical=3", "blocks,keep", "blocks,keep=",
                "blocks,keep=0", "blocks,keep=1x", "model,slash=5", "slash,", "slash,group=32,",
                "slash,from=-1", "blocks,keep=99999999999999999999"):
        for tool, args in ((ZW_RUN, ["-m", KDOC, "-p", "a"]), (ZW_PERPLEXITY, [KDOC, "-"]),
                           (ZW_BENCH, ["-m", KDOC])):
            p = run(tool, "--sparse", bad, *args)
            ok(p.returncode == 2 and b"--help" in p.stderr and not p.stdout,
               f"{os.path.basename(tool)} --sparse {bad!r}: refused", p)
    p = run(ZW_RUN, "-m", KDOC, "-p", "a", "--sparse", "model")
    ok(p.returncode == 1 and b"sparse_attention_config" in p.stderr, "model: the checkpoint has none", p)
    p = run(ZW_RUN, "-m", KDOC, "-p", "a", "--sparse", "blocks,group=40")
    ok(p.returncode == 1 and b"sparse_group 40" in p.stderr, "a group that is none", p)
    args = ["-m", KDOC, "-p", "1024", "-n", "0", "-r", "1", "-b", "256", "-o", "json"]
    dense = json.loads(checked(ZW_BENCH, *args).stdout)[0]
    got = json.loads(checked(ZW_BENCH, *args, "--sparse", "blocks,keep=12").stdout)[0]
    ok(got["sparse"] == "blocks" and "sparse" not in dense and got["sim_ns"] != dense["sim_ns"],
       f"zw-bench: {got['sim_ns'] / dense['sim_ns']:.3f} of the simulated time", got)


def main():
    with tempfile.TemporaryDirectory() as tmp:
        prompts = read_json(AGENT, "expected", "prompt_ids.json")
        ids = written_text(tmp)
        texts = {"kdoc": (KDOC, ids), "agent": (AGENT, max(prompts, key=len))}
        everything(tmp, {"kdoc": (KDOC, ids[:700]), "agent": texts["agent"]})
        if share.WHOLE:
            a_part(tmp, texts)
            perplexity(tmp, ids)
        command_line(tmp)
    return done()


sys.exit(main())
