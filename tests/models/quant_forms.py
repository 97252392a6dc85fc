# SPDX-License-Identifier: MIT
"""Quantised matrices as the tools that people use write them.

Each form takes the numbers of a matrix [n, k] and returns what a file has of it, suffix to tensor, and the numbers
that those are.
"""

import random
import struct

from checkpoint import E2M1, E4M3, encode, nearest, np, rounded, value, words


def scale_of(top, dtype, most):
    s = rounded(top / most, dtype)
    return np.where(s == 0, 1.0, s)


# ---- integers ----

def integers(w, bits, group, dtype, asym):
    """Rounded to unsigned integers: q [n, k], zero points and scales [n, groups], and the numbers [n, k]."""
    n, k = w.shape
    x = w.reshape(n, -1, group or k)
    half, most = 1 << bits - 1, (1 << bits) - 1
    if asym:
        lo, hi = np.minimum(0, x.min(2)), np.maximum(0, x.max(2))
        s = scale_of(hi - lo, dtype, most)
        z = np.clip(np.rint(-lo / s), 0, most).astype(int)
    else:
        s = scale_of(np.abs(x).max(2), dtype, half - 1)
        z = np.full(s.shape, half)
    q = np.clip(np.rint(x / s[..., None]).astype(int) + z[..., None], 0, most)
    return q.reshape(n, k), z, s, rounded((q - z[..., None]) * s[..., None], "F32").reshape(n, k)


