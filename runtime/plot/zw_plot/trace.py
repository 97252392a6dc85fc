# SPDX-License-Identifier: MIT
"""Traces of zw-run --trace, both forms (Documentation/tracing.md)."""
from .data import Object, PlotError, parse, read

MAX_PS = 1 << 62


class Slice:
    __slots__ = ("name", "start", "end", "args")

    def __init__(self, name, start, end, args):
        self.name, self.start, self.end, self.args = name, start, end, args
        a, b = args.get("start_ps"), args.get("end_ps")
        # Perfetto's times are whole nanoseconds; arguments have the picoseconds.
        if isinstance(a, int) and isinstance(b, int) and a <= b and a // 1000 == start // 1000 and b // 1000 == end // 1000:
            self.start, self.end = a, b


class Track:
    def __init__(self, process, name, rank):
        self.process, self.name, self.rank, self.slices = process, name, rank, []


def read_trace(path):
    """[Track], in the order of their processes and ranks, only those with slices; times are picoseconds."""
    data = read(path)
    tracks = read_json(path, data) if data[:1] in (b"{", b"[") else read_proto(path, data)
    tracks = [t for t in tracks if t.slices]
    if not tracks:
        raise PlotError(f"{path}: a trace without slices")
    for t in tracks:
        t.slices.sort(key=lambda s: (s.start, s.end))
    return sorted(tracks, key=lambda t: (t.process, t.rank, t.name))


# ---- Chrome's trace events ----

def read_json(path, data):
    processes, tracks, named, ranks = {}, {}, {}, {}

    def time(e, key):
        v = e.number(key) * 1e6
        if v > MAX_PS:
            e.fail(f'"{key}" is out of range')
        return round(v)

    for e in Object(path, parse(path, data)).objects("traceEvents"):
        kind = e.text("ph")
        if kind not in ("M", "X"):
            continue
        pid, tid = e.number("pid"), e.number("tid")
        if kind == "X":
            start = time(e, "ts")
            args = e.object("args").value if "args" in e.value else {}
            tracks.setdefault((pid, tid), []).append(Slice(e.text("name"), start, start + time(e, "dur"), args))
        elif e.text("name") == "process_name":
            processes[pid] = e.object("args").text("name")
        elif e.text("name") == "thread_name":
            named[pid, tid] = e.object("args").text("name")
        elif e.text("name") == "thread_sort_index":
            ranks[pid, tid] = e.object("args").number("sort_index", None)
    out = []
    for (pid, tid), slices in tracks.items():
        out.append(Track(processes.get(pid, f"process {pid}"), named.get((pid, tid), f"thread {tid}"),
                         ranks.get((pid, tid), 0)))
        out[-1].slices = slices
    return out


# ---- Perfetto's protobuf; numbers of fields as in trace_proto.c ----

def varint(data, at, end):
    value = shift = 0
    while True:
        if at >= end or shift > 63:
            raise ValueError(f"byte {at}: a number is cut short or too long")
        byte = data[at]
        at += 1
        value |= (byte & 0x7f) << shift
        shift += 7
        if byte < 0x80:
            return value & (1 << 64) - 1, at


def fields(data, at, end):
    """(number, value) of a message in data[at:end]; what has a length is its (begin, end)."""
    while at < end:
        begin = at
        key, at = varint(data, at, end)
        wire, number = key & 7, key >> 3
        if wire == 0:
            value, at = varint(data, at, end)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            value, at = int.from_bytes(data[at:min(at + size, end)], "little"), at + size
        elif wire == 2:
            size, at = varint(data, at, end)
            value, at = (at, at + size), at + size
        else:
            raise ValueError(f"byte {begin}: no field of a protobuf (wire type {wire})")
        if at > end:
            raise ValueError(f"byte {begin}: a field is cut short")
        if not number:
            raise ValueError(f"byte {begin}: no field of a protobuf (number 0)")
        yield number, value


