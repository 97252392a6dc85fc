#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The contract of zw-run's command line, on the device model in the process.

usage: test_zw_run.py ZW_RUN MODELS    (TAP on standard output; skipped without a firmware image)
"""

import json
import os
import pty
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
from tap import done, ok  # noqa: E402

ZW_RUN, MODELS = sys.argv[1:3]
KDOC = os.path.join(MODELS, "qwen3-kdoc")
TINY = os.path.join(MODELS, "tiny-qwen3")
AGENT = os.path.join(MODELS, "qwen3next-agent")


def run(*args, stdin=None, **kw):
    return subprocess.run([ZW_RUN, *args], input=stdin, stdout=kw.pop("stdout", subprocess.PIPE),
                          stderr=subprocess.PIPE, timeout=300, **kw)


def sim(model, *args, **kw):
    return run("--device", "sim", "--model", model, *args, **kw)


def one_line(p):
    text = p.stderr.decode()
    return text.startswith("zw-run: ") and text.count("\n") == 1


def usage_errors():
    cases = [
        [], ["--model", KDOC], ["--prompt", "a"],
        ["--model", KDOC, "--prompt", "a", "--prompt-ids", "x"],
        ["--model", KDOC, "--prompt", "a", "--prompt-file", "x"],
        ["--model", KDOC, "--prompt", "a", "extra"],
        ["--model", KDOC, "--prompt", "a", "--bogus"],
        ["--model", KDOC, "--prompt"],
        ["--model", "", "--prompt", "a"],
    ]
    for option, values in {
        "--device": ["gpu", "drm:", "drm:x", "simulator", ""],
        "--max-tokens": ["-1", "x", "", "1.5", "99999999999"],
        "--temperature": ["-1", "nan", "inf", "hot", ""],
        "--top-k": ["-1", "1.5", "x"],
        "--top-p": ["1.1", "-0.1", "nan"],
        "--min-p": ["2", "x"],
        "--seed": ["-1", "18446744073709551616", "x"],
        "--ctx": ["0", "-5", "x"],
        "--chunk": ["0", "4097"],
        "--kv-type": ["", "f32", "INT8"],
        "--draft": ["x", "", "MTP"],
        "--draft-tokens": ["0", "16", "x"],
        "--repetition-penalty": ["0", "-1", "nan"],
        "--frequency-penalty": ["101", "x"],
        "--presence-penalty": ["-101", "x"],
        "--no-repeat-ngram": ["-1", "x"],
        "--stop": [""],
        "--logit-bias": ["5", "+1", "5+", "5+x", "5+-1", "5+inf", "5+nan", "99999999999+1", "x+1"],
        "--min-tokens": ["-1", "x"],
        "--logprobs": ["-1", "x", "1001"],
        "--logprobs-out": ["x", ""],
        "--json-schema": [""],
        "-n": ["-1"], "-c": ["0"], "-s": ["x"], "-m": [""], "--temp": ["x"],
    }.items():
        cases += [["--model", KDOC, "--prompt", "a", option, v] for v in values]
    bad = []
    for args in cases:
        p = run(*args)
        if p.returncode != 2 or p.stdout or not one_line(p):
            bad.append((args, p.returncode, p.stderr))
    ok(not bad, f"wrong usage exits 2 with one line ({len(cases)} cases)", bad)


def failures(tmp):
    empty = os.path.join(tmp, "empty")
    os.mkdir(empty)
    broken = os.path.join(tmp, "broken.json")
    with open(broken, "w", encoding="utf-8") as f:
        f.write("[1, 2")
    far = os.path.join(tmp, "far.json")
    with open(far, "w", encoding="utf-8") as f:
        f.write("[640]")
    ids = os.path.join(tmp, "three.json")
    with open(ids, "w", encoding="utf-8") as f:
        f.write("[1, 2, 3]")
    cases = [
        (["--model", empty, "--prompt", "a"], "tokenizer.json"),
        (["--model", empty, "--prompt-ids", ids], "config.json"),
        (["--model", os.path.join(tmp, "none"), "--prompt", "a"], "none"),
        (["--model", TINY, "--prompt", "a"], "tokenizer.json"),
        (["--model", os.path.join(KDOC, "model.safetensors"), "--prompt", "a"], "is a file"),
        (["--model", os.path.join(KDOC, "tokenizer.json"), "--prompt", "a"], "is a file"),
        (["--model", TINY, "--prompt-ids", ids, "--stop", "x"], "tokenizer.json"),
        (["--model", KDOC, "--prompt", "a", "--json-schema", '{"type":"object","properties":{"a/b":{"not":{}}}}'],
         '"not" at #/properties/a~1b'),
        (["--model", KDOC, "--prompt", "a", "--json-schema", broken], "broken.json: JSON schema: not JSON"),
        (["--model", KDOC, "--prompt", "a", "--json-schema", os.path.join(tmp, "none.json")], "none.json"),
        (["--model", TINY, "--prompt-ids", ids, "--json"], "tokenizer.json"),
        (["--model", TINY, "--prompt-ids", broken], "broken.json"),
        (["--model", TINY, "--prompt-ids", far], "640"),
        (["--model", KDOC, "--prompt", ""], "empty"),
        (["--model", KDOC, "--prompt-file", os.path.join(tmp, "none")], "none"),
        (["--model", KDOC, "--prompt", "a b c d e f g h", "--ctx", "3"], "do not fit"),
        (["--model", KDOC, "--prompt", "a", "--ctx", "4000"], "2048"),
        (["--model", KDOC, "--prompt", "a", "--profile", "x99"], "x99"),
        (["--model", KDOC, "--prompt", "a", "--kv-type", "fp8"], "f8e4m3: a device of profile 810e"),
        (["--model", KDOC, "--prompt", "a", "--draft", "mtp"], "MTP head"),
        (["--model", AGENT, "--prompt", "a", "--delta-chunked", "--chunk", "63"], "a batch of 63"),
        (["--model", TINY, "--prompt-ids", ids, "--max-tokens", "0", "--ids-out",
          os.path.join(tmp, "no", "ids.json")], "ids.json"),
        (["--model", TINY, "--prompt-ids", ids, "--max-tokens", "0", "--logits-out",
          os.path.join(tmp, "no", "l.npy")], "l.npy"),
        (["--model", TINY, "--prompt-ids", ids, "--max-tokens", "0", "--stats-json",
          os.path.join(tmp, "no", "s.json")], "s.json"),
    ]
    bad = []
    for args, word in cases:
        p = run("--device", "sim", "--quiet", *args)
        if p.returncode != 1 or p.stdout or not one_line(p) or word not in p.stderr.decode():
            bad.append((args, p.returncode, p.stderr))
    ok(not bad, f"failures exit 1 with one line that names the cause ({len(cases)} cases)", bad)


def text_and_seed(tmp):
    base = ["--prompt", "The device driver", "--max-tokens", "24", "--quiet"]
    with open(os.path.join(KDOC, "expected", "greedy.json"), encoding="utf-8") as f:
        greedy = json.load(f)
    a = sim(KDOC, *base, "--temperature", "0")
    ok(a.returncode == 0 and not a.stderr, "--quiet leaves standard error empty", a.stderr)
    ids = os.path.join(tmp, "ids.json")
    p = sim(KDOC, *base, "--temperature", "0", "--ids-out", ids)
    with open(ids, encoding="utf-8") as f:
        got = json.load(f)
    # Bits are the same on every host, so what held once holds everywhere.
    ok(got == greedy[0]["tokens"][:24], "greedy ids are the reference's", got)
    ok(p.stdout == a.stdout and greedy[0]["text"].startswith(p.stdout.decode().rstrip("\n")),
       "their text is the reference's", p.stdout)

    hot = [*base, "--temperature", "1", "--top-k", "0", "--top-p", "1"]
    runs = [sim(KDOC, *hot, "--seed", s).stdout for s in ("1", "1", "2")]
    ok(runs[0] == runs[1] and runs[0] != runs[2], "equal seeds give equal text", runs)
    p = sim(KDOC, *base, "--temperature", "1", "--top-k", "1", "--seed", "5")
    ok(p.stdout == a.stdout, "--top-k 1 is greedy")
    p = sim(KDOC, *base, "--temperature", "1", "--top-p", "0", "--seed", "5")
    ok(p.stdout == a.stdout, "--top-p 0 is greedy")
    p = sim(KDOC, *base, "--temperature", "0", "--chunk", "1")
    ok(p.stdout == a.stdout, "--chunk changes nothing")
    p = sim(KDOC, *base, "--temperature", "0", "--user-queues")
    ok(p.returncode == 0 and p.stdout == a.stdout, "--user-queues changes nothing", p.stderr)
    # do_sample is on in this model's generation_config.json
    default = sim(KDOC, *base)
    same = sim(KDOC, *base, "--temperature", "0.7", "--top-k", "20", "--top-p", "0.8", "--seed", "0")
    ok(default.stdout == same.stdout, "defaults come from generation_config.json")

    path = os.path.join(tmp, "prompt.txt")
    with open(path, "wb") as f:
        f.write(b"The device driver")
    file_args = ["--max-tokens", "24", "--quiet", "--temperature", "0"]
    p = sim(KDOC, "--prompt-file", path, *file_args)
    ok(p.stdout == a.stdout, "--prompt-file gives what --prompt does")
    p = sim(KDOC, "--prompt-file", "-", *file_args, stdin=b"The device driver")
    ok(p.stdout == a.stdout, "--prompt-file - reads standard input")
    with open("/dev/full", "wb") as full:
        p = sim(KDOC, *base, stdout=full)
    ok(p.returncode == 1 and one_line(p), "text that cannot be written is a failure", p.stderr)
    r, w = os.pipe()
    os.close(r)
    with os.fdopen(w, "wb") as gone:
        p = sim(KDOC, *base, stdout=gone)
    ok(p.returncode == 1 and one_line(p), "so is a reader that went away", p.stderr)


def choices(tmp):
    base = ["-p", "The device driver", "-n", "24", "-q"]
    a = sim(KDOC, *base, "--temp", "0")
    text = a.stdout.decode()
    ids = os.path.join(tmp, "c.json")
    p = sim(KDOC, *base, "--temperature", "0", "--stats-json", os.path.join(tmp, "c"),
            "--prompt-file", "x")
    ok(p.returncode == 2, "aliases are the options they stand for", p.stderr)
    # A stop text in the middle of a token, and one over several: cut exactly in front of it.
    words = text.split()
    for stop in (words[2][1:], " ".join(words[1:4]), text[:1]):
        p = sim(KDOC, *base, "--temp", "0", "--stop", "not there", "--stop", stop, "--ids-out", ids,
                "--stats-json", os.path.join(tmp, "c"))
        with open(ids, encoding="utf-8") as f, open(os.path.join(tmp, "c"), encoding="utf-8") as g:
            n, stats = len(json.load(f)), json.load(g)
        ok(p.returncode == 0 and p.stdout.decode() == text[:text.index(stop)] + "\n" and n < 24
           and stats["finish"] == "stop", f"--stop {stop!r}", (p.stdout, text, n))
    p = sim(KDOC, *base, "--temp", "0", "--stop", text.rstrip()[-3:] + "zzz")
    ok(p.stdout == a.stdout, "the start of a stop text at the end is printed", p.stdout)
    with open(os.path.join(KDOC, "expected", "greedy.json"), encoding="utf-8") as f:
        first = json.load(f)[0]["tokens"]
    p = sim(KDOC, *base, "--temp", "0", "--logit-bias", f"{first[0]}-inf", "--ids-out", ids)
    with open(ids, encoding="utf-8") as f:
        got = json.load(f)
    ok(p.returncode == 0 and first[0] not in got, "--logit-bias ID-inf excludes", got)
    p = sim(KDOC, *base, "--temp", "0", "--logit-bias", "7+50", "--logit-bias", "7+50", "--ids-out", ids)
    with open(ids, encoding="utf-8") as f:
        got = json.load(f)
    ok(p.returncode == 0 and got == [7] * 24, "--logit-bias ID+B favours, and adds up", got)
    p = sim(KDOC, *base, "--temp", "0", "--stop", words[1], "--min-tokens", "20",
            "--logprobs", "3", "--logprobs-out", os.path.join(tmp, "lp"), "--ids-out", ids)
    with open(ids, encoding="utf-8") as f, open(os.path.join(tmp, "lp"), encoding="utf-8") as g:
        got, lines = json.load(f), [json.loads(x) for x in g]
    good = len(lines) == len(got) and all(
        x["id"] == i == x["top_logprobs"][0]["id"] and x["logprob"] == x["top_logprobs"][0]["logprob"]
        and len(x["top_logprobs"]) == 3 and -50 < x["logprob"] <= 0
        and bytes(x["bytes"]).decode(errors="replace") == x["token"]
        for x, i in zip(lines, got))
    ok(p.returncode == 0 and good and "".join(x["token"] for x in lines).startswith(p.stdout.decode()[:-1]),
       "--logprobs: a line for each token, the greedy one is the best", lines)
    p = sim(KDOC, *base, "--temp", "0", "--logprobs", "0")
    ok(p.stdout == a.stdout and p.stderr.count(b'"top_logprobs":[]}\n') == 24,
       "--logprobs on standard error, and the same text", p.stderr)
    many = sim(KDOC, *base, "--temp", "0", "--frequency-penalty", "2", "--presence-penalty", "1")
    ok(many.returncode == 0 and many.stdout != a.stdout, "penalties change the text")


def constrained(tmp):
    schema = {"type": "object", "properties": {"name": {"enum": ["driver", "bus"]}, "irq": {"type": "integer",
              "minimum": 32, "maximum": 1019}, "flags": {"type": "array", "items": {"type": "boolean"},
              "maxItems": 3}}, "required": ["name", "irq"]}
    path, stats = os.path.join(tmp, "schema.json"), os.path.join(tmp, "schema-stats.json")
    with open(path, "w", encoding="utf-8") as f:
        json.dump(schema, f)
    bad = []
    for i, arg in enumerate([path, json.dumps(schema)] * 4):
        p = sim(KDOC, "-p", "The device:", "-q", "-n", "200", "-s", str(i), "--temp", str(i // 2), "--json-schema",
                arg, "--stats-json", stats)
        with open(stats, encoding="utf-8") as f:
            finish = json.load(f)["finish"]
        try:
            d = json.loads(p.stdout)
            good = d["name"] in ("driver", "bus") and 32 <= d["irq"] <= 1019 and finish == "stop" and \
                set(d) <= set(schema["properties"]) and len(d.get("flags", [])) <= 3
        except (ValueError, KeyError):
            good = False
        if p.returncode or not good:
            bad.append(p)
    ok(not bad, "--json-schema: what a schema says, and the end when it is complete", bad)
    p = sim(KDOC, "-p", "The device:", "-q", "-n", "4", "--temp", "0", "--json", "--ignore-eos")
    ok(p.returncode == 0 and p.stdout.startswith(b"{"), "--json: an object", p)


def drafts(tmp):
    stats = os.path.join(tmp, "draft.json")
    for model, text in ((KDOC, "The device driver"), (AGENT, "The kernel")):
        base = ["-p", text, "-n", "40", "--temp", "0", "--ignore-eos"]
        a = sim(model, *base)
        for kind in ["ngram"] + (["mtp"] if model == AGENT else []):
            p = sim(model, *base, "--draft", kind, "--draft-tokens", "3", "--stats-json", stats)
            with open(stats, encoding="utf-8") as f:
                s = json.load(f)
            d = s.get("draft", {})
            ok(p.returncode == 0 and p.stdout == a.stdout and b"drafts: " in p.stderr
               and 0 < d["accepted_tokens"] <= d["drafted_tokens"] and s["generated_tokens"] == 40
               and abs(d["sim_s_per_token"] * 40 - s["decode"]["sim_s"]) < 1e-12,
               f"--draft {kind}: the same text, and figures", (p.stderr, d))
    ok(b"drafts:" not in a.stderr, "no drafts, no figures of them", a.stderr)
    p = sim(KDOC, "-p", "The device driver", "-n", "8", "--temp", "1", "--draft", "ngram", "-q",
            "--stats-json", stats)
    with open(stats, encoding="utf-8") as f:
        ok(p.returncode == 0 and "draft" not in json.load(f), "nothing is drafted where tokens are drawn")


def delta_chunked(tmp):
    ids, npy, stats = (os.path.join(tmp, n) for n in ("c.json", "c.npy", "c-stats.json"))
    with open(os.path.join(AGENT, "expected", "prompt_ids.json"), encoding="utf-8") as f:
        prompt = json.load(f)[3]
    with open(ids, "w", encoding="utf-8") as f:
        json.dump(prompt, f)
    logits, text, prefill, decode = [], [], [], []
    for more in ([], ["--delta-chunked"], ["--delta-chunked", "--chunk", "300"]):
        p = sim(AGENT, "--prompt-ids", ids, "--max-tokens", "8", "--temp", "0", "--logits-out", npy,
                "--stats-json", stats, *more)
        with open(npy, "rb") as f:
            logits.append(f.read())
        with open(stats, encoding="utf-8") as f:
            s = json.load(f)
        text.append(p.stdout)
        prefill.append(s["prefill"]["sim_ps"])
        decode.append(s["decode"]["sim_ps"])
    ok(text[0] == text[1] and len(text[0]) > 8 and prefill[0] != prefill[1] and decode[0] == decode[1],
       "--delta-chunked: the same text, other simulated time of the prompt alone", (text, prefill, decode))
    ok(logits[0] != logits[1] and logits[1] == logits[2], "with other bits, which are those of any --chunk")


def without(tmp):
    stats, text, sims = os.path.join(tmp, "w.json"), [], []
    for features in ([], ["--without", "kv-cache,sparse"], ["--without", "fused"],
                     ["--without", "fused,tensor"]):
        p = sim(KDOC, "--prompt", "The device driver", "--max-tokens", "8", "--temp", "0", "--stats-json",
                stats, *features)
        with open(stats, encoding="utf-8") as f:
            s = json.load(f)
        text.append(p.stdout)
        sims.append(s["prefill"]["sim_ps"] + s["decode"]["sim_ps"])
    ok(len(set(text)) == 1 and len(text[0]) > 8 and sims[0] == sims[1] < sims[2] and sims[3] != sims[2],
       "--without: the same text at other simulated times, of what the chip has and the model uses",
       (text, sims))
    bad = []
    for v in ("", "bogus", "fused,", "fused,,tensor", "fused tensor"):
        p = run("--device", "sim", "--model", KDOC, "--prompt", "a", "--without", v)
        if p.returncode != 2 or p.stdout or not one_line(p) or "--without" not in p.stderr.decode():
            bad.append((v, p.returncode, p.stderr))
    ok(not bad, "a list that is none is wrong usage", bad)


def interrupted(tmp):
    """One SIGINT: the text so far, the statistics, 130."""
    stats, ids = os.path.join(tmp, "i.json"), os.path.join(tmp, "i-ids.json")
    p = subprocess.Popen([ZW_RUN, "--device", "sim", "-m", KDOC, "-p", "The device", "-n", "1900",
                          "--ignore-eos", "--stats-json", stats, "--ids-out", ids],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    first = p.stdout.read(8)
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=300)
    with open(stats, encoding="utf-8") as f, open(ids, encoding="utf-8") as g:
        s, n = json.load(f), len(json.load(g))
    ok(p.returncode == 130 and first and out.endswith(b"\n") and b"decode:" in err
       and s["finish"] == "interrupted" and 0 < s["generated_tokens"] == n < 1900,
       "Ctrl-C ends the generation and the rest is written", (p.returncode, err, s, n))
    with open(os.path.join(tmp, "long.json"), "w", encoding="utf-8") as f:
        json.dump([1] * 2000, f)
    p = subprocess.Popen([ZW_RUN, "--device", "sim", "-m", KDOC, "--prompt-ids",
                          os.path.join(tmp, "long.json"), "--chunk", "16", "--stats-json", stats],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while b"context:" not in p.stderr.readline():
        pass
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=300)
    with open(stats, encoding="utf-8") as f:
        s = json.load(f)
    ok(p.returncode == 130 and not out and s["finish"] == "interrupted"
       and s["prefill"]["tokens"] < 2000 and s["generated_tokens"] == 0,
       "Ctrl-C in the prompt too", (p.returncode, err, s))


def terminal():
    """Progress is for terminals."""
    master, slave = pty.openpty()
    p = subprocess.Popen([ZW_RUN, "--device", "sim", "-m", KDOC, "-p", "The device driver", "-n",
                          "1", "--chunk", "1"], stdout=subprocess.DEVNULL, stderr=slave)
    os.close(slave)
    text = b""
    while True:
        try:
            got = os.read(master, 4096)
        except OSError:
            break
        if not got:
            break
        text += got
    p.wait(timeout=300)
    os.close(master)
    ok(b"loading weights:" in text and b"prompt: 0 of " in text and b"context: 2048 tokens, KV cache" in
       text and text.count(b"prompt: ") >= 2, "progress and KV size on a terminal", text)


def files(tmp):
    """What cannot be written is told at once; what can is not touched before it is needed."""
    gone = os.path.join(tmp, "gone", "x")
    start = resource.getrusage(resource.RUSAGE_CHILDREN)
    bad = []
    for option in ("--ids-out", "--logits-out", "--stats-json", "--logprobs-out", "--save-session"):
        p = sim(KDOC, "-p", "a", "-n", "2000", "--logprobs", "1", "-c", "2048", "--ignore-eos", "-q", option, gone)
        if p.returncode != 1 or p.stdout or not one_line(p) or b"gone" not in p.stderr:
            bad.append((option, p))
    end = resource.getrusage(resource.RUSAGE_CHILDREN)
    ok(not bad and end.ru_utime - start.ru_utime < 20, "files are opened before the work", bad)
    odd = os.path.join(tmp.encode(), b"caf\xe9-\xf0\x9f\x91\xa9")
    shutil.copytree(KDOC.encode(), odd)
    stats = os.path.join(tmp, "odd.json")
    p = sim(odd, "-p", "a", "-n", "1", "-q", "--stats-json", stats)
    with open(stats, "rb") as f:
        s = json.loads(f.read().decode("utf-8"))
    ok(p.returncode == 0 and s["model"].endswith("caf\ufffd-\U0001f469"),
       "--stats-json is UTF-8 whatever the path is", s)
    with open(os.path.join(odd, b"generation_config.json"), "w", encoding="utf-8") as f:
        json.dump({"temprature": 1}, f)
    p = sim(odd, "-p", "a", "-n", "1")
    ok(p.returncode == 0 and b'key "temprature" is not known' in p.stderr, "unknown keys are told of",
       p.stderr)


def sessions(tmp):
    """What goes on from a file is what goes on without."""
    def tokens(prompt, n, *args):
        ids, out = os.path.join(tmp, "in.json"), os.path.join(tmp, "out.json")
        with open(ids, "w", encoding="utf-8") as f:
            json.dump(prompt, f)
        p = sim(TINY, "--prompt-ids", ids, "-n", str(n), "--ids-out", out, "--ignore-eos", "-q",
                "--temperature", "0", "--repetition-penalty", "1.3", *args)
        if p.returncode:
            return p
        with open(out, encoding="utf-8") as f:
            return json.load(f)

    file = os.path.join(tmp, "session")
    first, second = list(range(5, 45)), [9, 8, 7]
    a = tokens(first, 9, "--save-session", file)
    b = tokens(second, 6, "--load-session", file, "--save-session", file)
    c = tokens([3], 6, "--load-session", file)
    ok(len(a) == 9 and b == tokens(first + a + second, 6)
       and c == tokens(first + a + second + b + [3], 6),
       "a session goes on as if it had not been saved", (a, b, c))
    tokens(first, 0, "--save-session", file)
    ok(tokens(second, 6, "--load-session", file) == tokens(first + second, 6),
       "a session of a prompt alone")
    p = sim(KDOC, "-p", "a", "-n", "1", "-q", "--load-session", file)
    ok(p.returncode == 1 and one_line(p) and b"session" in p.stderr and not p.stdout,
       "a session of another model is refused", p)
    p = tokens(second, 6, "--load-session", file, "--ctx", "39")
    ok(p.returncode == 1 and one_line(p) and b"40 tokens" in p.stderr,
       "a session that is longer than the context is refused", p)
    with open(file, "r+b") as f:
        f.truncate(1000)
    p = tokens(second, 6, "--load-session", file)
    ok(p.returncode == 1 and one_line(p) and b"were written" in p.stderr, "one that was cut off, too", p)


def outputs(tmp):
    ids, npy, stats = (os.path.join(tmp, n) for n in ("p.json", "l.npy", "s.json"))
    with open(os.path.join(TINY, "expected", "prompt_ids.json"), encoding="utf-8") as f:
        prompt = json.load(f)[1]
    with open(ids, "w", encoding="utf-8") as f:
        json.dump(prompt, f)
    p = sim(TINY, "--prompt-ids", ids, "--max-tokens", "6", "--logits-out", npy,
            "--stats-json", stats, "--ids-out", os.path.join(tmp, "o.json"))
    with open(os.path.join(tmp, "o.json"), encoding="utf-8") as f:
        out = json.load(f)
    ok(p.returncode == 0 and p.stdout.decode().split() == [str(i) for i in out] and len(out) == 6,
       "without a tokenizer ids are printed", p.stdout)
    text = p.stderr.decode()
    ok(all(w in text for w in ("device: sim", "prefill:", "decode:", "tokens/s", "simulated",
                               "moved:", "firmware")), "statistics on standard error", text)
    with open(npy, "rb") as f:
        data = f.read()
    size = struct.unpack("<H", data[8:10])[0]
    head = data[10:10 + size].decode()
    want = f"'shape': ({len(prompt)}, 640)"
    ok(data[:8] == b"\x93NUMPY\x01\x00" and (10 + size) % 64 == 0 and want in head
       and "'<f4'" in head and len(data) == 10 + size + len(prompt) * 640 * 4,
       "--logits-out is float32 [T, V] in .npy 1.0", head)
    with open(os.path.join(TINY, "expected", "logits_1.npy"), "rb") as f:
        ref = f.read()[-len(prompt) * 640 * 4:]
    n = len(prompt) * 640
    got = struct.unpack(f"<{n}f", data[-n * 4:])
    ref = struct.unpack(f"<{n}f", ref)
    rms = (sum((a - b) ** 2 for a, b in zip(got, ref)) / n) ** 0.5
    ok(rms < 0.05, "the logits are the reference's up to BF16", rms)
    with open(stats, encoding="utf-8") as f:
        s = json.load(f)
    keys = ["wall_s", "sim_s", "tokens_per_s", "sim_tokens_per_s", "hbm_read_bytes",
            "hbm_written_bytes", "engine_busy_s", "tokens"]
    missing = [k for k in keys for phase in ("prefill", "decode") if k not in s.get(phase, {})]
    ok(not missing and s["transport"] == "sim" and s["profile"] == "810e"
       and s["firmware"].count(".") == 2 and s["prefill"]["tokens"] == len(prompt)
       and s["decode"]["tokens"] == 5 and s["generated_tokens"] == 6
       and s["decode"]["sim_s"] > 0 and s["decode"]["hbm_read_bytes"] > 0
       and s["decode"]["engine_busy_s"]["tensor"] > 0, "--stats-json has the figures", s)

    times = set()
    for chunk in ("3", "3"):
        sim(TINY, "--prompt-ids", ids, "--max-tokens", "4", "--stats-json", stats, "--chunk", chunk)
        with open(stats, encoding="utf-8") as f:
            s = json.load(f)
        times.add((s["prefill"]["sim_ps"], s["decode"]["sim_ps"]))
    ok(len(times) == 1, "simulated time does not depend on the run", times)
    p = sim(TINY, "--prompt-ids", ids, "--max-tokens", "4", "--profile", "c12",
            "--stats-json", stats)
    with open(stats, encoding="utf-8") as f:
        s = json.load(f)
    ok(s["profile"] == "c12" and (s["prefill"]["sim_ps"], s["decode"]["sim_ps"]) not in times,
       "another profile takes another time")


def main():
    print("TAP version 13")
    p = run("--help")
    ok(p.returncode == 0 and b"--stats-json" in p.stdout and not p.stderr, "--help")
    p = run("--version")
    ok(p.returncode == 0 and p.stdout.startswith(b"zw-run "), "--version")
    for option in ("--help", "--version", "-h"):
        with open("/dev/full", "wb") as full:
            p = run(option, stdout=full)
        ok(p.returncode == 1 and one_line(p), f"{option} that cannot be written is a failure")
    usage_errors()
    with tempfile.TemporaryDirectory() as tmp:
        p = sim(KDOC, "--prompt", "a", "--max-tokens", "0", "--quiet")
        if p.returncode and b"firmware" in p.stderr:
            ok(True, "runs on sim # SKIP no firmware image: " + p.stderr.decode().strip())
        else:
            failures(tmp)
            text_and_seed(tmp)
            outputs(tmp)
            sessions(tmp)
            choices(tmp)
            constrained(tmp)
            drafts(tmp)
            delta_chunked(tmp)
            without(tmp)
            interrupted(tmp)
            terminal()
            files(tmp)
    return done()


if __name__ == "__main__":
    sys.exit(main())
