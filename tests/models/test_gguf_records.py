#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""GGUF files of quantised records through zw-run: the bits of a folder that has their numbers.

usage: test_gguf_records.py ZW_RUN MODELS    (TAP on standard output; skipped without a firmware image)
"""

import math
import os
import random
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import gguf_file  # noqa: E402
import to_gguf  # noqa: E402
from checkpoint import encode, read_json, read_tensors, write_file, write_json  # noqa: E402
from gguf_runs import Logits, TOOL, skipped, stored  # noqa: E402
from tap import done, ok  # noqa: E402


def as_numbers(folder, tensors, out):
    """The folder with what the file's tensors stand for: records written out in F32."""
    shutil.copytree(folder, out, ignore=shutil.ignore_patterns("expected", "*.safetensors*"))
    c = read_json(folder, "config.json")
    arch = to_gguf.ARCHS[c["model_type"]]
    done_ = {}
    keep = {}
    for name, (dtype, shape, whole) in read_tensors(folder).items():
        if name.startswith("mtp."):
            continue
        if name.endswith("in_proj_qkvz.weight"):
            keep[name] = ("F32", shape, fused(c, name, tensors))
            continue
        new, expert = to_gguf.rename(name, arch)
        if arch in to_gguf.HYBRID and len([d for d in shape if d != 1]) == 1:
            keep[name] = (dtype, shape, whole)
            continue
        kind, full, raw = tensors[new]
        if new not in done_ and kind not in ("F32", "F16", "BF16"):
            done_[new] = encode(gguf_file.of_type(raw, kind), "F32")
        if new in done_:
            kind, raw = "F32", done_[new]
        if kind == "F32" and "linear_attn" in name:
            raw = to_gguf.reorder(c, name, raw, 4, back=True)
        if expert is not None:
            n = len(raw) // full[0]
            raw = raw[expert * n:(expert + 1) * n]
        keep[name] = (kind, shape, raw)
    write_file(os.path.join(out, "model.safetensors"), keep)
    return out


def fused(c, name, tensors):
    """The projection that the file has in two tensors, in F32, grouped by key head."""
    layer = "blk." + name.split(".")[2]
    size = 4 * c["hidden_size"]
    heads, dk = c["linear_num_key_heads"], c["linear_key_head_dim"]
    values = c["linear_num_value_heads"] // heads * c["linear_value_head_dim"]
    rows = {}
    for part in ("attn_qkv", "attn_gate"):
        kind, _, raw = tensors[f"{layer}.{part}.weight"]
        rows[part] = encode(gguf_file.of_type(raw, kind), "F32")
    out = b""
    for h in range(heads):
        for part, first, n in (("attn_qkv", h * dk, dk), ("attn_qkv", (heads + h) * dk, dk),
                               ("attn_qkv", 2 * heads * dk + h * values, values),
                               ("attn_gate", h * values, values)):
            out += rows[part][first * size:(first + n) * size]
    return out


def wide_model(tmp):
    """A random qwen3 whose matrices have rows of 256 elements and more, with biases."""
    folder = os.path.join(tmp, "wide")
    shutil.copytree(stored("tiny-qwen3"), folder, ignore=shutil.ignore_patterns("expected"))
    c = read_json(folder, "config.json")
    c = {**c, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 1, "head_dim": 64,
         "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 320,
         "attention_bias": True, "layer_types": ["full_attention"], "tie_word_embeddings": True}
    write_json(c, folder, "config.json")
    rng = random.Random(5)
    shapes = {"model.embed_tokens.weight": [320, 256], "model.norm.weight": [256]}
    for name, shape in {
            "input_layernorm.weight": [256], "post_attention_layernorm.weight": [256],
            "self_attn.q_proj.weight": [256, 256], "self_attn.k_proj.weight": [128, 256],
            "self_attn.v_proj.weight": [128, 256], "self_attn.o_proj.weight": [256, 256],
            "self_attn.q_proj.bias": [256], "self_attn.k_proj.bias": [128],
            "self_attn.v_proj.bias": [128], "self_attn.o_proj.bias": [256],
            "self_attn.q_norm.weight": [64], "self_attn.k_norm.weight": [64],
            "mlp.gate_proj.weight": [512, 256], "mlp.up_proj.weight": [512, 256],
            "mlp.down_proj.weight": [256, 512]}.items():
        shapes["model.layers.0." + name] = shape
    tensors = {}
    for name, shape in shapes.items():
        n, mid = shape[0] * (shape[1] if len(shape) > 1 else 1), float("norm" in name)
        x = [mid + rng.gauss(0, 0.06) for _ in range(n)]
        tensors[name] = ("BF16", shape, encode(x, "BF16"))
    write_file(os.path.join(folder, "model.safetensors"), tensors)
    return folder


