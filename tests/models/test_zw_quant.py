#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""zw-quant: what it writes, taken apart by code of its own, against what it read; perplexity of what that
is and, where the device has the types, of what the device makes of it.

usage: test_zw_quant.py ZW_QUANT ZW_PERPLEXITY MODELS    (TAP on standard output)

With ZW_TEST_FEW in the environment the files of large models are not taken apart again: for builds with
sanitizers, where that same work of this program's would be most of the time.
"""

import json
import math
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from array import array

sys.dont_write_bytecode = True
from tap import done, ok  # noqa: E402

TOOL, PERPLEXITY, MODELS = sys.argv[1:4]
FEW = "ZW_TEST_FEW" in os.environ
KDOC = os.path.join(MODELS, "qwen3-kdoc")
TEXT = """The device driver registers its interrupt handler when the device is probed. A lock protects
the list of requests, and the work queue runs them one after the other. See the documentation of the
memory allocator for what may sleep: code that holds a spinlock may not. User space reads the state of
the device from sysfs files, one value per file."""
# Format, options, and by how much the perplexity may grow.
FORMATS = [
    ("int8", [], 1.01),
    ("int8-wo", [], 1.01),
    ("fp8", [], 1.02),
    ("mxfp4", [], 1.1),
    ("nvfp4", [], 1.1),
    ("int4", ["--group-size", "64"], 1.1),
    ("int4-gptq", ["--group-size", "64"], 1.1),
    ("int4-awq", ["--group-size", "64"], 1.1),
]
PROJECTIONS = ("_proj.weight", ".in_proj_qkv.weight", ".in_proj_qkvz.weight", ".in_proj_z.weight")


def run(*args, **kw):
    return subprocess.run([TOOL, *args], stdout=kw.pop("stdout", subprocess.PIPE),
                          stderr=subprocess.PIPE, timeout=300, **kw)


# ---- files ----

def read_file(path):
    """Tensors of one safetensors file: name to (dtype, shape, bytes)."""
    with open(path, "rb") as f:
        size, = struct.unpack("<Q", f.read(8))
        header = json.loads(f.read(size))
        data = f.read()
    header.pop("__metadata__", None)
    return {name: (t["dtype"], t["shape"], data[slice(*t["data_offsets"])])
            for name, t in header.items()}


def read_checkpoint(folder):
    out = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(".safetensors"):
            out.update(read_file(os.path.join(folder, name)))
    return out


def write_checkpoint(folder, tensors, config):
    header, data, at = {}, [], 0
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(raw)]}
        data.append(raw)
        at += len(raw)
    text = json.dumps(header).encode()
    with open(os.path.join(folder, "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(data))
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f)


# ---- numbers ----

def f32(x):
    return struct.unpack("f", struct.pack("f", x))[0]


def small_float(bits, man, bias, codes):
    """All values of a small float with a sign."""
    out = []
    for c in range(codes):
        sign, exp, m = c >> (bits - 1), c >> man & ((1 << (bits - 1 - man)) - 1), c & ((1 << man) - 1)
        v = math.ldexp((1 << man) + m, exp - bias - man) if exp else math.ldexp(m, 1 - bias - man)
        out.append(-v if sign else v)
    return out


E4M3 = small_float(8, 3, 7, 256)
E2M1 = small_float(4, 1, 1, 16)
E4M3[0x7f] = E4M3[0xff] = math.nan


def numbers(tensor):
    dtype, _, raw = tensor
    if dtype == "BF16":
        a = array("H", raw)
        wide = array("I", (h << 16 for h in a))
        return array("f", wide.tobytes())
    if dtype == "F16":
        return array("d", struct.unpack(f"<{len(raw) // 2}e", raw))
    if dtype == "F8_E4M3":
        return [E4M3[b] for b in raw]
    return array({"F32": "f", "I8": "b", "U8": "B", "I32": "I", "I64": "q"}[dtype], raw)


def nibbles(raw):
    out = bytearray(2 * len(raw))
    out[0::2] = bytes(b & 15 for b in raw)
    out[1::2] = bytes(b >> 4 for b in raw)
    return out


AWQ = [0, 2, 4, 6, 1, 3, 5, 7]


def across(t, order):
    """Words of eight integers beside each other, as rows of integers."""
    rows, words = t[1]
    w = numbers(t)
    out = []
    for r in range(rows):
        row = [0] * (words * 8)
        for c in range(words):
            for i in range(8):
                row[8 * c + order[i]] = w[r * words + c] >> 4 * i & 15
        out.append(row)
    return out


def matrix(t, name, fmt, k):
    """(values, scales) of X: lists of rows, and the distance of neighbours at one in units of scale."""
    def part(suffix):
        return t[f"{name}.{suffix}"]

    if fmt in ("int8", "fp8"):
        w, n = numbers(part("weight")), part("weight")[1][0]
        if fmt == "int8":
            s = numbers(part("weight_scale"))
            return [([w[r * k + c] * s[r] for c in range(k)], [s[r]] * k) for r in range(n)]
        s, wide = numbers(part("weight_scale_inv")), -(-k // 128)
        return [([w[r * k + c] * s[r // 128 * wide + c // 128] for c in range(k)],
                 [s[r // 128 * wide + c // 128] for c in range(k)]) for r in range(n)]
    if fmt == "int8-wo":
        w, s = part("weight_packed")[2], numbers(part("weight_scale"))
        n = part("weight_packed")[1][0]
        assert list(numbers(part("weight_shape"))) == [n, k]
        return [([(w[r * k + c] - 128) * s[r] for c in range(k)], [s[r]] * k) for r in range(n)]
    if fmt in ("mxfp4", "nvfp4"):
        q, n = nibbles(part("weight_packed")[2]), part("weight_packed")[1][0]
        if fmt == "mxfp4":
            s, g = [math.ldexp(1, b - 127) for b in part("weight_scale")[2]], 32
        else:
            # As loaders multiply: the reciprocal, and the product of both scales, in F32.
            two = f32(1 / numbers(part("weight_global_scale"))[0])
            s, g = [f32(v * two) for v in numbers(part("weight_scale"))], 16
        return [([E2M1[q[r * k + c]] * s[r * (k // g) + c // g] for c in range(k)],
                 [s[r * (k // g) + c // g] for c in range(k)]) for r in range(n)]
    if fmt == "int4":
        s, (n, groups) = numbers(part("weight_scale")), part("weight_scale")[1]
        q, z, g = nibbles(part("weight_packed")[2]), numbers(part("weight_zero_point")), k // groups
        assert list(numbers(part("weight_shape"))) == [n, k]
        zero = [[z[r // 8 * groups + j] >> r % 8 * 4 & 15 for j in range(groups)] for r in range(n)]
        return [([(q[r * k + c] - zero[r][c // g]) * s[r * groups + c // g] for c in range(k)],
                 [s[r * groups + c // g] for c in range(k)]) for r in range(n)]
    s, n = numbers(part("scales")), part("scales")[1][1]
    g = k // part("scales")[1][0]
    if fmt == "int4-gptq":
        assert list(numbers(part("g_idx"))) == [c // g for c in range(k)]
        w = numbers(part("qweight"))
        zero = [[z + 1 for z in row] for row in across(part("qzeros"), range(8))]
        q = [[w[c // 8 * n + r] >> c % 8 * 4 & 15 for r in range(n)] for c in range(k)]
    else:
        zero, q = across(part("qzeros"), AWQ), across(part("qweight"), AWQ)
    return [([(q[c][r] - zero[c // g][r]) * s[c // g * n + r] for c in range(k)],
             [s[c // g * n + r] for c in range(k)]) for r in range(n)]


def step(fmt, value, scale):
    """The distance of neighbours of the format around a value."""
    if fmt not in ("fp8", "mxfp4", "nvfp4") or not scale:
        return scale
    man, low = (3, -6) if fmt == "fp8" else (1, 0)
    exp = math.frexp(abs(value) / scale)[1] - 1 if value else low
    return scale * math.ldexp(1, max(exp, low) - man)


# ---- tests ----

def bounds(fmt, source, converted):
    """Every element is at the nearest value: half a step away at most, or cut off at the largest one."""
    worst, bad = 0.0, []
    for name in ("model.layers.0.self_attn.k_proj", "model.layers.3.self_attn.q_proj",
                 "model.layers.4.mlp.down_proj"):
        dtype, (n, k), _ = source[name + ".weight"]
        w = numbers(source[name + ".weight"])
        for r, (row, scales) in enumerate(matrix(converted, name, fmt, k)):
            for c in range(k):
                x, d = w[r * k + c], row[c]
                # Half a step of the larger of both; a maximum above 6 of a power-of-two scale is cut off.
                limit = step(fmt, max(abs(x), abs(d)), scales[c]) / 2
                if fmt == "mxfp4" and abs(x) > 6 * scales[c]:
                    limit = abs(x) - 6 * scales[c]
                if fmt == "nvfp4":  # the scale was rounded after the maximum was divided by it
                    limit = max(limit, abs(x) - 6 * scales[c])
                if fmt.startswith("int4"):  # and so was the zero point
                    limit = scales[c]
                worst = max(worst, abs(x - d) / limit if limit else abs(x - d))
                if abs(x - d) > limit * (1 + 1e-5):
                    bad.append((name, r, c, x, d, scales[c]))
    ok(not bad, f"{fmt}: elements are at the nearest value ({worst:.3f} of the bound)", bad[:5])


def dequantised(folder, converted, source, fmt, config, tokenizer=True):
    """The same model with plain matrices in F32."""
    os.mkdir(folder)
    tensors = {}
    for name, t in source.items():
        if not name.endswith(PROJECTIONS):
            tensors[name] = t
            continue
        rows = matrix(converted, name[:-len(".weight")], fmt, t[1][1])
        flat = array("f")
        for row, _ in rows:
            flat.extend(row)
        tensors[name] = ("F32", t[1], flat.tobytes())
    write_checkpoint(folder, tensors, config)
    if tokenizer:
        shutil.copy(os.path.join(KDOC, "tokenizer.json"), folder)


def perplexity(folder, text, *args):
    p = subprocess.run([PERPLEXITY, "--device", "sim", "--json", *args, folder, text],
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300)
    return json.loads(p.stdout)["perplexity"] if p.returncode == 0 else p.stderr.decode()


def convert_kdoc(tmp, text):
    source = read_checkpoint(KDOC)
    with open(os.path.join(KDOC, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    before = perplexity(KDOC, text)
    for fmt, options, factor in FORMATS:
        out = os.path.join(tmp, fmt)
        p = run(KDOC, out, "--format", fmt, *options)
        ok(p.returncode == 0 and p.stderr == b"" and b"35 matrices" in p.stdout,
           f"{fmt}: converted", p)
        converted = read_checkpoint(out)
        with open(os.path.join(out, "config.json"), encoding="utf-8") as f:
            written = json.load(f)
        quant = written.pop("quantization_config")
        same = all(converted.get(n) == t for n, t in source.items()
                   if not n.endswith("_proj.weight"))
        ok(written == config and quant["quant_method"] and same and
           sorted(os.listdir(out)) == sorted(f for f in os.listdir(KDOC) if f != "expected"),
           f"{fmt}: everything else is as it was", (quant, os.listdir(out)))
        if FEW:
            got = perplexity(out, text, "--profile", "m890")
            ok(not isinstance(got, str) and got < before * (factor + 0.02),
               f"{fmt}: on the device {got}, before {before:.3f}")
            continue
        bounds(fmt, source, converted)
        plain = os.path.join(tmp, fmt + "-plain")
        dequantised(plain, converted, source, fmt, config)
        want = perplexity(plain, text)
        ok(want < before * factor, f"{fmt}: perplexity {want:.3f}, before {before:.3f}, "
           f"factor {want / before:.4f} of at most {factor}")
        on_device(fmt, out, text, before, want, factor)


def on_device(fmt, out, text, before, want, factor):
    """What the device makes of the quantised files, on the chip that has all types."""
    got = perplexity(out, text, "--profile", "m890")
    if isinstance(got, str):
        ok(False, f"{fmt}: on the device", got)
        return
    # Activations in INT8 and FP8 add to the error of weights; otherwise it is the same model, bit by bit.
    near = 0.02 if fmt in ("int8", "fp8") else 1e-12
    ok(abs(math.log(got / want)) < near and got < before * (factor + near),
       f"{fmt}: on the device {got:.3f}, its values in F32 {want:.3f}", (got, want))
    for profile in {"int8": ["810e", "c12"], "int8-wo": ["c12"], "int4": ["810e"],
                    "int4-awq": ["810e"]}.get(fmt, []):
        other = perplexity(out, text, "--profile", profile)
        ok(other == got, f"{fmt}: the same bits on {profile}", other)


def other_families(tmp):
    """Stacked experts, biases, heads of their own: weights alone are quantised bit by bit."""
    for model in ("tiny-qwen3-moe", "tiny-qwen2", "tiny-qwen3-next", "tiny-qwen3_5"):
        folder = os.path.join(MODELS, model)
        source = read_checkpoint(folder)
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
            config = json.load(f)
        with open(os.path.join(folder, "expected", "prompt_ids.json"), encoding="utf-8") as f:
            ids = max(json.load(f), key=len)
        path = os.path.join(tmp, "ids.json")
        with open(path, "w", encoding="utf-8") as f:
            json.dump(ids, f)
        before = perplexity(folder, path, "--ids")
        for fmt, options, _ in FORMATS:
            out = os.path.join(tmp, f"{model}-{fmt}")
            if fmt.startswith("int4"):
                options = ["--group-size", "32"]
            p = run(folder, out, "--format", fmt, *options)
            plain = out + "-plain"
            dequantised(plain, read_checkpoint(out), source, fmt, config, False)
            want = perplexity(plain, path, "--ids")
            got = perplexity(out, path, "--ids", "--profile", "m890")
            # Of random models the mean of -ln p is large, and so is what activations do to it.
            near = 0.01 * math.log(want) if fmt in ("int8", "fp8") else 1e-12
            good = p.returncode == 0 and not isinstance(got, str)
            ok(good and abs(math.log(got / want)) < near,
               f"{model}, {fmt}: {got} on the device, its values in F32 {want}, before {before}", p)


def plain_types(tmp, text):
    """The same numbers in F32 are the same bits; in F16 they are the same but for the smallest."""
    source = read_checkpoint(KDOC)
    with open(os.path.join(KDOC, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    before = perplexity(KDOC, text)
    for dtype, code, near in (("F32", "f", 1e-12), ("F16", "e", 1e-3)):
        folder = os.path.join(tmp, "plain-" + dtype)
        os.mkdir(folder)
        write_checkpoint(folder, {n: (dtype, t[1], struct.pack(f"<{len(numbers(t))}{code}",
                                                                *numbers(t)))
                                  for n, t in source.items()}, config)
        shutil.copy(os.path.join(KDOC, "tokenizer.json"), folder)
        got = perplexity(folder, text)
        ok(not isinstance(got, str) and abs(math.log(got / before)) < near,
           f"{dtype} checkpoints load as they are: {got}, BF16 {before}")


def lacking(tmp):
    """What a chip does not have is refused with the names of the type and of its profile."""
    bad = []
    for fmt, profile, word in [("fp8", "810e", "f8e4m3"), ("mxfp4", "810e", "e8m0"),
                               ("nvfp4", "810e", "f8e4m3"), ("int4-awq", "c12", "f16")]:
        p = subprocess.run([PERPLEXITY, "--device", "sim", "--profile", profile,
                            os.path.join(tmp, fmt), os.path.join(tmp, "text")],
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        err = p.stderr.decode()
        if p.returncode != 1 or err.count("\n") != 1 or word not in err or profile not in err:
            bad.append((fmt, profile, err))
    ok(not bad, "a chip without the type refuses it by name", bad)


def exact(tmp):
    """Matrices of nothing but values of the format come out as they went in."""
    n, k = 16, 256
    codes = {
        "int8": lambda r, c: (c * 7 + r * 13) % 255 - 127,
        "int8-wo": lambda r, c: (c * 7 + r * 13) % 255 - 127,
        # -448 and so on: every code but the two that are no numbers; the scale is 2^e.
        "fp8": lambda r, c: E4M3[(c + 3 * r) % 256] if (c + 3 * r) % 128 != 127 else 448.0,
        # A maximum of 4 or 6 in each group is what makes the scale be found again.
        "mxfp4": lambda r, c: E2M1[(c + r) % 16],
        "nvfp4": lambda r, c: E2M1[(c + r) % 16],
        "int4-gptq": lambda r, c: (c + r) % 16 - 1 - r % 15,
        "int4-awq": lambda r, c: (c + r) % 16 - r,
        "int4": lambda r, c: (c + r) % 16 - r,
    }
    for fmt, options, _ in FORMATS:
        src, out = os.path.join(tmp, "exact-" + fmt), os.path.join(tmp, "exact-" + fmt + "-out")
        os.mkdir(src)
        # Scales of rows differ; in FP8 they are of blocks, in NVFP4 the second one is of the matrix.
        values = array("f", (codes[fmt](r, c) * math.ldexp(1, -6 - (0 if fmt in ("fp8", "nvfp4")
                                                                      else r % 3))
                             for r in range(n) for c in range(k)))
        write_checkpoint(src, {"model.layers.0.mlp.down_proj.weight":
                               ("F32", [n, k], values.tobytes())}, {"model_type": "qwen3"})
        p = run(src, out, "--format", fmt, *options)
        if p.returncode:
            ok(False, f"{fmt}: exact values", p)
            continue
        got = matrix(read_checkpoint(out), "model.layers.0.mlp.down_proj", fmt, k)
        bad = [(r, c, values[r * k + c], got[r][0][c]) for r in range(n) for c in range(k)
               if got[r][0][c] != values[r * k + c]]
        ok(not bad, f"{fmt}: exact values survive", bad[:5])


def odd_values(tmp):
    """Zeros, groups of one sign, tiny and huge values: numbers all the same."""
    n, k = 16, 128
    rows = [lambda c: 0.0, lambda c: 1.0, lambda c: -1.0, lambda c: 1e-30, lambda c: -3e38,
            lambda c: 1e-45, lambda c: 1e4 if c == 5 else 0.0, lambda c: -0.0]
    values = array("f", (rows[r % 8](c) for r in range(n) for c in range(k)))
    src = os.path.join(tmp, "odd")
    os.mkdir(src)
    write_checkpoint(src, {"a.down_proj.weight": ("F32", [n, k], values.tobytes())},
                     {"model_type": "qwen3"})
    bad = []
    for fmt, options, _ in FORMATS:
        out = os.path.join(tmp, "odd-" + fmt)
        p = run(src, out, "--format", fmt, *options)
        if p.returncode:
            bad.append((fmt, p.stderr))
            continue
        for r, (row, _) in enumerate(matrix(read_checkpoint(out), "a.down_proj", fmt, k)):
            if not all(math.isfinite(v) for v in row) or (r % 8 == 0 and any(row)):
                bad.append((fmt, r, row[:4]))
    ok(not bad, "zeros, tiny and huge values become numbers", bad)
    values[5] = math.nan
    write_checkpoint(src, {"a.down_proj.weight": ("F32", [n, k], values.tobytes())}, {})
    p = run(src, os.path.join(tmp, "odd-nan"), "--format", "int8")
    ok(p.returncode == 1 and b"a.down_proj.weight" in p.stderr and b"[0, 5]" in p.stderr and
       not os.path.exists(os.path.join(tmp, "odd-nan")), "NaN is an error, and leaves nothing", p)


def shards(tmp):
    one, many = os.path.join(tmp, "int8"), os.path.join(tmp, "shards")
    p = run(KDOC, many, "--format", "int8", "--shard-size", "500000")
    files = [f for f in os.listdir(many) if f.endswith(".safetensors")]
    with open(os.path.join(many, "model.safetensors.index.json"), encoding="utf-8") as f:
        index = json.load(f)
    tensors = read_checkpoint(many)
    where = {n: f for f in files for n in read_file(os.path.join(many, f))}
    sizes = [sum(len(t[2]) for t in read_file(os.path.join(many, f)).values()) for f in files]
    ok(p.returncode == 0 and len(files) > 3 and index["weight_map"] == where and
       index["metadata"]["total_size"] == sum(sizes) and tensors == read_checkpoint(one),
       f"{len(files)} files hold what one holds")
    ok(sum(s > 500000 for s in sizes) == 1, "only what does not fit in a file is longer", sizes)


def failures(tmp, text):
    there = os.path.join(tmp, "there")
    os.mkdir(there)
    int8 = os.path.join(tmp, "int8")
    integers = os.path.join(tmp, "integers")
    os.mkdir(integers)
    write_checkpoint(integers, {"a.q_proj.weight": ("I8", [8, 8], bytes(64))}, {})
    nothing = os.path.join(tmp, "nothing")
    os.mkdir(nothing)
    write_checkpoint(nothing, {"a.norm.weight": ("F32", [8], bytes(32))}, {})
    cases = [
        ([KDOC, there, "--format", "int8"], "there"),
        ([os.path.join(tmp, "none"), os.path.join(tmp, "o"), "--format", "int8"], "none"),
        ([KDOC, os.path.join(tmp, "no", "o"), "--format", "int8"], "no/o"),
        ([int8, os.path.join(tmp, "o"), "--format", "fp8"], "quantization_config"),
        ([integers, os.path.join(tmp, "o"), "--format", "fp8"], "a.q_proj.weight"),
        ([nothing, os.path.join(tmp, "o"), "--format", "fp8"], "no matrix"),
        ([KDOC, os.path.join(tmp, "o"), "--format", "int4-awq", "--group-size", "1024"],
         "no matrix"),
        ([KDOC, os.path.join(tmp, "o"), "--format", "int8", "--text", os.path.join(tmp, "x")],
         "x"),
    ]
    bad = []
    for args, word in cases:
        p = run("-q", "--device", "sim", *args)
        err = p.stderr.decode()
        if p.returncode != 1 or p.stdout or word not in err or err.count("\n") != 1 or \
                os.path.exists(os.path.join(tmp, "o")):
            bad.append((args, p.returncode, err))
    ok(not bad and not os.listdir(there),
       f"failures exit 1 with one line and leave nothing ({len(cases)} cases)", bad)
    bad = []
    cases = [[], [KDOC], [KDOC, "o"], [KDOC, "o", "x", "--format", "int8"],
             [KDOC, "o", "--format", "int3"], [KDOC, "o", "--format", "int8", "--group-size", "64"],
             [KDOC, "o", "--format", "int4-awq", "--group-size", "12"], ["--bogus"],
             [KDOC, "o", "--format", "int8", "--shard-size", "0"]]
    for args in cases:
        p = run(*args)
        if p.returncode != 2 or p.stdout or p.stderr.count(b"\n") != 1:
            bad.append((args, p.returncode, p.stderr))
    ok(not bad, f"wrong usage exits 2 with one line ({len(cases)} cases)", bad)
    p = run("--help")
    ok(p.returncode == 0 and all(f.encode() in p.stdout for f, _, _ in FORMATS),
       "--help lists the formats")
    # A group that divides only some matrices: those stay, which is told.
    p = run(KDOC, os.path.join(tmp, "some"), "--format", "int4-gptq")
    ok(p.returncode == 0 and b"5 matrices" in p.stdout and
       p.stderr.count(b"stays BF16") == 30, "what does not go into the format stays", p)
    got = perplexity(os.path.join(tmp, "some"), text, "--profile", "m890")
    ok(not isinstance(got, str), "and is loaded", got)
    p = run("--device", "sim", "--profile", "m890", KDOC, os.path.join(tmp, "texted"), "--format",
            "int4-awq", "--group-size", "64", "--text", text)
    ok(p.returncode == 0 and b"perplexity before " in p.stdout and b"factor 1." in p.stdout,
       "--text prints the perplexity before and after", p)


def interrupted(tmp):
    out = os.path.join(tmp, "interrupted")
    p = subprocess.Popen([TOOL, KDOC, out, "--format", "nvfp4"], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE)
    while not os.path.exists(out) and p.poll() is None:
        time.sleep(0.001)
    p.send_signal(signal.SIGINT)
    _, err = p.communicate(timeout=60)
    ok((p.returncode == 130 and not os.path.exists(out) and err == b"") or p.returncode == 0,
       "an interrupt leaves nothing", (p.returncode, err))


def main():
    with tempfile.TemporaryDirectory() as tmp:
        text = os.path.join(tmp, "text")
        with open(text, "w", encoding="utf-8") as f:
            f.write(TEXT)
        exact(tmp)
        odd_values(tmp)
        said = perplexity(KDOC, text)
        if isinstance(said, str) and "firmware" in said:
            ok(True, "runs on sim # SKIP no firmware image: " + said.strip())
            return done()
        convert_kdoc(tmp, text)
        other_families(tmp)
        plain_types(tmp, text)
        lacking(tmp)
        shards(tmp)
        failures(tmp, text)
        interrupted(tmp)
    return done()


sys.exit(main())
