#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""zw-run --timing: what it prints is what a run that computes prints, and it needs next to nothing for it.

usage: test_zw_timing.py ZW_RUN MODELS    (TAP on standard output; skipped without a firmware image)
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
from tap import done, ok  # noqa: E402

ZW_RUN, MODELS = sys.argv[1:3]
TMP = tempfile.mkdtemp()
TINY = os.path.join(MODELS, "tiny-qwen3")
# Ids of prompts; a large card that does not exist.
IDS = os.path.join(TMP, "ids.json")
BIG = os.path.join(TMP, "big.profile")
NOT_TIMES = {"wall_s", "tokens_per_s"}


def run(*args, **kw):
    return subprocess.run([ZW_RUN, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=300, **kw)


def stats(*args):
    """Statistics of a run, and what it said."""
    out = os.path.join(TMP, "stats.json")
    p = run(*args, "--stats-json", out)
    if p.returncode:
        raise RuntimeError(p.stderr.decode())
    with open(out) as f:
        return json.load(f), p.stderr.decode()


def config_of(model, **changes):
    """A folder with the configuration alone."""
    folder = os.path.join(TMP, "config-" + os.path.basename(model))
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(model, "config.json")) as f:
        config = json.load(f)
    config.update(changes)
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(config, f)
    return folder


def chunked(model, size, local):
    """The model with Dual Chunk Attention."""
    folder = os.path.join(TMP, "chunks-" + os.path.basename(model))
    shutil.copytree(model, folder)
    path = os.path.join(folder, "config.json")
    with open(path) as f:
        config = json.load(f)
    config["dual_chunk_attention_config"] = {"chunk_size": size, "local_size": local}
    os.remove(path)
    with open(path, "w") as f:
        json.dump(config, f)
    return folder


def same(a, b):
    """Phases whose figures of simulated time and bytes differ."""
    return [(phase, key, a[phase][key], b[phase][key]) for phase in ("prefill", "decode")
            for key in a[phase] if key not in NOT_TIMES and a[phase][key] != b[phase][key]]


def equal():
    """Computing and timing alone, with weights and with the configuration alone: equal to the picosecond."""
    for name in ("tiny-qwen2", "tiny-qwen3", "tiny-qwen3-moe", "tiny-qwen3-next", "tiny-qwen3_5",
                 "tiny-qwen3_5-moe"):
        model, routes = os.path.join(MODELS, name), os.path.join(TMP, "routes.json")
        common = ["--prompt-ids", IDS, "-n", "9", "--chunk", "48", "--quiet"]
        a, _ = stats("--device", "sim", "--model", model, *common, "--temp", "0", "--ignore-eos",
                     "--record-routing", routes)
        with open(routes) as f:
            recorded = json.load(f)
        routing = ["--routing", "file:" + routes] if recorded else []
        b, _ = stats("--timing", model, *common, *routing)
        ok(not same(a, b) and a["decode"]["sim_ps"] > 0, f"{name}: as computed", same(a, b))
        c, _ = stats("--timing", config_of(model), *common, *routing)
        ok(not same(a, c), f"{name}: of the configuration alone", same(a, c))
        if recorded and name == "tiny-qwen3-moe":
            d, _ = stats("--timing", model, *common, "--routing", "zipf:8")
            ok(d["prefill"]["sim_ps"] != a["prefill"]["sim_ps"],
               f"{name}: routing is a matter of time")


