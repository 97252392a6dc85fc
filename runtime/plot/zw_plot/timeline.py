# SPDX-License-Identifier: MIT
"""What ran when: a lane for each track of a trace, a bar for each slice."""
import re

from .data import PlotError
from .svg import COLOURS, GREY, LIGHT, Linear, Picture, shorten, text_width
from .trace import read_trace

MAX_SLICES = 50000
MAX_TRACKS = 500
UNITS = {"ps": 1, "ns": 10 ** 3, "us": 10 ** 6, "ms": 10 ** 9, "s": 10 ** 12}
SHOWN = {"ps": "ps", "ns": "ns", "us": "\u00b5s", "ms": "ms", "s": "s"}
LANE, BAR = 24, 16
WIDTH = 1400


def picos(text):
    """A time of the command line: a number with its unit."""
    m = re.fullmatch(r"(\d{1,15}(?:\.\d{1,12})?)(ps|ns|us|ms|s)", text)
    if not m:
        raise ValueError
    return round(float(m[1]) * UNITS[m[2]])


def unit_of(ps):
    return next(u for u in ("s", "ms", "us", "ns", "ps") if ps >= 2 * UNITS[u] or u == "ps")


def is_queue(track):
    return track.name.startswith("queue ")


def colours_of(tracks):
    """Names of most time on engines and ports have a colour of their own."""
    time = {}
    for t in tracks:
        if not is_queue(t):
            for s in t.slices:
                time[s.name] = time.get(s.name, 0) + s.end - s.start
    most = sorted(time, key=lambda n: (-time[n], n))
    return {n: COLOURS[i] for i, n in enumerate(most[:len(COLOURS)])}, len(most) > len(COLOURS)


def bars(p, track, axis, left, width, y, colour):
    for n, s in enumerate(track.slices):
        a = max(0.0, axis(s.start))
        b = min(float(width), axis(s.end))
        unit = unit_of(s.end - s.start)
        hint = f"{s.name}: {(s.end - s.start) / UNITS[unit]:.6g} {SHOWN[unit]} from {s.start / UNITS['us']:.6f} \u00b5s"
        hint += "".join(f", {k} {v}" for k, v in s.args.items() if k in ("job", "packet", "layer", "rows"))
        place = {f"data_{k}": s.args[k] for k in ("queue", "generation", "job", "packet") if k in s.args}
        fill = LIGHT if is_queue(track) and n % 2 else colour.get(s.name, GREY)
        p.rect(left + a, y, max(b - a, 0.4), BAR, fill, hint=hint, kind="slice", **place)
        # Names where the colour does not tell them.
        if s.name not in colour and b - a > text_width(s.name, 10) + 4:
            p.text(left + a + 3, y + 12, s.name, size=10)


def panel(p, process, tracks, left, top, window, where):
    width = WIDTH - left - 30
    begin = window[0] if window[0] is not None else min(t.slices[0].start for t in tracks)
    end = window[1] if window[1] is not None else max(s.end for t in tracks for s in t.slices)
    if begin >= end:
        end = begin + 1000
    unit = unit_of(end - begin)
    axis = Linear(begin, end, width, UNITS[unit], 10)
    colour, rest = colours_of(tracks)
    p.text(12, top, process, bold=True, kind="process")
    y = p.legend([(colour[n], n) for n in colour] + ([(GREY, "others")] if rest else []), left, top, WIDTH - 20) + 4
    bottom = y + LANE * len(tracks)
    p.x_axis(axis, left, y, bottom, f"time, {SHOWN[unit]}, {where}")
    for t in tracks:
        p.text(left - 10, y + 15, shorten(t.name, left - 20), "end", kind="track")
        bars(p, t, axis, left, width, y + 3, colour)
        y += LANE
    return bottom + 66


def clip(tracks, window):
    for t in tracks:
        t.slices = [s for s in t.slices if (window[0] is None or s.end >= window[0])
                    and (window[1] is None or s.start <= window[1])]
    return [t for t in tracks if t.slices]


def picture(paths, options):
    window = options.begin, options.end
    tracks = read_trace(paths[0])
    processes = list(dict.fromkeys(t.process for t in tracks))
    # A window is one of the device's clock; the host has another.
    device = [n for n in processes if "clock of the host" not in n]
    if window != (None, None):
        tracks = clip([t for t in tracks if t.process in device], window)
        processes = device
        if not tracks:
            raise PlotError(f"{paths[0]}: nothing ran between --from and --to")
    num = sum(len(t.slices) for t in tracks)
    if num > MAX_SLICES:
        raise PlotError(f"{paths[0]}: {num} slices; at most {MAX_SLICES} are drawn: choose a time with --from and --to")
    if len(tracks) > MAX_TRACKS:
        raise PlotError(f"{paths[0]}: {len(tracks)} tracks; at most {MAX_TRACKS} are drawn")
    left = 30 + min(240, max(text_width(t.name) for t in tracks))
    p = Picture(WIDTH, "Timeline: what ran when", f"{num} slices on {len(tracks)} tracks")
    y = 80
    for process in sorted(processes, key=lambda n: n not in device):
        mine = [t for t in tracks if t.process == process]
        if mine:
            y = panel(p, process, mine, left, y, window,
                      "since the reset of the device" if process in device else "since the start of the program")
    return p.svg(y - 10)
