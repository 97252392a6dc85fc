#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""zw-run --chat: conversations, with tools, on the device model in the process.

usage: test_zw_chat.py ZW_RUN MODELS TOOLS    (TAP on standard output; skipped without a firmware image)
"""

import json
import os
import pty
import random
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
import share  # noqa: E402
import tap  # noqa: E402

ZW_RUN, MODELS, TOOLS = (os.path.realpath(a) for a in sys.argv[1:4])
KDOC = os.path.join(MODELS, "qwen3-kdoc")
AGENT = os.path.join(MODELS, "qwen3next-agent")
ROOT = os.path.realpath(os.path.join(MODELS, "..", ".."))
CHATML = ("{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
          "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
          "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}")


def ok(good, name, *detail):
    tap.ok(good, name, "\n".join(str(d) for d in detail))


def run(*args, stdin="", **kw):
    return subprocess.run([ZW_RUN, "--device", "sim", *args], input=stdin, encoding="utf-8", stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=300, check=False, **kw)


def one_line(p):
    return p.stderr.startswith("zw-run: ") and p.stderr.count("\n") == 1


def usage_errors():
    for args in (["--tools", "x", "-p", "a"], ["--system", "x", "-p", "a"], ["--thinking", "-p", "a"], ["-st", "-p", "a"],
                 ["--chat", "--prompt-ids", "x"], ["--chat", "--logits-out", "x"], ["--chat", "--thinking", "--no-thinking"],
                 ["--chat", "--max-calls", "x"],
                 ["--chat", "--tools", "x", "--tool-calls", "x"], ["--chat", "--tool-calls", "json"], ["--chat", "--tool-timeout", "0"], ["--transcript", "x", "-p", "a"],
                 ["-cnv", "-p", "a", "-f", "b"]):
        p = run("-m", KDOC, *args)
        ok(p.returncode == 2 and one_line(p) and not p.stdout, f"{' '.join(args)} is wrong usage", p.stderr)


def failures(tmp):
    p = run("-m", KDOC, "--chat", "-q")
    ok(p.returncode == 1 and one_line(p) and "no chat template" in p.stderr, "a model without a template", p.stderr)
    bad = os.path.join(tmp, "bad.jinja")
    with open(bad, "w", encoding="utf-8") as f:
        f.write("a\n{% include 'x' %}")
    p = run("-m", KDOC, "--chat", "-q", "--chat-template-file", bad)
    ok(p.returncode == 1 and one_line(p) and "line 2" in p.stderr and "include" in p.stderr, "a template that is refused", p.stderr)
    p = run("-m", KDOC, "--chat", "-q", "--chat-template-file", bad + "x")
    ok(p.returncode == 1 and one_line(p), "no such template", p.stderr)
    for args in (["--chat", "--chat-template-file", "/dev/zero"], ["-p", "x", "--json-schema", "/dev/zero"], ["-f", "/dev/zero"]):
        p = run("-m", KDOC, "-q", *args)
        ok(p.returncode == 1 and one_line(p) and "/dev/zero: File too large" in p.stderr, f"{' '.join(args)} does not end", p.stderr)
    with open("/dev/zero", "rb") as f:
        p = subprocess.run([ZW_RUN, "--device", "sim", "-m", AGENT, "--chat", "-q"], stdin=f, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, encoding="utf-8", timeout=300, check=False)
    ok(p.returncode == 1 and one_line(p) and "standard input: File too large" in p.stderr, "a line that does not end", p.stderr)
    with open(bad, "w", encoding="utf-8") as f:
        f.write("{{ raise_exception('no, ' + messages[0].role) }}")
    p = run("-m", KDOC, "--chat", "-q", "--chat-template-file", bad, "-p", "x")
    ok(p.returncode == 1 and one_line(p) and "no, user" in p.stderr, "a template that raises an exception", p.stderr)
    p = run("-m", KDOC, "--chat", "-q", "--chat-template-file", bad, "--tools", tmp)
    ok(p.returncode == 1 and one_line(p) and "no executable files" in p.stderr, "a folder without tools", p.stderr)


def plain_chat(tmp):
    """The text of a conversation is what the template makes of it, and no more."""
    template = os.path.join(tmp, "chatml.jinja")
    with open(template, "w", encoding="utf-8") as f:
        f.write(CHATML)
    chat = ["-m", KDOC, "--chat", "-q", "--chat-template-file", template, "-n", "8", "--temp", "0"]
    first = "<|im_start|>user\nThe driver<|im_end|>\n<|im_start|>assistant\n"
    want = run("-m", KDOC, "-q", "-n", "8", "--temp", "0", "-p", first).stdout
    p = run(*chat, "-p", "The driver", "-st")
    ok(p.returncode == 0 and p.stdout == want and want.strip(), "an answer is that to the template's text", p.stdout, p.stderr, want)
    p = run(*chat, stdin="The driver\n")
    ok(want.strip() and p.stdout == want, "a line of standard input is a message", p.stdout)
    p = run(*chat, stdin="The driver\n/reset\nThe driver\n")
    ok(p.returncode == 0 and p.stdout == want * 2, "/reset forgets", p.stdout, want)
    p = run(*chat, stdin="The driver\n/quit\nThe driver\n")
    ok(p.returncode == 0 and p.stdout == want, "/quit", p.stdout)
    p = run(*chat, "-sys", "Be brief.", "-st", "-p", "The driver")
    want = run("-m", KDOC, "-q", "-n", "8", "--temp", "0", "-p", "<|im_start|>system\nBe brief.<|im_end|>\n" + first).stdout
    ok(want.strip() and p.stdout == want, "--system comes first", p.stdout, want)
    p = run(*chat, "--no-thinking", "-st", "-p", "The driver")
    want = run("-m", KDOC, "-q", "-n", "8", "--temp", "0", "-p", first + "<think>\n\n</think>\n\n").stdout
    ok(want.strip() and p.stdout == want, "--no-thinking reaches the template", p.stdout, want)
    p = run(*chat, "-st", stdin="The\\\ndriver\n")
    want = run("-m", KDOC, "-q", "-n", "8", "--temp", "0", "-p", first.replace("The driver", "The\ndriver")).stdout
    ok(want.strip() and p.stdout == want, "a backslash joins lines", p.stdout, want)
    talk = os.path.join(tmp, "talk.json")
    p = run(*chat, "--transcript", talk, stdin="The driver\nThe kernel\n")
    with open(talk, encoding="utf-8") as f:
        m = json.load(f)
    ok([x["role"] for x in m] == ["user", "assistant"] * 2 and p.stdout == m[1]["content"].rstrip("\n") + "\n" + m[3]["content"].rstrip("\n") + "\n",
       "--transcript has the messages", m, p.stdout)
    whole = first + m[1]["content"] + "<|im_end|>\n" + first.replace("driver", "kernel")
    want = run("-m", KDOC, "-q", "-n", "8", "--temp", "0", "-p", whole).stdout
    ok(m[3]["content"] == want[:-1], "a second answer knows the first", m[3]["content"], want)
    stats = os.path.join(tmp, "stats.json")
    run(*chat, "--stats-json", stats, stdin="The driver\nThe kernel\n")
    with open(stats, encoding="utf-8") as f:
        s = json.load(f)
    n = s["prompt_tokens"] + s["generated_tokens"]
    ok(s["chat"]["answers"] == 2 and s["generated_tokens"] <= 16 and s["decode"]["sim_s"] > 0
       and n - 1 <= s["chat"]["context_tokens"] + 1 <= n + 1, "sums, and nothing is computed twice", s)
    p = run(*chat, "--ctx", "24", "-n", "100", stdin="The driver\n")
    ok(p.returncode == 0 and "the context is full" in p.stderr, "a context that is full", p.stderr)
    return chat


def terminal(chat):
    """Lines are edited and called back; a signal ends an answer, not the talk."""
    pid, fd = pty.fork()
    if not pid:
        os.environ["TERM"] = "dumb"
        os.execv(ZW_RUN, [ZW_RUN, "--device", "sim", *[a for a in chat if a not in ("-n", "8")], "--ctx", "2048", "--ignore-eos"])
    seen = b""

    def until(what, seconds=120):
        nonlocal seen
        end = time.monotonic() + seconds
        while what not in seen and time.monotonic() < end:
            if select.select([fd], [], [], 0.2)[0]:
                try:
                    seen += os.read(fd, 65536)
                except OSError:
                    break
        found = what in seen
        seen = seen.split(what, 1)[-1]
        return found

    good = until(b"> ")
    os.write(fd, b"The driver\n")
    good = good and until(b"driver")
    time.sleep(0.5)
    os.kill(pid, signal.SIGINT)
    ok(good and until(b"> "), "Ctrl-C ends an answer and comes back to the prompt", seen)
    os.write(fd, b"/help\n")
    ok(until(b"/reset") and until(b"> "), "/help", seen)
    os.write(fd, b"/quit\n")
    _, status = os.waitpid(pid, 0)
    ok(os.waitstatus_to_exitcode(status) == 0, "/quit on a terminal", status)
    os.close(fd)


def interrupted(chat):
    chat = [a for a in chat if a != "-q"]
    at = chat.index("-n")
    chat[at + 1] = "1900"
    p = subprocess.Popen([ZW_RUN, "--device", "sim", *chat, "--ignore-eos", "--ctx", "2048"], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    p.stdin.write(b"The driver\nThe kernel\n")
    p.stdin.flush()
    first = p.stdout.read(1)
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=300)
    ok(p.returncode == 130 and first and b"decode:" in err and b"chat: 1 answers" in err and b"interrupted" in err,
       "Ctrl-C ends a conversation that is piped, with statistics", p.returncode, err, out[-200:])


def agent(tmp, *args):
    return subprocess.run([os.path.join(ROOT, "tests/agent/run"), "--sim", "--out", tmp, *args], encoding="utf-8", stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False, timeout=600,
                          env={**os.environ, "ZW_NATIVE": os.path.dirname(os.path.dirname(os.path.dirname(ZW_RUN)))})


def tools(tmp):
    chain = os.path.join(tmp, "chain")
    with open(chain, "w", encoding="utf-8") as f:
        f.write('da30\t{"next": "page14045"}\npage14045\t{"next": "red.600"}\nred.600\t{"value": 50236}\n')
    env = {**os.environ, "ZW_CHAIN": chain, "ZW_FILES": tmp}
    chat = ["-m", AGENT, "--chat", "--tools", TOOLS]
    question = "What value do you reach from da30?"
    stats, talk = os.path.join(tmp, "stats.json"), os.path.join(tmp, "talk.json")
    p = run(*chat, "-st", "-p", question, "--stats-json", stats, "--transcript", talk, env=env)
    with open(stats, encoding="utf-8") as f:
        s = json.load(f)
    with open(talk, encoding="utf-8") as f:
        m = json.load(f)
    ok(p.returncode == 0 and "50236" in p.stdout and "tool_call" not in p.stdout and s["chat"]["calls"] == 3
       and s["chat"]["failed_calls"] == 0, "a chain is followed through a tool", p.stdout, p.stderr)
    ok([x["role"] for x in m] == ["user"] + ["assistant", "tool"] * 3 + ["assistant"]
       and m[3]["tool_calls"][0]["function"] == {"name": "get", "arguments": {"key": "page14045"}}
       and m[4]["content"] == '{"next": "red.600"}', "the transcript has calls and responses", m)
    # What is computed in pieces, turn by turn, is what is computed at once.
    n = s["prompt_tokens"] + s["generated_tokens"]
    ok(n - 1 <= s["chat"]["context_tokens"] <= n, "nothing is computed twice", s)
    p = run(*chat, "-st", "-p", "Please add up 6, 61, 66947 and 51594.", env=env)
    ok("118608" in p.stdout, "numbers are added", p.stdout, p.stderr)
    p = run(*chat, "-st", "--max-calls", "2", "-p", question, env=env)
    ok(p.returncode == 0 and "stopped after 2 calls" in p.stderr and "50236" not in p.stdout, "--max-calls", p.stderr)
    # Nothing runs but what is there.
    few = os.path.join(tmp, "few")
    os.mkdir(few)
    os.symlink(os.path.join(TOOLS, "add"), os.path.join(few, "add"))
    p = run("-m", AGENT, "--chat", "--tools", few, "-st", "--max-calls", "3", "-p", question, env=env)
    ok(p.returncode == 0 and ("no such tool" in p.stderr or "50236" not in p.stdout), "a tool that is not there", p.stderr)
    # A tool that is slow at first is asked again.
    slow = os.path.join(few, "get")
    with open(slow, "w", encoding="utf-8") as f:
        f.write(f'#!/bin/sh\n[ "$1" = --schema ] && exec {TOOLS}/get --schema\n'
                f'if mkdir {tmp}/once 2>/dev/null; then sleep 60; fi\nexec {TOOLS}/get\n')
    os.chmod(slow, 0o755)
    p = run("-m", AGENT, "--chat", "--tools", few, "-st", "--tool-timeout", "2", "-p", question, "--stats-json", stats, env=env)
    with open(stats, encoding="utf-8") as f:
        s = json.load(f)
    # On a busy machine it may be too slow once more.
    ok(p.returncode == 0 and s["chat"]["failed_calls"] == p.stderr.count('{"error": "timeout"}') > 0, "a tool that takes too long", p.stderr)
    ok("50236" in p.stdout, "the model calls again after a timeout", p.stdout, p.stderr)
    calls = 24 if share.WHOLE else 12
    p = agent(tmp, "--calls", str(calls), "--chain", str(calls // 2))
    ok(p.returncode == 0 and f"{2 * calls} right" in p.stdout and "4 of 4" in p.stdout, "tests/agent/run: chains in one conversation", p.stdout, p.stderr)
    plain = [x for x in p.stdout.splitlines() if x.startswith(("calls", "answers"))]
    for draft in ("mtp", "ngram"):
        p = agent(tmp, "--calls", "12", "--chain", "6", "--draft", draft)
        ok(p.returncode == 0 and "0 malformed" in p.stdout and "drafts " in p.stdout, f"tests/agent/run: --draft {draft}", p.stdout, p.stderr)
        plain.append(p.stdout)
    ok([x for x in plain[-1].splitlines() if x.startswith(("calls", "answers"))] == [x for x in plain[-2].splitlines() if x.startswith(("calls", "answers"))],
       "the calls are the same however they are drafted", plain)
    p = agent(tmp, "--calls", "24", "--ctx", "700")
    ok(p.returncode == 1 and "full " in p.stdout and 2 < int(p.stdout.split()[1].rstrip(":")) < 24, "tests/agent/run: a context that is full", p.stdout, p.stderr)


def documents(tmp, chat):
    """--json-schema holds each answer to the schema; with tools an answer is that or calls."""
    schema = {"type": "object", "required": ["n", "of"], "additionalProperties": False,
              "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 99}, "of": {"enum": ["driver", "kernel"]}}}
    chat = [a for a in chat if a not in ("-n", "8")] + ["--json-schema", json.dumps(schema)]
    out = []
    for more in ([], ["--draft", "ngram"], ["--temp", "1", "--seed", "5"]):
        p = run(*chat, *more, stdin="The driver\nThe kernel\n")
        try:
            out.append([json.loads(x) for x in p.stdout.splitlines()])
        except ValueError:
            out.append(None)
        ok(p.returncode == 0 and out[-1] and len(out[-1]) == 2 and all(set(x) == {"n", "of"} and 0 <= x["n"] <= 99 for x in out[-1]),
           f"two answers of a schema {more}", p.stdout, p.stderr)
    ok(out[0] == out[1], "and the same with drafts", out)
    p = run(*chat[:-1], '{"not": {}}', "-p", "x")
    ok(p.returncode == 1 and one_line(p) and '"not" at #' in p.stderr, "a schema that is not honoured", p.stderr)


def sessions(tmp, chat):
    """A conversation that is saved and loaded goes on as one that never ended."""
    first, stats, talk = (os.path.join(tmp, x) for x in ("session", "stats.json", "talk.json"))
    whole = run(*chat, stdin="The driver\nThe kernel\nAnd more\n").stdout
    a = run(*chat, "--save-session", first, stdin="The driver\nThe kernel\n")
    b = run(*chat, "--load-session", first, "--save-session", first, "--stats-json", stats, "--transcript", talk, stdin="And more\n")
    with open(stats, encoding="utf-8") as f:
        s = json.load(f)
    with open(talk, encoding="utf-8") as f:
        m = json.load(f)
    ok(a.returncode == 0 and b.returncode == 0 and a.stdout and b.stdout and a.stdout + b.stdout == whole, "a saved conversation goes on",
       a.stdout, b.stdout, whole, a.stderr, b.stderr)
    ok([x["content"] for x in m if x["role"] == "user"] == ["The driver", "The kernel", "And more"]
       and s["prompt_tokens"] + s["generated_tokens"] < s["chat"]["context_tokens"] / 2, "with its history, which is not computed again", s, m)
    c = run(*chat, "--load-session", first, stdin="/reset\nThe driver\n")
    ok(c.returncode == 0 and whole.startswith(c.stdout) and c.stdout, "/reset forgets what was loaded", c.stdout)
    p = run("-m", KDOC, "-q", "-n", "2", "-p", "The", "--save-session", first)
    ok(p.returncode == 0, "a session of a text", p.stderr)
    p = run(*chat, "--load-session", first, "-p", "x")
    ok(p.returncode == 1 and one_line(p) and "no conversation" in p.stderr, "is no conversation", p.stderr)
    p = run(*chat, "--load-session", first, "--system", "x")
    ok(p.returncode == 2 and one_line(p), "--system with --load-session is wrong usage", p.stderr)


def full(tmp, chat):
    """What has no room: the answer ends, and what is left unanswered is an error."""
    stats = os.path.join(tmp, "stats.json")
    p = run(*chat, "--ctx", "24", "-n", "100", "--stats-json", stats, stdin="The driver\nThe kernel\n")
    with open(stats, encoding="utf-8") as f:
        s = json.load(f)
    ok(p.returncode == 1 and "left unanswered" in p.stderr and s["finish"] == "context" and s["chat"]["unanswered"]
       and s["chat"]["answers"] == 1 and s["chat"]["context_tokens"] <= 24 == s["chat"]["context_size"], "a message without room", p.stderr, s)
    p = run(*chat, "--ctx", "24", "-n", "100", stdin="The driver\n/reset\nThe driver\n")
    half = len(p.stdout) // 2
    ok(p.returncode == 0 and p.stdout[:half] == p.stdout[half:] and p.stdout, "/reset makes room", p.stdout, p.stderr)


def random_model(path):
    """The agent with weights of no meaning: it has the tokenizer, the template, and nothing to say."""
    os.mkdir(path)
    r = random.Random(3)
    sign = bytes(0x3c | (i & 0x80) for i in range(256))
    for name in os.listdir(AGENT):
        if not name.endswith(".safetensors"):
            if os.path.isfile(os.path.join(AGENT, name)):
                shutil.copy(os.path.join(AGENT, name), path)
            continue
        with open(os.path.join(AGENT, name), "rb") as f:
            data = bytearray(f.read())
        n, = struct.unpack("<Q", data[:8])
        header = json.loads(data[8:8 + n])
        for key, t in header.items():
            if key == "__metadata__":
                continue
            begin, end = (8 + n + x for x in t["data_offsets"])
            size = {"BF16": 2, "F16": 2, "F32": 4}[t["dtype"]]
            value = bytearray(r.randbytes(end - begin))
            value[size - 1::size] = value[size - 1::size].translate(sign)
            data[begin:end] = value
        with open(os.path.join(path, name), "wb") as f:
            f.write(data)


BOUNDED = {
    "pick": {"type": "object", "required": ["colour", "n"], "additionalProperties": False, "properties": {
        "colour": {"enum": ["red", "dark blue"]}, "n": {"type": "integer", "minimum": -5, "maximum": 500},
        "note": {"type": "string", "maxLength": 6}, "on": {"type": "boolean"}}},
    "put-it": {"type": "object", "required": ["where"], "additionalProperties": False, "properties": {
        "where": {"type": "array", "items": {"type": "number", "minimum": 0, "maximum": 9}, "minItems": 1, "maxItems": 3},
        "code": {"type": "string", "pattern": "^[a-z]{1,4}-[0-9]{2}$"}}},
}


def bounded_tools(path):
    os.mkdir(path)
    for name, schema in BOUNDED.items():
        with open(os.path.join(path, name), "w", encoding="utf-8") as f:
            f.write(f"#!/bin/sh\n[ \"$1\" = --schema ] && echo '{json.dumps({'parameters': schema})}' || echo done\n")
        os.chmod(os.path.join(path, name), 0o755)


def constrained(tmp):
    """A model of random weights that is made to call says proper calls, in either style and however it is chosen."""
    import jsonschema
    model, folder, talk, stats = (os.path.join(tmp, x) for x in ("random", "bounded", "talk.json", "stats.json"))
    random_model(model)
    bounded_tools(folder)
    # Between calls it opens one or ends, and says nothing else.
    chat = ["-m", model, "--chat", "-st", "-p", "Go.", "--tools", folder, "--max-calls", "6", "--ctx", "4096", "-n", "600",
            "--logit-bias", "6147+1000", "--logit-bias", "6146+1000", "--transcript", talk, "--stats-json", stats]

    def calls_of(*args):
        p = run(*chat, *args)
        if p.returncode:
            return None, p.stderr, []
        with open(talk, encoding="utf-8") as f:
            m = json.load(f)
        with open(stats, encoding="utf-8") as f:
            s = json.load(f)
        return s["chat"], p.stderr, [c["function"] for x in m for c in x.get("tool_calls", [])]

    # It never ends by itself: its last call is cut off, in a share sooner.
    greedy = ["--temp", "0", "--logit-bias", "6147+1", *([] if share.WHOLE else ["-n", "200"])]
    for kind in ("json", "xml", "auto"):
        seen, bad, names = 0, [], set()
        for more in [*(["--temp", "1", "--seed", str(i)] for i in share.of(range(4))), ["--temp", "1", "--top-k", "50", "--seed", "9"], greedy]:
            s, err, calls = calls_of("--tool-calls", kind, *more)
            if s is None or s["malformed_calls"] > (s["answers"] if "0" in more[1] else 0):
                bad.append((s, err))
            for c in calls:
                names.add(c["name"])
                try:
                    jsonschema.validate(c["arguments"], BOUNDED[c["name"]])
                except (KeyError, jsonschema.ValidationError) as e:
                    bad.append((c, str(e)[:200]))
            seen += len(calls)
        ok(seen >= 8 and not bad and names == set(BOUNDED), f"--tool-calls {kind}: random weights call properly", seen, names, bad)
    s, err, calls = calls_of("--tool-calls", "free", "--temp", "1", "--seed", "1", "-n", "40")
    ok(s and s["malformed_calls"] and not calls, "--tool-calls free: they do not", s, err)
    with open(os.path.join(folder, "pick"), "w", encoding="utf-8") as f:
        f.write("#!/bin/sh\necho '{\"parameters\": {\"type\": \"object\", \"minProperties\": 1}}'\n")
    p = run(*chat)
    ok(p.returncode == 1 and one_line(p) and "minProperties" in p.stderr and "--tool-calls free" in p.stderr,
       "a schema that is not honoured is refused by name", p.stderr)


def main():
    print("TAP version 13")
    usage_errors()
    with tempfile.TemporaryDirectory() as tmp:
        p = run("-m", KDOC, "-q", "-p", "a", "-n", "0")
        if p.returncode and "firmware" in p.stderr:
            ok(True, "runs on sim # SKIP no firmware image: " + p.stderr.strip())
            return tap.done()
        failures(tmp)
        chat = plain_chat(tmp)
        documents(tmp, chat)
        sessions(tmp, chat)
        full(tmp, chat)
        interrupted(chat)
        terminal(chat)
        if os.path.isdir(AGENT):
            tools(tmp)
            constrained(tmp)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