def wide_delta_model(tmp):
    """A qwen3_5_text with eight value heads of 32 for two key heads."""
    folder = os.path.join(tmp, "wide-delta")
    shutil.copytree(stored("tiny-qwen3_5"), folder, ignore=shutil.ignore_patterns("expected"))
    c = read_json(folder, "config.json")
    write_json({**c, "linear_num_value_heads": 8}, folder, "config.json")
    tensors = read_tensors(folder)
    rng = random.Random(6)
    for name in tensors:
        shape = {"in_proj_qkv": [384, 128], "in_proj_z": [256, 128], "in_proj_b": [8, 128],
                 "in_proj_a": [8, 128], "conv1d": [384, 1, 4], "A_log": [8], "dt_bias": [8],
                 "out_proj": [128, 256]}.get(name.split("linear_attn.")[-1].split(".")[0])
        if shape:
            n = math.prod(shape)
            tensors[name] = ("BF16", shape,
                             encode([rng.gauss(0, 0.1) for _ in range(n)], "BF16"))
    write_file(os.path.join(folder, "model.safetensors"), tensors)
    return folder


def of_types(types):
    """Chooses types by the names of tensors."""
    def choose(name, shape, kind):
        for part, k in types.items():
            # Vectors only where they are named.
            if (part in name and (len(shape) > 1 or part == "norm") and
                    shape[-1] % gguf_file.TYPES[k][1] == 0):
                return k
        return to_gguf.type_for(name, shape, kind)
    return choose


def same_numbers(tmp, logits, label, folder, kind, types):
    """A file of records gives the bits of the folder that has their numbers in F32."""
    path = os.path.join(tmp, "records.gguf")
    tensors = to_gguf.convert(folder, path, kind, choose=of_types(types))
    out = as_numbers(folder, tensors, os.path.join(tmp, "numbers"))
    want, got = logits.of(out), logits.of(path)
    ok(isinstance(want, bytes) and got == want, f"{label}: the bits of its numbers in a folder",
       got if isinstance(got, str) else want if isinstance(want, str) else "they differ")
    shutil.rmtree(out)


def records(tmp):
    logits = Logits(tmp)
    table = {"token_embd": "Q8_0"}
    same_numbers(tmp, logits, "tiny-qwen3, its embedding in Q8_0", stored("tiny-qwen3"), "BF16",
                 table)
    for kind in ("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "MXFP4"):
        same_numbers(tmp, logits, f"tiny-qwen2 in {kind}", stored("tiny-qwen2"), kind, {})
    wide = wide_model(tmp)
    for kind in ("Q4_K", "Q5_K", "Q6_K"):
        same_numbers(tmp, logits, f"rows of 256 and 512 in {kind}", wide, kind, {})
    everything = {"norm": "Q8_0", "token_embd": "Q4_0"}
    same_numbers(tmp, logits, "an embedding in Q4_0, norms in Q8_0", stored("tiny-qwen3"), "BF16",
                 everything)
    # What reads the same input is one matrix, unless types do not go together.
    same_numbers(tmp, logits, "q, k and v, gate and up of different types", wide, "Q4_K",
                 {"attn_k": "BF16", "attn_v": "Q6_K", "ffn_up": "F32", "token_embd": "Q5_K"})
    same_numbers(tmp, logits, "two of three alike", wide, "Q8_0",
                 {"attn_q": "Q4_0", "ffn_gate": "BF16"})
    for kind in ("Q8_0", "MXFP4"):
        same_numbers(tmp, logits, f"tiny-qwen3-moe in {kind}", stored("tiny-qwen3-moe"), kind, {})
    same_numbers(tmp, logits, "experts of different types", stored("tiny-qwen3-moe"), "Q8_0",
                 {"ffn_gate_exps": "Q4_1", "ffn_down_exps": "BF16", "output.weight": "F32"})
    delta = wide_delta_model(tmp)
    for kind in ("Q4_K", "Q6_K"):
        same_numbers(tmp, logits, f"value heads in other places inside of {kind}", delta, kind, {})
    path = os.path.join(tmp, "records.gguf")
    p = subprocess.run([TOOL, "--device", "sim", "-m", path, "--prompt-ids", logits.ids,
                        "--max-tokens", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       timeout=300)
    notes = [n for n in p.stderr.decode().splitlines() if n.startswith("note: ")]
    ok(p.returncode == 0 and len(notes) == 1 and "3 tensors, blk.0.ssm_out.weight" in notes[0],
       "and that they are F32 in device memory is told", p.stderr.decode())
    for model in ("tiny-qwen3_5", "tiny-qwen3_5-moe"):
        same_numbers(tmp, logits, f"{model} in Q8_0", stored(model), "Q8_0",
                     {"attn_gate": "Q4_0", "ssm_alpha": "F32"})
    same_numbers(tmp, logits, "tiny-qwen3-next in Q8_0", stored("tiny-qwen3-next"), "Q8_0",
                 {"attn_gate": "Q4_0", "ssm_ba": "F32"})


def main():
    print("TAP version 13")
    with tempfile.TemporaryDirectory() as tmp:
        if not skipped(Logits(tmp).of(stored("tiny-qwen3"))):
            records(tmp)
    return done()


if __name__ == "__main__":
    sys.exit(main())
