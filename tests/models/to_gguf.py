#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Stored checkpoints as GGUF files, with the names and value changes of the format's own converters.

usage: to_gguf.py FOLDER OUT.gguf [TYPE]    (default BF16)

Matrices whose rows are no whole blocks of TYPE become Q8_0, or F16 where that does not fit either, as
converters do it; vectors and routers are F32.
"""

import json
import os
import re
import struct
import sys

sys.dont_write_bytecode = True
import gguf_file  # noqa: E402
from checkpoint import decode, encode, np, read_json, read_tensors  # noqa: E402

ARCHS = {"qwen2": "qwen2", "qwen3": "qwen3", "qwen3_moe": "qwen3moe", "qwen3_next": "qwen3next",
         "qwen3_5_text": "qwen35", "qwen3_5_moe_text": "qwen35moe"}
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
    "mlp.shared_expert_gate": "ffn_gate_inp_shexp",
    "mlp.shared_expert.gate_proj": "ffn_gate_shexp", "mlp.shared_expert.up_proj": "ffn_up_shexp",
    "mlp.shared_expert.down_proj": "ffn_down_shexp",
    "linear_attn.in_proj_qkv": "attn_qkv", "linear_attn.in_proj_z": "attn_gate",
    "linear_attn.in_proj_b": "ssm_beta", "linear_attn.in_proj_a": "ssm_alpha",
    "linear_attn.in_proj_ba": "ssm_ba", "linear_attn.conv1d": "ssm_conv1d",
    "linear_attn.norm": "ssm_norm", "linear_attn.out_proj": "ssm_out",
    "linear_attn.dt_bias": "ssm_dt.bias", "linear_attn.A_log": "ssm_a",
    "nextn.eh_proj": "nextn.eh_proj", "nextn.enorm": "nextn.enorm", "nextn.hnorm": "nextn.hnorm",
    "nextn.shared_head_norm": "nextn.shared_head_norm",
}
# An MTP head stands behind the layers, and is counted with them.
MTP = {"mtp.fc.weight": "nextn.eh_proj.weight", "mtp.pre_fc_norm_embedding.weight": "nextn.enorm.weight",
       "mtp.pre_fc_norm_hidden.weight": "nextn.hnorm.weight", "mtp.norm.weight": "nextn.shared_head_norm.weight"}
HYBRID = ("qwen3next", "qwen35", "qwen35moe")


def partial_rotary(c):
    return c.get("partial_rotary_factor") or c["rope_parameters"]["partial_rotary_factor"]


def has_mtp(c):
    """Only files of these architectures have the head."""
    return ARCHS[c["model_type"]].startswith("qwen35") and c.get("mtp_num_hidden_layers")


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
    if has_mtp(c):
        keys["block_count"] += 1
        keys["nextn_predict_layers"] = 1
    if c.get("head_dim"):
        keys["attention.key_length"] = keys["attention.value_length"] = c["head_dim"]
    if "num_experts_per_tok" in c:
        keys["expert_count"] = c.get("num_experts") or c["num_local_experts"]
        keys["expert_used_count"] = c["num_experts_per_tok"]
        keys["expert_feed_forward_length"] = c["moe_intermediate_size"]
    if arch in HYBRID:
        keys["rope.dimension_count"] = int(c["head_dim"] * partial_rotary(c))
        keys["ssm.conv_kernel"] = c["linear_conv_kernel_dim"]
        keys["ssm.state_size"] = c["linear_key_head_dim"]
        keys["ssm.group_count"] = c["linear_num_key_heads"]
        keys["ssm.time_step_rank"] = c["linear_num_value_heads"]
        keys["ssm.inner_size"] = c["linear_num_value_heads"] * c["linear_value_head_dim"]
        keys["full_attention_interval"] = c["layer_types"].index("full_attention") + 1
        if "shared_expert_intermediate_size" in c:
            keys["expert_shared_feed_forward_length"] = c["shared_expert_intermediate_size"]
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
    tok = read_json(path)
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
        eos = read_json(path).get("eos_token_id")
    eos = eos[0] if isinstance(eos, list) else eos
    return {} if eos is None else {"tokenizer.ggml.eos_token_id": eos}


def rename(name, arch=None):
    """The GGUF name, and the expert when it is one's."""
    if name in NAMES:
        return NAMES[name], None
    layer, rest = re.fullmatch(r"model\.layers\.(\d+)\.(.*)", name).groups()
    m = re.fullmatch(r"mlp\.experts\.(\d+)\.(\w+)_proj\.weight", rest)
    if m:
        return f"blk.{layer}.ffn_{m[2]}_exps.weight", int(m[1])
    if rest in NAMES:
        return f"blk.{layer}.{NAMES[rest]}", None
    base, end = rest.rsplit(".", 1)
    if arch in HYBRID and base == "post_attention_layernorm":
        return f"blk.{layer}.post_attention_norm.{end}", None
    return f"blk.{layer}.{NAMES[base]}.{end}", None


