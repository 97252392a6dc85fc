# SPDX-License-Identifier: MIT
"""Packets under the roof of the chip.

Both axes are ratios of times, which a trace has of every packet: arithmetic over HBM is its intensity in units of the
chip's ridge (1: both take as long), arithmetic over the whole is its share of the peak. So engines, data types and chips
fit on one picture.
"""
from .data import PlotError
from .svg import COLOURS, GREY, INK, Log, Picture
from .trace import MAX_PS, read_trace


def number(args, key):
    v = args.get(key, 0)
    return v if isinstance(v, int) and 0 < v < MAX_PS else 0


def points_of(tracks):
    """[(opcode, intensity, share, ps)] of packets that compute and move; how many do not."""
    points, still, idle = [], 0, 0
    for t in tracks:
        for s in t.slices:
            if "packet" not in s.args or "compute_ps" not in s.args or s.end <= s.start:
                continue
            compute, hbm = number(s.args, "compute_ps"), number(s.args, "hbm_ps")
            if not compute:
                idle += 1
            elif not hbm:
                still += 1
            else:
                points.append((s.name, compute / hbm, compute / (s.end - s.start), s.end - s.start))
    return points, still, idle


def picture(paths, options):
    points, still, idle = points_of(read_trace(paths[0]))
    if not points:
        raise PlotError(f"{paths[0]}: no packet in it computes and moves bytes of HBM")
    width, height, left, top = 760, 480, 84, 64
    x = Log(min(1, min(p[1] for p in points)), max(1, max(p[1] for p in points)), width)
    y = Log(min(p[2] for p in points), max(1, max(p[2] for p in points)), height)
    time = {}
    for name, _, _, ps in points:
        time[name] = time.get(name, 0) + ps
    names = sorted(time, key=lambda n: (-time[n], n))
    colour = {n: COLOURS[i] for i, n in enumerate(names[:len(COLOURS)])}
    p = Picture(1160, "Roofline: packets under the roof of the chip",
                f"{len(points)} packets; besides, {still} without traffic of HBM and {idle} without arithmetic, which have "
                "no place here")
    p.x_axis(x, left, top, top + height, "intensity: time of arithmetic / time of HBM (1: the ridge)")
    p.y_axis(y, left, top + height, width, "arithmetic, share of the packet's time")
    # y = x up to the ridge, then 1
    low = max(x.base ** x.first, y.base ** y.first)
    p.path(f"M{left + x(low):.1f} {top + height - y(low):.1f}L{left + x(1):.1f} {top + height - y(1):.1f}H{left + width}",
           INK, 2, kind="roof")
    marks = {}
    for name, intensity, share, _ in points:
        key = name, round(x(intensity), 1), round(y(share), 1)
        marks.setdefault(key, []).append((intensity, share))
    for (name, px, py), mine in marks.items():
        p.circle(left + px, top + height - py, min(3 + len(mine) ** 0.5 / 4, 9), colour.get(name, GREY), kind="packet",
                 hint=f"{name}: {len(mine)} packets, intensity {mine[0][0]:.3g}, {100 * mine[0][1]:.3g} % of peak",
                 data_packets=len(mine))
    total = sum(time.values())
    entries = [(colour[n], f"{n}, {100 * time[n] / total:.1f} % of the time") for n in colour]
    if len(names) > len(COLOURS):
        entries.append((GREY, "others"))
    p.legend(entries, left + width + 30, top + 20)
    return p.svg(top + height + 52)
