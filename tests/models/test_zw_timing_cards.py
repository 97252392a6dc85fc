#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""zw-run --timing on several cards: when steps begin where, sums over the cards, how many are needed, what is refused.

usage: test_zw_timing_cards.py ZW_RUN MODELS    (TAP on standard output; skipped without a firmware image)
"""

import json
import os
import sys

sys.dont_write_bytecode = True
from tap import ok  # noqa: E402
from test_zw_timing import BIG, MODELS, TINY, TMP, run, run_parts, same, stats  # noqa: E402


def jobs_of_cards(path):
    """Of a trace: [(start, end)] of each card's jobs."""
    with open(path) as f:
        events = json.load(f)["traceEvents"]
    cards = {e["pid"]: e["args"]["name"] for e in events if e["ph"] == "M" and e["name"] == "process_name"}
    tracks = {e["tid"]: cards[e["pid"]].split(":")[0] for e in events
              if e["ph"] == "M" and e["name"] == "thread_name" and e["args"]["name"].endswith(": jobs")}
    out = {}
    for e in events:
        if e["ph"] in "Xi" and e["tid"] in tracks:
            out.setdefault(tracks[e["tid"]], []).append((e["args"]["start_ps"], e["args"]["end_ps"]))
    return [out[f"card {k}"] for k in range(len(out))], events


def pipeline():
    """A step begins when the card before has ended it and the card has ended the one before; tokens go round."""
    trace = os.path.join(TMP, "cards.json")
    for model, cards, groups, batch in ((TINY, 3, 2, 2), (os.path.join(MODELS, "tiny-qwen3-next"), 2, 3, 5)):
        s, text = stats("--timing", model, "--prompt-tokens", "100", "--chunk", "64", "-n", "6", "--batch", str(batch), "--cards",
                        str(cards), "--micro-batches", str(groups), "--trace", trace)
        jobs, events = jobs_of_cards(trace)
        name, prompts = f"{os.path.basename(model)} on {cards}", 2 * batch
        ok(len(jobs) == cards and [len(j) for j in jobs] == [prompts + 5 * groups] * cards, f"{name}: a job of each step on each card",
           [len(j) for j in jobs])
        zero, wrong = jobs[0][0][0], []
        prompt_end = jobs[-1][prompts - 1][1]
        for i in range(len(jobs[0])):
            ready = zero
            if i >= prompts:
                ready = prompt_end if i < prompts + groups else jobs[-1][i - groups][1]
            for k in range(cards):
                want = max(ready, jobs[k][i - 1][1] if i else zero)
                if jobs[k][i][0] != want:
                    wrong.append((k, i, jobs[k][i], want))
                ready = jobs[k][i][1]
        ok(not wrong, f"{name}: when steps begin", wrong[:4])
        ok(s["prefill"]["sim_ps"] == prompt_end - zero and s["decode"]["sim_ps"] == jobs[-1][-1][1] - prompt_end
           and round(s["timing"]["first_token_s"] * 1e12) == jobs[-1][1][1] - zero, f"{name}: the phases and the first token")
        worked = [sum(e - b for b, e in j[prompts:]) for j in jobs]
        ok([round(c["decode"]["worked_s"] * 1e12) for c in s["cards"]] == worked, f"{name}: how long each card works")
        ok(s["timing"]["cards"] == cards and s["timing"]["micro_batches"] == groups
           and s["prefill"]["tokens"] == 100 * batch and s["decode"]["tokens"] == 5 * batch, f"{name}: tokens are counted once")
        for key in ("hbm_read_bytes", "sys_read_bytes", "packets", "energy_j"):
            for phase in ("prefill", "decode"):
                total = sum(c[phase][key] for c in s["cards"])
                ok(abs(total - s[phase][key]) <= 1e-9 * total, f"{name}: {phase}: {key} of all cards", (total, s[phase][key]))
        starts, ends = (sorted(e["id"] for e in events if e["ph"] == ph) for ph in "sf")
        ok(starts == ends and len(set(starts)) == len(starts) == 2 * sum(map(len, jobs)), f"{name}: flows of a trace")
        begins = {}
        for e in events:
            if e["ph"] == "X":
                begins.setdefault(e["tid"], []).append((e["ts"], e["dur"]))
        ok(all(a[0] + a[1] <= b[0] + 1e-6 for t in begins.values() for a, b in zip(t, t[1:])), f"{name}: slices of a track")
        ok(f"{cards} cards, {groups} groups" in text and "card 1: layers" in text, f"{name}: what it says", text)