def sparse():
    """Lists that nobody chose are as long as chosen ones: of blocks nearly to the byte, of distances as far as these lie together.
    Where they name everything all is equal to the picosecond."""
    ids = os.path.join(TMP, "long.json")
    with open(ids, "w") as f:
        json.dump([(37 * i + 5) % 500 for i in range(1500)], f)
    # Dual Chunk Attention: chunks of 250 positions, which begin anywhere in blocks and groups
    chunks = chunked(TINY, 320, 70)
    for model in (TINY, chunks):
        for kind, least, most in (("none", 1, 1), ("blocks,keep=60", 1, 1), ("slash,vertical=1600,slash=1600", 1, 1),
                                  ("blocks,keep=6", 0.999, 1.001), ("slash,vertical=60,slash=200", 0.97, 1.01)):
            common = ["--prompt-ids", ids, "-n", "4", "--chunk", "256", "--ctx", "1600", "--quiet", "--sparse", kind]
            a, _ = stats("--device", "sim", "--model", model, *common, "--temp", "0", "--ignore-eos")
            b, _ = stats("--timing", model, *common)
            name = kind + (", chunks" if model == chunks else "")
            if least == most:
                ok(not same(a, b), f"{name}: as computed", same(a, b))
            for phase in ("prefill", "decode"):
                ok(least <= b[phase]["sim_ps"] / a[phase]["sim_ps"] <= most, f"{name}: {phase} as computed",
                   (a[phase]["sim_ps"], b[phase]["sim_ps"]))
            ok(a["prefill"]["sparse_tokens"] == b["prefill"]["sparse_tokens"] == (0 if kind == "none" else 1472), f"{name}: tokens")
    # nothing else than the attention differs
    base = ["--timing", "--shape", "qwen3-8b", "--prompt-tokens", "16384", "-n", "1", "--chunk", "2048", "--quiet", "--sparse"]
    dense, few, some = (stats(*base, kind)[0]["prefill"]["sim_ps"] for kind in ("none", "blocks,keep=20", "blocks,keep=100"))
    ok(few < some < dense, "the fewer keys, the faster", (few, some, dense))


def drafts():
    """Steps of a run with drafts, recorded: equal to the picosecond. Drawn: as many right as were asked for."""
    agent, recorded, routes, ids = (os.path.join(*p) for p in ((MODELS, "qwen3next-agent"), (TMP, "drafts.json"),
                                                             (TMP, "routes.json"), (TMP, "repeats.json")))
    with open(ids, "w") as f:
        json.dump([i % 7 + 5 for i in range(150)], f)
    for name, kind in ((agent, "mtp"), (agent, "ngram"), (TINY, "ngram")):
        common = ["--prompt-ids", ids, "-n", "30", "--ctx", "300", "--chunk", "48", "--draft", kind, "--draft-tokens", "3",
                  "--quiet"]
        a, _ = stats("--device", "sim", "--model", name, *common, "--temp", "0", "--ignore-eos", "--record-drafts", recorded,
                     "--record-routing", routes)
        with open(routes) as f:
            routing = ["--routing", "file:" + routes] if json.load(f) else []
        config = config_of(name)
        if name == agent:
            shutil.copy(os.path.join(name, "tokenizer.json"), config)
        for model in (name, config):
            b, _ = stats("--timing", model, *common, "--draft-accept", "file:" + recorded, *routing)
            ok(not same(a, b) and a["draft"]["drafted_tokens"] == b["draft"]["drafted_tokens"] > 0
               and a["draft"]["accepted_tokens"] == b["draft"]["accepted_tokens"],
               f"{os.path.basename(name)}, {kind}: as computed{'' if model == name else ', of the configuration alone'}",
               (same(a, b), a.get("draft"), b.get("draft")))
    base = ["--timing", "--shape", "qwen3-8b", "--prompt-tokens", "100", "-n", "600", "--quiet"]
    plain, _ = stats(*base)
    times = {}
    for accept in ("0", "0.5", "0.9:0.3", "1"):
        s, _ = stats(*base, "--draft", "ngram", "--draft-tokens", "2", "--draft-accept", accept)
        d = s["draft"]
        times[accept] = s["decode"]["sim_ps"], d["accepted_tokens"] / d["drafted_tokens"]
    # of two drafts (p + p^2) / 2, and (0.9 + 0.9 * 0.3) / 2
    for accept, share in (("0", 0), ("0.5", 0.375), ("0.9:0.3", 0.585), ("1", 1)):
        ok(abs(times[accept][1] - share) < 0.05, f"{accept}: {share} of the drafts are right", times)
    ok(times["1"][0] < times["0.9:0.3"][0] < times["0.5"][0] < plain["decode"]["sim_ps"] < times["0"][0],
       "the more are right, the faster", (times, plain["decode"]["sim_ps"]))
    again, _ = stats(*base, "--draft", "ngram", "--draft-tokens", "2", "--draft-accept", "0.5")
    ok(again["decode"]["sim_ps"] == times["0.5"][0], "the same seed, the same steps")
    mtp, _ = stats("--timing", "--shape", "qwen3-next-80b-a3b", "--profile", BIG, "--prompt-tokens", "20", "-n", "20", "--draft",
                   "mtp", "--draft-accept", "0.8", "--quiet")
    none, _ = stats("--timing", "--shape", "qwen3-next-80b-a3b", "--profile", BIG, "--prompt-tokens", "20", "-n", "20", "--quiet")
    ok(mtp["load"]["parameters"] > none["load"]["parameters"] and mtp["draft"]["drafted_tokens"] > 0, "a shape with its MTP head",
       (mtp["load"], none["load"]))


