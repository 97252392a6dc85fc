# SPDX-License-Identifier: MIT
"""Simulated times against measured ones: `make fidelity JSON=F`."""
import os

from .data import read_object
from .svg import COLOURS, GREY, INK, LINE, Linear, Log, Picture

# Groups that are of rows of other groups.
BOTH = ("all operations", "power")


def label(row):
    words = [row["op"]] + [str(row[k]) for k in ("what", "dtype", "name") if k in row]
    words += [f"{k.rstrip('_')}{row[k]}" for k in ("m", "n_", "k", "h", "i", "v", "hq", "hkv", "b", "s", "ctx", "hit",
                                                   "bytes") if k in row]
    words += [row["steps"]] if "steps" in row else []
    return " ".join(words)


def draw(figs, groups, title):
    """Logarithmic axes; beside them the error of each group: its mean, and up to the 90th percentile.

    figs, groups: as in the JSON file. ValueError: there is no row to draw.
    """
    names = [n for n in groups if n not in BOTH and not n.startswith("gemm ")]
    points = [f for f in figs if f["error"] is not None and f["unit"] == "us" and f["group"] in names
              and f["measured"] > 0 and f["simulated"] > 0]
    if not points:
        raise ValueError("no row has both a measured and a simulated time")
    colour = {n: COLOURS[i] if i < len(COLOURS) else GREY for i, n in enumerate(names)}
    both = [f[k] for f in points for k in ("measured", "simulated")]
    side, left, top = 520, 84, 64
    axis = Log(min(both), max(both), side)
    p = Picture(1160, title, f"{len(points)} rows; a point on the line is simulated as it was measured")
    p.x_axis(axis, left, top, top + side, "measured time, \u00b5s")
    p.y_axis(axis, left, top + side, side, "simulated time, \u00b5s")
    p.path(f"M{left} {top + side}l{side} {-side}", LINE, kind="roof")
    for f in points:
        p.circle(left + axis(f["measured"]), top + side - axis(f["simulated"]), 3, colour[f["group"]], kind="row",
                 hint=f"{label(f['row'])}: {f['measured']:g} \u00b5s measured, {f['simulated']:.4g} simulated, "
                      f"{f['error']:+.1f} %")
    x0, step = 800, 46
    errors = Linear(0, max(0.01, *(groups[n]["p90"] for n in names)), 320, ticks=5)
    bottom = top + 10 + step * len(names)
    p.x_axis(errors, x0, top, bottom, "error of a row, per cent: mean (bar), 90th percentile (whisker)")
    for i, n in enumerate(names):
        g, y = groups[n], top + 14 + i * step
        mean, p90 = x0 + errors(g["mean"]), x0 + errors(g["p90"])
        p.text(x0 - 10, y + 14, f"{n} ({g['rows']})", "end", kind="legend")
        p.rect(x0, y, mean - x0, 18, colour[n], kind="group")
        p.path(f"M{min(mean, p90):.1f} {y + 9}H{p90:.1f}M{p90:.1f} {y + 3}v12", INK, kind="whisker")
        p.text(x0 + 2, y + 31, f"mean {g['mean']:.1f} %, 90th percentile {g['p90']:.1f} %", size=10)
    return p.svg(max(top + side, bottom) + 52)


def picture(paths, options):
    o = read_object(paths[0])
    title = f"{os.path.basename(o.text('rows'))} on profile {os.path.basename(o.text('profile'))}"
    groups, figs = {}, []
    for name in o.object("groups").value:
        g = o.object("groups").object(name)
        groups[name] = {k: g.number(k) for k in ("rows", "mean", "p90")}
    for f in o.objects("figures"):
        f.object("row").text("op")
        if f.text("group") not in groups and f.number("error", None, none=True) is not None:
            f.fail(f'group "{f.text("group")}" is none of the groups')
        figs.append({"row": f.object("row").value, "group": f.text("group"), "unit": f.text("unit"),
                     "measured": f.number("measured"), "simulated": f.number("simulated", none=True),
                     "error": f.number("error", None, none=True)})
        if figs[-1]["error"] is not None and figs[-1]["simulated"] is None:
            f.fail("an error of a row that was not simulated")
    try:
        return draw(figs, groups, title)
    except ValueError as e:
        o.fail(e)
