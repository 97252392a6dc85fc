#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""zw-plot: pictures of files that the tools write here and now, taken apart by an XML parser; and files that are wrong.

usage: test_zw_plot.py ZW_PLOT ZW_RUN ZW_PLAN ZW_FIDELITY ZW_CLAIMS TESTS    (TAP; skipped without a firmware image)
"""
import collections
import json
import os
import random
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET

ZW_PLOT, ZW_RUN, ZW_PLAN, ZW_FIDELITY, ZW_CLAIMS, TESTS = sys.argv[1:7]
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(TESTS, "models"))
from tap import done, ok  # noqa: E402

SVG = "{http://www.w3.org/2000/svg}"
TINY = os.path.join(TESTS, "models", "tiny-qwen3")


def run(*args):
    return subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=1500)


class Svg:
    def __init__(self, data):
        self.root = ET.fromstring(data)

    def all(self, kind, tag=None):
        return [e for e in self.root.iter(SVG + tag if tag else None) if e.get("class") == kind]

    def texts(self, kind):
        return [e.text for e in self.all(kind, "text")]

    def inside(self):
        """Nothing lies outside of the page."""
        width, height = float(self.root.get("width")), float(self.root.get("height"))
        for e in self.root.iter():
            if e.tag == SVG + "rect" and e.get("class"):
                x, y, w, h = (float(e.get(k)) for k in ("x", "y", "width", "height"))
                if not (0 <= x <= x + w <= width + 0.5 and 0 <= y <= y + h <= height and w > 0):
                    return False
            if e.tag == SVG + "circle" and not (0 <= float(e.get("cx")) <= width and 0 <= float(e.get("cy")) <= height):
                return False
            if e.tag == SVG + "text" and e.get("y") and not 0 <= float(e.get("y")) <= height:
                return False
        return True


def plot(name, kind, *args, axes=1, legend=1):
    p = run(ZW_PLOT, kind, *args)
    if p.returncode:
        ok(False, f"{name}: drawn", p.stderr.decode())
        return None
    s = Svg(p.stdout)
    ok(not p.stderr and s.root.tag == SVG + "svg" and s.inside(), f"{name}: an SVG, and all of it on the page")
    ok(len(s.texts("title")) == 1 and len(s.texts("axis")) == axes and len(s.texts("tick")) >= 2 * axes
       and len(s.texts("legend")) >= legend and all(s.texts("axis") + s.texts("legend")),
       f"{name}: title, {axes} axes with labels and ticks, legend",
       f"{s.texts('title')} {s.texts('axis')} {len(s.texts('tick'))} {s.texts('legend')}")
    return s


def trace_events(path):
    with open(path) as f:
        events = json.load(f)["traceEvents"]
    return [e for e in events if e["ph"] == "X"]


def traces(tmp):
    ids, names = os.path.join(tmp, "ids.json"), {}
    with open(ids, "w") as f:
        f.write("[1,2,3,4,5]")
    for form in ("trace", "json"):
        names[form] = os.path.join(tmp, "t." + form)
        p = run(ZW_RUN, "--device", "sim", "--model", TINY, "--prompt-ids", ids, "-n", "3", "--ignore-eos", "-q", "--trace",
                names[form], "--stats-json", os.path.join(tmp, "s.json"))
        if "no firmware image" in p.stderr.decode():
            print("1..0 # SKIP no firmware image")
            sys.exit(0)
        ok(p.returncode == 0, f"{form}: written", p.stderr.decode())
    events = trace_events(names["json"])
    device = [e for e in events if e["pid"] == 1]
    want = collections.Counter((e["args"]["job"], e["args"]["packet"], e["name"]) for e in device if "packet" in e["args"])
    shown = []
    for form, path in names.items():
        s = plot(f"timeline of {form}", "timeline", path, axes=2, legend=5)
        bars = s.all("slice", "rect")
        got = collections.Counter((int(b.get("data-job")), int(b.get("data-packet")), b.find(SVG + "title").text.split(":")[0])
                                  for b in bars if b.get("data-packet"))
        ok(got == want and len(want) > 50, f"timeline of {form}: each packet has its bars, on engine and ports",
           f"{len(got)} {len(want)} {list((want - got))[:3]} {list((got - want))[:3]}")
        if form == "json":
            ok(len(bars) == len(events), "timeline of json: a bar for each slice", f"{len(bars)} {len(events)}")
        ok({"tensor", "vector", "attention", "dma", "HBM", "command processor", "steps"} <= set(s.texts("track")),
           f"timeline of {form}: tracks", s.texts("track"))
        shown.append([(b.get("fill"), float(b.get("x")), float(b.get("width"))) for b in bars if b.get("data-packet")])
        r = plot(f"roofline of {form}", "roofline", path, axes=2, legend=3)
        engine = [e["args"] for e in device if "packet" in e["args"] and "compute_ps" in e["args"]]
        both = sum(1 for a in engine if a["compute_ps"] and a.get("hbm_ps"))
        ok(sum(int(c.get("data-packets")) for c in r.all("packet", "circle")) == both > 50 and r.all("roof"),
           f"roofline of {form}: each packet that computes and moves", both)
    # Perfetto's end of the last job, and so the scale, is a whole nanosecond.
    ok(len(shown[0]) == len(shown[1]) > 100
       and all(a[0] == b[0] and abs(a[1] - b[1]) < 0.03 and abs(a[2] - b[2]) < 0.03 for a, b in zip(*shown, strict=True)), "timeline: both forms say the same of the device")
    end = max(e["ts"] + e["dur"] for e in device)
    s = plot("a window", "timeline", names["json"], "--from", f"{end / 4:.3f}us", "--to", f"{end / 2:.3f}us")
    some = [e for e in device if e["ts"] + e["dur"] >= round(end / 4, 3) and e["ts"] <= round(end / 2, 3)]
    ok(len(s.all("slice", "rect")) == len(some) > 10, "a window: what ran in it", f"{len(some)}")
    stats(os.path.join(tmp, "s.json"))
    return names


def stats(path):
    with open(path) as f:
        o = json.load(f)
    keys = [f"{a}_{b}_bytes" for a in ("hbm", "sram", "sys") for b in ("read", "written")]
    s = plot("memory of stats", "memory", path, legend=12)
    ok(len(s.all("moved", "rect")) == sum(o[p][k] > 0 for p in ("prefill", "decode") for k in keys) > 4,
       "memory of stats: a bar for each kind of each phase that moved something")
    two = plot("memory of two runs", "memory", path, path, legend=24)
    ok(len(two.all("moved")) == 2 * len(s.all("moved")), "memory of two runs: both")


def plans(tmp):
    paths = [os.path.join(tmp, n) for n in ("p1.json", "p2.json")]
    for path, shape in zip(paths, ("qwen3-0.6b", "qwen3-1.7b"), strict=True):
        with open(path, "wb") as f:
            f.write(run(ZW_PLAN, "--shape", shape, "--json", "-c", "512").stdout)
    s = plot("memory of plans", "memory", *paths, legend=4)
    with open(paths[0]) as f:
        one = json.load(f)["bytes"]
    bars = s.all("weights", "rect"), s.all("kv", "rect")
    ok(len(s.all("capacity")) == 2 and [len(b) for b in bars] == [2, 2]
       and abs(float(bars[0][0].get("width")) / float(bars[1][0].get("width")) * one["kv"] / one["weights"] - 1) < 0.05,
       "memory of plans: bars as long as bytes are many, and what the card has")
    return paths[0]


def scripts(tmp):
    """The scripts draw with the same module: the picture of their JSON file is the one that they drew."""
    rows = os.path.join(TESTS, "fidelity", "a100-80g.json")
    out = {}
    for kind, args in (("fidelity", ["fidelity/fidelity.py", rows, "--profile", "a100-80g", "--program", ZW_FIDELITY]),
                       ("claims", ["claims/claims.py", "0.6b", "--program", ZW_CLAIMS])):
        data, svg = (os.path.join(tmp, f"{kind}.{e}") for e in ("json", "svg"))
        p = run(sys.executable, os.path.join(TESTS, args[0]), *args[1:], "--json", data, "--svg", svg)
        ok(p.returncode == 0, f"{kind}: written", p.stderr.decode())
        s = plot(kind, kind, data, axes=3 if kind == "fidelity" else 1)
        with open(svg, "rb") as f, open(data) as g:
            drawn, o = f.read(), json.load(g)
        ok(drawn == run(ZW_PLOT, kind, data).stdout, f"{kind}: as the script draws it")
        if kind == "claims":
            ok(len(s.all("case", "rect")) == len(o["rows"]) and len(s.all("claimed")) == len({r["claim"] for r in o["rows"]}),
               "claims: a bar for each case, an area for each claim")
        else:
            ok(len(s.all("row", "circle")) == sum(f["unit"] == "us" and f["simulated"] is not None for f in o["figures"]),
               "fidelity: a point for each row")
        out[kind] = data
    endless(tmp)
    wrong_rows(tmp)
    return out


def wrong_rows(tmp):
    """Rows that no error can be told of are refused: one of a measured time of 0 would be without end."""
    for us, why in (("0", "is not above 0"), ("-1", "is not above 0"), ("1e999", "has no end"), ("NaN", "NaN is no JSON"),
                    ("1e-320", "is not above 0"), ("true", "is not above 0"), ("[]", "not 'list'")):
        rows, data = (os.path.join(tmp, f"wrong-{e}.json") for e in ("rows", "data"))
        with open(rows, "w") as f:
            f.write(f'{{"rows": [{{"op": "node", "us": {us}}}]}}')
        p = run(sys.executable, os.path.join(TESTS, "fidelity/fidelity.py"), rows, "--program", ZW_FIDELITY, "--json", data)
        text = p.stderr.decode()
        ok(p.returncode == 1 and text.count("\n") == 1 and f"fidelity: {rows}: " in text and why in text and not os.path.exists(data),
           f"fidelity: a row that took {us}", text)
    row = '"op": "node", "us": 1, "setup": "a"'
    for setups, row, why in (
            ("{}", row, "no 'a'"), ("[]", row, "not str"), ('{"a": []}', row, "has no attribute"),
            ('{"a": {"hop_ns": -1}}', row, "hop_ns of a setup, -1,"), ('{"a": {"hop_ns": 1.5}}', row, "hop_ns of a setup, 1.5,"),
            ('{"a": {"hops": 1}}', row, "hops, which nothing depends on"), ('{"a": {"launch_ns": {"node": true}}}', row, "launch_ns"),
            ('{"a": {}}', row + ', "launch": "gemm"', "no 'gemm'"),
            ('{"a": {}}', '"op": "allreduce", "us": 1, "bytes": 8, "setup": "a"', "needs two of them, and links"),
            ('{"a": {}}', '"op": "request", "us": 1, "setup": "a"', "no steps of the form"),
            ('{"a": {}}', '"op": "request", "us": 1, "name": "8b", "steps": "decode:8:1,prefil:8:1"', "no steps of the form"),
            ('{"a": {}}', '"op": "request", "us": 1, "name": "8b", "steps": "decode:0:1"', "no steps of the form"),
            ('{"a": {}}', '"op": "decode", "us": 1, "name": "8b", "dtype": "fp8"', "another type than bf16 and f16")):
        rows = os.path.join(tmp, "wrong-setups.json")
        with open(rows, "w") as f:
            f.write(f'{{"setups": {setups}, "rows": [{{{row}}}]}}')
        p = run(sys.executable, os.path.join(TESTS, "fidelity/fidelity.py"), rows, "--program", ZW_FIDELITY)
        text = p.stderr.decode()
        ok(p.returncode == 1 and "Traceback" not in text and why in text, f"fidelity: setups {setups}, a row of {row}", text)


def no_constant(name):
    raise ValueError(name)


def endless(tmp):
    """A chip whose tensor engine takes no energy: what it gains has no number, and JSON has none for it."""
    profile, data = (os.path.join(tmp, f"endless.{e}") for e in ("profile", "json"))
    with open(profile, "w") as f:
        f.write("base = 810e\nbf16_flop_fj = 0\ni8_op_fj = 0\nhbm_byte_fj = 0\nidle_watts = 0\n")
    p = run(sys.executable, os.path.join(TESTS, "claims/claims.py"), "0.6b", "--program", ZW_CLAIMS, "--profile", profile, "--json",
            data)
    with open(data) as f:
        rows = json.load(f, parse_constant=no_constant)["rows"]
    none = [r for r in rows if r["gain"] is None]
    ok(p.returncode == 0 and none and all(r["claim"] == "tensor" and r["verdict"] == "more" for r in none),
       "claims: a gain without end is null", p.stderr.decode())
    drawn = run(ZW_PLOT, "claims", data)
    ok(drawn.returncode == 0 and drawn.stdout.decode().count(">endless, ") == len(none), "claims: it is drawn",
       drawn.stderr.decode())


# ---- what is wrong ----

def refused(name, kind, path, why, *more):
    p = run(ZW_PLOT, kind, path, *more)
    text = p.stderr.decode()
    ok(p.returncode == 1 and not p.stdout and text.startswith(f"zw-plot: {path}: ") and text.count("\n") == 1 and why in text,
       f"{name}: one line that names file and fault, status 1", f"{p.returncode} {text}")


def without_an_end(trace):
    """The packets of a trace but the last one that ends a slice (of TrackEvent: type 2, then the track)."""
    packets, at = [], 0
    while at < len(trace):
        begin, size, shift = at, 0, 0
        at += 1
        while True:
            size |= (trace[at] & 127) << shift
            shift, at = shift + 7, at + 1
            if trace[at - 1] < 128:
                break
        at += size
        packets.append(trace[begin:at])
    last = max(i for i, p in enumerate(packets) if b"\x48\x02\x58" in p)
    return b"".join(packets[:last] + packets[last + 1:])


def errors(tmp, names, good):
    def file(name, data):
        path = os.path.join(tmp, name)
        with open(path, "wb") as f:
            f.write(data if isinstance(data, bytes) else json.dumps(data).encode())
        return path

    with open(names["trace"], "rb") as f:
        trace = f.read()
    refused("no file", "timeline", os.path.join(tmp, "none"), "No such file")
    refused("a folder", "timeline", tmp, "Is a directory")
    refused("a device", "memory", "/dev/zero", "not a regular file")
    refused("nothing in it", "timeline", file("e0", b""), "empty")
    refused("a trace cut short", "timeline", file("e1", trace[:-3]), "cut short")
    refused("no end of a slice", "timeline", file("e2", without_an_end(trace)), "a slice has no end")
    refused("no trace", "roofline", file("e3", b"\x12\x03abc"), "field 2")
    refused("a wire type", "roofline", file("e4", b"\x0a\x01\x07"), "wire type 7")
    refused("an endless number", "roofline", file("e5", b"\xff" * 20), "too long")
    refused("a trace of nothing", "timeline", file("e6", {"traceEvents": []}), "without slices")
    refused("no list", "timeline", file("e7", {"traceEvents": 1}), '"traceEvents" is no list')
    refused("a time", "timeline", file("e8", b'{"traceEvents":[{"ph":"X","name":"a","pid":1,"tid":1,"ts":1e999,"dur":1}]}'),
            '"ts" is out of range')
    refused("NaN", "memory", file("e9", b'{"decode": NaN}'), "NaN is no JSON")
    refused("nested deep", "memory", file("e10", b"[" * 100000), "nested too deep")
    refused("no UTF-8", "claims", file("e11", b'{"\xff":1}'), "no UTF-8")
    with open(os.path.join(tmp, "e16"), "wb") as f:
        f.truncate((512 << 20) + 1)
    refused("too long", "memory", f.name, "more than 512 MiB")
    refused("another file", "memory", file("e12", {"a": 1}), "neither of zw-plan")
    refused("a stranger's", "fidelity", good["claims"], "is no text")
    refused("two kinds", "memory", good["plan"], "one kind at a time", os.path.join(tmp, "s.json"))
    refused("no packet", "roofline", file("e13", {"traceEvents": [{"ph": "X", "name": "a", "pid": 1, "tid": 1, "ts": 1, "dur": 1}]}),
            "no packet in it")
    many = [{"ph": "X", "name": "a", "pid": 1, "tid": 1, "ts": i, "dur": 1} for i in range(50001)]
    refused("too many", "timeline", file("e14", {"traceEvents": many}), "--from and --to")
    p = run(ZW_PLOT, "timeline", file("e15", {"traceEvents": [{"ph": "X", "name": "<&\u0001\ud800\">", "pid": 1, "tid": 1,
                                                                "ts": 1, "dur": 1, "args": {"job": "]]>'\""}}]}))
    ok(p.returncode == 0 and len(Svg(p.stdout).all("slice")) == 1, "names that are markup stay names", p.stderr.decode())
    for args in ([], ["pie", "x"], ["timeline"], ["timeline", "x", "--from", "5"], ["timeline", "x", "--from", "2us", "--to", "1us"]):
        p = run(ZW_PLOT, *args)
        ok(p.returncode == 2 and not p.stdout, f"usage {args}: status 2")
    p = run(ZW_PLOT, "--help")
    ok(p.returncode == 0 and all(k in p.stdout.decode() for k in ("roofline", "timeline", "memory", "fidelity", "claims")), "--help")
    for path, why in (("/dev/full", "No space left"), (os.path.join(tmp, "no", "f"), "No such file")):
        p = run(ZW_PLOT, "memory", good["plan"], "-o", path)
        ok(p.returncode == 1 and why in p.stderr.decode() and p.stderr.count(b"\n") == 1, f"written to {path}: status 1", p.stderr)


def mutants(tmp, files):
    """Files with bytes changed are drawn or refused, and nothing else happens."""
    rand, bad = random.Random(7), []
    for kind, path in files:
        with open(path, "rb") as f:
            data = f.read()
        for _ in range(6):
            d = bytearray(data)
            for _ in range(rand.choice((1, 3, 30))):
                at = rand.randrange(len(d))
                d[at] = rand.choice((rand.randrange(256), *b'09e-"[]{},'))
            broken = os.path.join(tmp, "broken")
            with open(broken, "wb") as f:
                f.write(d)
            p = run(ZW_PLOT, kind, broken)
            text = p.stderr.decode()
            if p.returncode == 0 and not text:
                ET.fromstring(p.stdout)
            elif p.returncode != 1 or text.count("\n") != 1 or broken not in text:
                bad.append(f"{kind} {path}: {p.returncode} {text}")
    ok(not bad, "changed bytes: drawn, or refused in one line", "\n".join(bad))


def main():
    with tempfile.TemporaryDirectory() as tmp:
        names = traces(tmp)
        good = {"plan": plans(tmp), **scripts(tmp)}
        errors(tmp, names, good)
        mutants(tmp, [("timeline", names["trace"]), ("timeline", names["json"]), ("roofline", names["trace"]),
                      ("memory", good["plan"]), ("memory", os.path.join(tmp, "s.json")), ("fidelity", good["fidelity"]),
                      ("claims", good["claims"])])
    return done()


sys.exit(main())