def down(q, bits):
    """Packed along the columns of the matrix, transposed: words [k / per, n]."""
    n, k = q.shape
    per = 32 // bits
    return words(q.T.reshape(k // per, per, n).swapaxes(1, 2), bits)


def scattered(w, own):
    """An order of columns, as tools sort them by what activations weigh, and where in it each is."""
    order = list(range(w.shape[1]))
    random.Random(len(order) + (int(abs(w[0, 0]) * 2 ** 40) if own else 0)).shuffle(order)
    return order, np.argsort(order)


def sorted_integers(w, bits, group, dtype, asym, own):
    """integers(), whose columns are sorted before they are grouped, by an order of the matrix's own or not
    (None: they are not sorted). Also the groups of columns."""
    n, k = w.shape
    order, place = (np.arange(k), np.arange(k)) if own is None else scattered(w, own)
    q, zeros, scales, out = integers(w[:, order], bits, group, dtype, asym)
    return q[:, place], zeros, scales, out[:, place], encode(place // (group or k), "I32")


def gptq(w, bits=4, group=32, asym=False, v2=False, desc_act=None):
    """desc_act: columns are sorted by an order of the matrix's "own" or by one that is "shared"."""
    n, k = w.shape
    own = None if desc_act is None else desc_act == "own"
    q, zeros, scales, out, groups = sorted_integers(w, bits, group, "F16", asym, own)
    stored = zeros.T if v2 else (zeros.T - 1) % (1 << bits)
    return {
        "qweight": ("I32", [k * bits // 32, n], down(q, bits)),
        "qzeros": ("I32", [len(stored), n * bits // 32], words(stored, bits)),
        "scales": ("F16", [len(stored), n], encode(scales.T, "F16")),
        "g_idx": ("I32", [k], groups),
    }, out


AWQ = [0, 2, 4, 6, 1, 3, 5, 7]


def awq(w, group=32):
    n, k = w.shape
    q, zeros, scales, out = integers(w, 4, group, "F16", True)

    def across(rows):
        return words(rows.reshape(-1, 8)[:, AWQ], 4)

    return {
        "qweight": ("I32", [k, n // 8], across(q.T)),
        "qzeros": ("I32", [k // group, n // 8], across(zeros.T)),
        "scales": ("F16", [k // group, n], encode(scales.T, "F16")),
    }, out


def packed(w, bits=4, group=32, asym=False, actorder=False):
    n, k = w.shape
    q, zeros, scales, out, of_columns = sorted_integers(w, bits, group, "BF16", asym, True if actorder else None)
    per, groups = 32 // bits, scales.shape[1]
    t = {
        "weight_packed": ("I32", [n, k // per], words(q, bits)),
        "weight_scale": ("BF16", [n, groups], encode(scales, "BF16")),
        "weight_shape": ("I64", [2], struct.pack("<qq", n, k)),
    }
    if actorder:
        t["weight_g_idx"] = ("I32", [k], of_columns)
    if asym:
        # Words of rows; the last may be cut off.
        pad = np.pad(zeros, ((0, -n % per), (0, 0)))
        t["weight_zero_point"] = ("I32", [len(pad) // per, groups], down(pad.T, bits))
    return t, out


def ints(w, asym=False, static=False):
    n, k = w.shape
    q, zeros, scales, out = integers(w, 8, 0, "BF16", asym)
    t = {
        "weight": ("I8", [n, k], encode(q - 128, "I8")),
        "weight_scale": ("BF16", [n, 1], encode(scales, "BF16")),
    }
    if asym:
        t["weight_zero_point"] = ("I8", [n, 1], encode(zeros - 128, "I8"))
    if static:
        t["input_scale"] = ("BF16", [1], encode(0.03125, "BF16"))
    return t, out


# ---- floats ----

def fp8(w, block, dtype="F32", name="weight_scale", shape=None, static=None):
    """block: rows and columns that share a scale; 0: all of them."""
    n, k = w.shape
    rows, cols = block[0] or n, block[1] or k
    x = np.pad(np.abs(w), ((0, -n % rows), (0, -k % cols)))
    top = x.reshape(len(x) // rows, rows, -1, cols).max((1, 3))
    if dtype == "U8":
        e = np.frexp(top / 448)[1]
        scales, raw = np.ldexp(1.0, e), encode(e + 127, "U8")
    else:
        scales = scale_of(top, dtype, 448)
        raw = encode(scales, dtype)
    s = scales.repeat(rows, 0).repeat(cols, 1)[:n, :k]
    codes = nearest(E4M3, w / s, 128)
    t = {"weight": ("F8_E4M3", [n, k], encode(codes, "U8")),
         name: (dtype, shape(n, k) if shape else list(scales.shape), raw)}
    if static:
        t[static] = ("F32", [], encode(0.01, "F32"))
    return t, rounded(value(E4M3, codes, 128) * s, "F32")


def fp4(w, group, codes_of, scale_of_group):
    """scale_of_group: of the largest elements what is stored, and the scales."""
    n, k = w.shape
    x = w.reshape(-1, group)
    stored, s = scale_of_group(np.abs(x).max(1))
    codes = nearest(E2M1, np.divide(x, s[:, None], out=np.zeros(x.shape), where=s[:, None] != 0), 8)
    pairs = codes.reshape(-1, 2)
    return ({codes_of: ("U8", [n, k // 2], encode(pairs[:, 0] | pairs[:, 1] << 4, "U8"))}, encode(stored, "U8"),
            rounded(value(E2M1, codes, 8) * s[:, None], "F32").reshape(n, k))


def nvfp4(w, modelopt=False):
    n, k = w.shape
    two = rounded(np.abs(w).max() / 2688, "F32")
    stored = rounded(1 / two, "F32")
    two = two if modelopt else rounded(1 / stored, "F32")

    def scale(top):
        codes = nearest(E4M3, top / 6 / two, 128)
        return codes, rounded(E4M3[codes] * two, "F32")

    t, scales, out = fp4(w, 16, "weight" if modelopt else "weight_packed", scale)
    t["weight_scale"] = ("F8_E4M3", [n, k // 16], scales)
    if modelopt:
        t["weight_scale_2"] = ("F32", [], encode(two, "F32"))
        t["input_scale"] = ("F32", [], encode(0.01, "F32"))
    else:
        t["weight_global_scale"] = ("F32", [1], encode(stored, "F32"))
        t["input_global_scale"] = ("F32", [1], encode(100.0, "F32"))
    return t, out


def mxfp4(w):
    n, k = w.shape

    def scale(top):
        e = np.frexp(np.where(top == 0, 1.0, top))[1] - 3
        return e + 127, np.ldexp(1.0, e)

    t, scales, out = fp4(w, 32, "weight_packed", scale)
    t["weight_scale"] = ("U8", [n, k // 32], scales)
    return t, out


def fused(form):
    """Experts [e, n, k] one after the other."""
    def all_of(w):
        t, out = {}, []
        for x in w:
            one, values = form(x)
            out.append(values)
            for suffix, (dtype, shape, raw) in one.items():
                have = t.setdefault(suffix, (dtype, [0] + (shape if shape != [1] else [1, 1]), b""))
                t[suffix] = (dtype, [have[1][0] + 1] + have[1][1:], have[2] + raw)
        return t, np.array(out)
    return all_of
