# SPDX-License-Identifier: MIT
"""Files that pictures are made of: read, checked, and refused by what is wrong with them."""
import json
import math
import os
import stat

MAX_BYTES = 512 << 20


class PlotError(Exception):
    """What is wrong with a file, in one line that names it."""


def read(path):
    """The file's bytes."""
    try:
        with open(path, "rb") as f:
            st = os.fstat(f.fileno())
            if not stat.S_ISREG(st.st_mode):
                raise PlotError(f"{path}: not a regular file")
            if st.st_size > MAX_BYTES:
                raise PlotError(f"{path}: more than {MAX_BYTES >> 20} MiB")
            # What it has now: memory for as much as it may have takes longer to come by than most pictures.
            data = f.read(st.st_size)
    except (OSError, ValueError) as e:
        raise PlotError(f"{path}: {getattr(e, 'strerror', None) or e}") from e
    if not data:
        raise PlotError(f"{path}: the file is empty")
    return data


def no_constant(name):
    raise ValueError(f"{name} is no JSON")


def parse(path, data):
    try:
        return json.loads(data.decode(), parse_constant=no_constant)
    except UnicodeDecodeError as e:
        raise PlotError(f"{path}: no UTF-8 at byte {e.start}") from e
    except ValueError as e:
        raise PlotError(f"{path}: no JSON: {e}") from e
    except RecursionError as e:
        raise PlotError(f"{path}: no JSON: nested too deep") from e


class Object:
    """An object of a JSON file, and where in it: members are asked for with the type that they have to have."""

    def __init__(self, path, value, where=""):
        if not isinstance(value, dict):
            raise PlotError(f"{path}: {where or 'the file'} is no object")
        self.path, self.value, self.where = path, value, where

    def fail(self, what):
        raise PlotError(f"{self.path}: {self.where + ': ' if self.where else ''}{what}")

    def name(self, key):
        return f"{self.where}.{key}" if self.where else key

    def get(self, key):
        if key not in self.value:
            self.fail(f'there is no "{key}"')
        return self.value[key]

    def text(self, key):
        v = self.get(key)
        if not isinstance(v, str):
            self.fail(f'"{key}" is no text')
        return v

    def number(self, key, lo=0.0, none=False):
        """A finite number, at least lo. none: null is allowed, too."""
        v = self.get(key)
        if v is None and none:
            return None
        if isinstance(v, bool) or not isinstance(v, (int, float)):
            self.fail(f'"{key}" is no number')
        # float() of a long integer overflows
        if abs(v) > 1e300 or not math.isfinite(v) or (lo is not None and v < lo):
            self.fail(f'"{key}" is out of range')
        return v

    def object(self, key):
        return Object(self.path, self.get(key), self.name(key))

    def objects(self, key):
        v = self.get(key)
        if not isinstance(v, list):
            self.fail(f'"{key}" is no list')
        return [Object(self.path, e, f"{self.name(key)}[{i}]") for i, e in enumerate(v)]


def read_object(path):
    return Object(path, parse(path, read(path)))
