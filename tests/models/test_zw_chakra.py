#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""zw-run --trace F.et: the step as a Chakra trace, read without a schema, against the trace and the statistics of the run.

usage: test_zw_chakra.py ZW_RUN MODELS    (TAP on standard output; skipped without a firmware image)
"""

import json
import os
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
from protobuf import fields, varint  # noqa: E402
from tap import done, ok  # noqa: E402

ZW_RUN, MODELS = sys.argv[1:3]
TINY = os.path.join(MODELS, "tiny-qwen3")
VALUES = {9: "int64", 13: "uint64", 27: "bool", 29: "string"}  # of AttributeProto
MEM_LOAD, MEM_STORE, COMP = 2, 3, 4


def run(tmp, path, *args):
    ids = os.path.join(tmp, "ids.json")
    with open(ids, "w") as f:
        f.write("[1,2,3,4,5]")
    return subprocess.run([ZW_RUN, "--device", "sim", "--model", TINY, "--prompt-ids", ids, "--ignore-eos", "-q", "--trace",
                           path, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300)


def attrs(messages):
    out = {}
    for a in map(fields, messages):
        (kind,) = set(a) - {1}
        name, value = a[1][0].decode(), a[kind][0]
        assert VALUES[kind] and name not in out
        out[name] = value.decode() if kind == 29 else value
    return out


def numbers(blobs):
    out, at = [], 0
    for data in blobs:
        if isinstance(data, int):  # not packed
            out.append(data)
            continue
        at = 0
        while at < len(data):
            value, at = varint(data, at)
            out.append(value)
    return out


def read(path):
    """(attributes of GlobalMetadata, nodes)"""
    with open(path, "rb") as f:
        data = f.read()
    messages, at = [], 0
    while at < len(data):
        size, at = varint(data, at)
        assert at + size <= len(data)
        messages.append(fields(data[at:at + size]))
        at += size
    meta = attrs(messages[0][2]) | {"version": messages[0][1][0].decode()}
    nodes = []
    for m in messages[1:]:
        assert not set(m) - {1, 2, 3, 4, 5, 6, 7, 10}
        nodes.append({"id": m[1][0], "name": m[2][0].decode(), "type": m[3][0], "ctrl": numbers(m.get(4, [])),
                      "data": numbers(m.get(5, [])), "start": m[6][0], "us": m[7][0], "attr": attrs(m[10])})
    return meta, nodes


def longest(nodes, cost):
    """Kahn's algorithm; None: there is a cycle. Also each node's begin by its dependencies alone."""
    left = {n["id"]: set(n["ctrl"] + n["data"]) for n in nodes}
    by_id, end, begin = {n["id"]: n for n in nodes}, {}, {}
    after = {}
    for i, deps in left.items():
        for d in deps:
            after.setdefault(d, []).append(i)
    ready = [i for i, deps in left.items() if not deps]
    while ready:
        i = ready.pop()
        begin[i] = max((end[d] for d in by_id[i]["ctrl"] + by_id[i]["data"]), default=0)
        end[i] = begin[i] + cost(by_id[i])
        for j in after.get(i, []):
            left[j].discard(i)
            if not left[j]:
                ready.append(j)
    return (max(end.values()), begin) if len(end) == len(nodes) else (None, begin)


def last_job(path):
    """The last job with layers of a JSON trace: (job's arguments, its packets [(name, arguments)])"""
    with open(path) as f:
        events = json.load(f)["traceEvents"]
    slices = [(e["name"], e["args"]) for e in events if e["ph"] == "X" and "args" in e]
    packets = [s for s in slices if "fixed_ps" in s[1] and "packet" in s[1]]
    of = max((s[1]["start_ps"], s[1]["queue"], s[1]["generation"], s[1]["job"]) for s in packets if "layer" in s[1])
    mine = [s for s in packets if (s[1]["queue"], s[1]["generation"], s[1]["job"]) == of[1:]]
    job = [s[1] for s in slices if s[0] == "job" and (s[1]["generation"], s[1]["job"]) == of[2:]
           and s[1]["start_ps"] <= of[0] <= s[1]["end_ps"]]
    return job[0], sorted(mine, key=lambda s: s[1]["packet"])


def check(meta, nodes, job, packets, what):
    ok(meta["version"] == "0.0.4" and meta["profile"] == "810e" and meta["job"] == job["job"], f"{what}: metadata", meta)
    ids = [n["id"] for n in nodes]
    ok(len(set(ids)) == len(ids) and all(d < n["id"] and d in ids for n in nodes for d in n["ctrl"] + n["data"]),
       f"{what}: dependencies are nodes before")
    ps, begin = longest(nodes, lambda n: n["attr"]["duration_ps"])
    ok(ps == meta["duration_ps"] == job["end_ps"] - job["start_ps"], f"{what}: the longest way is the step's simulated time",
       f"{ps} {meta} {job}")
    ok(all(begin[n["id"]] == n["attr"]["start_ps"] for n in nodes), f"{what}: nodes begin when what they depend on ends")
    us, begin = longest(nodes, lambda n: n["us"])
    ok(us == (ps + 500000) // 1000000 and all(begin[n["id"]] == n["start"] for n in nodes), f"{what}: so in microseconds",
       f"{us} {ps}")
    work = [n for n in nodes if n["name"] not in ("begin of job", "wait for others")]
    ok([n["name"].split(": ")[-1] for n in work] == [p[0] for p in packets], f"{what}: a node for each packet, by its name")
    ok([n["attr"]["energy_pj"] for n in work] == [p[1]["energy_pj"] for p in packets], f"{what}: energy of each")
    ok([n["attr"]["duration_ps"] for n in work] == [p[1]["end_ps"] - p[1]["start_ps"] for p in packets], f"{what}: time of each")
    ok(all(n["attr"]["is_cpu_op"] == 0 and n["type"] in (MEM_LOAD, MEM_STORE, COMP) for n in nodes), f"{what}: kinds")
    # nobody else uses the device: every begin is one that the job's own packets explain
    ok(not [n for n in nodes if n["name"] == "wait for others"], f"{what}: no node waits for others")


def files():
    with tempfile.TemporaryDirectory() as tmp:
        for n in ("1", "4"):
            et, trace, stats = (os.path.join(tmp, f) for f in ("t.et", "t.json", "s.json"))
            p = run(tmp, et, "-n", n, "--stats-json", stats)
            if "no firmware image" in p.stderr.decode():
                print("1..0 # SKIP no firmware image")
                sys.exit(0)
            ok(p.returncode == 0, f"-n {n}: written", p.stderr.decode())
            run(tmp, trace, "-n", n)
            meta, nodes = read(et)
            check(meta, nodes, *last_job(trace), f"-n {n}")
            with open(stats) as f:
                s = json.load(f)["prefill"]
            if n == "1":
                comp = [x["attr"] for x in nodes if x["type"] == COMP]
                mem = sum(x["attr"]["tensor_size"] for x in nodes if x["type"] != COMP)
                ok(s["jobs"] == 1 and sum(a["tensor_size"] for a in comp) <= s["hbm_read_bytes"] + s["hbm_written_bytes"]
                   <= sum(a["tensor_size"] for a in comp) + mem and mem <= s["sys_read_bytes"] + s["sys_written_bytes"],
                   "bytes of nodes are those of the job", f"{sum(a['tensor_size'] for a in comp)} {mem} {s}")
                pj = sum(a.get("energy_pj", 0) for a in (x["attr"] for x in nodes))
                ok(abs(pj * 1e-12 - (s["energy_j"] - s["energy_idle_j"])) < 1e-9 * s["energy_j"] and pj, "energy is the job's")
                ok(sum(a["num_ops"] for a in comp) > 0, "operations")
        full = os.path.join(tmp, "full.et")
        os.symlink("/dev/full", full)
        p = run(tmp, full, "-n", "1")
        ok(p.returncode == 1 and p.stderr.count(b"\n") == 1 and b"No space left" in p.stderr, "a full disk", p.stderr)


files()
sys.exit(done())
