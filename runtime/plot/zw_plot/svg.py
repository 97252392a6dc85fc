# SPDX-License-Identifier: MIT
"""What all pictures share: the page, its title, text, bars, axes, a legend.

Lengths are pixels, y goes down. Every text is escaped here, so it may come from anywhere. Colours are Paul Tol's "bright"
scheme, which people see apart who do not see all colours.
"""
import math
import re

COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#ee8866", "#000000")
GREY, LIGHT, LINE, INK = "#bbbbbb", "#dddddd", "#888888", "#222222"
SIZE = 12
RAISED = str.maketrans("-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")
# What XML 1.0 has no way to say, not even as a number.
NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def escape(text):
    text = NO_XML.sub("\ufffd", str(text))
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def text_width(text, size=SIZE):
    """About: what draws the picture chooses the font."""
    return 0.58 * size * len(text)


def shorten(text, width, size=SIZE):
    """The text, or as much of it as fits."""
    n = max(1, int(width / (0.58 * size)))
    return text if len(text) <= n else text[:n - 1] + "\u2026"


class Log:
    """A logarithmic axis over whole powers of the base."""

    def __init__(self, lo, hi, size, base=10):
        self.base, self.size = base, size
        self.first = math.floor(math.log(lo, base) + 1e-9)
        self.last = max(self.first + 1, math.ceil(math.log(hi, base) - 1e-9))

    def __call__(self, v):
        at = (math.log(v, self.base) - self.first) / (self.last - self.first) if v > 0 else 0
        return min(max(at, 0), 1) * self.size

    def ticks(self):
        step = max(1, (self.last - self.first) // 12)
        return [(self.base ** e, self.figure(e)) for e in range(self.first, self.last + 1, step)]

    def figure(self, e):
        return "10" + str(e).translate(RAISED) if self.base == 10 and not -4 < e < 6 else f"{self.base ** e:g}"


class Linear:
    """From lo to hi, with ticks at round figures of `unit` units."""

    def __init__(self, lo, hi, size, unit=1, ticks=8):
        self.lo, self.hi, self.size, self.unit = lo, hi if hi > lo else lo + unit, size, unit
        raw = (self.hi - self.lo) / unit / ticks
        ten = 10.0 ** math.floor(math.log10(raw))
        self.step = next(m * ten for m in (1, 2, 5, 10) if m * ten >= raw * 0.999)

    def __call__(self, v):
        return (v - self.lo) / (self.hi - self.lo) * self.size

    def ticks(self):
        at = math.ceil(self.lo / self.unit / self.step - 1e-9)
        digits = max(0, -math.floor(math.log10(self.step)))
        out = []
        while at * self.step * self.unit <= self.hi * (1 + 1e-12):
            out.append((at * self.step * self.unit, f"{at * self.step:.{digits}f}"))
            at += 1
        return out


class Picture:
    def __init__(self, width, title, subtitle=None):
        self.width, self.parts = width, []
        self.text(12, 26, title, size=16, kind="title")
        if subtitle:
            self.text(12, 44, subtitle, kind="subtitle")
        self.name = title

    def add(self, tag, attributes, inside=None, hint=None):
        words = "".join(f' {k.replace("_", "-")}="{escape(f"{v:.2f}".rstrip("0").rstrip(".") if isinstance(v, float) else v)}"'
                        for k, v in attributes.items() if v is not None)
        inside = ("" if inside is None else escape(inside)) + (f"<title>{escape(hint)}</title>" if hint else "")
        self.parts.append(f"<{tag}{words}>{inside}</{tag}>" if inside else f"<{tag}{words}/>")

    def text(self, x, y, text, anchor=None, size=None, bold=False, fill=INK, kind=None, turn=False):
        at = {"transform": f"translate({x:.1f} {y:.1f}) rotate(-90)"} if turn else {"x": float(x), "y": float(y)}
        self.add("text", {**at, "text_anchor": anchor, "font_size": size, "font_weight": "bold" if bold else None,
                          "fill": fill, "class": kind}, text)

    def rect(self, x, y, width, height, fill, hint=None, kind=None, stroke=None, **data):
        self.add("rect", {"x": float(x), "y": float(y), "width": float(width), "height": float(height), "fill": fill,
                          "stroke": stroke, "class": kind, **data}, hint=hint)

    def circle(self, x, y, r, fill, hint=None, kind=None, **data):
        self.add("circle", {"cx": float(x), "cy": float(y), "r": float(r), "fill": fill, "fill_opacity": "0.7",
                            "class": kind, **data}, hint=hint)

    def path(self, d, stroke, width=1, kind=None, dash=None):
        self.add("path", {"d": d, "stroke": stroke, "stroke_width": width, "fill": "none", "class": kind,
                          "stroke_dasharray": dash})

    def x_axis(self, axis, left, top, bottom, label):
        for value, text in axis.ticks():
            x = left + axis(value)
            self.path(f"M{x:.1f} {top:.1f}V{bottom + 4:.1f}", LIGHT, kind="grid")
            self.text(x, bottom + 18, text, "middle", kind="tick")
        self.text(left + axis.size / 2, bottom + 38, label, "middle", kind="axis")

    def y_axis(self, axis, left, bottom, width, label):
        for value, text in axis.ticks():
            y = bottom - axis(value)
            self.path(f"M{left - 4:.1f} {y:.1f}H{left + width:.1f}", LIGHT, kind="grid")
            self.text(left - 8, y + 4, text, "end", kind="tick")
        self.text(left - 54, bottom - axis.size / 2, label, "middle", kind="axis", turn=True)

    def legend(self, entries, x, y, right=None):
        """[(colour, text)], one below the other, or from left to right up to `right`. Returns the next y."""
        at = x
        for colour, text in entries:
            need = 18 + text_width(text) + 16
            if right and at > x and at + need > right:
                at, y = x, y + 18
            self.rect(at, y - 10, 12, 12, colour, kind="legend")
            self.text(at + 18, y, text, kind="legend")
            if right:
                at += need
            else:
                y += 18
        return y + 18 if right else y

    def svg(self, height):
        head = (f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{height:.0f}" '
                f'viewBox="0 0 {self.width} {height:.0f}" font-family="sans-serif" font-size="{SIZE}">'
                f"<title>{escape(self.name)}</title>")
        return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *self.parts, "</svg>", ""])
