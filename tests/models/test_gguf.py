#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""GGUF files through zw-run: as the folders they were made of, or refused by name.

usage: test_gguf.py ZW_RUN MODELS    (TAP on standard output; skipped without a firmware image)
"""

import os
import random
import shutil
import struct
import sys
import tempfile

sys.dont_write_bytecode = True
import gguf_file  # noqa: E402
import to_gguf  # noqa: E402
from checkpoint import encode, np, numbers, read_json, read_tensors, write_file, write_json  # noqa: E402
from gguf_runs import Logits, captured, run, skipped, stored  # noqa: E402
from tap import done, ok  # noqa: E402

PLAIN = ["tiny-qwen2", "tiny-qwen3", "tiny-qwen3-tied", "tiny-qwen3-yarn", "tiny-qwen3-moe",
         "tiny-qwen3-next", "tiny-qwen3_5", "tiny-qwen3_5-moe", "qwen3-kdoc"]


def in_type(tmp, model, kind):
    """The folder with its weights in another type."""
    folder = os.path.join(tmp, model + kind)
    shutil.copytree(stored(model), folder, ignore=shutil.ignore_patterns("expected"))
    write_file(os.path.join(folder, "model.safetensors"),
          {name: (kind, t[1], encode(numbers(t), kind)) for name, t in read_tensors(stored(model)).items()})
    return folder


def same_bits(tmp):
    logits = Logits(tmp)
    path = os.path.join(tmp, "m.gguf")
    for model in PLAIN:
        to_gguf.convert(stored(model), path, "BF16")
        want, got = logits.of(stored(model)), logits.of(path)
        ok(isinstance(want, bytes) and got == want, f"{model} in BF16: the bits of the folder",
           got if isinstance(got, str) else want if isinstance(want, str) else "they differ")
        kinds = ["F32", "F16"] if model in ("tiny-qwen3", "tiny-qwen3-moe") else ["F32"]
        for kind in kinds:
            to_gguf.convert(stored(model), path, kind)
            want, got = logits.of(in_type(tmp, model, kind)), logits.of(path)
            ok(isinstance(want, bytes) and got == want, f"{model} in {kind}: the bits of the folder",
               got if isinstance(got, str) else want if isinstance(want, str) else "they differ")
    # Sharded, trained, of 13.7 million parameters.
    model = stored("qwen3next-agent")
    to_gguf.convert(model, path)
    want, got = logits.of(model), logits.of(path)
    ok(isinstance(want, bytes) and got == want, "qwen3next-agent: the bits of the folder", got
       if isinstance(got, str) else "they differ")


def with_head(tmp):
    """tiny-qwen3_5 whose text depends on little but the last token, and an MTP head that knows about as much."""
    folder = os.path.join(tmp, "with-head")
    shutil.copytree(stored("tiny-qwen3_5"), folder, ignore=shutil.ignore_patterns("expected"))
    r = random.Random(5)

    def scaled(name, t, by):
        dtype, shape, _ = t
        if not name.endswith(("o_proj.weight", "out_proj.weight", "down_proj.weight")):
            return t
        return dtype, shape, encode(numbers(t) * by, dtype)

    src = {n: scaled(n, t, 0.125) for n, t in read_tensors(folder).items()}
    last = "model.layers.3."
    head = {"mtp.layers.0." + n[len(last):]: scaled(n, t, 0.5) for n, t in src.items() if n.startswith(last)}
    kind, (h,), _ = src["model.norm.weight"]
    fc = [(1.0 if k == i else 0.0) + r.gauss(0, 0.01) for i in range(h) for k in range(2 * h)]
    head["mtp.fc.weight"] = ("BF16", [h, 2 * h], encode(fc, "BF16"))
    head["mtp.norm.weight"] = src["model.norm.weight"]
    for name in ("mtp.pre_fc_norm_embedding", "mtp.pre_fc_norm_hidden"):
        head[name + ".weight"] = (kind, [h], encode([r.gauss(0, 0.05) for _ in range(h)], kind))
    write_file(os.path.join(folder, "model.safetensors"), {**src, **head})
    config = read_json(folder, "config.json")
    write_json({**config, "mtp_num_hidden_layers": 1}, folder, "config.json")
    return folder


def drafts(tmp):
    """The MTP head of a file drafts what that of the folder does."""
    folder, path = with_head(tmp), os.path.join(tmp, "m.gguf")
    ids, out, stats = (os.path.join(tmp, n) for n in ("ids.json", "out.json", "stats.json"))
    to_gguf.convert(folder, path)
    got = []
    for start in ([5, 17, 300], [2, 99, 41, 7], [640 - 1]):
        write_json(start, ids)
        for model, kind in ((folder, "mtp"), (path, "mtp"), (path, "none")):
            p = run(model, "--prompt-ids", ids, "-n", "80", "--temperature", "0", "--ignore-eos", "--ids-out", out,
                    "--stats-json", stats, "--draft", kind)
            if p.returncode:
                got.append(p.stderr)
                continue
            d = read_json(stats).get("draft", {})
            got.append((read_json(out), d.get("drafted_tokens"), d.get("accepted_tokens")))
    same = all(got[i] == got[i + 1] and got[i][0] == got[i + 2][0] for i in range(0, len(got), 3))
    ok(same and sum(g[2] or 0 for g in got[::3]) > 0, "an MTP head in a file drafts like that of the folder", got)


def text(tmp):
    path = os.path.join(tmp, "kdoc.gguf")
    to_gguf.convert(stored("qwen3-kdoc"), path)
    args = ("-p", "The device driver", "--max-tokens", "24", "--temperature", "0")
    want, got = run(stored("qwen3-kdoc"), *args), run(path, *args)
    ok(got.returncode == 0 and got.stdout == want.stdout and len(got.stdout) > 20,
       "qwen3-kdoc: the text of the folder", got)
    # A file's own sampling defaults.
    args = ("-p", "The device driver", "--max-tokens", "24", "--seed", "3")
    to_gguf.convert(stored("qwen3-kdoc"), path, keys={"general.sampling.temp": 0.5,
                                                      "general.sampling.top_k": 7,
                                                      "general.sampling.min_p": 0.125})
    want = run(stored("qwen3-kdoc"), *args, "--temperature", "0.5", "--top-k", "7", "--min-p",
               "0.125", "--top-p", "1")
    got = run(path, *args)
    ok(got.returncode == 0 and got.stdout == want.stdout, "general.sampling.* are the defaults",
       (got, want))


def other_shapes(tmp):
    """Versions, alignments, layers without experts, what the metadata may leave out."""
    logits = Logits(tmp)
    path = os.path.join(tmp, "m.gguf")
    want = logits.of(stored("tiny-qwen2"))
    meta, tensors = captured(tmp, "tiny-qwen2")
    for version, align in ((2, 32), (3, 8), (3, 256)):
        gguf_file.write(path, meta, tensors, align, version)
        got = logits.of(path)
        ok(got == want, f"version {version}, alignment {align}", got)
    # The other order of tensors.
    gguf_file.write(path, meta, dict(reversed(list(tensors.items()))))
    ok(logits.of(path) == want, "tensors in another order")
    no_kv = {k: v for k, v in meta.items() if k != "qwen2.vocab_size"}
    gguf_file.write(path, {**no_kv, "qwen2.vocab_size": 640, "general.file_type": 32,
                           "somebody.else": "x", "qwen2.attention.causal": True}, tensors)
    ok(logits.of(path) == want, "keys without effect")
    # Spread over files, the embedding and all metadata in the first.
    names = sorted(tensors, key=lambda n: n != "token_embd.weight")
    for i in range(3):
        part = {n: tensors[n] for k, n in enumerate(names) if k * 3 // len(names) == i}
        split = {"split.no": i, "split.count": 3, "split.tensors.count": len(tensors)}
        gguf_file.write(os.path.join(tmp, f"m-0000{i + 1}-of-00003.gguf"),
                        {**(meta if i == 0 else {}), **split}, part)
    got = logits.of(os.path.join(tmp, "m-00001-of-00003.gguf"))
    ok(got == want, "a model in three files", got)
    # A head that predicts one token more, behind the last layer and counted with the layers.
    mtp_want = logits.of(stored("tiny-qwen3_5"))
    mtp_meta, mtp = captured(tmp, "tiny-qwen3_5")
    mtp_meta = {**mtp_meta, "qwen35.block_count": 5, "qwen35.nextn_predict_layers": 1,
                "qwen35.rope.dimension_sections": [3, 3, 2, 0]}
    mtp = {**mtp, **{n.replace("blk.3.", "blk.4."): t for n, t in mtp.items() if "blk.3." in n},
           "blk.4.nextn.eh_proj.weight": ("BF16", [128, 256], bytes(128 * 256 * 2))}
    for name in ("enorm", "hnorm", "shared_head_norm"):
        mtp[f"blk.4.nextn.{name}.weight"] = ("F32", [128], bytes(512))
    gguf_file.write(path, mtp_meta, mtp)
    got = logits.of(path)
    ok(isinstance(mtp_want, bytes) and got == mtp_want, "an MTP head beside the model", got)
    for name in ("blk.4.nextn.hnorm.weight", "blk.4.attn_q.weight"):
        gguf_file.write(path, mtp_meta, {n: t for n, t in mtp.items() if n != name})
        got = logits.of(path)
        ok(isinstance(got, str) and name + " is missing" in got, "without its " + name, got)
    # An untied copy of the embedding is the same head.
    gguf_file.write(path, meta, {**tensors, "output.weight": tensors["token_embd.weight"]})
    ok(logits.of(path) == want, "output.weight beside the embedding")

    # Projections in one tensor, as files of the architecture's first days have them.
    want = logits.of(stored("tiny-qwen3-next"))
    meta, tensors = captured(tmp, "tiny-qwen3-next")
    early = {k: v for k, v in tensors.items() if "attn_qkv" not in k and "attn_gate" not in k}
    for name, t in read_tensors(stored("tiny-qwen3-next")).items():
        if name.endswith("in_proj_qkvz.weight"):
            early[f"blk.{name.split('.')[2]}.ssm_in.weight"] = t
    gguf_file.write(path, meta, early)
    got = logits.of(path)
    ok(isinstance(want, bytes) and got == want, "ssm_in in the place of attn_qkv and attn_gate",
       got)

    folder = os.path.join(tmp, "dense-layer")
    shutil.copytree(stored("tiny-qwen3-moe"), folder)
    moe = read_tensors(stored("tiny-qwen3-moe"))
    keep = {k: v for k, v in moe.items() if not k.startswith("model.layers.1.mlp.")}
    for name, n in (("gate", 352), ("up", 352), ("down", 128)):
        k = 128 if n == 352 else 352
        raw = encode(((np.arange(n * k) * 37 + n) % 101 - 50) / 512, "BF16")
        keep[f"model.layers.1.mlp.{name}_proj.weight"] = ("BF16", [n, k], raw)
    write_file(os.path.join(folder, "model.safetensors"), keep)
    write_json({**read_json(folder, "config.json"), "mlp_only_layers": [1]}, folder, "config.json")
    to_gguf.convert(folder, path)
    want, got = logits.of(folder), logits.of(path)
    ok(isinstance(want, bytes) and got == want, "a layer without experts", (want, got))


def refusals(tmp):
    path = os.path.join(tmp, "bad.gguf")
    ids = os.path.join(tmp, "ids.json")
    bad = []
    count = 0

    def refused(label, words, *args):
        nonlocal count
        count += 1
        p = run(path, "--prompt-ids", ids, "--max-tokens", "1", *args)
        line = p.stderr.decode()
        if (p.returncode != 1 or p.stdout or line.count("\n") != 1 or "bad.gguf" not in line or
                not all(w in line for w in words.split("|"))):
            bad.append((label, p.returncode, line))

    meta, tensors = captured(tmp, "tiny-qwen2")
    q = tensors["blk.0.attn_q.weight"]

    def changed(label, words, keys=None, ts=None, args=()):
        m = {**meta, **(keys or {})}
        t = {**tensors, **(ts or {})}
        gguf_file.write(path, {k: v for k, v in m.items() if v is not None},
                        {k: v for k, v in t.items() if v is not None})
        refused(label, words, *args)

    a = "qwen2."
    changed("architecture", "general.architecture|llama", {"general.architecture": "llama"})
    changed("no architecture", "general.architecture is missing", {"general.architecture": None})
    changed("architecture is a number", "general.architecture|string", {"general.architecture": 3})
    for key in ("block_count", "context_length", "embedding_length", "feed_forward_length",
                "attention.head_count"):
        changed("no " + key, a + key + " is missing", {a + key: None})
        changed(key + " is text", a + key + "|integer", {a + key: "3"})
    changed("eps is an integer", "layer_norm_rms_epsilon|floating", {
        a + "attention.layer_norm_rms_epsilon": 1})
    changed("eps is NaN", "layer_norm_rms_epsilon", {
        a + "attention.layer_norm_rms_epsilon": float("nan")})
    changed("unknown key", a + "attention.sliding_window|not supported", {
        a + "attention.sliding_window": 4096})
    changed("experts of a dense architecture", a + "expert_count is 4|no experts", {a + "expert_count": 4})
    changed("state of one without", a + "ssm.state_size is 64|no recurrent layers", {a + "ssm.state_size": 64})
    changed("unknown scaling", "rope.scaling.type|linear", {a + "rope.scaling.type": "linear"})
    changed("yarn without a factor", "factor is missing", {a + "rope.scaling.type": "yarn"})
    changed("yarn's ext_factor", "yarn_ext_factor", {a + "rope.scaling.yarn_ext_factor": 0.5})
    changed("not causal", "attention.causal", {a + "attention.causal": False})
    changed("heads", "num_attention_heads 4|num_key_value_heads 3", {
        a + "attention.head_count_kv": 3})
    changed("heads of 0", "attention.head_count", {a + "attention.head_count": 0})
    changed("layers", "num_hidden_layers", {a + "block_count": 4000000000})
    changed("values of another length", "value_length 16", {a + "attention.value_length": 16})
    changed("rotation of more than a head", "rope.dimension_count 64", {
        a + "rope.dimension_count": 64})
    changed("vocabulary", "vocab_size is 641|640 rows", {a + "vocab_size": 641})
    changed("no embedding", "token_embd.weight is missing", ts={"token_embd.weight": None})
    changed("missing", "blk.1.attn_q.weight is missing", ts={"blk.1.attn_q.weight": None})
    changed("missing bias", "blk.2.attn_v.bias is missing", ts={"blk.2.attn_v.bias": None})
    changed("surplus", "blk.0.attn_q_norm.weight|does not belong", ts={
        "blk.0.attn_q_norm.weight": ("F32", [32], bytes(128))})
    changed("surplus layer", "blk.3.attn_q.weight|does not belong", ts={"blk.3.attn_q.weight": q})
    changed("leading zero", "blk.00.attn_q.weight|does not belong", ts={"blk.00.attn_q.weight": q})
    changed("one layer less", "blk.2.|does not belong", {a + "block_count": 2})
    changed("one layer more", "blk.3.|is missing", {a + "block_count": 4})
    changed("shape", "blk.0.attn_q.weight|[64,256]|[128,128]", ts={
        "blk.0.attn_q.weight": ("BF16", [64, 256], q[2])})
    changed("dimensions", "blk.0.attn_q.weight|[128,128,1]", ts={
        "blk.0.attn_q.weight": ("BF16", [128, 128, 1], q[2])})
    changed("integers", "blk.0.attn_q.weight|I8", ts={
        "blk.0.attn_q.weight": (24, [128, 128], bytes(128 * 128))})
    keep = tensors
    for kind in ("F16", "Q4_0", "MXFP4"):
        tensors = {**keep, "blk.0.attn_output.weight": (
            kind, [128, 128], gguf_file.to_type([1.0] * 128 * 128, kind))}
        changed(kind + " on a device without it", f"blk.0.attn_output.weight|dtype {kind}|c12",
                args=("--profile", "c12"))
    tensors = keep
    changed("records of another type", "blk.0.attn_q.weight|Q8_1", ts={
        "blk.0.attn_q.weight": (9, [128, 128], bytes(128 * 4 * 36))})
    changed("unknown type", "blk.0.attn_q.weight|type 99", ts={
        "blk.0.attn_q.weight": (99, [128, 128], bytes(128))})
    changed("too large for its file", "blk.0.attn_q.weight|truncated", ts={
        "blk.0.attn_q.weight": ("F32", [1 << 20, 128], q[2])})

    gguf_file.write(path, meta, tensors)
    with open(path, "rb") as f:
        whole = f.read()
    for n in (3, 8, 23, 100, 700, len(whole) // 2, len(whole) - 1):
        with open(path, "wb") as f:
            f.write(whole[:n])
        refused(f"{n} bytes of {len(whole)}", "GGUF file" if n < 4 else "in a file of"
                if 24 <= n < 1000 else "truncated")
    # An offset that another tensor has.
    at = whole.index(b"blk.0.attn_k.weight") + 19 + 4 + 16 + 4
    other = whole.index(b"blk.0.attn_q.weight") + 19 + 4 + 16 + 4
    with open(path, "wb") as f:
        f.write(whole[:at] + whole[other:other + 8] + whole[at + 8:])
    refused("overlap", "blk.0.attn_|overlaps")
    with open(path, "wb") as f:
        f.write(whole[:at] + struct.pack("<Q", 33) + whole[at + 8:])
    refused("misaligned", "blk.0.attn_k.weight|alignment")
    with open(path, "wb") as f:
        f.write(b"GGUF" + struct.pack(">I", 3) + whole[8:])
    refused("big-endian", "big-endian")

    meta, tensors = captured(tmp, "tiny-qwen3-moe")
    a = "qwen3moe."
    up = tensors["blk.1.ffn_up_exps.weight"]
    changed("no experts", "expert_count is missing", {a + "expert_count": None})
    changed("more experts", "ffn_|_exps.weight|expert_count is 17", {a + "expert_count": 17})
    changed("gating", "expert_gating_func", {a + "expert_gating_func": 2})
    changed("scaled weights", "expert_weights_scale", {a + "expert_weights_scale": 2.5})
    changed("weights as they are", "expert_weights_norm", {a + "expert_weights_norm": False})
    changed("no stack", "blk.1.ffn_up_exps.weight is missing", ts={
        "blk.1.ffn_up_exps.weight": None})
    changed("a stack of matrices side by side", "blk.1.ffn_up_exps.weight|2 dimensions", ts={
        "blk.1.ffn_up_exps.weight": ("BF16", [16 * 64, 128], up[2])})
    changed("experts of another shape", "blk.1.ffn_up_exps.weight|[128,64]|[64,128]", ts={
        "blk.1.ffn_up_exps.weight": ("BF16", [16, 128, 64], up[2])})
    changed("experts in records of another type", "blk.1.ffn_up_exps.weight|Q8_1", ts={
        "blk.1.ffn_up_exps.weight": (9, [16, 64, 128], bytes(16 * 64 * 4 * 36))})
    changed("no router", "blk.2.ffn_gate_inp.weight is missing", ts={
        "blk.2.ffn_gate_inp.weight": None})

    meta, tensors = captured(tmp, "tiny-qwen3-next")
    a = "qwen3next."
    for key in ("ssm.conv_kernel", "ssm.state_size", "ssm.group_count", "ssm.time_step_rank",
                "ssm.inner_size", "expert_shared_feed_forward_length"):
        changed("no " + key, a + key + " is missing", {a + key: None})
    changed("inner size", "ssm.inner_size|no multiple", {
        a + "ssm.inner_size": meta[a + "ssm.inner_size"] + 1})
    changed("value heads", "linear_num_value_heads|linear_num_key_heads", {
        a + "ssm.group_count": 3})
    changed("no layer with attention", "attention", {a + "full_attention_interval": 1000})
    changed("other layers with attention", "is missing", {a + "full_attention_interval": 2})
    heads = tensors["blk.0.ssm_a"][1]
    changed("a decay that grows", "blk.0.ssm_a|not below 0", ts={
        "blk.0.ssm_a": ("F32", heads, encode([0.5] * heads[0], "F32"))})
    changed("a decay in half", "blk.0.ssm_a|F16", ts={
        "blk.0.ssm_a": ("F16", heads, encode([-0.5] * heads[0], "F16"))})
    changed("no gates", "blk.0.attn_gate.weight is missing", ts={"blk.0.attn_gate.weight": None})
    changed("a name of another architecture", "blk.0.ffn_norm.weight|does not belong", ts={
        "blk.0.ffn_norm.weight": tensors["blk.0.attn_norm.weight"]})

    meta, tensors = captured(tmp, "tiny-qwen3_5")
    a = "qwen35."
    changed("two tokens more", "nextn_predict_layers 2", {a + "nextn_predict_layers": 2})
    changed("sections", "rope.dimension_sections|array", {a + "rope.dimension_sections": 3})
    changed("a decay in records", "blk.0.ssm_a|[32]|[4]", ts={"blk.0.ssm_a": ("Q8_0", [32], bytes(34))})
    changed("biases in records", "blk.0.ssm_dt.bias|[32]|[4]", ts={
        "blk.0.ssm_dt.bias": ("Q8_0", [32], bytes(34))})
    changed("no beta", "blk.0.ssm_beta.weight is missing", ts={"blk.0.ssm_beta.weight": None})
    changed("one ba", "blk.0.ssm_ba.weight|does not belong", ts={
        "blk.0.ssm_ba.weight": ("F32", [8, 128], bytes(4096))})
    ok(not bad, f"refusals exit 1 with one line that names file and cause ({count} cases)",
       "\n".join(map(str, bad)))


def too_large(tmp):
    """More than the device's memory: refused before a byte of it is read."""
    path = os.path.join(tmp, "bad.gguf")
    meta, tensors = captured(tmp, "tiny-qwen2")
    meta = {**meta, "qwen2.feed_forward_length": 1 << 20, "qwen2.embedding_length": 1 << 15,
            "qwen2.attention.head_count": 1 << 10, "qwen2.attention.head_count_kv": 1 << 10}
    h, i = 1 << 15, 1 << 20
    big = {"token_embd.weight": [640, h], "ffn_gate": [i, h], "ffn_up": [i, h], "ffn_down": [h, i],
           "attn_q": [h, h], "attn_k": [h, h], "attn_v": [h, h], "attn_output": [h, h],
           "bias": [h], "norm": [h]}
    shapes, off, head = {}, 0, b""
    for name in tensors:
        key = name if name in big else "bias" if name.endswith("bias") else \
            "norm" if "norm" in name else name.split(".")[2]
        shapes[name] = big[key]
    for name, shape in shapes.items():
        kind = 0 if len(shape) == 1 else 30
        head += gguf_file.text(name) + struct.pack("<I", len(shape))
        head += b"".join(struct.pack("<Q", d) for d in reversed(shape))
        head += struct.pack("<IQ", kind, off)
        n = 4 if kind == 0 else 2
        for d in shape:
            n *= d
        off += n
    gguf_file.write(path, meta, {})
    with open(path, "rb") as f:
        keys = f.read()
    end = 24 + len(b"".join(gguf_file.text(k) + struct.pack("<I", gguf_file.value(v)[0]) +
                            gguf_file.value(v)[1] for k, v in meta.items()))
    data = keys[:8] + struct.pack("<Q", len(shapes)) + keys[16:end] + head
    with open(path, "wb") as f:
        f.write(data)
        f.truncate((len(data) + 31) // 32 * 32 + off)
    p = run(path, "--prompt-ids", os.path.join(tmp, "ids.json"), "--max-tokens", "1")
    line = p.stderr.decode()
    ok(p.returncode == 1 and line.count("\n") == 1 and "bad.gguf" in line and
       "device memory" in line and "MiB" in line,
       f"a model of {off >> 30} GiB is refused in front of loading", (p.returncode, line))


def main():
    print("TAP version 13")
    with tempfile.TemporaryDirectory() as tmp:
        if skipped(Logits(tmp).of(stored("tiny-qwen3"))):
            return done()
        same_bits(tmp)
        drafts(tmp)
        text(tmp)
        other_shapes(tmp)
        refusals(tmp)
        too_large(tmp)
    return done()


if __name__ == "__main__":
    sys.exit(main())