def without():
    """Features of the chip are switches here, too."""
    base = ["--timing", "--shape", "qwen3-0.6b", "--prompt-tokens", "100", "-n", "4", "--quiet"]
    a, b = stats(*base)[0], stats(*base, "--without", "fused")[0]
    ok(b["decode"]["sim_ps"] > a["decode"]["sim_ps"] and b["prefill"]["sim_ps"] > a["prefill"]["sim_ps"], "--without fused")


def routing():
    """Drawn experts: as many as they should be, the same for the same seed."""
    base = ["--timing", "--shape", "qwen3-30b-a3b", "--prompt-tokens", "64", "-n", "3", "--quiet"]
    hbm = {}
    for kind in ("uniform", "zipf:1.2", "zipf:16"):
        s, _ = stats(*base, "--routing", kind)
        hbm[kind] = s["prefill"]["hbm_read_bytes"]
    ok(hbm["uniform"] > hbm["zipf:1.2"] > hbm["zipf:16"], "the more skewed, the fewer experts", hbm)
    # 48 layers; of 128 experts 512 draws hit 98.3 % and more: 8 of each row are distinct.
    expert = 3 * 2048 * 768 * 2 * 48
    experts = (hbm["uniform"] - stats(*base, "--routing", "zipf:16")[0]["prefill"]["hbm_read_bytes"]) / expert
    ok(60 < experts < 120, "uniform routing hits nearly all experts", experts)
    a, b, c = (stats(*base, "--seed", n)[0]["prefill"]["sim_ps"] for n in "112")
    ok(a == b != c, "the seed is the routing", (a, b, c))


