#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What moves when a coefficient of a profile doubles, or halves: every figure in turn, all rows simulated again.

    sensitivity.py ROWS.json [--profile NAME|FILE] [--program zw-fidelity] [--json F] [--page time.md [--check]]

Prints for each figure, and for each group of rows whose simulated time (of power: watts) changes by half a per cent or
more, by how much in the mean, and the mean error that the group then has. --page: writes the table under
"## Coefficients" of that page anew; with --check: exit status 1 if it is not what is simulated.
"""
import argparse
import json
import subprocess
import sys

sys.dont_write_bytecode = True

from fidelity import DEFAULT_PROGRAM, answer_of, figures, line_of, on_other_kernels, profile_path, read_rows  # noqa: E402

LEAST = 0.5  # per cent: less is not said
# The order of the groups, and how a table calls them.
GROUPS = {"decode": "decode step", "prefill": "prefill step", "gemm": "GEMM", "grouped_gemm": "grouped GEMM",
          "attn_prefill": "prompt attention", "attn_decode": "decoding attention", "vector": "vector",
          "memory": "memory", "sampling": "sampling", "power": "watts"}
# Why no row moves; all other figures have to move one, or nobody knows whether they are true.
SILENT = {"pcie_bw": "all operands are in HBM", "hbm_bytes": "what fits", "links": "links are not simulated",
          "link_bw": "links are not simulated", "ambient_c": "the temperature alone", "thermal_mk_per_w": "the temperature alone",
          "thermal_ms": "the temperature alone", "leak_mw_per_k": "when the energy is taken, not how much", "block_sparse": "no row has lists",
          "tile_k": "K of all rows is a multiple", "tensor_f16_permille": "no row is of F16"}
# What only counts beside another figure is changed beside that.
BESIDE = {"kv_sram_bw": "kv_sram_bytes", "kv_pinned_permille": "kv_sram_bytes"}
HEADS = ("coefficient", "value", "source", "doubled", "halved")
AS_THEY_ARE = "As they are, the mean errors are "


class Figure:
    def __init__(self, line):
        self.name, value, least, most, self.source = line.split(" ", 4)
        self.value, self.least, self.most = int(value), int(least), int(most)


def figures_of(program, profile):
    run = subprocess.run([program, "--figures", profile], text=True, capture_output=True, check=False)
    if run.returncode:
        sys.exit(f"{run.stderr}sensitivity: {program} failed")
    return [Figure(line) for line in run.stdout.splitlines()]


def changes_of(figure, sram):
    """[(column, what is said before the effect, new value)]"""
    if figure.most == 1:
        return [("doubled", f"{1 - figure.value}: ", 1 - figure.value)]
    if figure.name == "kv_sram_bytes" and not figure.value:
        return [("doubled", f"{text_of(figure.name, sram // 4)}: ", sram // 4)]
    if not figure.value:
        return []
    up, down = min(2 * figure.value, figure.most), max(figure.value // 2, figure.least)
    return [("doubled", "" if up == 2 * figure.value else f"{up}: ", up), ("halved", "", down)]


def text_of(name, value):
    """A value as people write it."""
    def scaled(units):
        for scale, unit in units:
            if value >= scale or scale == units[-1][0]:
                return f"{value / scale:.4g} {unit}"
        return ""

    if name.endswith("_ps"):
        return scaled(((1e6, "us"), (1e3, "ns")))
    if name.endswith("_bytes"):
        return scaled(((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))) if value else "0"
    if name.endswith("_bw"):
        return scaled(((1e12, "TB/s"), (1e9, "GB/s")))
    if name.endswith(("_flops", "_ops")):
        return scaled(((1e12, "T/s"), (1e9, "G/s")))
    if name.endswith("_fj"):
        return scaled(((1e3, "pJ"), (1, "fJ")))
    unit = {"tdp_watts": " W", "idle_watts": " W", "ambient_c": " C", "thermal_mk_per_w": " mK/W", "thermal_ms": " ms",
            "leak_mw_per_k": " mW/K"}
    return f"{value}{unit.get(name, '')}"


def simulate(program, profile, rows, keys, changes):
    """For each change (a text of KEY = VALUE; ...) what fidelity.figures() makes of the rows."""
    answers = [[None] * len(rows) for _ in changes]
    watts = [None] * len(changes)
    for other in (False, True):
        mine = [i for i, r in enumerate(rows) if on_other_kernels(r) == other]
        asked = "".join(line_of(rows[i]) + "\n" for i in mine)
        run = subprocess.run([program, profile] + ([keys] if other and keys else []), text=True, capture_output=True,
                             input="".join(f"change {c}\n{asked}" for c in changes), check=False)
        if run.returncode:
            sys.exit(f"{run.stderr}sensitivity: {program} failed")
        lines = iter(run.stdout.splitlines()[1:])
        for at in range(len(changes)):
            watts[at] = tuple(map(int, next(lines).split()))
            for i in mine:
                answers[at][i] = answer_of(next(lines))
    return [figures(rows, a, *w) for a, w in zip(answers, watts, strict=True)]


def group_of(figure):
    return figure["row"]["op"] if figure["group"] == "whole steps" else figure["group"]


def effect(before, after):
    """{group: (mean change, mean absolute error before, and after)}, per cent; "all operations" has no change."""
    groups, both = {}, []
    for b, a in zip(before, after, strict=True):
        if not b["simulated"] or a["simulated"] is None:
            continue
        groups.setdefault(group_of(b), []).append((b, a))
        if b["group"] not in ("whole steps", "power"):
            both.append((b, a))
    groups["all operations"] = both

    def mean(values):
        return sum(values) / len(values)

    return {n: (mean([100 * (a["simulated"] / b["simulated"] - 1) for b, a in pairs]),
                mean([abs(b["error"]) for b, _ in pairs]), mean([abs(a["error"]) for _, a in pairs]))
            for n, pairs in groups.items() if pairs}


def change_text(change):
    text = f"{change:+.1f}" if abs(change) < 9.95 else f"{change:+.0f}"
    return f"{text} %"


def say(effects, long):
    """long: with the errors before and after; else the one after in brackets."""
    words = []
    for group, name in GROUPS.items():
        change, before, after = effects.get(group, (0, 0, 0))
        if abs(change) >= LEAST:
            words.append(f"{name} {change_text(change)} " + (f"(error {before:.1f} -> {after:.1f})" if long
                                                             else f"({after:.1f})"))
    return ", ".join(words)


def measure(program, profile, rows, keys):
    """[(figure, {column: (what is said before the effects, effects)})], and the effects of no change."""
    all_figures = figures_of(program, profile)
    value = {f.name: f.value for f in all_figures}
    asked, at = [""], []

    def index(text):
        if text not in asked:
            asked.append(text)
        return asked.index(text)

    for figure in all_figures:
        beside = ""
        if figure.name in BESIDE and not value[BESIDE[figure.name]]:
            beside = f"{BESIDE[figure.name]} = {value['sram_bytes'] // 4}"
        for column, before, new in changes_of(figure, value["sram_bytes"]):
            text = f"{figure.name} = {new}"
            # a part of a smaller whole
            if figure.name == "sram_bytes" and value["kv_sram_bytes"] > new // 2:
                text += f"; kv_sram_bytes = {new // 2}"
            at.append((figure, column, before, index(beside), index(f"{beside}; {text}" if beside else text)))
    figs = simulate(program, profile, rows, keys, asked)
    out = {f.name: (f, {}) for f in all_figures}
    for figure, column, before, base, change in at:
        out[figure.name][1][column] = (before, effect(figs[base], figs[change]))
    return list(out.values()), effect(figs[0], figs[0])


def is_silent(columns):
    return not any(effects[n][0] for _, effects in columns.values() for n in GROUPS if n in effects)


def cells(figure, columns):
    text = []
    for column in ("doubled", "halved"):
        before, effects = columns.get(column, ("", None))
        nothing = "nothing" if is_silent(columns) else f"less than {LEAST} %"
        text.append("-" if effects is None else before + (say(effects, False) or nothing))
    if is_silent(columns):
        text[0] += f": {SILENT[figure.name]}" if figure.name in SILENT else ""
    return (figure.name, text_of(figure.name, figure.value), figure.source, *text)


def untested(found):
    """Figures that nothing depends on, and that nobody said so of."""
    return [f.name for f, columns in found if columns and is_silent(columns) and f.name not in SILENT]


def page_with(page, errors, table):
    """The page with its table of coefficients, and the errors without a change, replaced."""
    head, title, rest = page.partition("\n## Coefficients\n")
    part, end, tail = rest.partition("\n## ")
    if not title:
        sys.exit("sensitivity: the page has no part \"Coefficients\"")
    lines = part.splitlines()
    rows = [i for i, line in enumerate(lines) if line.startswith("|")]
    if not rows:
        sys.exit("sensitivity: the part has no table")
    lines[rows[0]:rows[-1] + 1] = table
    lines = [AS_THEY_ARE + errors if line.startswith(AS_THEY_ARE) else line for line in lines]
    return head + title + "\n".join(lines) + ("\n" if part.endswith("\n") else "") + end + tail


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows")
    parser.add_argument("--profile", default="h100-sxm", help="a built-in profile, or a profile file")
    parser.add_argument("--program", default=DEFAULT_PROGRAM)
    parser.add_argument("--json", metavar="F", help="writes all figures there")
    parser.add_argument("--page", metavar="F", help="writes the table there")
    parser.add_argument("--check", action="store_true", help="fails if the table of --page is another one")
    args = parser.parse_args()
    found, base = measure(args.program, profile_path(args.profile), *read_rows(args.rows)[:2])
    if not args.check:
        for figure, columns in found:
            print(f"{figure.name} = {text_of(figure.name, figure.value)} ({figure.source})")
            for column, (before, effects) in columns.items():
                _, was, now = effects["all operations"]
                print(f"  {column:8} {before}{say(effects, True) or 'nothing'}; all operations: error {was:.2f} -> {now:.2f}")
    if args.json:
        with open(args.json, "w", encoding="utf-8") as f:
            json.dump({"rows": args.rows, "profile": args.profile, "unchanged": {n: e[1] for n, e in base.items()},
                       "figures": [{"name": g.name, "value": g.value, "source": g.source, "effects": {
                           column: {n: dict(zip(("change", "error_before", "error"), e, strict=True))
                                    for n, e in effects.items()} for column, (_, effects) in columns.items()}}
                                   for g, columns in found]}, f, indent=1, allow_nan=False)
            f.write("\n")
    bad = untested(found)
    for name in bad:
        print(f"sensitivity: {name}: no row depends on it", file=sys.stderr)
    if not args.page:
        return int(bool(bad))
    table = ["| " + " | ".join(HEADS) + " |", "|" + "---|" * len(HEADS)]
    table += ["| " + " | ".join(cells(*row)) + " |" for row in found]
    with open(args.page, encoding="utf-8") as f:
        page = f.read()
    new = page_with(page, ", ".join(f"{name} {base[n][1]:.1f}" for n, name in GROUPS.items()) + ".", table)
    if args.check:
        for line in sorted(set(new.splitlines()) - set(page.splitlines())):
            print(f"sensitivity: {args.page} should have: {line}", file=sys.stderr)
        return int(bool(bad) or new != page)
    with open(args.page, "w", encoding="utf-8") as f:
        f.write(new)
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
