# SPDX-License-Identifier: MIT
"""Reads TAP 13 / KTAP 1 as kselftests, cmocka and our own checks print it."""

import re

RESULT = re.compile(r"^(ok|not ok)\b\s*(\d+)?\s*-?\s*(.*)$")
PLAN = re.compile(r"^1\.\.(\d+)(\s*#\s*SKIP\b\s*(.*))?", re.I)


def parse(text):
    """Returns (results, problem): results is a list of (name, status, reason) with status "passed",
    "failed" or "skipped"; problem tells what is wrong with the stream as a whole, or None.

    Only the outermost level counts: nested tests are indented, and their parent carries the result.
    Lines that are no TAP are ignored, as the format wants: programs print what they like between.
    """
    results = []
    planned = None
    problem = None
    for line in text.splitlines():
        line = line.rstrip()
        m = PLAN.match(line)
        if m:
            # cmocka prints one plan per group of tests.
            planned = (planned or 0) + int(m.group(1))
            if m.group(2) and int(m.group(1)) == 0:
                results.append(("all", "skipped", m.group(3) or ""))
            continue
        if line.startswith("Bail out!"):
            problem = line
            continue
        m = RESULT.match(line)
        if not m:
            continue
        name, _, directive = m.group(3).partition("#")
        name = name.strip() or f"test {m.group(2) or len(results) + 1}"
        directive = directive.strip()
        word = directive.split(" ", 1)[0].upper()
        if word.startswith("SKIP"):
            # cmocka 1.1 writes "not ok 3 # SKIP test_name" for a test that skips itself.
            status = "skipped"
            if m.group(1) == "not ok" and name.startswith("test "):
                name, directive = directive[4:].strip() or name, "skipped itself"
        elif m.group(1) == "ok":
            status = "passed"
        else:
            # An expected failure is a known one, not a passed test, and not a new failure either.
            status = "skipped" if word in ("XFAIL", "TODO") else "failed"
        results.append((name, status, directive))
    count = sum(1 for r in results if r[0] != "all")
    if problem is None and planned is not None and planned != count and planned:
        problem = f"planned {planned} tests, ran {count}"
    return results, problem
