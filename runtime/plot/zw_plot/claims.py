# SPDX-License-Identifier: MIT
"""What the features of a chip gain, beside what the press claims: `make claims JSON=F`."""
from .data import read_object
from .svg import COLOURS, LIGHT, Log, Picture, shorten, text_width

NAMES = {"hbm": "HBM", "compute": "compute", "launches": "launches", "sram": "SRAM"}

# A gain of null in the file: with the feature it costs nothing at all.
ENDLESS = "endless"


def draw(rows, title):
    """A bar for each case, the range of the claim behind them; one logarithmic axis for all. rows: as in the JSON file."""
    width, step, top = 620, 18, 64
    left = 24 + min(360, max(text_width(r["case"]) for r in rows))
    most = max(64.0, *(r["gain"] or 0 for r in rows))
    axis = Log(1, most, width, 2)
    claims = list(dict.fromkeys(r["claim"] for r in rows))
    bottom = top + sum(34 + step * sum(r["claim"] == c for r in rows) for c in claims)
    p = Picture(int(left + width + 150), title,
                "simulated gain, and the resource that made most of it; grey: what is claimed")
    p.x_axis(axis, left, top, bottom, "gain, times (without the feature / with it)")
    y = top
    for i, claim in enumerate(claims):
        mine = [r for r in rows if r["claim"] == claim]
        low, high = mine[0]["low"], mine[0]["high"]
        y += 28
        p.text(12, y - 8, f"{mine[0]['title']}: claimed {mine[0]['claimed']}", bold=True, kind="legend")
        begin = left + axis(low if low is not None else 1)
        p.rect(begin, y, left + axis(high) - begin, len(mine) * step, LIGHT, kind="claimed")
        for r in mine:
            gain = r["gain"]
            x = left + axis(most if gain is None else max(gain, 1))
            why = next(iter(r["made_by"]), None)
            text = f"{ENDLESS if gain is None else f'{gain:.2f}x'}{', ' + NAMES.get(why, why) if why else ''}"
            p.text(left - 8, y + 13, shorten(r["case"], left - 20), "end")
            p.rect(left, y + 3, max(x - left, 1), step - 6, COLOURS[i % len(COLOURS)], hint=f"{r['case']}: {text}", kind="case")
            p.text(x + 6, y + 13, text)
            y += step
        y += 6
    return p.svg(bottom + 52)


def picture(paths, options):
    o = read_object(paths[0])
    rows = []
    for r in o.objects("rows"):
        made = r.object("made_by")
        rows.append({**{k: r.text(k) for k in ("claim", "title", "claimed", "case")}, "gain": r.number("gain", none=True),
                     "low": r.number("low", none=True), "high": r.number("high"),
                     "made_by": {k: made.number(k) for k in made.value}})
    if not rows:
        o.fail('"rows" is empty')
    return draw(rows, f"Claims of the press on profile {o.text('profile')}")
