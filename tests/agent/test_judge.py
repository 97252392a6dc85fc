#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How tests/agent/run counts the calls of a conversation."""

import importlib.machinery
import importlib.util
import json
import os
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "models"))
import tap  # noqa: E402

_loader = importlib.machinery.SourceFileLoader("agent_run", os.path.join(HERE, "run"))
agent = importlib.util.module_from_spec(importlib.util.spec_from_loader("agent_run", _loader))
_loader.exec_module(agent)

CHAINS = [(["a", "b", "c"], 70), (["d", "e"], 80)]
STORE = {"a": {"next": "b"}, "b": {"next": "c"}, "c": {"value": 70}, "d": {"next": "e"}, "e": {"value": 80}}


def talk(*turns):
    """Messages: a question (None), a call of get (a key; with "!" the tool takes too long), or an answer (a number)."""
    out = []
    for t in turns:
        if t is None:
            out.append({"role": "user", "content": "?"})
        elif isinstance(t, int):
            out.append({"role": "assistant", "content": f"It is {t}."})
        else:
            key = t.rstrip("!")
            out.append({"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "get", "arguments": {"key": key}}}]})
            reply = {"error": "timeout"} if t[-1] == "!" else STORE.get(key, {"error": "unknown key"})
            out.append({"role": "tool", "content": json.dumps(reply)})
    return out


def check(name, turns, answered, **count):
    messages = turns if isinstance(turns[0], dict) else talk(*turns)
    want = {**dict.fromkeys(("right", "retried", "again", "wrong", "unknown"), 0), **count}
    got = agent.judge(messages, CHAINS)
    tap.ok(got == (want, answered), name, got)


def main():
    check("all right", [None, "a", "b", "c", 70, None, "d", "e", 80], 2, right=5)
    check("a wrong answer", [None, "a", "b", "c", 71], 0, right=3)
    check("a call after a timeout", [None, "a", "b!", "b", "c", 70], 1, right=3, retried=1)
    check("the key that is asked for already", [None, "a", "b", "b", "c", 70], 1, right=3, wrong=1)
    check("a way that leads in a circle goes no further", [None, "a", "b", "a", "b", "a", "b", "c"], 0, right=3, wrong=2, again=2)
    check("a key that there is not, and the right one then", [None, "a", "x", "b", "c", 70], 1, right=2, retried=1, unknown=1)
    check("errors one after another", [None, "x", "y", "x"], 0, unknown=3)
    check("a chain of another question", [None, "a", "d", "e", 80, None, "d", "e", 80], 1, right=3, wrong=1, again=1)
    check("what is behind the chain's end", [None, "a", "b", "c", "c", 70], 1, right=3, wrong=1)
    other = talk(None, "a") + [{"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "add", "arguments": {"a": 1}}}]},
                               {"role": "tool", "content": "3"}] + talk("b", "c", 70)
    check("another tool", other, 1, right=3, wrong=1)
    kinds = sorted(agent.KINDS)
    chains = agent.make_chains(90, 20, 1, kinds)
    keys = [k for c, _ in chains for k in c]
    tap.ok(len(chains) == 7 and len(set(keys)) == 140 and agent.make_chains(90, 20, 1, kinds) == chains, "chains: no key twice, the same for a seed")
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
