#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the features of a chip gain, beside what the press claims: the same packets with and without each of them.

Every figure is simulated; a claim that the model does not give is shown as not given. "made by" says how much of the gain
is lost when a resource costs nothing on both sides (shares need not add up: several may be needed at once).
"""
import argparse
import json
import math
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../runtime/plot"))
sys.dont_write_bytecode = True

from zw_plot.claims import ENDLESS, NAMES, draw  # noqa: E402

FREES = ("hbm", "compute", "launches", "sram")
FIELDS = ("ps", "attn_ps", "vector_ps", "launch_ps", "pj", "packets", "primitives")


class Claim:
    """A claim of the press: low..high times; `metric` of two measurements is compared with it."""

    def __init__(self, key, title, low, high, metric, unit, others, expect):
        self.key, self.title, self.low, self.high = key, title, low, high
        self.metric, self.unit, self.others, self.expect = metric, unit, others, expect

    def text(self):
        return f"up to {self.high:g}x" if self.low is None else f"{self.low:g}-{self.high:g}x"

    def verdict(self, gain):
        low = self.low if self.low is not None else 1.01
        if gain is None or gain > self.high * 1.005:
            return "more"
        return "given" if gain >= low * 0.995 else "not given"


def access(m, idle):
    """Attention without its launches."""
    return m["attn_ps"] - m["launch_ps"]


def attention(m, idle):
    return m["attn_ps"]


def whole(m, idle):
    return m["ps"]


def vector(m, idle):
    return m["vector_ps"]


def joule(m, idle):
    """Work for a joule is what work for a second and watt is."""
    return m["pj"] / 1e12 + idle * m["ps"] / 1e12


def instructions(m, idle):
    return m["primitives"] if m["side"] == "off" else m["packets"]


CLAIMS = (
    Claim("kv", "KV access: latency, on-chip cache with prefetch", 3, 5, access, "access",
          (("attention", attention), ("step", whole)), "hbm"),
    Claim("kv-more", "the same, 8 x the SRAM and 10 x its bandwidth", 3, 5, access, "access",
          (("attention", attention), ("step", whole)), "hbm"),
    Claim("tensor", "tensor engine: work per joule", 2, 4, joule, "per joule", (("time", whole),), "compute"),
    Claim("fused", "fused norm, activation, RoPE: time of a layer", 1.5, 2, whole, "layer",
          (("instructions", instructions), ("vector engine", vector)), "launches"),
    Claim("sparse", "sparse attention: prefill of long prompts", None, 2, whole, "prefill",
          (("attention", attention),), "compute"),
)


def measure(program, profile, models):
    """{claim: {case: {free: {side: figures}}}}, name and idle watts of the profile."""
    run = subprocess.run([program, profile] + models, text=True, capture_output=True, check=False)
    if run.returncode:
        sys.exit(f"{run.stderr}claims: {program} failed")
    lines = [line.split() for line in run.stdout.splitlines()]
    out = {}
    for claim, case, free, side, *figures in lines[1:]:
        m = dict(zip(FIELDS, map(int, figures), strict=True), side=side)
        out.setdefault(claim, {}).setdefault(case, {}).setdefault(free, {})[side] = m
    return out, lines[0][1], int(lines[0][3])


def ratio(metric, sides, idle):
    """Without the feature over with it. None: something over nothing, more than any number."""
    off, on = metric(sides["off"], idle), metric(sides["on"], idle)
    if on > 0:
        return off / on
    return None if off > 0 else 1.0


def made_by(metric, frees, idle):
    """How much of what was saved each resource made: what is not saved any more when it costs nothing."""
    def saved(sides):
        return metric(sides["off"], idle) - metric(sides["on"], idle)

    total = saved(frees["none"])
    if total <= 0:
        return {}
    shares = {r: max(0.0, min(1.0, 1 - saved(frees[r]) / total)) for r in FREES}
    return dict(sorted(shares.items(), key=lambda s: -s[1]))


def table(data, idle):
    rows = []
    for claim in CLAIMS:
        for case, frees in data.get(claim.key, {}).items():
            gain = ratio(claim.metric, frees["none"], idle)
            rows.append({"claim": claim.key, "title": claim.title, "claimed": claim.text(), "low": claim.low,
                         "high": claim.high, "case": case, "unit": claim.unit, "gain": gain,
                         "others": {n: ratio(f, frees["none"], idle) for n, f in claim.others},
                         "made_by": made_by(claim.metric, frees, idle), "verdict": claim.verdict(gain),
                         "measured": frees["none"]})
    return rows


def times(gain):
    return f"{gain:.2f}x" if gain is not None else ENDLESS


def print_table(rows):
    for claim in CLAIMS:
        mine = [r for r in rows if r["claim"] == claim.key]
        if not mine:
            continue
        print(f"\n{claim.title}: claimed {claim.text()}")
        for r in mine:
            others = ", ".join(f"{n} {times(g)}" for n, g in r["others"].items())
            why = ", ".join(f"{NAMES[n]} {100 * s:.0f} %" for n, s in r["made_by"].items() if s >= 0.1)
            print(f"  {r['case']:24} {r['unit']} {times(r['gain']):>7}  {r['verdict']:9}  {others:44} {why or '-'}")
        gains = sorted((r["gain"] for r in mine), key=lambda g: (g is None, g))
        given = sum(r["verdict"] != "not given" for r in mine)
        print(f"  simulated {times(gains[0])} to {times(gains[-1])}: given, or more, in {given} of {len(mine)} cases")


def check(rows):
    """Nothing gets slower by a feature, and what it saves it saves where it should."""
    bad = []
    for claim in CLAIMS:
        mine = [r for r in rows if r["claim"] == claim.key]
        if not mine:
            bad.append(f"{claim.key}: nothing was measured")
        for r in mine:
            for name, gain in [(r["unit"], r["gain"]), *r["others"].items()]:
                # a product of one row fills no tile, and vector units have none to fill
                if gain is not None and gain < 0.98:
                    bad.append(f"{claim.key} {r['case']}: {name} {gain:.4f}x")
        best = max(mine, key=lambda r: math.inf if r["gain"] is None else r["gain"], default=None)
        if best and best["made_by"].get(claim.expect, 0) < 0.5:
            bad.append(f"{claim.key} {best['case']}: not made by {claim.expect}: {best['made_by']}")
    for line in bad:
        print(f"claims: {line}", file=sys.stderr)
    return 1 if bad else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="of the KV experiment (0.6b 1.7b 4b 8b 14b 32b next-80b-a3b; all)")
    parser.add_argument("--profile", default="810e", help="a built-in profile, or a profile file")
    parser.add_argument("--program", default=os.path.join(HERE, "../../build/native/tests/claims/zw-claims"))
    parser.add_argument("--json", metavar="F", help="writes all figures there")
    parser.add_argument("--svg", metavar="F", help="draws the gains there")
    parser.add_argument("--check", action="store_true", help="fails if a feature makes something slower")
    args = parser.parse_args()
    profile = args.profile
    # A path without a slash would be taken for a built-in profile.
    if "/" not in profile and os.path.exists(profile):
        profile = "./" + profile
    data, name, idle = measure(args.program, profile, args.models)
    rows = table(data, idle)
    print(f"profile {name}")
    print_table(rows)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as f:
            json.dump({"profile": name, "idle_watts": idle, "rows": rows}, f, indent=1, allow_nan=False)
            f.write("\n")
    if args.svg:
        with open(args.svg, "w", encoding="utf-8") as f:
            f.write(draw(rows, f"Claims of the press on profile {name}"))
    return check(rows) if args.check else 0


if __name__ == "__main__":
    sys.exit(main())