def large():
    """A model of which the host has not the hundredth part of the memory."""
    args = ["--timing", "--shape", "qwen3-235b-a22b", "--profile", BIG, "--prompt-tokens", "300",
            "-n", "4", "--batch", "3"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    s, text = stats(*args)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    ok(s["load"]["parameters"] == 235093634560, "235B: all parameters", s["load"])
    ok(s["prefill"]["tokens"] == 900 and s["decode"]["tokens"] == 9, "235B: all tokens")
    ok(peak < max(before, 700 * 1024), "235B: host memory in MiB", peak / 1024)
    for word in ("first token: simulated", "J/token", "on the chip", "KV cache for 3 sequences"):
        ok(word in text, f"235B: says {word}", text)
    half, _ = stats(*args, "--weights", "fp8")
    quarter, _ = stats(*args, "--weights", "int4")
    sizes = [x["load"]["weight_bytes"] for x in (quarter, half, s)]
    ok(sizes[0] * 1.8 < sizes[1] and sizes[1] * 1.9 < sizes[2], "formats of weights", sizes)
    _, text = stats("--timing", "--shape", "Qwen3.7-Max", "--profile", BIG, "--prompt-tokens", "2",
                    "-n", "1", "--weights", "q4_k")
    ok("no size of it is public" in text and "qwen3.5-397b-a17b" in text, "what stands in is said", text)
    _, text = stats("--timing", "--shape", "qwen3-8b", "--prompt-tokens", "50000", "-n", "1", "--chunk",
                    "4096")
    ok("made for 40960 positions" in text, "more positions than it was made for", text)


def shapes():
    p = run("--timing", "--shape", "list")
    names = p.stdout.decode().split()
    ok(p.returncode == 0 and len(names) > 25 and "qwen3-next-80b-a3b" in names, "names of shapes", names)
    for name in names:
        s, _ = stats("--timing", "--shape", name, "--profile", BIG, "--prompt-tokens", "40", "-n", "2",
                     "--quiet")
        ok(s["decode"]["sim_ps"] > 0, f"{name} runs", s)


def refused():
    config = os.path.join(config_of(TINY), "config.json")
    few = os.path.join(TMP, "few.json")
    with open(few, "w") as f:
        f.write("[1, 200]")
    base = ["--timing", TINY, "--prompt-tokens", "4"]
    for args, word, status in [
            (["--timing", "--prompt-tokens", "4"], "MODEL and --shape", 2),
            ([*base, "--shape", "qwen3-8b"], "MODEL and --shape", 2),
            (["--timing", TINY], "--prompt-tokens and --prompt-ids", 2),
            ([*base, "--prompt-ids", IDS], "--prompt-tokens and --prompt-ids", 2),
            ([*base, "--chat"], "--chat does not go", 2),
            ([*base, "--sparse", "model"], "sparse", 1),
            ([*base, "--sparse", "blocks,keep=1"], "at least", 1),
            ([*base, "--draft", "ngram"], "--draft needs --draft-accept", 2),
            ([*base, "--draft-accept", "0.5"], "--draft-accept needs --draft", 2),
            ([*base, "--draft", "ngram", "--draft-accept", "1.01"], "bad value", 2),
            ([*base, "--draft", "ngram", "--draft-accept", "nan"], "bad value", 2),
            ([*base, "--draft", "ngram", "--draft-accept", "0.5:"], "bad value", 2),
            ([*base, "--draft", "ngram", "--draft-accept", "file:" + few], "more right than tried", 1),
            ([*base, "--draft", "ngram", "--draft-accept", "file:" + few + "x"], "few.jsonx", 1),
            ([*base, "--draft", "ngram", "--draft-accept", "0.5", "--batch", "2"], "does not go with --batch", 2),
            ([*base, "--draft", "ngram", "--draft-accept", "0.5", "--agent-calls", "2"], "does not go with --agent-calls", 2),
            ([*base, "--draft", "mtp", "--draft-accept", "0.5"], "no MTP head", 1),
            ([*base, "--record-drafts", few], "--record-drafts does not go", 2),
            ([*base, "--temp", "1"], "--temperature does not go", 2),
            ([*base, "--top-k", "5"], "--top-k does not go", 2),
            (["--model", TINY, "--prompt-ids", IDS, "--record-drafts", few], "--record-drafts needs --draft", 2),
            (["--model", TINY, "--prompt-ids", IDS, "--draft-accept", "0.5"], "--draft-accept needs --timing", 2),
            ([*base, "--routing", "zipf:x"], "bad value", 2),
            ([*base, "--routing", "zipf:-1"], "bad value", 2),
            ([*base, "--routing", "file:"], "bad value", 2),
            ([*base, "--batch", "0"], "bad value", 2),
            (["--timing", "--shape", "qwen9", "--prompt-tokens", "4"], "--shape list", 2),
            (["--model", TINY, "--prompt", "a", "--batch", "2"], "--batch needs --timing", 2),
            ([*base, "--weights", "q3"], "not bf16, fp8", 1),
            ([*base, "--routing", "file:" + few + "x"], "few.jsonx", 1),
            (["--timing", os.path.join(MODELS, "tiny-qwen3-moe"), "--prompt-tokens", "4", "--routing",
              "file:" + few], "expert 200", 1),
            ([*base, "--device", "drm"], "mode of the simulator", 1),
            (["--device", "sim", "--model", config, "--prompt-ids", IDS], "not a GGUF file", 1),
            (["--device", "sim", "--model", os.path.dirname(config), "--prompt-ids", IDS],
             "model.safetensors", 1),
            (["--timing", config_of(TINY, quantization_config={
                "quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm",
                "zero_point": True}), "--prompt-tokens", "4"], "cannot be made up", 1)]:
        p = run(*args)
        text = p.stderr.decode()
        ok(p.returncode == status and word in text.splitlines()[-1],
           "refused: " + " ".join(args[-3:]).replace(TMP, "").replace(MODELS, ""), (p.returncode, text))


def run_parts(*parts):
    """All of a test's parts, where there is a device to run them on; the exit status."""
    with open(IDS, "w") as f:
        json.dump([(37 * i + 5) % 500 for i in range(150)], f)
    with open(BIG, "w") as f:
        f.write("base = m890\nname = big\nhbm_bytes = 1024Gi\n")
    try:
        if b"no firmware image" in run("--timing", TINY, "--prompt-tokens", "4", "-n", "1").stderr:
            print("1..0 # SKIP no firmware image")
            return 0
        for part in parts:
            part()
    finally:
        shutil.rmtree(TMP)
    return done()


if __name__ == "__main__":
    sys.exit(run_parts(equal, sparse, drafts, without, routing, large, shapes, refused))
