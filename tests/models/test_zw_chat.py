#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""zw-run --chat: conversations, with tools, on the device model in the process.

usage: test_zw_chat.py ZW_RUN MODELS TOOLS    (TAP on standard output; skipped without a firmware image)
"""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
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
                 ["--chat", "--max-calls", "x"], ["--chat", "--tool-timeout", "0"], ["--transcript", "x", "-p", "a"],
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
    ok(p.returncode == 0 and '{"error": "timeout"}' in p.stderr and s["chat"]["failed_calls"] == 1, "a tool that takes too long", p.stderr)
    ok("50236" in p.stdout, "the model calls again after a timeout", p.stdout, p.stderr)
    p = subprocess.run([os.path.join(ROOT, "tests/agent/run"), "--sim", "--calls", "24", "--chain", "12", "--out", tmp], encoding="utf-8",
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, timeout=600,
                       env={**os.environ, "ZW_NATIVE": os.path.dirname(os.path.dirname(os.path.dirname(ZW_RUN)))})
    ok(p.returncode == 0 and "48 right" in p.stdout and "4 of 4" in p.stdout, "tests/agent/run: chains in one conversation", p.stdout, p.stderr)


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
        interrupted(chat)
        terminal(chat)
        if os.path.isdir(AGENT):
            tools(tmp)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
