# SPDX-License-Identifier: MIT
"""GGUF files for tests: a writer, and encoders of the records that tensors are made of.

The encoders are plain, not good: they round to the nearest value of a scale taken from the largest
element. decode() is their inverse, written from Documentation/device/numerics.md.
"""

import array
import struct

U32, F32, BOOL, STRING, ARRAY, U64 = 4, 6, 7, 8, 9, 10

# name: number in the file, elements and bytes of a block
TYPES = {
    "F32": (0, 1, 4), "F16": (1, 1, 2), "BF16": (30, 1, 2), "Q4_0": (2, 32, 18), "Q4_1": (3, 32, 20),
    "Q5_0": (6, 32, 22), "Q5_1": (7, 32, 24), "Q8_0": (8, 32, 34), "MXFP4": (39, 32, 17),
    "Q4_K": (12, 256, 144), "Q5_K": (13, 256, 176), "Q6_K": (14, 256, 210),
}


# ---- the file ----

def text(s):
    raw = s if isinstance(s, bytes) else s.encode()
    return struct.pack("<Q", len(raw)) + raw


def value(v):
    """Type and bytes of a value: bool, int (u32), float (f32), str, or a list of one of them."""
    if isinstance(v, bool):
        return BOOL, bytes([v])
    if isinstance(v, int):
        return U32, struct.pack("<I", v)
    if isinstance(v, float):
        return F32, struct.pack("<f", v)
    if isinstance(v, list):
        kind = value(v[0])[0] if v else U32
        return ARRAY, struct.pack("<IQ", kind, len(v)) + b"".join(value(x)[1] for x in v)
    return STRING, text(v)


def write(path, keys, tensors, align=32, version=3):
    """keys: {name: value}, a (type, bytes) pair standing for itself; tensors: {name: (type, shape,
    bytes)}, shapes outermost dimension first."""
    if align != 32:
        keys = {**keys, "general.alignment": align}
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys))
    for k, v in keys.items():
        kind, raw = v if isinstance(v, tuple) else value(v)
        head += text(k) + struct.pack("<I", kind) + raw
    parts, off = [], 0
    for name, (kind, shape, raw) in tensors.items():
        head += text(name) + struct.pack("<I", len(shape))
        head += b"".join(struct.pack("<Q", d) for d in reversed(shape))
        head += struct.pack("<IQ", TYPES[kind][0] if isinstance(kind, str) else kind, off)
        parts += [raw, bytes(-len(raw) % align)]
        off += len(raw) + -len(raw) % align
    with open(path, "wb") as f:
        f.write(head + bytes(-len(head) % align))
        for p in parts:
            f.write(p)


# ---- elements ----

def f32(raw, kind):
    """Elements of plain types as a list of floats."""
    if kind == "BF16":
        wide = bytearray(len(raw) * 2)
        wide[2::4], wide[3::4] = raw[0::2], raw[1::2]
        return array.array("f", bytes(wide)).tolist()
    return list(struct.unpack(f"<{len(raw) // (4 if kind == 'F32' else 2)}"
                              f"{'f' if kind == 'F32' else 'e'}", raw))


def half(x):
    """Rounded to binary16, as a float, and its bytes."""
    raw = struct.pack("<e", x)
    return struct.unpack("<e", raw)[0], raw


def single(x):
    """Rounded to binary32."""
    return struct.unpack("<f", struct.pack("<f", x))[0]


def bf16_bits(x):
    u = struct.unpack("<I", struct.pack("<f", x))[0]
    return (u + 0x7FFF + (u >> 16 & 1)) >> 16


def clamp(v, lo, hi):
    return lo if v < lo else hi if v > hi else v


def nibbles(n):
    half_way = len(n) // 2
    return bytes(n[i] | n[i + half_way] << 4 for i in range(half_way))


FP4 = [0, .5, 1, 1.5, 2, 3, 4, 6, -0.0, -.5, -1, -1.5, -2, -3, -4, -6]


def enc_q8_0(x):
    d, raw = half(max(map(abs, x)) / 127)
    return raw + struct.pack("32b", *(clamp(round(v / d), -128, 127) if d else 0 for v in x))


def enc_q4_0(x):
    top = max(x, key=abs)
    d, raw = half(top / -8)
    return raw + nibbles([clamp(round(v / d) + 8, 0, 15) if d else 8 for v in x])


def enc_q4_1(x):
    m, mraw = half(min(x))
    d, raw = half((max(x) - min(x)) / 15)
    return raw + mraw + nibbles([clamp(round((v - m) / d), 0, 15) if d else 0 for v in x])


def fifth_bits(n):
    return struct.pack("<I", sum((v >> 4) << i for i, v in enumerate(n)))


def enc_q5_0(x):
    top = max(x, key=abs)
    d, raw = half(top / -16)
    n = [clamp(round(v / d) + 16, 0, 31) if d else 16 for v in x]
    return raw + fifth_bits(n) + nibbles([v & 15 for v in n])


def enc_q5_1(x):
    m, mraw = half(min(x))
    d, raw = half((max(x) - min(x)) / 31)
    n = [clamp(round((v - m) / d), 0, 31) if d else 0 for v in x]
    return raw + mraw + fifth_bits(n) + nibbles([v & 15 for v in n])


def enc_mxfp4(x):
    top, e = max(map(abs, x)), 0
    while e < 254 and 6 * 2.0 ** (e - 127) < top:
        e += 1
    s = 2.0 ** (e - 127)
    return bytes([e]) + nibbles([min(range(16), key=lambda i: abs(FP4[i] * s - v)) for v in x])


