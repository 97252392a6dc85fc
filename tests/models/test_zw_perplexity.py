#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""zw-perplexity against a computation of its own over logits: those stored beside the model, and
those that zw-run writes for each window of a text.

usage: test_zw_perplexity.py ZW_PERPLEXITY ZW_RUN ZW_TOKENIZE MODELS    (TAP on standard output)
"""

import json
import math
import os
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
from checkpoint import np, read_json, write_json  # noqa: E402
from tap import done, ok  # noqa: E402

TOOL, ZW_RUN, ZW_TOKENIZE, MODELS = sys.argv[1:5]
KDOC = os.path.join(MODELS, "qwen3-kdoc")
AGENT = os.path.join(MODELS, "qwen3next-agent")
TEXT = """The device driver registers its interrupt handler when the device is probed. A lock protects
the list of requests, and the work queue runs them one after the other. See the documentation of the
memory allocator for what may sleep: code that holds a spinlock may not. User space reads the state of
the device from sysfs files, one value per file."""


def run(*args, **kw):
    return subprocess.run([TOOL, *args], stdout=kw.pop("stdout", subprocess.PIPE),
                          stderr=subprocess.PIPE, timeout=300, **kw)


def measure(*args, **kw):
    p = run("--device", "sim", "--json", *args, **kw)
    if p.returncode:
        raise RuntimeError(p.stderr.decode())
    return json.loads(p.stdout)


def read_npy(path):
    """Rows as lists."""
    return np.load(path).tolist()


def nll(row, token):
    top = max(row)
    return math.log(math.fsum(math.exp(x - top) for x in row)) + top - row[token]


def write_ids(tmp, ids):
    path = os.path.join(tmp, "ids.json")
    write_json(ids, path)
    return path


def stored(tmp):
    """Logits of another implementation, in binary32: as near as BF16 noise lets it be."""
    prompts = read_json(KDOC, "expected", "prompt_ids.json")
    for k, ids in enumerate(prompts):
        rows = read_npy(os.path.join(KDOC, "expected", f"logits_{k}.npy"))
        want = math.fsum(nll(rows[i], ids[i + 1]) for i in range(len(ids) - 1))
        got = measure("--ids", KDOC, write_ids(tmp, ids))
        n = len(ids) - 1
        ok(got["tokens"] == n and got["windows"] == 1 and
           abs(got["nll"] - want) / n < 0.02 and
           math.isclose(got["perplexity"], math.exp(got["nll"] / n), rel_tol=1e-12),
           f"prompt {k}: perplexity {got['perplexity']:.3f}, "
           f"stored logits give {math.exp(want / n):.3f}", (got, want))


def windows_of(ids, window, stride):
    """(start, first scored, end) of each."""
    out, scored, start = [], 0, 0
    while True:
        end = min(start + window, len(ids))
        first = max(scored, start + 1)
        if first < end:
            out.append((start, first, end))
        scored = end
        if end == len(ids):
            return out
        start += stride


def sliding(tmp, ids):
    """The device's own logits of every window: equal but for rounding in sums of doubles."""
    cache = {}

    def logits(start, end):
        if (start, end) not in cache:
            out = os.path.join(tmp, "l.npy")
            subprocess.run([ZW_RUN, "--device", "sim", "--model", KDOC, "--prompt-ids",
                            write_ids(tmp, ids[start:end]), "--max-tokens", "0", "--quiet",
                            "--logits-out", out], check=True, timeout=300)
            cache[start, end] = read_npy(out)
        return cache[start, end]

    for window, stride, chunk, limit in [(32, 32, 128, 0), (32, 16, 7, 0), (48, 5, 128, 3),
                                         (512, 256, 128, 0), (len(ids) - 1, 1, 20, 0)]:
        want, plan = [], windows_of(ids, window, stride)
        plan = plan[:limit] if limit else plan
        for start, first, end in plan:
            rows = logits(start, end)
            want += [nll(rows[i - 1 - start], ids[i]) for i in range(first, end)]
        args = ["-c", str(window), "--stride", str(stride), "--chunk", str(chunk)]
        got = measure("--ids", *args, *(["--windows", str(limit)] if limit else []), KDOC,
                      write_ids(tmp, ids))
        mean = math.fsum(want) / len(want)
        var = math.fsum((x - mean) ** 2 for x in want) / len(want) / (len(want) - 1)
        ok(got["tokens"] == len(want) and got["windows"] == len(plan) and
           math.isclose(got["nll"], math.fsum(want), rel_tol=1e-9) and
           math.isclose(got["error"], math.exp(mean) * math.sqrt(var), rel_tol=1e-6),
           f"window {window}, stride {stride}: {len(want)} tokens, {got['perplexity']:.4f}",
           (got, math.fsum(want), len(plan)))


