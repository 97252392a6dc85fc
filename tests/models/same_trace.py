#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Traces of one run on the simulator and through the driver: the same packets, with the same simulated times.

usage: same_trace.py SIM.json DRM.json    (TAP on standard output)
"""

import json
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from tap import done, ok  # noqa: E402

DRIVER = "driver"


def read(path):
    """{(process, track): [(name, args)]}"""
    with open(path, encoding="utf-8") as f:
        events = json.load(f)["traceEvents"]
    processes = {e["pid"]: e["args"]["name"] for e in events if e["ph"] == "M" and e["name"] == "process_name"}
    tracks = {e["tid"]: ("device" if "clock of the device" in processes[e["pid"]] else "host", e["args"]["name"])
              for e in events if e["ph"] == "M" and e["name"] == "thread_name"}
    out = {}
    for e in events:
        if e["ph"] in "Xi" and e["tid"] in tracks:
            out.setdefault(tracks[e["tid"]], []).append((e["name"], e.get("args", {})))
    return out


def queues(trace):
    """What each queue did, in the order in which queues began: [[(job, packet, ...)]]. Numbers of queues are the transport's."""
    of = {}
    for (process, track), slices in trace.items():
        if process != "device" or track.startswith("queue "):
            continue
        for name, args in slices:
            if "queue" not in args:
                continue
            rest = {k: v for k, v in args.items() if k not in ("queue", "generation")}
            of.setdefault((args["queue"], args["generation"]), []).append(
                (args["job"], args.get("packet", -1), track, name, sorted(rest.items())))
    for packets in of.values():
        packets.sort(key=lambda p: (p[0], p[1], p[2]))
    return sorted(of.values(), key=lambda ps: min(v for p in ps for k, v in p[4] if k == "start_ps"))


def named(trace, process, suffix):
    return sum(len(s) for (p, t), s in trace.items() if p == process and t.endswith(suffix))


def main():
    sim, drm = read(sys.argv[1]), read(sys.argv[2])
    a, b = queues(sim), queues(drm)
    ok(len(a) == len(b) and all(a), f"as many queues: {len(a)} and {len(b)}")
    ok(sum(map(len, a)) > 100, f"{sum(map(len, a))} slices of packets and ports")
    for i, (x, y) in enumerate(zip(a, b)):
        ok([p[:4] for p in x] == [p[:4] for p in y], f"queue {i}: the same {len(x)} slices")
        first = next((f"{p} {q}" for p, q in zip(x, y) if p != q), "")
        ok(x == y, f"queue {i}: the same times, waits and energy to the picosecond", first)
    for what in ("submissions", "completions"):
        n = named(drm, "host", ": " + what)
        ok(n == named(drm, "device", ": jobs"), f"{what} of the driver's device: {n}")
    events = [name for name, _ in drm.get(("host", DRIVER), [])]
    ok(events.count("zhenwu_job_done") >= named(drm, "host", ": completions") and "zhenwu_job_run" in events,
       f"{len(events)} events of the driver")
    return done()


if __name__ == "__main__":
    sys.exit(main())
