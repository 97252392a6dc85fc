# SPDX-License-Identifier: MIT
"""What fills the memory (zw-plan --json), or what was moved through it (zw-run --stats-json)."""
import os

from .data import PlotError, read_object
from .svg import COLOURS, INK, Linear, Log, Picture, shorten

GIB = 1 << 30
KINDS = (("weights", "weights"), ("kv", "KV cache"), ("state", "recurrent state"), ("rest", "activations and the rest"))
MOVED = (("hbm_read_bytes", "HBM read"), ("hbm_written_bytes", "HBM written"), ("sram_read_bytes", "SRAM read"),
         ("sram_written_bytes", "SRAM written"), ("sys_read_bytes", "PCIe read"), ("sys_written_bytes", "PCIe written"))
LEFT, WIDTH, TOP = 300, 700, 96


def size(n):
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n < 1024 or unit == "GiB":
            return f"{n:.4g} {unit}"
        n /= 1024
    return None


class Bytes(Log):
    """Ticks at each 16 times as much."""

    def ticks(self):
        step = 4 if self.last - self.first > 6 else 1
        return [(2 ** e, size(2 ** e)) for e in range(self.first, min(self.last + 1, 200)) if not e % step]


def plans(objects):
    rows = []
    for o in objects:
        b = o.object("bytes")
        name = f"{os.path.basename(o.text('model').rstrip('/'))}, batch {o.number('batch')}, context {o.number('context')}"
        rows.append((name, f"{o.text('profile')}, {o.number('cards')} card(s)", {k: b.number(k) for k, _ in KINDS},
                     b.number("hbm"), b.number("needed")))
    axis = Linear(0, max(max(r[3], sum(r[2].values())) for r in rows) or 1, WIDTH, GIB)
    p = Picture(LEFT + WIDTH + 60, "Memory: what a model needs of a card", "the line is the size of the card's HBM")
    p.legend([(COLOURS[i], text) for i, (_, text) in enumerate(KINDS)], LEFT, 72, LEFT + WIDTH)
    bottom = TOP + 58 * len(rows)
    p.x_axis(axis, LEFT, TOP, bottom, "memory of one card, GiB")
    for i, (name, what, kinds, hbm, need) in enumerate(rows):
        y, at = TOP + 8 + 58 * i, 0
        p.text(LEFT - 10, y + 10, shorten(name, LEFT - 20), "end", kind="row")
        p.text(LEFT - 10, y + 25, shorten(what, LEFT - 20), "end", kind="row")
        for n, (key, text) in enumerate(KINDS):
            if kinds[key]:
                p.rect(LEFT + axis(at), y, axis(kinds[key]), 22, COLOURS[n], hint=f"{text}: {size(kinds[key])}", kind=key)
            at += kinds[key]
        p.path(f"M{LEFT + axis(hbm):.1f} {y - 4}v30", INK, 2, kind="capacity")
        p.text(LEFT + 2, y + 38, f"{size(need)} of {size(hbm)}: {'fits' if need <= hbm else 'does not fit'}")
    return p.svg(bottom + 52)


def moved(objects):
    rows = []
    for o in objects:
        for phase in ("prefill", "decode"):
            s = o.object(phase)
            tokens = s.number("tokens")
            if 0 < tokens < 1:
                s.fail('"tokens" is out of range')
            if tokens:
                rows.append((f"{os.path.basename(o.text('model').rstrip('/'))}, {o.text('profile')}: {phase}, {tokens} tokens",
                             [s.number(k) / tokens for k, _ in MOVED]))
    most = max((max(r[1]) for r in rows), default=0)
    if not most:
        objects[0].fail("no bytes were moved")
    least = min(v for r in rows for v in r[1] if v)
    axis = Bytes(max(min(least, most / 10) / 2, 1), most, WIDTH, 2)
    p = Picture(LEFT + WIDTH + 120, "Memory: bytes moved for a token", "on average over the phase; what is 0 has no bar")
    bottom = TOP - 30 + sum(30 + 18 * len(MOVED) for _ in rows)
    p.x_axis(axis, LEFT, TOP - 30, bottom, "bytes for a token")
    y = TOP - 30
    for name, values in rows:
        y += 22
        p.text(12, y - 6, name, bold=True, kind="row")
        for n, (_, text) in enumerate(MOVED):
            p.text(LEFT - 10, y + 12, text, "end", kind="legend")
            if values[n]:
                p.rect(LEFT, y + 2, max(axis(values[n]), 1), 13, COLOURS[n], hint=f"{text}: {size(values[n])}", kind="moved")
            p.text(LEFT + axis(values[n]) + 6, y + 12, size(values[n]))
            y += 18
        y += 8
    return p.svg(bottom + 52)


def picture(paths, options):
    objects = [read_object(p) for p in paths]
    planned = ["bytes" in o.value for o in objects]
    if all(planned):
        return plans(objects)
    for o, plan in zip(objects, planned, strict=True):
        if plan:
            raise PlotError(f"{o.path}: of zw-plan, with files of zw-run: one kind at a time")
        if "decode" not in o.value:
            o.fail("neither of zw-plan --json nor of zw-run --stats-json")
    return moved(objects)