def delta_chunked(text):
    a, b, c = (measure(AGENT, text, *more) for more in
               ([], ["--delta-chunked"], ["--delta-chunked", "--chunk", "64"]))
    ok(a != b and math.isclose(a["nll"], b["nll"], rel_tol=1e-3),
       "--delta-chunked: other bits, the same perplexity", (a, b))
    ok(b == c, "and those of any --chunk", (b, c))


def command_line(tmp, text, ids):
    path = write_ids(tmp, ids)
    a = measure(KDOC, text)
    ok(a == measure("--ids", KDOC, path), "a text and its ids give the same number")
    with open(text, "rb") as f:
        ok(a == measure(KDOC, "-", stdin=f), "- is standard input")
    p = run("--device", "sim", "-q", KDOC, text)
    ok(p.returncode == 0 and p.stdout.decode().startswith(f"perplexity {a['perplexity']:.4f} +- ")
       and p.stderr == b"", "one line for people", p)

    def file(name, content):
        full = os.path.join(tmp, name)
        with open(full, "w", encoding="utf-8") as f:
            f.write(content)
        return full

    cases = [
        ([KDOC, os.path.join(tmp, "none")], "none"),
        ([os.path.join(tmp, "nomodel"), text], "nomodel"),
        ([os.path.join(MODELS, "tiny-qwen3"), text], "tokenizer.json"),
        (["--ids", os.path.join(MODELS, "tiny-qwen3"), file("far.json", "[1, 2, 640]")], "640"),
        (["--ids", KDOC, file("one.json", "[1]")], "1 tokens"),
        ([KDOC, file("empty", "")], "0 tokens"),
        (["-c", "4000", KDOC, text], "2048"),
        (["-c", "16", "--stride", "17", KDOC, text], "stride"),
        (["--delta-chunked", "--chunk", "63", AGENT, text], "63"),
    ]
    bad = []
    for args, word in cases:
        p = run("--device", "sim", *args)
        err = p.stderr.decode()
        if p.returncode != 1 or p.stdout or word not in err or err.count("\n") != 1 or \
                not err.startswith("zw-perplexity: "):
            bad.append((args, p.returncode, err))
    ok(not bad, f"failures exit 1 with one line that names the cause ({len(cases)} cases)", bad)
    bad = []
    cases = [[], [KDOC], [KDOC, "a", "b"], ["--bogus", KDOC, "a"], ["-c", "1", KDOC, "a"],
             ["--stride", "0", KDOC, "a"], ["--windows", "x", KDOC, "a"],
             ["--chunk", "4097", KDOC, "a"], ["-c"]]
    for args in cases:
        p = run(*args)
        if p.returncode != 2 or p.stdout or p.stderr.count(b"\n") != 1:
            bad.append((args, p.returncode, p.stderr))
    ok(not bad, f"wrong usage exits 2 with one line ({len(cases)} cases)", bad)
    p = run("--help")
    ok(p.returncode == 0 and all(o in p.stdout.decode() for o in
                                 ["--ids", "--ctx", "--stride", "--windows", "--chunk", "--json"]),
       "--help lists the options")
    with open("/dev/full", "wb") as full:
        ok(run("--help", stdout=full).returncode == 1, "a full disk is a failure")


def main():
    with tempfile.TemporaryDirectory() as tmp:
        text = os.path.join(tmp, "text")
        with open(text, "w", encoding="utf-8") as f:
            f.write(TEXT)
        # What the text is as ids, from the library through the other tool.
        p = subprocess.run([ZW_TOKENIZE, "-m", KDOC, "-f", text, "--ids"], check=True,
                           stdout=subprocess.PIPE, timeout=60)
        ids = json.loads(p.stdout)
        p = run("--device", "sim", KDOC, text)
        if p.returncode and b"firmware" in p.stderr:
            ok(True, "runs on sim # SKIP no firmware image: " + p.stderr.decode().strip())
            return done()
        stored(tmp)
        sliding(tmp, ids)
        delta_chunked(text)
        command_line(tmp, text, ids)
    return done()


sys.exit(main())
