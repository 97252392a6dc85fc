#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""zw-run --trace: both forms of the file, read by a decoder of their own, against each other and the statistics.

usage: test_zw_trace.py ZW_RUN MODELS    (TAP on standard output; skipped without a firmware image)
"""

import json
import os
import struct
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
from protobuf import fields  # noqa: E402
from tap import done, ok  # noqa: E402

ZW_RUN, MODELS = sys.argv[1:3]
TINY = os.path.join(MODELS, "tiny-qwen3")
ENGINES = {"command processor": "cp", "tensor": "tensor", "vector": "vector", "attention": "attention", "dma": "dma",
           "delta": "delta"}


def run(tmp, path, *args):
    ids = os.path.join(tmp, "ids.json")
    with open(ids, "w") as f:
        f.write("[1,2,3,4,5]")
    return subprocess.run([ZW_RUN, "--device", "sim", "--model", TINY, "--prompt-ids", ids, "-n", "6", "--ignore-eos",
                           "-q", "--trace", path, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300)


class Trace:
    """tracks {id: (process, name)}; slices {track: [(name, start, end, args)]}; flows {id: [ends, begins]};
    power [(ns, nW)] of the first device, its unit; powers {process: the same} of all"""

    def __init__(self):
        self.tracks, self.slices, self.starts, self.ends = {}, {}, {}, {}
        self.power, self.unit, self.powers = [], None, {}

    def add_power(self, process, ns, nano):
        self.powers.setdefault(process, []).append((ns, nano))
        self.power = next(iter(self.powers.values()))

    def of(self, process, name):
        ids = [i for i, t in self.tracks.items() if t[1] == name and process in t[0]]
        return self.slices.get(ids[0], []) if ids else []

    def flows_paired(self):
        return (self.starts and self.starts.keys() == self.ends.keys()
                and all(len(a) == 1 for a in [*self.starts.values(), *self.ends.values()])
                and all(self.starts[i][0] <= self.ends[i][0] for i in self.starts))


def read_proto(path):
    t, names, processes, open_slices, counters = Trace(), {2: {}, 3: {}}, {}, {}, {}
    with open(path, "rb") as f:
        packets = fields(f.read())
    assert list(packets) == [1]
    for n, p in enumerate(map(fields, packets[1])):
        assert p[10] == [1] and p[13] == [1 if not n else 2]
        interned = fields(p[12][0]) if 12 in p else {}
        for kind, table in names.items():
            for name in map(fields, interned.get(kind, [])):
                table[name[1][0]] = name[2][0].decode()
        if 60 in p:
            d = fields(p[60][0])
            if 3 in d:
                processes[d[1][0]] = fields(d[3][0])[6][0].decode()
            elif 8 in d:
                process = processes[d[5][0]]
                assert process not in counters.values() and d[2] == [b"power"] and ("device" in process or "card" in process)
                counters[d[1][0]], t.unit = process, fields(d[8][0])[6][0].decode()
            else:
                t.tracks[d[1][0]] = processes[d[5][0]], d[2][0].decode()
        if 11 not in p:
            continue
        e, ns = fields(p[11][0]), p[8][0]
        kind, track = e[9][0], e[11][0]
        if kind == 4:
            watts = struct.unpack("<d", e[44][0].to_bytes(8, "little"))[0]
            t.add_power(counters[track], ns, round(watts * 1e9))
            continue
        if kind == 2:
            t.slices.setdefault(track, []).append((*open_slices.pop(track)[:2], ns, open_slices_args.pop(track)))
            continue
        name = names[2][e[10][0]] if 10 in e else e[23][0].decode()
        args = {}
        for a in map(fields, e.get(4, [])):
            args[names[3][a[1][0]] if 1 in a else a[10][0].decode()] = a[3][0] if 3 in a else a[6][0].decode()
        for flow in e.get(47, []):
            t.starts.setdefault(flow, []).append(ns)
        for flow in e.get(48, []):
            t.ends.setdefault(flow, []).append(ns)
        if kind == 3:
            t.slices.setdefault(track, []).append((name, ns, ns, args))
        else:
            assert kind == 1 and track not in open_slices
            open_slices[track] = name, ns
            open_slices_args[track] = args
    assert not open_slices
    return t


open_slices_args = {}


def decimal(text):
    """Six digits behind the point are picoseconds, nine a counter's."""
    whole, _, part = text.partition(".")
    assert len(part) in (6, 9)
    return int(whole + part)