class Proto:
    def __init__(self, data):
        self.data = data
        self.events, self.args = {}, {}   # names by their numbers
        self.processes, self.tracks, self.of = {}, {}, {}  # by the track's number
        self.open = {}

    def message(self, span):
        """{number: last value}"""
        if not isinstance(span, tuple):
            raise ValueError("a number in place of a message")
        return dict(fields(self.data, *span))

    def all(self, span, number):
        if not isinstance(span, tuple):
            raise ValueError("a number in place of a message")
        return [v for n, v in fields(self.data, *span) if n == number]

    def text(self, span):
        if not isinstance(span, tuple):
            raise ValueError("a number in place of a text")
        return self.data[span[0]:span[1]].decode("utf-8", "replace")

    def number(self, v):
        if not isinstance(v, int):
            raise ValueError("a message in place of a number")
        return v

    def intern(self, span):
        for number, table in ((2, self.events), (3, self.args)):
            for name in map(self.message, self.all(span, number)):
                table[self.number(name.get(1, 0))] = self.text(name.get(2, (0, 0)))

    def describe(self, span):
        d = self.message(span)
        uuid = self.number(d.get(1, 0))
        if 3 in d:
            self.processes[uuid] = self.text(self.message(d[3]).get(6, (0, 0)))
        else:
            self.tracks[uuid] = Track("", self.text(d.get(2, (0, 0))), self.number(d.get(12, 0)))
            self.of[uuid] = self.number(d.get(5, 0))

    def event(self, span, ns):
        e = self.message(span)
        kind, uuid = self.number(e.get(9, 0)), self.number(e.get(11, 0))
        if kind not in (1, 2, 3):
            return
        if uuid not in self.tracks:
            raise ValueError(f"an event of track {uuid}, which nothing describes")
        if kind == 2:
            if not self.open.get(uuid):
                raise ValueError(f'track "{self.tracks[uuid].name}": an end without a begin')
            name, start, args = self.open[uuid].pop()
            if ns < start:
                raise ValueError(f'track "{self.tracks[uuid].name}": a slice ends before it begins')
            self.tracks[uuid].slices.append(Slice(name, start, ns, args))
            return
        if 10 in e and self.number(e[10]) not in self.events:
            raise ValueError(f"no name has number {e[10]}")
        name = self.events[e[10]] if 10 in e else self.text(e.get(23, (0, 0)))
        args = {}
        for a in map(self.message, self.all(span, 4)):
            key = self.args.get(self.number(a[1]), "?") if 1 in a else self.text(a.get(10, (0, 0)))
            args[key] = self.text(a[6]) if 6 in a else self.number(a.get(3, 0))
        if kind == 3:
            self.tracks[uuid].slices.append(Slice(name, ns, ns, args))
        else:
            self.open.setdefault(uuid, []).append((name, ns, args))

    def packet(self, span):
        p = self.message(span)
        if 12 in p:
            self.intern(p[12])
        if 60 in p:
            self.describe(p[60])
        if 11 in p:
            ns = self.number(p.get(8, 0))
            if ns > MAX_PS // 1000:
                raise ValueError("a time is out of range")
            self.event(p[11], ns * 1000)


def read_proto(path, data):
    p = Proto(data)
    try:
        for n, (number, span) in enumerate(fields(data, 0, len(data))):
            if number != 1 or not isinstance(span, tuple):
                raise ValueError(f"field {number} is none of a Perfetto trace")
            try:
                p.packet(span)
            except ValueError as e:
                raise ValueError(f"packet {n}: {e}") from e
    except ValueError as e:
        raise PlotError(f"{path}: no trace: {e}") from e
    for uuid, slices in p.open.items():
        if slices:
            raise PlotError(f'{path}: track "{p.tracks[uuid].name}": a slice has no end (is the file complete?)')
    for uuid, track in p.tracks.items():
        track.process = p.processes.get(p.of[uuid], "?")
    return list(p.tracks.values())
