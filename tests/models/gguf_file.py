# SPDX-License-Identifier: MIT
"""GGUF files for tests: a writer, and encoders of the records that tensors are made of.

The encoders are plain, not good: they round to the nearest value of a scale taken from the largest
element. of_type() is their inverse, written from Documentation/device/numerics.md.
"""

import struct

from checkpoint import E2M1, decode, encode, np, rounded

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
#
# Of many blocks at a time, an array [blocks, elements] of double precision.

FP4 = np.concatenate([E2M1, -E2M1])


def half(x):
    """Rounded to binary16, and its bytes [..., 2]."""
    return rounded(x, "F16"), as_bytes(x, "F16")


def as_bytes(x, dtype):
    """Each element's bytes, in one more dimension."""
    x = np.asarray(x)
    return np.frombuffer(encode(x, dtype), "u1").reshape(*x.shape, -1)


def single(x):
    return rounded(x, "F32")


def ratio(x, d):
    """x / d, and 0 where d is 0; d is one for the last dimension of x."""
    return np.divide(x, d[..., None], out=np.zeros(x.shape), where=d[..., None] != 0)


def integers(x, lo, hi):
    return np.clip(np.rint(x), lo, hi).astype(int)


def largest(x):
    """The element of the largest magnitude, with its sign."""
    return np.take_along_axis(x, np.abs(x).argmax(-1)[..., None], -1)[..., 0]


def nibbles(n):
    """Pairs of the first and the second half."""
    at = n.shape[-1] // 2
    return n[..., :at] & 15 | (n[..., at:] & 15) << 4


def fifth_bits(n):
    return as_bytes((n >> 4 << np.arange(32)).sum(-1), "U32")


def enc_q8_0(x):
    d, raw = half(np.abs(x).max(-1) / 127)
    return raw, as_bytes(integers(ratio(x, d), -128, 127), "I8")[..., 0]


def enc_q4_0(x):
    d, raw = half(largest(x) / -8)
    return raw, nibbles(integers(np.rint(ratio(x, d)) + 8, 0, 15))


def enc_q4_1(x):
    m, mraw = half(x.min(-1))
    d, raw = half((x.max(-1) - x.min(-1)) / 15)
    return raw, mraw, nibbles(integers(ratio(x - m[:, None], d), 0, 15))


def enc_q5_0(x):
    d, raw = half(largest(x) / -16)
    n = integers(np.rint(ratio(x, d)) + 16, 0, 31)
    return raw, fifth_bits(n), nibbles(n)


def enc_q5_1(x):
    m, mraw = half(x.min(-1))
    d, raw = half((x.max(-1) - x.min(-1)) / 31)
    n = integers(ratio(x - m[:, None], d), 0, 31)
    return raw, mraw, fifth_bits(n), nibbles(n)


def enc_mxfp4(x):
    e = np.searchsorted(6 * 2.0 ** (np.arange(254) - 127), np.abs(x).max(-1))
    n = np.abs(FP4 * 2.0 ** (e - 127)[:, None, None] - x[..., None]).argmin(-1)
    return e[:, None], nibbles(n)


def enc_kq(x, levels):
    """Scales and minima of Q4_K and Q5_K: bytes of d and m, 12 bytes of scales; and 256 numbers."""
    x = x.reshape(-1, 8, 32)
    low = np.maximum(0, -x.min(-1)) + 0.0  # no -0
    wide = (x.max(-1) + low) / (levels - 1)
    d, draw = half(np.maximum(wide.max(-1), 0) / 63)
    m, mraw = half(low.max(-1) / 63)
    s, t = integers(ratio(wide, d), 0, 63), integers(ratio(low, m), 0, 63)
    head = (draw, mraw, s[:, :4] | s[:, 4:] >> 4 << 6, t[:, :4] | t[:, 4:] >> 4 << 6, s[:, 4:] & 15 | (t[:, 4:] & 15) << 4)
    n = integers(ratio(x + (m[:, None] * t)[..., None], d[:, None] * s), 0, levels - 1)
    return head, n.reshape(-1, 256)


def k_nibbles(n):
    """Pairs of groups of 32: the even one in the low nibbles."""
    return nibbles(n.reshape(-1, 4, 64)).reshape(-1, 128)


def enc_q4_k(x):
    head, n = enc_kq(x, 16)
    return *head, k_nibbles(n)


def enc_q5_k(x):
    head, n = enc_kq(x, 32)
    high = (n.reshape(-1, 8, 32) >> 4 << np.arange(8)[:, None]).sum(1)
    return *head, high, k_nibbles(n)


