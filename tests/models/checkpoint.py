# SPDX-License-Identifier: MIT
"""Checkpoints and the numbers in them, for the test programs here.

A tensor is (dtype, shape, bytes), with the dtype's name as safetensors has it. Numbers are numpy arrays: of floats
in double precision, which has every value of each dtype, so that a program's own arithmetic is rounded only where
it asks for that.
"""

import json
import os
import struct

import debian_python

debian_python.need("numpy")
import numpy as np  # noqa: E402

# ---- numbers ----


def small_float(man, bias, codes):
    """Values of a small float without a sign, by code."""
    c = np.arange(codes)
    exp, low = c >> man, c & (1 << man) - 1
    return np.where(exp > 0, np.ldexp((1 << man) + low, exp - bias - man), np.ldexp(low, 1 - bias - man))


E4M3, E2M1 = small_float(3, 7, 127), small_float(1, 1, 8)
_E4M3_SIGNED = np.concatenate([E4M3, [np.nan], -E4M3, [np.nan]])
_PLAIN = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I8": "i1", "U8": "u1", "I32": "<i4", "U32": "<u4", "I64": "<i8"}


def encode(x, dtype):
    """The bytes of numbers, each rounded to the nearest one of the dtype."""
    x = np.asarray(x)
    if dtype == "BF16":
        u = np.atleast_1d(x.astype("<f4")).view("<u4")
        return ((u + 0x7fff + (u >> 16 & 1)) >> 16).astype("<u2").tobytes()
    with np.errstate(over="raise"):
        return x.astype(_PLAIN[dtype]).tobytes()


def decode(raw, dtype):
    """The numbers that bytes stand for, in one dimension."""
    if dtype == "BF16":
        return (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4").astype(float)
    if dtype == "F8_E4M3":
        return _E4M3_SIGNED[np.frombuffer(raw, "u1")]
    a = np.frombuffer(raw, _PLAIN[dtype])
    return a.astype(float) if dtype[0] == "F" else a.astype(np.int64)


def rounded(x, dtype):
    """Numbers as the dtype can hold them."""
    return decode(encode(x, dtype), dtype).reshape(np.shape(x))


def numbers(tensor):
    """An array of the tensor's shape."""
    dtype, shape, raw = tensor
    return decode(raw, dtype).reshape(shape)


def nearest(table, x, sign):
    """Codes of the values next to x, the smaller of two that are as near; sign: the bit that negates."""
    a = np.abs(x)
    at = np.minimum(np.searchsorted(table, a), len(table) - 1)
    below = np.maximum(at - 1, 0)
    at = np.where(a - table[below] <= table[at] - a, below, at)
    return at | np.where(x < 0, sign, 0)


def value(table, code, sign):
    """What codes with a sign stand for."""
    v = table[code & (sign - 1)]
    return np.where(code & sign, -v, v)


def words(values, bits):
    """Integers as little-endian words of 32 bits, the first ones lowest."""
    per = 32 // bits
    v = np.asarray(values).astype("<u4").reshape(-1, per)
    return np.bitwise_or.reduce(v << np.arange(0, 32, bits, dtype="<u4"), 1).astype("<u4").tobytes()


def fields(raw, bits):
    """The inverse of words(), in one dimension."""
    w = np.frombuffer(raw, "<u4")[:, None] >> np.arange(0, 32, bits, dtype="<u4")
    return (w & (1 << bits) - 1).reshape(-1).astype(np.int64)


# ---- files ----

def read_file(path):
    """{name: tensor} of one safetensors file."""
    with open(path, "rb") as f:
        size, = struct.unpack("<Q", f.read(8))
        header = json.loads(f.read(size))
        data = f.read()
    header.pop("__metadata__", None)
    return {name: (t["dtype"], t["shape"], data[slice(*t["data_offsets"])]) for name, t in header.items()}


def write_file(path, tensors):
    """In place of a file that is there, which may be read-only."""
    header, data, at = {}, [], 0
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(raw)]}
        data.append(raw)
        at += len(raw)
    text = json.dumps(header).encode()
    if os.path.exists(path):
        os.remove(path)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(data))


def read_tensors(folder):
    """{name: tensor} of all safetensors files of a folder."""
    out = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(".safetensors"):
            out.update(read_file(os.path.join(folder, name)))
    return out


def read_json(*path):
    with open(os.path.join(*path), encoding="utf-8") as f:
        return json.load(f)


def write_json(x, *path):
    with open(os.path.join(*path), "w", encoding="utf-8") as f:
        json.dump(x, f)


def write(folder, tensors, config):
    """A checkpoint of one file, in a folder that may be there."""
    os.makedirs(folder, exist_ok=True)
    write_file(os.path.join(folder, "model.safetensors"), tensors)
    write_json(config, folder, "config.json")
