# SPDX-License-Identifier: MIT
"""Decoding of many sequences in one step: what it could cost, and the bars for what it does; see scripts/bench.

A row is what bench_decode prints of one shape, format and batch on the host, with "shape" and "format"; "vm": the same of
the VM, or None; "prefill" of batch 1: tokens per second of one prompt of PROMPT tokens; and what bound() gives.
"""

import re

BATCHES = (1, 8, 64)
PROMPT = 512
# What zw-quant makes: bytes of an element of the layers' matrices with its share of the scales, and a
# profile that has the format.
FORMATS = {"bf16": (2, "810e"), "int8-wo": (1, "810e"), "int8": (1, "810e"), "fp8": (1, "m890"),
           "int4-gptq": (0.5 + 3 / 128, "m890"), "mxfp4": (0.5 + 1 / 32, "m890"),
           "nvfp4": (0.5 + 1 / 16, "m890")}
DENSE, EXPERTS = "qwen3-0.6b", "moe-512"


# What can be asked for: the formats of the one shape, and the other shape.
NAMES = (*FORMATS, EXPERTS)


def by_profile(names=NAMES):
    """The shapes and formats of each profile: a device has one, and a VM one device."""
    shapes = [(EXPERTS, "bf16") if n == EXPERTS else (DENSE, n) for n in NAMES if n in names]
    profiles = dict.fromkeys(FORMATS[f][1] for _, f in shapes)
    return [(p, [s for s in shapes if FORMATS[s[1]][1] == p]) for p in profiles]


def work(c, batch, first, element, hit):
    """Operations of a step of one token of so many sequences, and the bytes that it has to read: matrices, of these the
    experts that are hit (in all layers together), and the cache."""
    h, d, layers = c["hidden_size"], c["head_dim"], c["num_hidden_layers"]
    q, kv = c["num_attention_heads"] * d, c["num_key_value_heads"] * d
    matrices = layers * 2 * h * (q + kv)
    active = matrices
    if c.get("num_experts"):
        expert = 3 * h * c["moe_intermediate_size"]
        routers = layers * c["num_experts"] * h
        active += layers * c["num_experts_per_tok"] * expert + routers
        matrices += hit * expert + routers
    else:
        matrices += layers * 3 * h * c["intermediate_size"]
        active = matrices
    head = h * c["vocab_size"]
    flops = batch * 2 * (active + layers * 2 * first * q + head)
    return flops, element * matrices + 2 * head + 4 * batch * first * kv * layers


def bound(shape, batch, first, row, peak):
    """What the machine's peaks allow for a step, and what of it a row has."""
    flops, read = work(shape["config"], batch, first, FORMATS[shape["format"]][0], row["experts_hit"])
    least = max(flops / peak["flops"] if peak["flops"] else 0, read / peak["bytes"])
    return {"bound": batch / least, "of_bound": row["decode"] * least / batch, "must_read": read,
            "flops_peak": peak["flops"], "bytes_peak": peak["bytes"]}


def met(value, limit):
    sense, number = limit.split()
    if sense == "==":
        return value == float(number)
    return value <= float(number) if sense == "<=" else value >= float(number)


def has_vnni():
    """Whether the host has products of 8-bit integers; None where /proc/cpuinfo does not say."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            flags = re.search(r"^flags\s*:(.*)$", f.read(), re.M)
    except OSError:
        return None
    return bool({"avx512_vnni", "avx_vnni"} & set(flags[1].split())) if flags else None


def judge(rows, vnni):
    """A list of (what, figure, bar); a bar of None: it does not count here, and `what` says why."""
    by = {(r["shape"], r["format"], r["batch"]): r for r in rows}
    out = []
    plain = by.get((DENSE, "bf16", 1))
    for name in ("int8-wo", "int8", "int4-gptq"):
        r = by.get((DENSE, name, 1))
        if plain and r:
            out.append((f"{name} decode / bf16, of the ratio of bytes read",
                        r["decode"] / plain["decode"] / (plain["hbm_read"] / r["hbm_read"]), ">= 0.85"))
    r = by.get((DENSE, "int8", 1))
    if plain and r:
        out.append((f"int8 prefill / bf16, {PROMPT} tokens" + ("" if vnni else " (no VNNI here)"),
                    r["prefill"] / plain["prefill"], ">= 1.8" if vnni else None))
    for (shape, name, batch), r in by.items():
        one = by.get((shape, name, 1))
        # Eight sequences hit almost eight times as many of 512 experts.
        if shape == DENSE and batch == 8 and one:
            out.append((f"{name} decode, batch 8 / batch 1", r["decode"] / one["decode"], ">= 6"))
    for (shape, name, batch), r in by.items():
        if shape == EXPERTS:
            # Besides, a step reads its activations.
            out.append((f"{shape}, batch {batch}: bytes read / of what is hit", r["hbm_read"] / r["must_read"], "<= 1.02"))
    for (shape, name, batch), r in by.items():
        what = f"{shape}, {name}, batch {batch}: "
        if r["vm"]:
            out.append((what + "decode in the VM / host", r["vm"]["decode"] / r["decode"], ">= 0.95"))
            # The same work: no more and no less.
            out.append((what + "bytes read in the VM / host", r["vm"]["hbm_read"] / r["hbm_read"], "== 1"))
        out.append((what + "memory / (weights + KV)", r["peak_bytes"] / (r["weight_bytes"] + r["kv_bytes"]), "<= 1.1"))
    return out


def line(r):
    """A row, as the table has it."""
    there = f"{r['vm']['decode']:.1f}" if r["vm"] else "-"
    return (f"{r['shape'] + ', ' + r['format'] + ', batch ' + str(r['batch']):<34}{r['decode']:>10.1f}{there:>10}"
            f"{r['bound']:>10.1f} {100 * r['of_bound']:.1f} %; step: {r['hbm_read'] / 1e6:.0f} MB "
            f"of {r['weight_bytes'] / 1e6:.0f} MB of weights read, {r['sim_us']:.0f} us simulated"
            + (f", {r['experts_hit']:.1f} experts" if r["experts_hit"] else ""))


def table(rows):
    print(f"\n{'Decoding, tokens/s':<34}{'host':>10}{'VM':>10}{'bound':>10}")
    for r in rows:
        print(line(r))
    print(f"\n{'':<66}{'figure':>8}{'bar':>10}")
    for what, figure, limit in judge(rows, has_vnni()):
        verdict = "" if limit is None else "met" if met(figure, limit) else "MISSED"
        print(f"{what:<66}{figure:>8.3f}{limit or '-':>10} {verdict}")