def type_for(name, shape, kind):
    if len(shape) == 1 or "ffn_gate_inp" in name or "ssm_conv1d" in name:
        return "F32"
    for k in (kind, "Q8_0"):
        if shape[-1] % gguf_file.TYPES[k][1] == 0:
            return k
    return "F16"


def reorder(c, name, raw, size, back=False):
    """Value heads of the architectures that have them tiled: head h R + r of Hugging Face's is r K + h of
    the file's (back: the other way). size: bytes of an element."""
    keys, values, dv = (c["linear_num_key_heads"], c["linear_num_value_heads"],
                        c["linear_value_head_dim"])
    if not ARCHS[c["model_type"]].startswith("qwen35") or "linear_attn." not in name:
        return raw
    part = name.split("linear_attn.")[1]
    ratio, hidden = values // keys, c["hidden_size"]
    order = [h * ratio + r for r in range(ratio) for h in range(keys)]
    if back:
        order = [order.index(i) for i in range(values)]
    first = 2 * keys * c["linear_key_head_dim"]
    # bytes of a head, bytes in front of the first
    unit, at = {"in_proj_qkv.weight": (dv * hidden, first * hidden),
                "in_proj_z.weight": (dv * hidden, 0),
                "in_proj_b.weight": (hidden, 0), "in_proj_a.weight": (hidden, 0),
                "A_log": (1, 0), "dt_bias": (1, 0), "out_proj.weight": (dv, 0),
                "conv1d.weight": (dv * c["linear_conv_kernel_dim"],
                                  first * c["linear_conv_kernel_dim"])}.get(part, (0, 0))
    if not unit:
        return raw
    unit, at = unit * size, at * size
    out = raw[:at]
    for row in range(at, len(raw), unit * values):
        out += b"".join(raw[row + i * unit:row + (i + 1) * unit] for i in order)
    return out


def hybrid(c, src):
    """What converters change of models with recurrent layers."""
    heads, values = c["linear_num_key_heads"], c["linear_num_value_heads"]
    dk, dv, ratio = c["linear_key_head_dim"], c["linear_value_head_dim"], values // heads
    out = {}
    for name, (dtype, shape, raw) in src.items():
        if name.startswith("mtp.") and not has_mtp(c):
            continue
        layer = f"model.layers.{c['num_hidden_layers']}."
        name = layer + MTP[name] if name in MTP else name.replace("mtp.layers.0.", layer)
        if "norm" in name and "linear_attn" not in name:
            dtype, raw = "F32", encode(1 + decode(raw, dtype), "F32")
        elif name.endswith("A_log"):
            dtype, raw = "F32", encode(-np.exp(decode(raw, dtype)), "F32")
        elif name.endswith("in_proj_qkvz.weight"):
            size = len(raw) // shape[0]
            step = 2 * dk + 2 * ratio * dv
            cuts = {"q": (0, dk), "k": (dk, dk), "v": (2 * dk, ratio * dv),
                    "z": (2 * dk + ratio * dv, ratio * dv)}
            rows = {p: b"".join(raw[(h * step + a) * size:(h * step + a + n) * size]
                                for h in range(heads)) for p, (a, n) in cuts.items()}
            qkv = rows["q"] + rows["k"] + rows["v"]
            base = name[:-len("qkvz.weight")]
            out[base + "qkv.weight"] = (dtype, [len(qkv) // size, shape[1]], qkv)
            out[base + "z.weight"] = (dtype, [values * dv, shape[1]], rows["z"])
            continue
        raw = reorder(c, name, raw, 4 if dtype == "F32" else 2)
        shape = [d for d in shape if d != 1] or [1]
        out[name] = (dtype, shape, raw)
    return out


def convert(folder, path, kind="BF16", keys=None, choose=type_for):
    """Writes the file. keys are added to the metadata (None takes one out); choose(name, shape, kind)
    says the type of a tensor. Returns {gguf name: (type, shape, bytes)}."""
    c = read_json(folder, "config.json")
    src = read_tensors(folder)
    if ARCHS[c["model_type"]] in HYBRID:
        src = hybrid(c, src)
    stacks = {}
    for name, (dtype, shape, raw) in src.items():
        new, expert = rename(name, ARCHS[c["model_type"]])
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
            raw = gguf_file.to_type(decode(raw, dtype), to)
        tensors[name] = (to, shape, raw)
    meta = {**config_keys(c), **tokenizer_keys(folder, c["vocab_size"]), **eos_keys(folder, c),
            **(keys or {})}
    gguf_file.write(path, {k: v for k, v in meta.items() if v is not None}, tensors)
    return tensors


if __name__ == "__main__":
    convert(*sys.argv[1:])
