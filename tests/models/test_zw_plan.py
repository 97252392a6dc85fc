#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""zw-plan: its figures against those of zw-run --timing, what fits, what binds, what is refused.

usage: test_zw_plan.py ZW_PLAN ZW_RUN MODELS    (TAP on standard output; skipped without a firmware image)
"""

import json
import os
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import share  # noqa: E402
from tap import done, ok  # noqa: E402

ZW_PLAN, ZW_RUN, MODELS = sys.argv[1:4]


def run(*args):
    return subprocess.run([ZW_PLAN, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300)


def plan(*args):
    p = run(*args, "--json")
    if p.returncode not in (0, 3):
        raise RuntimeError(p.stderr.decode())
    return json.loads(p.stdout), p.returncode


def as_run():
    """A step of a batch is what zw-run takes for one: all sequences read their own cache."""
    for shape, batch in share.of((("qwen3.5-0.8b", 3), ("qwen3-0.6b", 8))):
        with tempfile.NamedTemporaryFile() as f:
            subprocess.run([ZW_RUN, "--timing", "--shape", shape, "--prompt-tokens", "4064", "-n", "3",
                            "--ctx", "4096", "--batch", str(batch), "--quiet", "--stats-json", f.name],
                           check=True, timeout=300)
            decode = json.load(f)["decode"]
        p, _ = plan("--shape", shape, "-b", str(batch), "-c", "4096")
        ratio = p["step_s"] / (decode["sim_s"] * batch / decode["tokens"])
        energy = p["joules_per_token"] / (decode["energy_j"] / decode["tokens"])
        ok(0.98 < ratio < 1.02 and 0.98 < energy < 1.02, f"{shape}: as zw-run", (ratio, energy))


def layers():
    """Layers on several cards: the step behind the first ones is what zw-run takes for one, and the fullest card is zw-run's."""
    for shape, cards, groups, batch in (("qwen3-0.6b", 4, 4, 6), ("qwen3-0.6b", 3, 1, 5), ("qwen3-30b-a3b", 2, 3, 3)):
        common = ["--shape", shape, "--cards", str(cards), "--micro-batches", str(groups)]
        with tempfile.NamedTemporaryFile() as f:
            subprocess.run([ZW_RUN, "--timing", *common, "--prompt-tokens", "960", "-n", "61", "--ctx", "1024", "--batch",
                            str(batch), "--quiet", "--stats-json", f.name], check=True, timeout=300)
            s = json.load(f)
        p, _ = plan(*common, "-b", str(batch), "-c", "1024")
        ratio = p["step_s"] / (s["decode"]["sim_s"] * batch / s["decode"]["tokens"])
        energy = p["joules_per_token"] / (s["decode"]["energy_j"] / s["decode"]["tokens"])
        # the last of 60 rounds has left the first card long before it ends
        name = f"{shape} on {cards} cards, {groups} groups"
        ok(1 - 0.9 / 60 - 0.005 < ratio < 1.01 and 0.98 < energy < 1.01, f"{name}: as zw-run", (ratio, energy))
        ok(p["bytes"]["weights"] in [c["weight_bytes"] for c in s["cards"]] and p["micro_batches"] == s["timing"]["micro_batches"],
           f"{name}: what is on a card", (p, s["cards"]))


