#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Holds the device's clock against measured rows: simulated time and energy of every row beside what was measured.

    fidelity.py ROWS.json [--profile NAME|FILE] [--program zw-fidelity] [--json F] [--svg F] [--quiet] [--check]

The form of the rows is described in README.md. --check: exit status 1 if a mean is above its limit.
"""
import argparse
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../runtime/plot"))
sys.dont_write_bytecode = True

from zw_plot.fidelity import draw, label  # noqa: E402

# The kernel that a row of attention was measured with is not the machine's: the fastest is.
SHAPE = ("op", "hq", "hkv", "d", "s", "b", "ctx", "dtype")
# What runs on other kernels of attention than the fastest ones.
STEPS = ("prefill", "decode", "request")
# What a setup says; of the numbers, "launch_ns" is by operation. What is text is for who reads the file.
SETUP_TEXT = ("what", "source")
SETUP_NUMBERS = ("cards", "hop_ns", "link_permille", "wait_ns", "step_ns")
DEFAULT_PROGRAM = os.path.join(HERE, "../../build/native/tests/fidelity/zw-fidelity")
OTHER_KERNELS = "flash-attention-2.keys"

# Limits in per cent, where a file of rows has no "limits" of its own: group, mean, 90th percentile; of a part its error.
LIMITS = {"gemm": (4, None), "all operations": (6, 12), "whole steps": (3, None), "power": (10, None)}


def group_of(row):
    if row["op"] in STEPS:
        return "whole steps"
    if row["op"] in ("gemm", "grouped_gemm", "power"):
        return row["op"]
    if row["op"].startswith("attn"):
        return row["op"]
    if row["op"] in ("copy", "fill", "read", "node"):
        return "memory"
    if row["op"] in ("argmax", "topk", "softmax"):
        return "sampling"
    if row["op"] == "allreduce":
        return "links"
    return "vector"


def with_setup(row, setups):
    """The row, and under "around" what its setup says of host and links."""
    if "setup" not in row:
        return row
    setup = setups[row["setup"]]
    around = {k: setup[k] for k in SETUP_NUMBERS if k in setup}
    launches, by = setup.get("launch_ns", {}), row.get("launch", row["op"])
    if by in launches:
        around["launch_ns"] = launches[by]
    elif "launch" in row:
        raise KeyError(by)
    for k in setup:
        if k not in SETUP_TEXT + SETUP_NUMBERS + ("launch_ns",):
            raise ValueError(f"a setup says {k}, which nothing depends on")
    for k, v in around.items():
        if type(v) is not int or not 0 <= v < 10**12:
            raise ValueError(f"{k} of a setup, {v}, is no whole number of nanoseconds, cards or thousandths")
    return {**row, "around": around}


def read_rows(path):
    """The rows of a file, the keys of what ran on other kernels, and limits. What no error can be told of ends the program."""
    def no_constant(name):
        raise ValueError(f"{name} is no JSON")

    try:
        with open(path, encoding="utf-8") as f:
            data = json.load(f, parse_constant=no_constant)
        rows = [with_setup(row, data.get("setups", {})) for row in data["rows"]]
        for i, row in enumerate(rows):
            measured = "watts" if row["op"] == "power" else "us"
            # 1e999 is a number of JSON, too
            if isinstance(row[measured], bool) or not 0 < float(row[measured]) < 1e300 or float(row[measured]) < 1e-300:
                raise ValueError(f"{measured} of row {i + 1}, {row[measured]}, is not above 0, or has no end")
    except KeyError as e:
        sys.exit(f"fidelity: {path}: a row, or the file, has no {e}")
    except (OSError, ValueError, TypeError, AttributeError) as e:
        sys.exit(f"fidelity: {path}: {e}")
    keys = data.get("step_keys", OTHER_KERNELS)
    return fastest(rows), keys and os.path.join(HERE, keys), data.get("limits", LIMITS)


def fastest(rows):
    """Of rows that differ by their backend alone the fastest one."""
    best, out = {}, []
    for row in rows:
        if "backend" not in row:
            out.append(row)
            continue
        key = tuple(row.get(k) for k in SHAPE)
        if key not in best:
            best[key] = dict(row)
            out.append(best[key])
        elif row["us"] < best[key]["us"]:
            best[key].update(row)
    return out


def line_of(row):
    words = {k: v for k, v in row.items() if k not in ("note", "around") and not isinstance(v, float)}
    if "name" in words:
        words["name"] = words["name"].replace(" ", "")
    words.update(row.get("around", {}))
    return " ".join(f"{k}={v}" for k, v in words.items())


def answer_of(line):
    """What zw-fidelity says of a row: (us, joule, us of the device, of the host, of links); None: no packet."""
    if line == "-":
        return None
    device, pj, _, host, links = map(int, line.split())
    return (device + host + links) / 1e6, pj / 1e12, device / 1e6, host / 1e6, links / 1e6


def on_other_kernels(row):
    return row["op"] in STEPS or (row["op"] == "power" and row["what"] == "attn_prefill")


def profile_path(name):
    """A path without a slash would be taken for a built-in profile."""
    return "./" + name if "/" not in name and os.path.exists(name) else name


def simulate(program, profile, rows, keys):
    """[answer_of() of each row], tdp, idle: on the kernels that it was measured with, which `keys` describes."""
    out, tdp, idle = [None] * len(rows), 0, 0
    for other in (False, True):
        mine = [i for i, r in enumerate(rows) if on_other_kernels(r) == other]
        run = subprocess.run([program, profile] + ([keys] if other and keys else []), text=True, capture_output=True,
                             input="".join(line_of(rows[i]) + "\n" for i in mine), check=False)
        if run.returncode:
            sys.exit(f"{run.stderr}fidelity: {program} failed")
        lines = run.stdout.splitlines()
        tdp, idle = map(int, lines[0].split())
        for i, line in zip(mine, lines[1:], strict=True):
            out[i] = answer_of(line)
    return out, tdp, idle


def figures(rows, times, tdp, idle):
    """Rows with what was measured, what was simulated, and the error, per cent."""
    out = []
    for row, time in zip(rows, times, strict=True):
        if row["op"] == "power":
            watts = idle
            us = None
            if time:
                # Back to back for long: at the power limit the clock goes down until what it takes fits.
                us = max(time[0], time[1] / max(tdp - idle, 1) * 1e6)
                watts = min(tdp, idle + time[1] / us * 1e6) if us else idle
            out.append({"row": row, "group": "power", "unit": "W", "measured": row["watts"], "simulated": watts,
                        "sustained_us": us})
        elif time:
            out.append({"row": row, "group": group_of(row), "unit": "us", "measured": row["us"], "simulated": time[0],
                        "device_us": time[2], "host_us": time[3], "links_us": time[4]})
        else:
            out.append({"row": row, "group": group_of(row), "unit": "us", "measured": row["us"], "simulated": None})
    for f in out:
        f["error"] = None if f["simulated"] is None else 100 * (f["simulated"] / f["measured"] - 1)
    return out


def quantile(values, q):
    v = sorted(values)
    at = (len(v) - 1) * q
    lo = int(at)
    return v[lo] + (v[min(lo + 1, len(v) - 1)] - v[lo]) * (at - lo)


def summary(figs):
    groups = {}
    for f in figs:
        if f["error"] is None:
            continue
        groups.setdefault(f["group"], []).append(f)
        if f["group"] not in ("whole steps", "power"):
            groups.setdefault("all operations", []).append(f)
        if f["group"] == "gemm":
            groups.setdefault("gemm " + f["row"]["dtype"], []).append(f)
    out = {}
    for name in sorted(groups, key=lambda n: (n in ("all operations", "whole steps", "power"), n)):
        e = [abs(f["error"]) for f in groups[name]]
        worst = max(groups[name], key=lambda f: abs(f["error"]))
        out[name] = {"rows": len(e), "mean": sum(e) / len(e), "median": quantile(e, 0.5), "p90": quantile(e, 0.9),
                     "bias": sum(f["error"] for f in groups[name]) / len(e), "worst": worst["error"],
                     "worst_row": label(worst["row"])}
    return out


def parts(figs):
    """Rows that name the same part are of one whole: {part: (rows that are simulated, all rows, measured, simulated)}, of the former."""
    out = {}
    for f in figs:
        if "part" not in f["row"]:
            continue
        n, rows, measured, simulated = out.get(f["row"]["part"], (0, 0, 0, 0))
        if f["simulated"] is not None:
            n, measured, simulated = n + 1, measured + f["measured"], simulated + f["simulated"]
        out[f["row"]["part"]] = (n, rows + 1, measured, simulated)
    return out


def print_parts(figs):
    for part, (n, rows, measured, simulated) in parts(figs).items():
        if n:
            print(f"{part:24} {n:4} of {rows} rows, together {measured:12.3f} us, simulated {simulated:12.3f} "
                  f"{100 * (simulated / measured - 1):+7.1f} %")


def includes(figure):
    """What of a row's simulated time is the device's, if not all of it."""
    words = [f"{figure[k + '_us']:.1f} {k}" for k in ("device", "host", "links") if figure.get(k + "_us")]
    return f"  = {' + '.join(words)}" if "around" in figure["row"] else ""


def print_table(figs, groups):
    for f in figs:
        sim = "no packet" if f["simulated"] is None else f"{f['simulated']:12.3f} {f['error']:+7.1f} %{includes(f)}"
        print(f"{label(f['row']):64.64} {f['measured']:12.3f} {f['unit']:2} {sim}")
    print(f"\n{'group':16} {'rows':>4} {'mean':>7} {'median':>7} {'p90':>7} {'bias':>7} {'worst':>8}   per cent")
    for name, g in groups.items():
        print(f"{name:16} {g['rows']:4} {g['mean']:7.2f} {g['median']:7.2f} {g['p90']:7.2f} {g['bias']:+7.2f} "
              f"{g['worst']:+8.1f}   {g['worst_row']}")


def check(groups, wholes, limits):
    bad = 0
    for name, (mean, p90) in limits.items():
        if name in wholes:
            _, _, measured, simulated = wholes[name]
            error = 100 * (simulated / measured - 1)
            if abs(error) > mean:
                print(f"fidelity: {name}: {error:+.2f} % is more than {mean} %", file=sys.stderr)
                bad = 1
        for what, limit in (("mean", mean), ("p90", p90)):
            if limit is None or name not in groups:
                continue
            if groups[name][what] > limit:
                print(f"fidelity: {name}: {what} {groups[name][what]:.2f} % is above {limit} %", file=sys.stderr)
                bad = 1
    return bad


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows")
    parser.add_argument("--profile", default="h100-sxm", help="a built-in profile, or a profile file")
    parser.add_argument("--program", default=DEFAULT_PROGRAM)
    parser.add_argument("--json", help="writes the figures there")
    parser.add_argument("--svg", help="draws them there")
    parser.add_argument("--quiet", action="store_true", help="the groups only")
    parser.add_argument("--check", action="store_true", help="fails if a limit is exceeded")
    args = parser.parse_args()
    profile = profile_path(args.profile)
    rows, keys, limits = read_rows(args.rows)
    figs = figures(rows, *simulate(args.program, profile, rows, keys))
    groups = summary(figs)
    print_table([] if args.quiet else figs, groups)
    print_parts(figs)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as f:
            json.dump({"rows": args.rows, "profile": args.profile, "groups": groups, "parts": parts(figs),
                       "figures": figs}, f, indent=1,
                      allow_nan=False)
            f.write("\n")
    if args.svg:
        with open(args.svg, "w", encoding="utf-8") as f:
            f.write(draw(figs, groups, f"{os.path.basename(args.rows)} on profile {args.profile}"))
    return check(groups, parts(figs), limits) if args.check else 0


if __name__ == "__main__":
    sys.exit(main())
