#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""zw-bench: its formats, and its figures against each other and against those of zw-run.

usage: test_zw_bench.py ZW_BENCH ZW_RUN MODELS    (TAP on standard output)
"""

import csv
import io
import json
import os
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
from tap import done, ok  # noqa: E402

TOOL, ZW_RUN, MODELS = sys.argv[1:4]
TINY = os.path.join(MODELS, "tiny-qwen3")
MOE = os.path.join(MODELS, "tiny-qwen3-moe")
AGENT = os.path.join(MODELS, "qwen3next-agent")
KEYS = ["model_filename", "model_type", "model_size", "model_n_params", "backends", "profile", "n_batch", "n_seqs",
        "delta_chunked", "n_prompt", "n_gen", "n_depth", "test_time", "avg_ns", "stddev_ns", "avg_ts", "stddev_ts", "sim_ns",
        "sim_ts", "samples_ns", "samples_ts"]


def run(*args):
    return subprocess.run([TOOL, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300)


def bench(*args):
    p = run("--device", "sim", *args)
    if p.returncode:
        raise RuntimeError(p.stderr.decode())
    return p.stdout.decode()


def usage():
    cases = [[], ["x"], ["-m", TINY, "x"], ["-m", ""]]
    for option, values in {"-p": ["-1", "x", "1,", ",1", "1,,2", ""], "-n": ["x"], "-d": ["x"], "-b": ["0", "4097"],
                           "--seqs": ["0"], "-r": ["0", "1,2"], "-o": ["xml", ""]}.items():
        cases += [["-m", TINY, option, v] for v in values]
    bad = [c for c in cases if (p := run(*c)).returncode != 2 or p.stdout or p.stderr.count(b"\n") != 1]
    ok(not bad, f"wrong usage exits 2 with one line ({len(cases)} cases)", bad)
    p = run("-h")
    ok(p.returncode == 0 and b"--seqs" in p.stdout and not p.stderr, "--help")
    p = run("--version")
    ok(p.returncode == 0 and p.stdout.startswith(b"zw-bench "), "--version")


def trace():
    with tempfile.TemporaryDirectory() as tmp:
        path = os.path.join(tmp, "t.json")
        args = ["-m", TINY, "-p", "8", "-n", "4", "-r", "1", "-o", "json"]
        plain, traced = json.loads(bench(*args)), json.loads(bench(*args, "--trace", path))
        ok([r["sim_ns"] for r in plain] == [r["sim_ns"] for r in traced], "--trace changes no simulated time")
        with open(path) as f:
            events = json.load(f)["traceEvents"]
        names = [e["name"] for e in events if e["ph"] == "X"]
        # a prompt of 8 in the warm-up and the run; decoding: begin of each test, warm-up, 4 steps
        ok(names.count("prompt") == 2 and names.count("decode") == 2 + 1 + 4 and names.count("load") == 1,
           "--trace: the host's steps", {n: names.count(n) for n in ("prompt", "decode", "load")})
        energy = sum(e["args"].get("energy_pj", 0) for e in events if e["ph"] == "X")
        power = [e for e in events if e["ph"] == "C"]
        area = sum(a["args"]["W"] * (b["ts"] - a["ts"]) for a, b in zip(power, power[1:])) * 1e6
        idle = power[0]["args"]["W"] * power[-1]["ts"] * 1e6
        ok(energy and abs(area - idle - energy) < 1e-6 * area, "--trace: what is under the power is the energy",
           f"{area - idle} {energy}")
        p = run("--device", "sim", "-m", TINY, "-p", "8", "-n", "0", "-r", "1", "--trace", "/dev/full")
        ok(p.returncode == 1 and p.stderr.count(b"\n") == 1 and b"No space left" in p.stderr, "--trace: a full disk",
           p.stderr)


def formats():
    args = ["-m", TINY, "-p", "8,20", "-n", "4", "-r", "3"]
    records = json.loads(bench(*args, "-o", "json"))
    tests = [(r["n_prompt"], r["n_gen"]) for r in records]
    ok(tests == [(8, 0), (20, 0), (0, 4)] and all(list(r) == KEYS for r in records), "json: the records", records)
    r = records[1]
    mean = sum(r["samples_ns"]) / 3
    dev = (sum((x - mean) ** 2 for x in r["samples_ns"]) / 2) ** 0.5
    ok(len(r["samples_ns"]) == 3 and abs(r["avg_ns"] - mean) < 1 and abs(r["stddev_ns"] - dev) < 1
       and all(abs(t * n * 1e-9 - 20) < 1e-6 for t, n in zip(r["samples_ts"], r["samples_ns"]))
       and abs(r["sim_ts"] * r["sim_ns"] * 1e-9 - 20) < 1e-6, "mean, deviation and rates are those of the samples", r)
    lines = [json.loads(x) for x in bench(*args, "-o", "jsonl").splitlines()]
    sims = [r["sim_ns"] for r in records]
    ok([x["sim_ns"] for x in lines] == sims and all(s > 0 for s in sims), "jsonl: the same simulated times", lines)
    rows = list(csv.DictReader(io.StringIO(bench(*args, "-o", "csv"))))
    ok([float(x["sim_ns"]) for x in rows] == sims and list(rows[0]) == KEYS[:-2], "csv: the same, without lists", rows)
    text = bench("-m", TINY, "-m", MOE, "-p", "8", "-n", "4", "-r", "1", "-d", "0,16")
    table = [[c.strip() for c in x.strip("|").split("|")] for x in text.splitlines()]
    ok(table[0] == ["model", "size", "params", "backend", "profile", "test", "t/s", "sim t/s"]
       and [x[5] for x in table[2:]] == ["pp8", "tg4", "pp8 @ d16", "tg4 @ d16"] * 2
       and [x[0] for x in table[2:]] == ["tiny-qwen3"] * 4 + ["tiny-qwen3-moe"] * 4
       and all(" ± " in x[6] for x in table[2:]) and len(set(map(len, text.splitlines()))) == 1,
       "md: columns, depths and models", text)


def figures(tmp):
    records = json.loads(bench("-m", TINY, "-p", "0", "-n", "6", "-r", "1", "--seqs", "1,3", "-d", "0,2000", "-o", "json"))
    by = {(r["n_seqs"], r["n_depth"]): r for r in records}
    ok(len(by) == 4 and all(by[3, d]["sim_ts"] > 1.3 * by[1, d]["sim_ts"] for d in (0, 2000)),
       "three sequences decode more tokens a second than one", records)
    ok(all(by[s, 2000]["sim_ns"] > by[s, 0]["sim_ns"] for s in (1, 3)), "a longer text takes more time", records)
    # The same work as zw-run's: 2,000 tokens of prompt, then six that are fed back.
    ids, stats = os.path.join(tmp, "ids.json"), os.path.join(tmp, "stats.json")
    with open(ids, "w", encoding="utf-8") as f:
        json.dump([i * 7 % 600 for i in range(2000)], f)
    subprocess.run([ZW_RUN, "--device", "sim", "-m", TINY, "--prompt-ids", ids, "-n", "7", "--temp", "0", "-q",
                    "--ignore-eos", "--stats-json", stats], stdout=subprocess.DEVNULL, check=True, timeout=300)
    with open(stats, encoding="utf-8") as f:
        want = json.load(f)
    got = by[1, 2000]["sim_ns"] * 1e-9
    ok(want["decode"]["tokens"] == 6 and abs(got / want["decode"]["sim_s"] - 1) < 0.002,
       "decoding takes the simulated time that zw-run's takes", (got, want["decode"]["sim_s"]))
    one, = json.loads(bench("-m", TINY, "-p", "2000", "-n", "0", "-r", "1", "-o", "json"))
    ok(abs(one["sim_ns"] * 1e-9 / want["prefill"]["sim_s"] - 1) < 0.002, "and so does the prompt",
       (one["sim_ns"], want["prefill"]["sim_s"]))


def chunked():
    args = ["-m", AGENT, "-p", "200", "-n", "2", "-r", "1"]
    plain, chunks = (json.loads(bench(*args, *more, "-o", "json")) for more in ([], ["--delta-chunked"]))
    ok([r["delta_chunked"] for r in plain + chunks] == [0, 0, 1, 1] and plain[0]["sim_ns"] != chunks[0]["sim_ns"]
       and plain[1]["sim_ns"] == chunks[1]["sim_ns"], "--delta-chunked is a matter of prompts alone", (plain, chunks))
    ok("| pp200 chunked |" in " ".join(bench(*args, "--delta-chunked").split()), "md: the test's name says it")


def failures(tmp):
    bad = []
    for args, word in [(["-m", os.path.join(tmp, "none")], "none"), (["-m", TINY, "-p", "1000000"], "1000000 tokens"),
                       (["-m", TINY, "--profile", "x9"], "x9"), (["-m", AGENT, "--delta-chunked", "-b", "63"], "63"),
                       (["-m", TINY, "--device", "nothing"], "nothing")]:
        p = run("--device", "sim", "-r", "1", *args)
        if p.returncode != 1 or p.stderr.count(b"\n") != 1 or word not in p.stderr.decode():
            bad.append((args, p))
    ok(not bad, "failures exit 1 with one line that names the cause", bad)


def main():
    print("TAP version 13")
    usage()
    with tempfile.TemporaryDirectory() as tmp:
        p = run("--device", "sim", "-m", TINY, "-p", "1", "-n", "0", "-r", "1")
        if p.returncode and b"firmware" in p.stderr:
            ok(True, "runs on sim # SKIP no firmware image: " + p.stderr.decode().strip())
        else:
            formats()
            figures(tmp)
            chunked()
            trace()
            failures(tmp)
    return done()


if __name__ == "__main__":
    sys.exit(main())
