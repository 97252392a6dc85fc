#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""zw-run --timing --agent-calls: sums, times of the steps it leaves out, what it costs, what is refused.

usage: test_zw_timing_agent.py ZW_RUN MODELS    (TAP on standard output; skipped without a firmware image)
"""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
from tap import done, ok  # noqa: E402

ZW_RUN, MODELS = sys.argv[1:3]
TMP = tempfile.mkdtemp()
TINY = os.path.join(MODELS, "tiny-qwen3")
PROMPT, CALLS, ANSWER, RESULT, LATENCY = 30, 3, 20, 50, 1.5
FIXED = ["--agent-calls", str(CALLS), "--answer-tokens", f"fixed:{ANSWER}", "--result-tokens",
         f"fixed:{RESULT}", "--tool-latency", f"fixed:{LATENCY}"]


def run(*args):
    return subprocess.run([ZW_RUN, "--timing", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=300)


def agent(*args):
    """Statistics of a run, its phases, and what it said."""
    out, phases = os.path.join(TMP, "stats.json"), os.path.join(TMP, "phases.csv")
    p = run(*args, "--prompt-tokens", str(PROMPT), "--stats-json", out, "--agent-csv", phases)
    if p.returncode:
        raise RuntimeError(p.stderr.decode())
    with open(out) as f, open(phases) as g:
        return json.load(f), list(csv.DictReader(g)), p.stderr.decode()


def near(a, b, of=1e-9):
    return abs(a - b) <= of * max(abs(a), abs(b))


def sums(*more):
    s, phases, text = agent(TINY, *FIXED, "--every-step", *more)
    ok([p["phase"] for p in phases] == ["prefill", "decode", "tools"] * CALLS + ["prefill", "decode"],
       "an answer, the tool, its result, and again", phases)
    ok(s["prefill"]["tokens"] == PROMPT + CALLS * (RESULT + 1), "tokens that are prefilled", s["prefill"])
    ok(s["decode"]["tokens"] == (CALLS + 1) * (ANSWER - 1) == s["steps_run"] and
       s["generated_tokens"] == (CALLS + 1) * ANSWER, "tokens that are generated", s)
    ok(s["tools"]["sim_s"] == CALLS * LATENCY and s["tools"]["tokens"] == 0, "time of the tools", s["tools"])
    at = 0
    for p in phases:
        ok(int(p["start_ps"]) == at, "each phase begins where the one before it ends", p)
        at += int(p["sim_ps"])
    total = sum(s[k]["sim_ps"] for k in ("prefill", "decode", "tools"))
    ok(total == at and near(s["sim_s"], at * 1e-12), "the whole is the sum of its phases", (total, at))
    ok(s["longest_context"] == PROMPT + CALLS * (ANSWER + RESULT) + ANSWER - 1, "length of the text",
       s["longest_context"])
    ok(s["reused_tokens"] == sum(PROMPT + i * (ANSWER + RESULT) + ANSWER - 1 for i in range(CALLS)),
       "what the cache had", s["reused_tokens"])
    joules = sum(s[k]["energy_j"] for k in ("prefill", "decode", "tools"))
    idle = s["tools"]["energy_idle_j"] / s["tools"]["sim_s"]
    ok(near(joules, s["energy_j"]) and s["tools"]["energy_j"] == s["tools"]["energy_idle_j"] and idle > 1 and
       s["decode"]["energy_j"] > s["decode"]["energy_idle_j"] > 0, "energy, idle power while tools work", s)
    plain = as_without_calls(phases, *more)
    ok(near(idle, plain["decode"]["energy_idle_j"] / plain["decode"]["sim_s"]) and s["cards"] == plain["timing"]["cards"],
       "idle power is that of all cards", (idle, plain))
    for key, want in (("length_s", s["sim_s"]), ("energy_j", joules), ("decode_tokens", s["decode"]["tokens"]),
                      ("prefill_tokens", s["prefill"]["tokens"]),
                      ("hbm_bytes", s["prefill"]["hbm_bytes"] + s["decode"]["hbm_bytes"])):
        ok(near(sum(v[key] for v in s["utilisation"]), want, 1e-6), f"intervals add up: {key}")
    ok(all(near(v["prefill"] + v["decode"] + v["tools"], 1, 1e-6) for v in s["utilisation"]),
       "each interval is used up")
    for word in ("calls in", "J idle", "tok/s", "while tools worked"):
        ok(word.replace("J idle", "idle") in text, f"says {word}", text)
    return s


def as_without_calls(phases, *more):
    """The first answer is a run without tools: to the picosecond."""
    out = os.path.join(TMP, "plain.json")
    run(TINY, "--prompt-tokens", str(PROMPT), "-n", str(ANSWER), "--stats-json", out, *more)
    with open(out) as f:
        s = json.load(f)
    ok(s["prefill"]["sim_ps"] == int(phases[0]["sim_ps"]), "a prompt is a prompt", (s["prefill"], phases[0]))
    ok(s["decode"]["sim_ps"] == int(phases[1]["sim_ps"]), "an answer is an answer", (s["decode"], phases[1]))
    return s


def cards():
    """On several cards: the same sums, the time of all of them together; back to the prompt, with a state that cannot go back."""
    one, many = sums(), sums("--cards", "3")
    # rows cross twice, packets of the layers are the same
    ok(one["cards"] == 1 and many["cards"] == 3 and 1 < many["decode"]["sim_s"] / one["decode"]["sim_s"] < 1.5,
       "one text is not faster on several cards", (one["decode"], many["decode"]))
    for name in ("tiny-qwen3", "tiny-qwen3_5"):
        model = os.path.join(MODELS, name)
        s, phases, text = agent(model, *FIXED, "--cards", "2", "--ctx", "120", "--every-step", "--chunk", "16")
        back = [p for p in phases if p["phase"] == "prefill" and int(p["context"]) == PROMPT + RESULT + 1]
        ok(s["restarts"] == 2 and len(back) == 2 and s["longest_context"] <= 120, f"{name}: back to the prompt on all cards", s)
        # what follows the prompt takes what it took before, to the picosecond
        ok(back[0]["sim_ps"] == back[1]["sim_ps"], f"{name}: what is computed behind it", back)
        ok("device: 2 x sim" in text, f"{name}: says how many", text)
    s, _, _ = agent(TINY, *FIXED, "--cards", "2", "--price", "35064", "--years", "1")
    ok(near(s["cost"]["total"], 2 * 4 * s["sim_s"] / 3600), "the price of two cards", s["cost"])
    # as many as it needs
    s, _, _ = agent("--shape", "qwen3-235b-a22b", "--agent-calls", "2", "--answer-tokens", "fixed:300", "--result-tokens", "fixed:100",
                    "--tool-latency", "fixed:1")
    ok(s["cards"] == 5 and s["steps_run"] + s["steps_interpolated"] == 3 * 299 and s["steps_interpolated"] > 700, "as many as it needs", s)


def samples():
    """Lines between steps: close to running them all, and far fewer."""
    for shape, limit in (("qwen3-0.6b", 2e-3), ("qwen3-next-80b-a3b", 2e-3)):
        args = ["--shape", shape, "--profile", BIG, "--agent-calls", "1", "--answer-tokens", "fixed:700",
                "--result-tokens", "fixed:900", "--tool-latency", "fixed:0"]
        some, _, text = agent(*args)
        every, _, _ = agent(*args, "--every-step")
        ok(every["steps_run"] == 1398 and not every["steps_interpolated"], f"{shape}: all steps", every)
        ok(some["steps_run"] < 20 and some["steps_run"] + some["steps_interpolated"] == 1398,
           f"{shape}: few steps", some)
        for key in ("sim_s", "energy_j", "hbm_bytes", "tokens"):
            ok(near(some["decode"][key], every["decode"][key], limit), f"{shape}: {key} of an answer",
               (some["decode"][key], every["decode"][key]))
        ok(some["prefill"]["tokens"] == every["prefill"]["tokens"] and
           near(some["prefill"]["sim_s"], every["prefill"]["sim_s"], limit), f"{shape}: prompts",
           (some["prefill"], every["prefill"]))
        ok("lie on lines between" in text, f"{shape}: says so", text)


def draws():
    args = [TINY, "--agent-calls", "40", "--answer-tokens", "exp:9", "--result-tokens", "lognormal:30:1",
            "--tool-latency", "lognormal:10:0.5"]
    a, b, c = (agent(*args, "--seed", n)[0] for n in "112")
    ok(a == b != c, "the seed is all there is of chance")
    ok(a["tools"]["sim_s"] / 40 > 5 and a["tools"]["sim_s"] / 40 < 20, "latencies have their mean", a["tools"])


def limits():
    s, phases, text = agent(TINY, *FIXED, "--ctx", "180")
    ok(s["restarts"] == 1 and s["longest_context"] <= 180 and s["context"] == 180, "back to the prompt where there is no room",
       s)
    ok("back to the prompt once" in text, "says how often", text)
    s, _, text = agent(TINY, *FIXED, "--ctx", "120")
    ok(s["restarts"] == 2 and "back to the prompt 2 times" in text, "more often in less room", s)
    at = next(i for i, p in enumerate(phases) if i and p["phase"] == "prefill" and
              int(p["context"]) == PROMPT + RESULT + 1)
    ok(at > 0, "the prompt is kept, the rest is not", phases)
    p = run(TINY, *FIXED, "--prompt-tokens", str(PROMPT), "--ctx", "90")
    ok(p.returncode == 1 and b"call 2" in p.stderr and b"--ctx" in p.stderr, "a turn that never fits", p.stderr)


def cost():
    s, _, text = agent(TINY, *FIXED, "--price", "35064", "--power-price", "3.6", "--years", "1")
    hours, kwh = s["sim_s"] / 3600, s["energy_j"] / 3.6e6
    ok(near(s["cost"]["total"], 4 * hours + 3.6 * kwh), "price of the card and of its energy", s["cost"])
    ok(near(s["cost"]["per_million_generated_tokens"], s["cost"]["total"] * 1e6 / s["generated_tokens"]),
       "of a million tokens", s["cost"])
    ok("of a million generated tokens" in text, "says so", text)
    ok("cost" not in agent(TINY, *FIXED)[0], "no price, no cost")


def interrupted():
    out = os.path.join(TMP, "interrupted.json")
    p = subprocess.Popen([ZW_RUN, "--timing", "--shape", "qwen3-8b", "--prompt-tokens", "9", "--agent-calls",
                          "100000", "--answer-tokens", "fixed:99", "--tool-latency", "fixed:1", "--ctx", "50000",
                          "--stats-json", out], stderr=subprocess.PIPE)
    note = p.stderr.readline()  # how many positions the model was made for: it has begun
    p.send_signal(signal.SIGINT)
    _, err = p.communicate(timeout=120)
    ok(p.returncode == 130 and b"40960" in note, "an end by Ctrl-C is 130", (p.returncode, note, err))
    with open(out) as f:
        s = json.load(f)
    ok(s["finish"] == "interrupted" and s["calls"] < 100000 and b"interrupted" in err, "says what there is of it", s)


def refused():
    base = [TINY, "--prompt-tokens", "4"]
    for args, text in (
            (["--agent-calls", "0"], b"--agent-calls"),
            (["--agent-calls", "1000001"], b"--agent-calls"),
            (["--answer-tokens", "fixed:3"], b"--answer-tokens needs --agent-calls"),
            (["--price", "3"], b"--price needs --agent-calls"),
            (["--agent-calls", "2", "-n", "3"], b"--max-tokens does not go with --agent-calls"),
            (["--agent-calls", "2", "--batch", "2"], b"--batch does not go with --agent-calls"),
            (["--agent-calls", "2", "--answer-tokens", "uniform:3"], b"--answer-tokens"),
            (["--agent-calls", "2", "--answer-tokens", "fixed:"], b"--answer-tokens"),
            (["--agent-calls", "2", "--result-tokens", "lognormal:3"], b"--result-tokens"),
            (["--agent-calls", "2", "--result-tokens", "lognormal:3:5"], b"--result-tokens"),
            (["--agent-calls", "2", "--tool-latency", "exp:nan"], b"--tool-latency"),
            (["--agent-calls", "2", "--tool-latency", "exp:-1"], b"--tool-latency"),
            (["--agent-calls", "2", "--years", "0"], b"--years"),
            (["--agent-calls", "2", "--power-price", "x"], b"--power-price")):
        p = run(*base, *args)
        ok(p.returncode == 2 and text in p.stderr, " ".join(args), p.stderr)
    p = subprocess.run([ZW_RUN, "--agent-calls", "2", "--prompt", "x", "--model", TINY], stderr=subprocess.PIPE, timeout=60)
    ok(p.returncode == 2 and b"--agent-calls needs --timing" in p.stderr, "without --timing", p.stderr)
    for option in ("--stats-json", "--agent-csv"):
        p = run(*base, *FIXED, option, "/nowhere/x")
        ok(p.returncode == 1 and b"/nowhere/x" in p.stderr, f"{option} that cannot be written", p.stderr)


BIG = os.path.join(TMP, "big.profile")


def main():
    if not os.environ.get("ZW_FIRMWARE") and run(TINY, "--prompt-tokens", "1", "-n", "1").returncode:
        print("1..0 # SKIP no firmware image: make firmware")
        return 0
    with open(BIG, "w") as f:
        f.write("base = m890\nhbm_bytes = 1024Gi\n")
    try:
        cards()
        samples()
        draws()
        limits()
        cost()
        interrupted()
        refused()
    finally:
        shutil.rmtree(TMP)
    return done()


if __name__ == "__main__":
    sys.exit(main())