def cards():
    """As many as have room for it."""
    args = ["--timing", "--shape", "qwen3-235b-a22b", "--prompt-tokens", "100", "-n", "4", "--quiet"]
    s, _ = stats(*args)
    layers = [(c["first_layer"], c["layers"]) for c in s["cards"]]
    ok(layers == [(0, 19), (19, 19), (38, 19), (57, 19), (76, 18)], "235B: layers of five cards", layers)
    ok(all(c["weight_bytes"] + c["context_bytes"] < 96 << 30 for c in s["cards"]) and s["load"]["parameters"] == 235093634560
       and s["timing"]["kv_bytes"] == sum(c["kv_bytes"] for c in s["cards"]), "235B: what is where", s["cards"])
    # of one text only one card works at a time: the time is that of one card with room for it, but for rows that cross
    one, _ = stats(*args, "--profile", BIG)
    many, _ = stats(*args, "--profile", BIG, "--cards", "4")
    worked = sum(c["decode"]["worked_s"] for c in many["cards"])
    ok(abs(worked / many["decode"]["sim_s"] - 1) < 1e-9 and 0.95 < many["decode"]["sim_s"] / one["decode"]["sim_s"] < 1.05,
       "one text: no card is faster than one", (one["decode"]["sim_s"], many["decode"]["sim_s"], worked))
    again, _ = stats(*args, "--profile", BIG, "--cards", "4")
    ok(not same(many, again), "the same every time")
    alone, _ = stats(*args, "--profile", BIG, "--cards", "1")
    ok(not same(one, alone) and "cards" not in one and one["timing"]["cards"] == 1, "one card")
    few, _ = stats(*args, "--batch", "5", "--micro-batches", "1")
    most, _ = stats(*args, "--batch", "5")
    ok(most["timing"]["micro_batches"] == 5 and most["decode"]["sim_s"] < 0.6 * few["decode"]["sim_s"],
       "micro-batches keep cards busy", (few["decode"]["sim_s"], most["decode"]["sim_s"]))
    base = ["--timing", "--shape", "qwen3-235b-a22b", "--prompt-tokens", "3"]
    tiny = ["--timing", TINY, "--prompt-tokens", "4"]
    for more, word, status in [
            ([*base, "--cards", "2"], "5 are needed", 1), ([*base, "--cards", "1"], "5 are needed", 1),
            ([*base, "--draft", "ngram", "--draft-accept", "0.5"], "needs 5 cards, and --draft", 1),
            ([*base, "--trace", os.path.join(TMP, "c.et")], "needs 5 cards, and --trace of a Chakra trace", 1),
            ([*tiny, "--cards", "4"], "the model has 3 layers", 1),
            ([*tiny, "--cards", "0"], "bad value", 2),
            ([*tiny, "--cards", "2", "--micro-batches", "2"], "more --micro-batches than sequences", 2),
            ([*tiny, "--cards", "2", "--draft", "ngram", "--draft-accept", "0.5"], "--draft does not go with several", 2),
            ([*tiny, "--cards", "2", "--routing", "file:x"], "--routing file: does not go with several", 2),
            ([*tiny, "--cards", "2", "--trace", "a.et"], "Chakra", 2),
            (["--model", TINY, "--prompt", "a", "--cards", "2"], "--cards needs --timing", 2),
            (["--model", TINY, "--prompt", "a", "--micro-batches", "2"], "--micro-batches needs --timing", 2),
            ([*tiny, "--ctx", "40000000", "--batch", "200"], "a layer on each of 3 cards", 1)]:
        p = run(*more)
        text = p.stderr.decode()
        ok(p.returncode == status and word in text.splitlines()[-1], "refused: " + " ".join(more[-3:]).replace(TMP, ""),
           (p.returncode, text))


if __name__ == "__main__":
    sys.exit(run_parts(pipeline, cards))