def enc_kq(x, levels):
    """Scales and minima of Q4_K and Q5_K: (d, m) bytes, 12 bytes of scales, 256 numbers."""
    groups = [x[i:i + 32] for i in range(0, 256, 32)]
    low = [max(0, -min(g)) for g in groups]
    wide = [(max(g) + m) / (levels - 1) for g, m in zip(groups, low)]
    d, draw = half(max(max(wide), 0) / 63)
    m, mraw = half(max(low) / 63)
    s = [clamp(round(w / d), 0, 63) if d else 0 for w in wide]
    t = [clamp(round(v / m), 0, 63) if m else 0 for v in low]
    packed = bytes([s[i] | s[i + 4] >> 4 << 6 for i in range(4)] +
                   [t[i] | t[i + 4] >> 4 << 6 for i in range(4)] +
                   [s[i + 4] & 15 | (t[i + 4] & 15) << 4 for i in range(4)])
    n = []
    for g, values in enumerate(groups):
        step = d * s[g]
        n += [clamp(round((v + m * t[g]) / step), 0, levels - 1) if step else 0 for v in values]
    return draw + mraw + packed, n


def k_nibbles(n):
    """Pairs of groups of 32: the even one in the low nibbles."""
    return b"".join(nibbles(n[i:i + 64]) for i in range(0, 256, 64))


def enc_q4_k(x):
    head, n = enc_kq(x, 16)
    return head + k_nibbles(n)


def enc_q5_k(x):
    head, n = enc_kq(x, 32)
    high = bytes(sum((n[32 * g + c] >> 4) << g for g in range(8)) for c in range(32))
    return head + high + k_nibbles([v & 15 for v in n])


def enc_q6_k(x):
    groups = [x[i:i + 16] for i in range(0, 256, 16)]
    tops = [max(g, key=abs) / -32 for g in groups]
    d, draw = half(max(map(abs, tops)) / 127)
    s = [clamp(round(t / d), -128, 127) if d else 0 for t in tops]
    n = []
    for g, values in enumerate(groups):
        step = d * s[g]
        n += [clamp(round(v / step) + 32, 0, 63) if step else 32 for v in values]
    low, high = bytearray(128), bytearray(64)
    for e in range(256):
        a, b, c = e // 128, e // 32 % 4, e % 32
        low[64 * a + 32 * (b % 2) + c] |= (n[e] & 15) << (4 * (b // 2))
        high[32 * a + c] |= (n[e] >> 4) << (2 * b)
    return bytes(low + high) + struct.pack("16b", *s) + draw


ENCODERS = {"Q8_0": enc_q8_0, "Q4_0": enc_q4_0, "Q4_1": enc_q4_1, "Q5_0": enc_q5_0, "Q5_1": enc_q5_1,
            "MXFP4": enc_mxfp4, "Q4_K": enc_q4_k, "Q5_K": enc_q5_k, "Q6_K": enc_q6_k}


def encode(x, kind):
    """A list of floats in a type: the bytes."""
    if kind == "F32":
        return array.array("f", x).tobytes()
    if kind == "F16":
        return struct.pack(f"<{len(x)}e", *x)
    if kind == "BF16":
        return array.array("H", map(bf16_bits, x)).tobytes()
    size = TYPES[kind][1]
    return b"".join(ENCODERS[kind](x[i:i + size]) for i in range(0, len(x), size))


def dec_block(b, kind):
    f16 = lambda at: struct.unpack_from("<e", b, at)[0]  # noqa: E731
    if kind == "Q8_0":
        return [f16(0) * v for v in struct.unpack("32b", b[2:])]
    if kind == "MXFP4":
        s = 2.0 ** (b[0] - 127)
        return [s * FP4[b[1 + e % 16] >> (4 * (e // 16)) & 15] for e in range(32)]
    if kind in ("Q4_0", "Q4_1", "Q5_0", "Q5_1"):
        at = 2 if kind[3] == "0" else 4
        h = struct.unpack_from("<I", b, at)[0] if kind[1] == "5" else 0
        at += 4 if kind[1] == "5" else 0
        n = [(b[at + e % 16] >> (4 * (e // 16)) & 15) + (h >> e & 1) * 16 for e in range(32)]
        if kind[3] == "1":
            return [single(f16(0) * v) + f16(2) for v in n]
        return [f16(0) * (v - (8 if kind[1] == "4" else 16)) for v in n]
    out = []
    for e in range(256):
        if kind == "Q6_K":
            a, q, c = e // 128, e // 32 % 4, e % 32
            n = b[64 * a + 32 * (q % 2) + c] >> (4 * (q // 2)) & 15
            n += (b[128 + 32 * a + c] >> (2 * q) & 3) * 16
            s = struct.unpack_from("b", b, 192 + e // 16)[0]
            out.append(single(f16(208) * s) * (n - 32))
            continue
        g, c, s = e // 32, e % 32, b[4:16]
        if g < 4:
            scale, low = s[g] & 63, s[g + 4] & 63
        else:
            scale, low = s[g + 4] & 15 | s[g - 4] >> 6 << 4, s[g + 4] >> 4 | s[g] >> 6 << 4
        q = 16 if kind == "Q4_K" else 48
        n = b[q + 32 * (g // 2) + c] >> (4 * (g % 2)) & 15
        if kind == "Q5_K":
            n += (b[16 + c] >> g & 1) * 16
        out.append(single(single(f16(0) * scale) * n) - single(f16(2) * low))
    return out


def decode(raw, kind):
    """The inverse of encode(): a list of floats, each rounded to binary32."""
    if kind in ("F32", "F16", "BF16"):
        return f32(raw, kind)
    size = TYPES[kind][2]
    out = []
    for i in range(0, len(raw), size):
        out += dec_block(raw[i:i + size], kind)
    return array.array("f", out).tolist()
