#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Quantised checkpoints as the tools that people use write them. Each is made of one of the tiny models by code
of its own, beside the same numbers in F32, and both must come to the same perplexity: with quantised weights
alone to the last bits, with quantised activations nearly.

usage: test_quant_files.py ZW_PERPLEXITY MODELS [PART OF A NAME]    (TAP on standard output)

Of a share (share.py) as many as it says.
"""

import json
import math
import os
import re
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import checkpoint  # noqa: E402
import share  # noqa: E402
from checkpoint import encode, numbers, read_json, write_json  # noqa: E402
from quant_forms import awq, fp8, fused, gptq, ints, mxfp4, nvfp4, packed  # noqa: E402
from tap import done, ok  # noqa: E402

PERPLEXITY, MODELS = sys.argv[1:3]
ONLY = sys.argv[3] if len(sys.argv) > 3 else ""

# ---- checkpoints ----

def with_args(form, **kw):
    return lambda w: form(w, **kw)


def ct(fmt, weights, act=None, **more):
    """quantization_config of compressed-tensors."""
    return {"quant_method": "compressed-tensors", "format": fmt, "quantization_status": "compressed",
            "ignore": ["lm_head", "re:.*mlp.gate$"], "kv_cache_scheme": None,
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights,
                                          "input_activations": act, "output_activations": None}},
            **more}


def arg(bits, kind, strategy, group=None, symmetric=True, dynamic=False, **more):
    return {"num_bits": bits, "type": kind, "strategy": strategy, "group_size": group,
            "symmetric": symmetric, "dynamic": dynamic, "block_structure": None, "actorder": None,
            "observer": "minmax", "observer_kwargs": {}, **more}


PROJ = r"_proj\.weight$|in_proj_(qkv|qkvz|z)\.weight$"
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 32, "damp_percent": 0.01, "desc_act": False,
        "static_groups": False, "sym": True, "true_sequential": True, "model_name_or_path": None,
        "model_file_base_name": "model"}
FP8 = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
       "weight_block_size": [128, 128], "modules_to_not_convert": ["lm_head"]}
A8 = arg(8, "float", "token", dynamic=True)


def biases(tensors, source):
    """What AutoGPTQ writes for layers without one."""
    for name in [n for n in tensors if n.endswith(".qweight")]:
        bias = name[:-len("qweight")] + "bias"
        if bias not in source:
            n = tensors[name][1][1]
            tensors[bias] = ("F16", [n], encode([-0.0] + [0.0] * (n - 1), "F16"))


def kv_scales(tensors, source):
    for name in [n for n in source if n.endswith("self_attn.q_proj.weight")]:
        for k in ("k_proj.k_scale", "v_proj.v_scale"):
            tensors[name.replace("q_proj.weight", k)] = ("F32", [], encode(1.0, "F32"))


def no_input(q):
    return {k: v for k, v in q.items() if k != "input_activations"}


# Name, model, quantization_config, what is quantised how (the first pattern counts), activations, and more
# tensors.
CASES = [
    ("Qwen's GPTQ-Int4", "tiny-qwen2", GPTQ, [(PROJ, with_args(gptq))], False, biases),
    ("Qwen's GPTQ-Int8", "tiny-qwen2", {**GPTQ, "bits": 8}, [(PROJ, with_args(gptq, bits=8))], False, biases),
    ("GPTQ, asymmetric", "tiny-qwen3", {**GPTQ, "sym": False, "checkpoint_format": "gptq"},
     [(PROJ, with_args(gptq, asym=True))], False, None),
    ("GPTQ, asymmetric, 8 bits", "tiny-qwen3", {**GPTQ, "sym": False, "bits": 8, "group_size": -1},
     [(PROJ, with_args(gptq, asym=True, bits=8, group=0))], False, None),
    ("GPTQ, v2", "tiny-qwen3", {**GPTQ, "sym": False, "checkpoint_format": "gptq_v2"},
     [(PROJ, with_args(gptq, asym=True, v2=True))], False, None),
    ("GPTQ, desc_act", "tiny-qwen3", {**GPTQ, "desc_act": True},
     [(PROJ, with_args(gptq, desc_act="shared"))], "order", None),
    ("GPTQ, desc_act, asymmetric, each matrix in its own order", "tiny-qwen2",
     {**GPTQ, "desc_act": True, "sym": False}, [(PROJ, with_args(gptq, asym=True, desc_act="own"))],
     "order", biases),
    ("GPTQ, desc_act, experts in orders of their own", "tiny-qwen3-moe", {**GPTQ, "desc_act": True},
     [(PROJ, with_args(gptq, desc_act="own"))], "order", None),
    ("GPTQ, desc_act, the projections of recurrent layers", "tiny-qwen3-next", {**GPTQ, "desc_act": True},
     [(PROJ, with_args(gptq, desc_act="shared"))], "order", None),
    ("llm-compressor, actorder", "tiny-qwen3_5",
     ct("pack-quantized", arg(4, "int", "group", 32, symmetric=False, actorder="group")),
     [(PROJ, with_args(packed, asym=True, actorder=True))], "order", None),
    ("GPTQ with the head of a tied model", "tiny-qwen3-tied", {**GPTQ, "lm_head": True},
     [(PROJ + "|lm_head", with_args(gptq))], False, None),
    ("GPTQ, some modules in 8 bits or not at all", "tiny-qwen3-moe",
     {**GPTQ, "dynamic": {"+:.*[qk]_proj": {"bits": 8}, "-:.*o_proj": {}}},
     [(r"[qk]_proj\.weight$", with_args(gptq, bits=8)), (r"o_proj", None), (PROJ, with_args(gptq))],
     False, None),
    ("AutoRound, the router too", "tiny-qwen3-next",
     {"quant_method": "auto-round", "packing_format": "auto_round:auto_gptq", "bits": 4,
      "group_size": 32, "sym": True, "data_type": "int", "extra_config":
      {"model.layers.0.mlp.shared_expert_gate": {"bits": 16, "data_type": "float"}}},
     [(PROJ + r"|mlp\.gate\.weight$", with_args(gptq))], False, None),
    ("Qwen's AWQ", "tiny-qwen2", {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm",
                                  "zero_point": True, "modules_to_not_convert": None},
     [(PROJ, with_args(awq))], False, None),
    ("AWQ of experts", "tiny-qwen3-moe", {"quant_method": "awq", "bits": 4, "group_size": 32,
                                          "version": "gemm", "zero_point": True,
                                          "modules_to_not_convert": ["gate"]},
     [(PROJ, with_args(awq))], False, None),
    ("llm-compressor, W4A16", "tiny-qwen3", ct("pack-quantized", arg(4, "int", "group", 32)),
     [(PROJ, with_args(packed))], False, None),
    ("llm-compressor, W4A16 with zero points", "tiny-qwen3-moe",
     ct("pack-quantized", arg(4, "int", "group", 32, symmetric=False)),
     [(PROJ, with_args(packed, asym=True))], False, None),
    ("llm-compressor, W8A16, channels with zero points", "tiny-qwen3_5",
     ct("pack-quantized", arg(8, "int", "channel", symmetric=False)),
     [(PROJ, with_args(packed, bits=8, group=0, asym=True))], False, None),
    ("llm-compressor, W8A8", "tiny-qwen3",
     ct("int-quantized", arg(8, "int", "channel"), arg(8, "int", "token", dynamic=True)),
     [(PROJ, ints)], True, None),
    ("llm-compressor, W8A8 with measured scales", "tiny-qwen3",
     ct("int-quantized", arg(8, "int", "channel"), arg(8, "int", "tensor")),
     [(PROJ, with_args(ints, static=True))], True, None),
    ("llm-compressor, W8A8 with zero points", "tiny-qwen2",
     ct("int-quantized", arg(8, "int", "channel", symmetric=False), arg(8, "int", "token", dynamic=True)),
     [(PROJ, with_args(ints, asym=True))], False, None),
    ("llm-compressor, FP8-dynamic", "tiny-qwen3", ct("float-quantized", arg(8, "float", "channel"), A8),
     [(PROJ, with_args(fp8, block=(1, 0), dtype="BF16"))], True, None),
    ("llm-compressor, FP8 with measured scales and a quantised cache", "tiny-qwen3",
     ct("float-quantized", arg(8, "float", "tensor"), arg(8, "float", "tensor"),
        kv_cache_scheme={"num_bits": 8, "type": "float", "strategy": "tensor"}),
     [(PROJ, with_args(fp8, block=(0, 0), static="input_scale"))], True, kv_scales),
    ("Qwen's FP8", "tiny-qwen3-next", FP8,
     [(PROJ, with_args(fp8, block=(128, 128), name="weight_scale_inv"))], True, None),
    ("Qwen's FP8, scales in BF16", "tiny-qwen3-moe", FP8,
     [(PROJ, with_args(fp8, block=(128, 128), dtype="BF16", name="weight_scale_inv"))], True, None),
    ("Qwen3.5's FP8", "tiny-qwen3_5", FP8,
     [(PROJ, with_args(fp8, block=(128, 128), name="weight_scale_inv"))], True, None),
    ("AutoFP8, static", "tiny-qwen2", {"quant_method": "fp8", "activation_scheme": "static",
                                       "ignored_layers": ["lm_head"]},
     [(PROJ, with_args(fp8, block=(0, 0), static="input_scale"))], True, None),
    ("transformers' FP8, static", "tiny-qwen3", {"quant_method": "fp8", "activation_scheme": "static",
                                                 "weight_block_size": None},
     [(PROJ, with_args(fp8, block=(0, 0), name="weight_scale_inv", static="activation_scale"))], True,
     None),
    ("ModelOpt, FP8", "tiny-qwen3", {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"],
                                     "kv_cache_scheme": {"num_bits": 8, "type": "float"}},
     [(PROJ, with_args(fp8, block=(0, 0), shape=lambda n, k: [], static="input_scale"))], True, kv_scales),
    ("ModelOpt, FP8 in blocks", "tiny-qwen3_5", {"quant_method": "modelopt", "quant_algo": "FP8_PB_WO"},
     [(PROJ, with_args(fp8, block=(128, 128),
                       shape=lambda n, k: [-(-n // 128), 1, -(-k // 128), 1]))], False, None),
    ("ModelOpt, NVFP4", "tiny-qwen3-moe",
     {"quant_method": "modelopt", "quant_algo": "NVFP4", "group_size": 16, "ignore": ["lm_head"],
      "kv_cache_scheme": {"num_bits": 8, "type": "float"}, "producer": {"name": "modelopt"},
      "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "float", "group_size": 16},
                                    "targets": ["Linear"]}}},
     [(PROJ, with_args(nvfp4, modelopt=True))], False, kv_scales),
    ("ModelOpt, NVFP4, in a file of its own", "tiny-qwen3",
     ("hf_quant_config.json",
      {"producer": {"name": "modelopt", "version": "0.41.0"},
       "quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8", "group_size": 16,
                        "exclude_modules": ["lm_head"]}}),
     [(PROJ, with_args(nvfp4, modelopt=True))], False, None),
    ("GPTQ, in a file of its own", "tiny-qwen2",
     ("quantize_config.json", {k: v for k, v in GPTQ.items() if k != "quant_method"}),
     [(PROJ, with_args(gptq))], False, biases),
    ("ModelOpt, mixed", "tiny-qwen3_5",
     {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers":
      {"model.layers.0.mlp": {"quant_algo": "W4A16_NVFP4", "group_size": 16},
       "model.layers.3.self_attn": {"quant_algo": "FP8_PB_WO"}}},
     [(r"mlp\..*_proj\.weight$", with_args(nvfp4, modelopt=True)),
      (PROJ, with_args(fp8, block=(128, 128)))], False, None),
    ("llm-compressor, NVFP4", "tiny-qwen3_5",
     ct("nvfp4-pack-quantized", arg(4, "float", "tensor_group", 16),
        arg(4, "float", "tensor_group", 16, dynamic="local")),
     [(PROJ, with_args(nvfp4))], False, None),
    ("llm-compressor, MXFP4", "tiny-qwen3-moe", ct("mxfp4-pack-quantized", arg(4, "float", "group", 32)),
     [(PROJ, mxfp4)], False, None),
    ("llm-compressor, MXFP8", "tiny-qwen3", ct("mxfp8-quantized", arg(8, "float", "group", 32),
                                               arg(8, "float", "group", 32, dynamic=True)),
     [(PROJ, with_args(fp8, block=(1, 32), dtype="U8"))], True, None),
    ("llm-compressor, several groups", "tiny-qwen3",
     {**ct("mixed-precision", None), "config_groups": {
         "group_0": {"targets": ["re:.*v_proj"], "format": "pack-quantized",
                     "weights": arg(8, "int", "channel")},
         "group_1": {"targets": ["re:.*(q|o)_proj"], "format": "float-quantized",
                     "weights": arg(8, "float", "channel")},
         "group_2": {"targets": ["re:.*mlp.*"], "format": "pack-quantized",
                     "weights": arg(4, "int", "group", 32, symmetric=False)}}},
     [(r"v_proj\.weight$", with_args(packed, bits=8, group=0)), (r"k_proj", None),
      (r"[qo]_proj\.weight$", with_args(fp8, block=(1, 0), dtype="BF16")),
      (PROJ, with_args(packed, asym=True))], False, None),
]


def in_one(source):
    """A layer's experts in one tensor [e, n, k] each, as published."""
    out, experts = {}, {}
    for name, t in source.items():
        m = re.match(r"(.*\.experts)\.(\d+)\.(gate|up|down)_proj\.weight$", name)
        if m:
            experts.setdefault((m[1], "down" if m[3] == "down" else "gate_up"), []).append(
                ((int(m[2]), m[3] != "gate"), t))
        else:
            out[name] = t
    for (prefix, part), rows in experts.items():
        rows.sort(key=lambda r: r[0])
        per = 1 if part == "down" else 2
        n, k = rows[0][1][1]
        out[f"{prefix}.{part}_proj"] = ("BF16", [len(rows) // per, per * n, k],
                                        b"".join(t[2] for _, t in rows))
    return out


FUSED = [
    ("Qwen3.5's FP8, experts in one tensor", FP8,
     with_args(fp8, block=(128, 128), name="weight_scale_inv"), True),
    ("the same, blocks that experts do not fill", {**FP8, "weight_block_size": [48, 48]},
     with_args(fp8, block=(48, 48), name="weight_scale_inv"), True),
    ("the same, one scale for each expert", {"quant_method": "fp8", "activation_scheme": "static"},
     with_args(fp8, block=(0, 0), name="weight_scale_inv", static="activation_scale"), True),
    ("FP8 experts in one tensor, weights only",
     ct("float-quantized", {**arg(8, "float", "block"), "block_structure": [48, 48]}),
     with_args(fp8, block=(48, 48)), False),
    ("INT8 experts in one tensor", ct("int-quantized", arg(8, "int", "channel")), ints, False),
    ("INT4 experts in one tensor, with zero points",
     ct("pack-quantized", arg(4, "int", "group", 32, symmetric=False)), with_args(packed, asym=True), False),
    ("NVFP4 experts in one tensor", ct("nvfp4-pack-quantized", arg(4, "float", "tensor_group", 16)), nvfp4,
     False),
]


def start(folder, ids, *args):
    return subprocess.Popen([PERPLEXITY, "--device", "sim", "--json", "--ids", *args, folder, ids],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def result(p):
    """A perplexity, or what the tool said instead."""
    out, err = p.communicate(timeout=300)
    return json.loads(out)["perplexity"] if p.returncode == 0 else err.decode()


def perplexity(folder, ids, *args):
    return result(start(folder, ids, *args))


def write_ids(tmp, folder):
    path = os.path.join(tmp, "ids.json")
    write_json(max(read_json(folder, "expected", "prompt_ids.json"), key=len), path)
    return path


def write_quantised(folder, tensors, config, quant):
    """quant: quantization_config, or the name and contents of a file beside a config.json without one."""
    if isinstance(quant, dict):
        checkpoint.write(folder, tensors, {**config, "quantization_config": quant})
        return
    checkpoint.write(folder, tensors, config)
    write_json(quant[1], folder, quant[0])


def compare(tmp, name, number, ids, quantised, plain, config, quant, activations):
    a, b = (os.path.join(tmp, f"{number}-{x}") for x in "qp")
    write_quantised(a, quantised, config, quant)
    checkpoint.write(b, plain, config)
    both = start(b, ids), start(a, ids, "--profile", "m890")
    want, got = map(result, both)
    if isinstance(want, str) or isinstance(got, str):
        ok(False, name, (want, got))
        return
    # Of random models the mean of -ln p is large, and so is what activations do to it. Columns in another order
    # are summed in another order.
    near = {False: 1e-12, True: 0.01 * math.log(want), "order": 4e-4 * math.log(want)}[activations]
    off = abs(math.log(got / want))
    ok(off < near and (not activations or off > 0), f"{name}: {got}, the same numbers in F32 {want}", near)


def make(source, rules):
    """The checkpoint as the rules say, and its numbers in F32."""
    quantised, plain = {}, {}
    for name, t in source.items():
        form = next((f for pattern, f in rules if re.search(pattern, name)), None)
        if not form or len(t[1]) != 2:
            quantised[name] = plain[name] = t
            continue
        tensors, out = form(numbers(t))
        plain[name] = ("F32", t[1], encode(out, "F32"))
        for suffix, tensor in tensors.items():
            quantised[name[:-len("weight")] + suffix] = tensor
    return quantised, plain


def whole_models(tmp):
    for number, (name, model, quant, rules, activations, more) in enumerate(CASES):
        if ONLY not in name or number % share.N:
            continue
        folder = os.path.join(MODELS, model)
        source, config = checkpoint.read_tensors(folder), read_json(folder, "config.json")
        if "tied" in name:
            # A head that differs from the embedding, once it is quantised.
            source["lm_head.weight"] = source["model.embed_tokens.weight"]
        quantised, plain = make(source, rules)
        if more:
            more(quantised, source)
        compare(tmp, name, number, write_ids(tmp, folder), quantised, plain, config, quant, activations)


def fused_experts(tmp):
    folder = os.path.join(MODELS, "tiny-qwen3_5-moe")
    source, config = checkpoint.read_tensors(folder), read_json(folder, "config.json")
    source = in_one(source)
    for number, (name, quant, form, activations) in enumerate(FUSED):
        if ONLY not in name or number % share.N:
            continue
        quantised, plain = {}, {}
        for tensor, t in source.items():
            if len(t[1]) != 3 or "experts" not in tensor:
                quantised[tensor] = plain[tensor] = t
                continue
            parts, out = fused(form)(numbers(t))
            plain[tensor] = ("F32", t[1], encode(out, "F32"))
            for suffix, part in parts.items():
                if suffix != "weight_shape":
                    quantised[tensor + re.sub("^weight|^(?!weight)", lambda m: "" if m[0] else "_", suffix)] = part
        compare(tmp, name, f"f{number}", write_ids(tmp, folder), quantised, plain, config, quant,
                activations)


def refused(tmp):
    """What would be read wrongly is told by name."""
    folder = os.path.join(MODELS, "tiny-qwen2")
    source, config = checkpoint.read_tensors(folder), read_json(folder, "config.json")
    ids = write_ids(tmp, folder)
    tensors, _ = make(source, [(PROJ, with_args(gptq))])
    bias = "model.layers.1.mlp.down_proj.bias"
    wrong = {**tensors, bias: ("F16", [128], encode([0.0] * 127 + [0.5], "F16"))}
    stray = {**tensors, "model.layers.1.mlp.other.bias": ("F16", [128], bytes(256))}
    cases = [("a bias that is no zero", wrong, GPTQ, [bias]),
             ("a bias of nothing", stray, GPTQ, ["mlp.other.bias"]),
             ("a file without its object", tensors, ("hf_quant_config.json", {"quantization": 4}),
              ["hf_quant_config.json", "quantization"]),
             ("an algorithm that nobody knows", tensors,
              ("hf_quant_config.json", {"quantization": {"quant_algo": "W4A8_AWQ"}}),
              ["quantization.quant_algo", "W4A8_AWQ"]),
             ("a file that is no JSON object", tensors, ("quantize_config.json", [4]), ["quantize_config.json"]),
             ("bits that the tensors do not have", tensors, {**GPTQ, "bits": 8}, ["qweight", "shape"]),
             ("plain matrices alone", source, GPTQ, ["r6", "quantization_config", "all are plain"]),
             ("the same with a file beside the configuration", source, ("quantize_config.json", GPTQ), ["all are plain"])]
    for number, (name, t, quant, said) in enumerate(cases):
        path = os.path.join(tmp, f"r{number}")
        write_quantised(path, t, config, quant)
        got = perplexity(path, ids)
        ok(isinstance(got, str) and got.count("\n") == 1 and all(w in got for w in said),
           f"{name} is an error", got)


def main():
    with tempfile.TemporaryDirectory() as tmp:
        folder = os.path.join(MODELS, "tiny-qwen2")
        said = perplexity(folder, write_ids(tmp, folder))
        if isinstance(said, str) and "firmware" in said:
            ok(True, "runs on sim # SKIP no firmware image: " + said.strip())
            return done()
        whole_models(tmp)
        fused_experts(tmp)
        refused(tmp)
    return done()


sys.exit(main())
