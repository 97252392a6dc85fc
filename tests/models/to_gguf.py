#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Stored checkpoints as GGUF files, with the names and value changes of the format's own converters.

usage: to_gguf.py FOLDER OUT.gguf [TYPE]    (default BF16)

Matrices whose rows are no whole blocks of TYPE become Q8_0, or F16 where that does not fit either, as
converters do it; vectors and routers are F32.
"""

import glob
import json
import os
import re
import struct
import sys

sys.dont_write_bytecode = True
import gguf_file  # noqa: E402

ARCHS = {"qwen2": "qwen2", "qwen3": "qwen3", "qwen3_moe": "qwen3moe"}
NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "mlp.gate": "ffn_gate_inp",
}


def load(folder):
    """{name: (dtype, shape, bytes)} of all safetensors files of a folder."""
    out = {}
    for path in sorted(glob.glob(os.path.join(folder, "*.safetensors"))):
        with open(path, "rb") as f:
            data = f.read()
        size = struct.unpack("<Q", data[:8])[0]
        for name, t in json.loads(data[8:8 + size]).items():
            if name != "__metadata__":
                a, b = t["data_offsets"]
                out[name] = (t["dtype"], t["shape"], data[8 + size + a:8 + size + b])
    return out


def config_keys(c):
    """Metadata of the model."""
    arch = ARCHS[c["model_type"]]
    heads = c["num_attention_heads"]
    keys = {
        "block_count": c["num_hidden_layers"],
        "context_length": c["max_position_embeddings"],
        "embedding_length": c["hidden_size"],
        "feed_forward_length": c["intermediate_size"],
        "attention.head_count": heads,
        "attention.head_count_kv": c["num_key_value_heads"],
        "attention.layer_norm_rms_epsilon": float(c["rms_norm_eps"]),
        "rope.freq_base": float(c.get("rope_theta") or c["rope_parameters"]["rope_theta"]),
    }
    if c.get("head_dim"):
        keys["attention.key_length"] = keys["attention.value_length"] = c["head_dim"]
    if "num_experts_per_tok" in c:
        keys["expert_count"] = c.get("num_experts") or c["num_local_experts"]
        keys["expert_used_count"] = c["num_experts_per_tok"]
        keys["expert_feed_forward_length"] = c["moe_intermediate_size"]
    rope = c.get("rope_scaling") or c.get("rope_parameters") or {}
    if "yarn" in (rope.get("rope_type"), rope.get("type")):
        keys["rope.scaling.type"] = "yarn"
        keys["rope.scaling.factor"] = float(rope["factor"])
        keys["rope.scaling.original_context_length"] = rope["original_max_position_embeddings"]
    return {"general.architecture": arch, "general.name": c["model_type"],
            **{f"{arch}.{k}": v for k, v in keys.items()}}


def tokenizer_keys(folder, rows):
    """Metadata of the tokenizer, if there is one, filled up to so many tokens."""
    path = os.path.join(folder, "tokenizer.json")
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as f:
        tok = json.load(f)
    top = max([*tok["model"]["vocab"].values(), *(t["id"] for t in tok["added_tokens"])])
    rows = max(rows, top + 1)
    names = [f"[PAD{i}]" for i in range(rows)]
    types = [5] * rows
    for name, i in tok["model"]["vocab"].items():
        names[i], types[i] = name, 1
    for t in tok["added_tokens"]:
        names[t["id"]] = t["content"]
        looks = re.fullmatch(r"<\|.*\|>", t["content"])
        types[t["id"]] = 3 if t["special"] or looks else 4
    marks = "\\p{M}" in json.dumps(tok["pre_tokenizer"])
    i32 = struct.pack("<IQ", 5, len(types)) + struct.pack(f"<{len(types)}i", *types)
    return {
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "qwen35" if marks else "qwen2",
        "tokenizer.ggml.tokens": names, "tokenizer.ggml.token_type": (gguf_file.ARRAY, i32),
        "tokenizer.ggml.merges": [m if isinstance(m, str) else " ".join(m)
                                  for m in tok["model"]["merges"]],
        "tokenizer.ggml.add_bos_token": False,
    }


def eos_keys(folder, c):
    eos = c.get("eos_token_id")
    path = os.path.join(folder, "generation_config.json")
    if eos is None and os.path.exists(path):
        with open(path, encoding="utf-8") as f:
            eos = json.load(f).get("eos_token_id")
    eos = eos[0] if isinstance(eos, list) else eos
    return {} if eos is None else {"tokenizer.ggml.eos_token_id": eos}


def rename(name):
    """The GGUF name, and the expert when it is one's."""
    if name in NAMES:
        return NAMES[name], None
    layer, rest = re.fullmatch(r"model\.layers\.(\d+)\.(.*)", name).groups()
    m = re.fullmatch(r"mlp\.experts\.(\d+)\.(\w+)_proj\.weight", rest)
    if m:
        return f"blk.{layer}.ffn_{m[2]}_exps.weight", int(m[1])
    base, end = rest.rsplit(".", 1)
    return f"blk.{layer}.{NAMES[base]}.{end}", None


def type_for(name, shape, kind):
    if len(shape) == 1 or "ffn_gate_inp" in name:
        return "F32"
    for k in (kind, "Q8_0"):
        if shape[-1] % gguf_file.TYPES[k][1] == 0:
            return k
    return "F16"


def convert(folder, path, kind="BF16", keys=None, choose=type_for):
    """Writes the file. keys are added to the metadata (None takes one out); choose(name, shape, kind)
    says the type of a tensor. Returns {gguf name: (type, shape, bytes)}."""
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
        c = json.load(f)
    src = load(folder)
    stacks = {}
    for name, (dtype, shape, raw) in src.items():
        new, expert = rename(name)
        if expert is None:
            stacks[new] = (dtype, shape, {0: raw})
        else:
            stacks.setdefault(new, (dtype, [0] + shape, {}))[2][expert] = raw
            stacks[new][1][0] = len(stacks[new][2])
    tensors = {}
    for name, (dtype, shape, parts) in stacks.items():
        raw = b"".join(parts[i] for i in sorted(parts))
        to = choose(name, shape, kind)
        if to != dtype:
            raw = gguf_file.encode(gguf_file.f32(raw, dtype), to)
        tensors[name] = (to, shape, raw)
    meta = {**config_keys(c), **tokenizer_keys(folder, c["vocab_size"]), **eos_keys(folder, c),
            **(keys or {})}
    gguf_file.write(path, {k: v for k, v in meta.items() if v is not None}, tensors)
    return tensors


if __name__ == "__main__":
    convert(*sys.argv[1:])