def enc_q6_k(x):
    x = x.reshape(-1, 16, 16)
    tops = largest(x) / -32
    d, draw = half(np.abs(tops).max(-1) / 127)
    s = integers(ratio(tops, d), -128, 127)
    n = integers(np.rint(ratio(x, d[:, None] * s)) + 32, 0, 63)
    # Halves of 128, in them four groups of 32.
    n = n.reshape(-1, 2, 4, 32)
    low = n[:, :, :2] & 15 | (n[:, :, 2:] & 15) << 4
    high = (n >> 4 << 2 * np.arange(4)[:, None]).sum(2)
    return low.reshape(-1, 128), high.reshape(-1, 64), as_bytes(s, "I8")[..., 0], draw


ENCODERS = {"Q8_0": enc_q8_0, "Q4_0": enc_q4_0, "Q4_1": enc_q4_1, "Q5_0": enc_q5_0, "Q5_1": enc_q5_1,
            "MXFP4": enc_mxfp4, "Q4_K": enc_q4_k, "Q5_K": enc_q5_k, "Q6_K": enc_q6_k}


def to_type(x, kind):
    """Numbers in a type: the bytes."""
    if kind not in ENCODERS:
        return encode(x, kind)
    parts = ENCODERS[kind](np.asarray(x, float).reshape(-1, TYPES[kind][1]))
    return np.concatenate([np.asarray(p).astype("u1") for p in parts], 1).tobytes()


def dec_q8_0(b):
    return f16(b, 0) * b[:, 2:].view("i1")


def dec_mxfp4(b):
    return 2.0 ** (b[:, :1].astype(int) - 127) * FP4[halves(b[:, 1:])]


def f16(b, at):
    """A binary16 of each block."""
    return np.ascontiguousarray(b[:, at:at + 2]).view("<f2").astype(float)


def halves(b):
    """The inverse of nibbles()."""
    return np.concatenate([b & 15, b >> 4], -1).astype(int)


def dec_legacy(kind):
    """Q4_0 and so on: with five bits, and with a minimum."""
    five, low = kind[1] == "5", kind[3] == "1"
    bits, at = 4 if low else 2, (4 if low else 2) + 4 * five

    def dec(b):
        n = halves(b[:, at:])
        if five:
            n = n + 16 * (np.ascontiguousarray(b[:, bits:bits + 4]).view("<u4") >> np.arange(32, dtype="<u4") & 1)
        if low:
            return single(f16(b, 0) * n) + f16(b, 2)
        return f16(b, 0) * (n - (16 if five else 8))
    return dec


def dec_kq(five):
    def dec(b):
        s, q = b[:, 4:16].astype(int), b[:, 48 if five else 16:]
        scale = np.concatenate([s[:, :4] & 63, s[:, 8:] & 15 | s[:, :4] >> 6 << 4], 1)
        low = np.concatenate([s[:, 4:8] & 63, s[:, 8:] >> 4 | s[:, 4:8] >> 6 << 4], 1)
        n = halves(q.reshape(-1, 4, 32)).reshape(-1, 8, 32)
        if five:
            n = n + 16 * (b[:, 16:48].reshape(-1, 1, 32) >> np.arange(8)[:, None] & 1)
        n = single(single(f16(b, 0) * scale)[..., None] * n) - single(f16(b, 2) * low)[..., None]
        return n.reshape(-1, 256)
    return dec


def dec_q6_k(b):
    low, high = b[:, :128].reshape(-1, 2, 2, 32), b[:, 128:192].reshape(-1, 2, 1, 32)
    n = np.concatenate([low & 15, low >> 4], 2) + (high >> 2 * np.arange(4)[:, None] & 3) * 16
    scale = single(f16(b, 208) * b[:, 192:208].view("i1"))
    return (scale[..., None] * (n.reshape(-1, 16, 16) - 32)).reshape(-1, 256)


DECODERS = {"Q8_0": dec_q8_0, "MXFP4": dec_mxfp4, "Q4_K": dec_kq(False), "Q5_K": dec_kq(True), "Q6_K": dec_q6_k,
            **{k: dec_legacy(k) for k in ("Q4_0", "Q4_1", "Q5_0", "Q5_1")}}


def of_type(raw, kind):
    """The inverse of to_type(): numbers, each rounded to binary32."""
    if kind not in DECODERS:
        return decode(raw, kind)
    return single(DECODERS[kind](np.frombuffer(raw, "u1").reshape(-1, TYPES[kind][2]))).reshape(-1)