def read_json(path):
    t, processes = Trace(), {}
    with open(path) as f:
        events = json.load(f, parse_float=decimal)["traceEvents"]
    for e in events:
        if e["ph"] == "M":
            if e["name"] == "process_name":
                processes[e["pid"]] = e["args"]["name"]
            elif e["name"] == "thread_name":
                t.tracks[e["tid"]] = processes[e["pid"]], e["args"]["name"]
        elif e["ph"] == "C":
            process = processes[e["pid"]]
            assert e["name"] == "power" and ("device" in process or "card" in process)
            (t.unit, value), = e["args"].items()
            t.add_power(process, e["ts"] // 1000, value)
        elif e["ph"] == "X":
            t.slices.setdefault(e["tid"], []).append((e["name"], e["ts"] // 1000, (e["ts"] + e["dur"]) // 1000,
                                                      e["args"]))
        else:
            (t.starts if e["ph"] == "s" else t.ends).setdefault(int(e["id"], 16), []).append(e["ts"] // 1000)
    return t


# ---- what has to hold ----

def ordered(slices, key=lambda s: (s[1], s[2])):
    """In the order of their begins, none before the one before it has ended."""
    return all(key(a)[1] <= key(b)[0] for a, b in zip(slices, slices[1:]))


def job(s):
    return s[3]["queue"], s[3]["generation"], s[3]["job"]


def by_ps(s):
    return s[3]["start_ps"], s[3]["end_ps"]


def integral(power):
    """nW * ns = 10^-6 pJ, of a counter that holds until its next value."""
    return sum(a[1] * (b[0] - a[0]) for a, b in zip(power, power[1:]))


def check_power(t, stats, steps, idle_watts, what):
    """All energy of all packets, and the idle chip's for all the time, is under the counter; and in the job results."""
    packets = [s for e in ENGINES for s in t.of("device", e) if "packet" in s[3]]
    pj = sum(s[3]["energy_pj"] for s in packets)
    end = max(s[2] for e in ENGINES for s in t.of("device", e))
    ok(t.unit == "W" and t.power[0] == (0, idle_watts * 10**9) and t.power[-1] == (max(end, t.power[-2][0]), idle_watts * 10**9)
       and all(a[0] <= b[0] for a, b in zip(t.power, t.power[1:])) and min(v for _, v in t.power) >= idle_watts * 10**9,
       f"{what}: power of an idle chip at the begin and the end, never less", t.power[-3:])
    want = pj + idle_watts * 1000 * t.power[-1][0]
    ok(pj and abs(integral(t.power) / 1e6 - want) < 1e-6 * pj, f"{what}: what is under the power is the energy",
       f"{integral(t.power) / 1e6} {want}")
    got = sum(s[3]["energy_pj"] for s in packets if job(s) in steps) * 1e-12
    joules = sum(stats[p]["energy_j"] - stats[p]["energy_idle_j"] for p in ("prefill", "decode"))
    ok(got and abs(got - joules) < 1e-9 * joules, f"{what}: energy of the steps is that of the job results", f"{got} {joules}")


def check(t, stats, what):
    device = {name: t.of("device", name) for name in [*ENGINES, "HBM", "PCIe to device", "PCIe from device"]}
    packets = [s for e in ENGINES for s in device[e] if "packet" in s[3]]
    places = [(*job(s), s[3]["packet"]) for s in packets]
    ok(len(set(places)) == len(places) and len(places) > 0, f"{what}: every packet once")
    steps = {job(s) for s in packets if "layer" in s[3]}
    want = {k: stats["prefill"][k] + stats["decode"][k] for k in ("jobs", "packets")}
    mine = [s for e in ENGINES for s in device[e] if job(s) in steps]
    ok(len(steps) == want["jobs"] and sum("packet" in s[3] for s in mine) == want["packets"],
       f"{what}: jobs and packets of the steps are those of the statistics", f"{len(steps)} {len(mine)} {want}")
    for track, engine in ENGINES.items():
        got = sum(s[3]["end_ps"] - s[3]["start_ps"] for s in device[track] if job(s) in steps)
        busy = stats["prefill"]["engine_busy_s"][engine] + stats["decode"]["engine_busy_s"][engine]
        ok(abs(got - busy * 1e12) < 1, f"{what}: {track} is as busy as the job results say", f"{got} {busy}")
    idle = sum(stats[p]["energy_idle_j"] for p in ("prefill", "decode"))
    idle_watts = round(idle / sum(stats[p]["sim_s"] for p in ("prefill", "decode")))
    check_power(t, stats, steps, idle_watts, what)
    ok(all(ordered(s, by_ps) and ordered(s) for s in device.values()), f"{what}: slices of a track do not overlap")
    for name, arg in (("HBM", "hbm_ps"), ("PCIe to device", "pcie_to_device_ps")):
        port = sum(s[3]["end_ps"] - s[3]["start_ps"] for s in device[name])
        ok(port and port == sum(s[3].get(arg, 0) for s in packets), f"{what}: {name} serves what packets say")
    ok(t.flows_paired(), f"{what}: every flow has one begin and one end, behind it")
    jobs = [s for n in range(8) for s in t.of("device", f"queue {n}: jobs")]
    begins = [s for s in device["command processor"] if s[0] == "begin of job"]
    ok(len(jobs) == len(begins) == len(t.starts) // 2, f"{what}: as many jobs as begins and flows of each clock",
       f"{len(jobs)} {len(begins)} {len(t.starts)}")
    layers = [s[0] for n in range(8) for s in t.of("device", f"queue {n}: layers")]
    with open(os.path.join(TINY, "config.json")) as f:
        num = json.load(f)["num_hidden_layers"]
    one = ["embedding", *(f"layer {i}" for i in range(num)), "output"]
    got = [name for name in layers if name != "ids"]
    ok(got == one * want["jobs"], f"{what}: the layers of each step, in order", got[:12])
    tokens = [s for s in t.of("host", "steps") if s[0] == "token"]
    ok(len(tokens) == 6 and ordered(t.of("host", "steps")), f"{what}: the host's steps")


def forms():
    with tempfile.TemporaryDirectory() as tmp:
        traces = {}
        for form, read in (("trace", read_proto), ("json", read_json)):
            path, stats = os.path.join(tmp, "t." + form), os.path.join(tmp, "s.json")
            p = run(tmp, path, "--stats-json", stats)
            if "no firmware image" in p.stderr.decode():
                print("1..0 # SKIP no firmware image")
                sys.exit(0)
            ok(p.returncode == 0, f"{form}: written", p.stderr.decode())
            traces[form] = read(path)
            with open(stats) as f:
                check(traces[form], json.load(f), form)
        # what the host did when is of the run
        a, b = ([{i: n for i, n in t.tracks.items()}, {i: s for i, s in t.slices.items() if "device" in t.tracks[i][0]}]
                for t in traces.values())
        ok(a == b, "both forms say the same of the device")
        ok(traces["trace"].power == traces["json"].power, "both forms have the same power")
        ok(traces["trace"].starts.keys() == traces["json"].starts.keys(), "both forms have the same flows")


def timing():
    with tempfile.TemporaryDirectory() as tmp:
        path, stats = os.path.join(tmp, "t"), os.path.join(tmp, "s.json")
        p = subprocess.run([ZW_RUN, "--timing", "--model", TINY, "--prompt-tokens", "5", "-n", "3", "-q", "--trace", path],
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300)
        ok(p.returncode == 0, "--timing: written", p.stderr.decode())
        t = read_proto(path)
        ok(t.flows_paired() and len(t.of("device", "tensor")) > 10 and not os.path.exists(stats),
           "--timing: packets that nobody computed")


def cards():
    """Of several cards each has a process with the tracks of a device; both forms, and its power is its energy."""
    with tempfile.TemporaryDirectory() as tmp:
        traces = []
        for form, read in (("trace", read_proto), ("json", read_json)):
            path = os.path.join(tmp, "t." + form)
            p = subprocess.run([ZW_RUN, "--timing", "--model", TINY, "--prompt-tokens", "50", "-n", "4", "--batch", "2", "--cards", "3",
                                "-q", "--trace", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300)
            ok(p.returncode == 0, f"cards, {form}: written", p.stderr.decode())
            t = read(path)
            traces.append(t)
            ok(t.flows_paired() and len(t.powers) == 3, f"cards, {form}: flows and powers")
            for k, (process, power) in enumerate(sorted(t.powers.items())):
                packets = [s for e in ENGINES for s in t.of(f"card {k}: ", e) if "packet" in s[3]]
                layers = {s[3]["layer"] for s in packets if "layer" in s[3]}
                pj = sum(s[3]["energy_pj"] for s in packets)
                want = pj + power[0][1] // 10**9 * 1000 * power[-1][0]
                ok(process.startswith(f"card {k}: ") and layers == {k} and pj and abs(integral(power) / 1e6 - want) < 1e-6 * pj,
                   f"cards, {form}: card {k} has its layer and its energy", (process, layers, integral(power) / 1e6, want))
        a, b = ([{i: n for i, n in t.tracks.items()}, {i: s for i, s in t.slices.items() if "card" in t.tracks[i][0]}, t.powers]
                for t in traces)
        ok(a == b and len(a[1]) > 30, "cards: both forms say the same")


def errors():
    with tempfile.TemporaryDirectory() as tmp:
        for path, why in (("/dev/full", "No space left"), (tmp, "Is a directory"),
                          (os.path.join(tmp, "no", "t"), "No such file")):
            p = run(tmp, path)
            text = p.stderr.decode()
            ok(p.returncode == 1 and text.startswith("zw-run: ") and text.count("\n") == 1 and why in text,
               f"{path}: one line, status 1", f"{p.returncode} {text}")


forms()
timing()
cards()
errors()
sys.exit(done())