def memory():
    p, status = plan("--shape", "qwen3-30b-a3b", "--profile", "m890", "-b", "2", "-c", "8192")
    b = p["bytes"]
    ok(status == 0 and p["fits"] and b["kv"] == 2 * 8192 * 98304 and b["hbm"] == 144 << 30
       and 61e9 < b["weights"] < 62e9, "bytes by kind", b)
    ok(b["needed"] == b["weights"] + b["kv"] + b["state"] + b["rest"], "which add up", b)
    q, _ = plan("--shape", "qwen3-30b-a3b", "--profile", "m890", "-b", "2", "-c", "8192", "--kv", "int8",
                "--weights", "int4")
    ok(q["bytes"]["kv"] < b["kv"] * 0.53 and q["bytes"]["weights"] < b["weights"] * 0.3
       and q["tokens_per_s"] > p["tokens_per_s"], "smaller formats", q)
    p, status = plan("--shape", "qwen3-235b-a22b", "-c", "1024")
    ok(status == 3 and not p["fits"] and p["tokens_per_s"] > 0, "what does not fit", p)
    q, status = plan("--shape", "qwen3-235b-a22b", "-c", "1024", "--cards", "8", "--cut", "width")
    ok(status == 0 and q["fits"] and q["cut"] == "width" and q["bytes"]["weights"] < p["bytes"]["weights"] / 7.8, "eight cards", q)
    text = run("--shape", "qwen3-235b-a22b", "-c", "1024").stdout
    ok(b"5 cards have room for it" in text, "how many have room", text)
    for cards, fits in ((4, False), (5, True)):
        q, status = plan("--shape", "qwen3-235b-a22b", "-c", "1024", "--cards", str(cards))
        ok(q["fits"] == fits and status == (0 if fits else 3) and q["cut"] == "layers", f"{cards} cards, cut by layers", q)


def binds():
    long, _ = plan("--shape", "qwen3-8b", "-c", "16384", "-b", "4")
    many, _ = plan("--shape", "qwen3-8b", "--profile", "c12", "-c", "64", "-b", "512")
    tiny, _ = plan(os.path.join(MODELS, "tiny-qwen3"), "-c", "64")
    ok([x["bound_by"] for x in (long, many, tiny)] == ["HBM", "compute", "launches"], "what binds",
       (long, many, tiny))
    p, _ = plan("--shape", "qwen3-8b", "--price", "10000", "--power-price", "0.2", "--years", "2")
    want = 1e6 * (10000 / (2 * 365.25 * 86400) / p["tokens_per_s"] + p["joules_per_token"] / 3.6e6 * 0.2)
    ok(abs(p["cost_per_million_tokens"] / want - 1) < 1e-9, "cost of a million tokens", (p, want))


def refused():
    for args, word, status in [([], "MODEL or --shape", 2), (["a", "b"], "MODEL or --shape", 2),
                               (["--shape", "qwen3-8b", "-b", "0"], "bad value", 2),
                               (["--shape", "qwen3-8b", "--kv", "f32"], "bad value", 2),
                               (["--shape", "qwen3-8b", "--price", "nan"], "bad value", 2),
                               (["--shape", "qwen9"], "qwen9", 1),
                               (["--shape", "qwen3-8b", "--cards", "7", "--cut", "width"], "divides it", 1),
                               (["--shape", "qwen3-8b", "--cards", "37"], "the model has 36 layers", 1),
                               (["--shape", "qwen3-8b", "--cards", "4", "--cut", "x"], "bad value", 2),
                               (["--shape", "qwen3-8b", "--cards", "2", "--micro-batches", "2"], "--micro-batches", 2),
                               (["--shape", "qwen3-8b", "--cards", "2", "-b", "2", "--cut", "width", "--micro-batches", "2"],
                                "--micro-batches", 2),
                               (["--shape", "qwen3-8b", "--weights", "q2"], "q4_k", 1),
                               (["--shape", "qwen3-8b", "--profile", "b200"], "b200", 1)]:
        p = run(*args)
        ok(p.returncode == status and word in p.stderr.decode(), "refused: " + " ".join(args), p.stderr)
    p = run("--shape", "qwen3-8b", "-c", "512")
    ok(p.returncode == 0 and b"bound by HBM" in p.stdout and b"KV cache" in p.stdout, "text", p.stdout)


def main():
    if b"no firmware image" in run("--shape", "qwen3-0.6b").stderr:
        print("1..0 # SKIP no firmware image")
        return 0
    for part in (as_run, layers, memory, binds, refused):
        part()
    return done()


if __name__ == "__main__":
    sys.exit(main())
