#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""zw-quant: what it writes, taken apart by code of its own, against what it read; perplexity of what that
is and, where the device has the types, of what the device makes of it.

usage: test_zw_quant.py ZW_QUANT ZW_PERPLEXITY MODELS    (TAP on standard output)

In a share (share.py) the files of large models are not taken apart again: for builds with
sanitizers, where that same work of this program's would be most of the time.
"""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
import checkpoint  # noqa: E402
import share  # noqa: E402
from checkpoint import E2M1, decode, encode, fields, np, numbers, read_file, read_json, read_tensors, rounded, value, \
    write_json  # noqa: E402
from tap import done, ok  # noqa: E402

TOOL, PERPLEXITY, MODELS = sys.argv[1:4]
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


# ---- what was written ----

def part_rows(x, k):
    """Of groups [n, k / group] to each element [n, k]."""
    return np.repeat(x, k // x.shape[1], 1)


def matrix(t, name, fmt, k):
    """X and the distance of neighbours at one in units of scale: both [n, k]."""
    def part(suffix):
        return numbers(t[f"{name}.{suffix}"])

    def bits4(suffix):
        return fields(t[f"{name}.{suffix}"][2], 4)

    if fmt == "int8":
        w, s = part("weight"), part("weight_scale")
    elif fmt == "fp8":
        w = part("weight")
        s = part("weight_scale_inv").repeat(128, 0).repeat(128, 1)[:len(w), :k]
    elif fmt == "int8-wo":
        s = part("weight_scale")
        w = fields(t[name + ".weight_packed"][2], 8).reshape(-1, k) - 128
        assert list(part("weight_shape")) == [len(w), k]
    elif fmt == "mxfp4":
        w, s = value(E2M1, bits4("weight_packed"), 8).reshape(-1, k), np.ldexp(1.0, part("weight_scale") - 127)
    elif fmt == "nvfp4":
        # As loaders multiply: the reciprocal, and the product of both scales, in F32.
        two = rounded(1 / part("weight_global_scale"), "F32")
        w, s = value(E2M1, bits4("weight_packed"), 8).reshape(-1, k), rounded(part("weight_scale") * two, "F32")
    elif fmt == "int4":
        s = part("weight_scale")
        # Words of eight rows.
        zero = bits4("weight_zero_point").reshape(-1, s.shape[1], 8).swapaxes(1, 2).reshape(-1, s.shape[1])
        w = bits4("weight_packed").reshape(-1, k) - part_rows(zero[:len(s)], k)
        assert list(part("weight_shape")) == list(w.shape)
    else:
        s = part("scales").T
        q, zero = bits4("qweight"), bits4("qzeros").reshape(-1, 8)
        if fmt == "int4-gptq":
            assert list(part("g_idx")) == [c // (k // s.shape[1]) for c in range(k)]
            q, zero = q.reshape(-1, len(s), 8).transpose(1, 0, 2).reshape(-1, k), zero + 1
        else:
            # Where in a word each of eight columns is.
            place = np.argsort([0, 2, 4, 6, 1, 3, 5, 7])
            q, zero = q.reshape(-1, 8)[:, place].reshape(k, -1).T, zero[:, place]
        w = q - part_rows(zero.reshape(s.shape[::-1]).T, k)
    s = np.broadcast_to(s, w.shape) if s.shape[1] == 1 else s if s.shape == w.shape else part_rows(s, k)
    return w * s, s


def step(fmt, values, scale):
    """The distance of neighbours of the format around values."""
    if fmt not in ("fp8", "mxfp4", "nvfp4"):
        return scale
    man, low = (3, -6) if fmt == "fp8" else (1, 0)
    ratio = np.divide(np.abs(values), scale, out=np.zeros(values.shape), where=scale != 0)
    exp = np.where(ratio != 0, np.frexp(ratio)[1] - 1, low)
    return scale * np.ldexp(1.0, np.maximum(exp, low) - man)


# ---- tests ----

def bounds(fmt, source, converted):
    """Every element is at the nearest value: half a step away at most, or cut off at the largest one."""
    worst, bad = 0.0, []
    for name in ("model.layers.0.self_attn.k_proj", "model.layers.3.self_attn.q_proj",
                 "model.layers.4.mlp.down_proj"):
        x = numbers(source[name + ".weight"])
        d, scales = matrix(converted, name, fmt, x.shape[1])
        # Half a step of the larger of both; a maximum above 6 of a power-of-two scale is cut off.
        limit = step(fmt, np.maximum(np.abs(x), np.abs(d)), scales) / 2
        cut = np.abs(x) - 6 * scales
        if fmt == "mxfp4":
            limit = np.where(cut > 0, cut, limit)
        if fmt == "nvfp4":  # the scale was rounded after the maximum was divided by it
            limit = np.maximum(limit, cut)
        if fmt.startswith("int4"):  # and so was the zero point
            limit = scales
        off = np.abs(x - d)
        worst = max(worst, np.divide(off, limit, out=off.copy(), where=limit != 0).max())
        bad += [(name, r, c, x[r, c], d[r, c], scales[r, c]) for r, c in np.argwhere(~(off <= limit * (1 + 1e-5)))]
    ok(not bad, f"{fmt}: elements are at the nearest value ({worst:.3f} of the bound)", bad[:5])


def dequantised(folder, converted, source, fmt, config, tokenizer=True):
    """The same model with plain matrices in F32."""
    tensors = {}
    for name, t in source.items():
        tensors[name] = t
        if name.endswith(PROJECTIONS):
            values, _ = matrix(converted, name[:-len(".weight")], fmt, t[1][1])
            tensors[name] = ("F32", t[1], encode(values, "F32"))
    checkpoint.write(folder, tensors, config)
    if tokenizer:
        shutil.copy(os.path.join(KDOC, "tokenizer.json"), folder)


def perplexity(folder, text, *args):
    p = subprocess.run([PERPLEXITY, "--device", "sim", "--json", *args, folder, text],
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300)
    return json.loads(p.stdout)["perplexity"] if p.returncode == 0 else p.stderr.decode()


def convert_kdoc(tmp, text):
    source = read_tensors(KDOC)
    config = read_json(KDOC, "config.json")
    before = perplexity(KDOC, text)
    for fmt, options, factor in FORMATS:
        out = os.path.join(tmp, fmt)
        p = run(KDOC, out, "--format", fmt, *options)
        ok(p.returncode == 0 and p.stderr == b"" and b"35 matrices" in p.stdout,
           f"{fmt}: converted", p)
        converted = read_tensors(out)
        written = read_json(out, "config.json")
        quant = written.pop("quantization_config")
        same = all(converted.get(n) == t for n, t in source.items()
                   if not n.endswith("_proj.weight"))
        ok(written == config and quant["quant_method"] and same and
           sorted(os.listdir(out)) == sorted(f for f in os.listdir(KDOC) if f != "expected"),
           f"{fmt}: everything else is as it was", (quant, os.listdir(out)))
        if not share.WHOLE:
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
        source = read_tensors(folder)
        config = read_json(folder, "config.json")
        path = os.path.join(tmp, "ids.json")
        write_json(max(read_json(folder, "expected", "prompt_ids.json"), key=len), path)
        before = perplexity(folder, path, "--ids")
        for fmt, options, _ in FORMATS:
            out = os.path.join(tmp, f"{model}-{fmt}")
            if fmt.startswith("int4"):
                options = ["--group-size", "32"]
            p = run(folder, out, "--format", fmt, *options)
            plain = out + "-plain"
            dequantised(plain, read_tensors(out), source, fmt, config, False)
            want = perplexity(plain, path, "--ids")
            got = perplexity(out, path, "--ids", "--profile", "m890")
            # Of random models the mean of -ln p is large, and so is what activations do to it.
            near = 0.01 * math.log(want) if fmt in ("int8", "fp8") else 1e-12
            good = p.returncode == 0 and not isinstance(got, str)
            ok(good and abs(math.log(got / want)) < near,
               f"{model}, {fmt}: {got} on the device, its values in F32 {want}, before {before}", p)


def plain_types(tmp, text):
    """The same numbers in F32 are the same bits; in F16 they are the same but for the smallest."""
    source = read_tensors(KDOC)
    config = read_json(KDOC, "config.json")
    before = perplexity(KDOC, text)
    for dtype, near in (("F32", 1e-12), ("F16", 1e-3)):
        folder = os.path.join(tmp, "plain-" + dtype)
        checkpoint.write(folder, {n: (dtype, t[1], encode(numbers(t), dtype)) for n, t in source.items()}, config)
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
    name = "model.layers.0.mlp.down_proj"
    r, c = np.mgrid[:n, :k]
    byte = (c + 3 * r) % 256
    int4 = (c + r) % 16
    codes = {
        "int8": (c * 7 + r * 13) % 255 - 127,
        "int8-wo": (c * 7 + r * 13) % 255 - 127,
        # -448 and so on: every code but the two that are no numbers; the scale is 2^e.
        "fp8": np.where(byte % 128 != 127, decode(encode(byte, "U8"), "F8_E4M3").reshape(n, k), 448.0),
        # A maximum of 4 or 6 in each group is what makes the scale be found again.
        "mxfp4": value(E2M1, int4, 8),
        "nvfp4": value(E2M1, int4, 8),
        "int4-gptq": int4 - 1 - r % 15,
        "int4-awq": int4 - r,
        "int4": int4 - r,
    }
    for fmt, options, _ in FORMATS:
        src, out = os.path.join(tmp, "exact-" + fmt), os.path.join(tmp, "exact-" + fmt + "-out")
        # Scales of rows differ; in FP8 they are of blocks, in NVFP4 the second one is of the matrix.
        values = np.ldexp(codes[fmt].astype(float), -6 - (0 if fmt in ("fp8", "nvfp4") else r % 3))
        checkpoint.write(src, {name + ".weight": ("F32", [n, k], encode(values, "F32"))}, {"model_type": "qwen3"})
        p = run(src, out, "--format", fmt, *options)
        if p.returncode:
            ok(False, f"{fmt}: exact values", p)
            continue
        got, _ = matrix(read_tensors(out), name, fmt, k)
        bad = [(*at, values[tuple(at)], got[tuple(at)]) for at in np.argwhere(got != values)]
        ok(not bad, f"{fmt}: exact values survive", bad[:5])


def odd_values(tmp):
    """Zeros, groups of one sign, tiny and huge values: numbers all the same."""
    n, k = 16, 128
    values = np.repeat([0.0, 1.0, -1.0, 1e-30, -3e38, 1e-45, 0.0, -0.0], k).reshape(8, k)
    values[6, 5] = 1e4
    values = np.tile(values, (2, 1))
    src = os.path.join(tmp, "odd")

    def write():
        checkpoint.write(src, {"a.down_proj.weight": ("F32", [n, k], encode(values, "F32"))}, {"model_type": "qwen3"})

    write()
    bad = []
    for fmt, options, _ in FORMATS:
        out = os.path.join(tmp, "odd-" + fmt)
        p = run(src, out, "--format", fmt, *options)
        if p.returncode:
            bad.append((fmt, p.stderr))
            continue
        got, _ = matrix(read_tensors(out), "a.down_proj", fmt, k)
        bad += [(fmt, r, row[:4]) for r, row in enumerate(got)
                if not np.isfinite(row).all() or (r % 8 == 0 and row.any())]
    ok(not bad, "zeros, tiny and huge values become numbers", bad)
    values[0, 5] = math.nan
    write()
    p = run(src, os.path.join(tmp, "odd-nan"), "--format", "int8")
    ok(p.returncode == 1 and b"a.down_proj.weight" in p.stderr and b"[0, 5]" in p.stderr and
       not os.path.exists(os.path.join(tmp, "odd-nan")), "NaN is an error, and leaves nothing", p)


def shards(tmp):
    one, many = os.path.join(tmp, "int8"), os.path.join(tmp, "shards")
    p = run(KDOC, many, "--format", "int8", "--shard-size", "500000")
    files = [f for f in os.listdir(many) if f.endswith(".safetensors")]
    index = read_json(many, "model.safetensors.index.json")
    tensors = read_tensors(many)
    where = {n: f for f in files for n in read_file(os.path.join(many, f))}
    sizes = [sum(len(t[2]) for t in read_file(os.path.join(many, f)).values()) for f in files]
    ok(p.returncode == 0 and len(files) > 3 and index["weight_map"] == where and
       index["metadata"]["total_size"] == sum(sizes) and tensors == read_tensors(one),
       f"{len(files)} files hold what one holds")
    ok(sum(s > 500000 for s in sizes) == 1, "only what does not fit in a file is longer", sizes)


def failures(tmp, text):
    there = os.path.join(tmp, "there")
    os.mkdir(there)
    int8 = os.path.join(tmp, "int8")
    integers = os.path.join(tmp, "integers")
    checkpoint.write(integers, {"a.q_proj.weight": ("I8", [8, 8], bytes(64))}, {})
    nothing = os.path.join(tmp, "nothing")
    checkpoint.write(nothing, {"a.norm.weight": ("F32", [8], bytes(32))}, {})
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
