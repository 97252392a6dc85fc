#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Collects test results of all stages as JSON lines and sums them up.

  results.py add FILE STAGE NAME STATUS [REASON]    status: passed, failed, skipped
  results.py tap FILE STAGE < OUTPUT                every result of a TAP/KTAP stream
  results.py meson FILE STAGE TESTLOG.json          a meson test log; TAP inside counts each test
  results.py run FILE STAGE NAME -- COMMAND...      one result from a command's exit status (4 skips)
  results.py ended FILE STAGE STATUS                what ran the stage: failed, without a failure of it?
  results.py summary FILE                           a table, then "N passed, N failed, N skipped"

summary exits with 1 when anything failed or nothing passed.
"""

import json
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests", "vm"))


class Recorder:
    """Appends results to a JSON lines file (or only keeps them, without a file)."""

    def __init__(self, path=None):
        self.path = path
        self.items = []

    def add(self, stage, name, status, reason=""):
        if status not in ("passed", "failed", "skipped"):
            raise ValueError(f"status {status!r}")
        item = {"stage": stage, "name": name, "status": status, "reason": reason}
        self.items.append(item)
        if self.path:
            # One write per line: stages may run side by side.
            with open(self.path, "a", encoding="utf-8") as f:
                f.write(json.dumps(item) + "\n")

    def close(self, summary=True):
        """Exit status for what was recorded; prints the summary unless someone else will."""
        if summary:
            return print_summary(self.items)
        return 1 if any(i["status"] == "failed" for i in self.items) else 0


def print_summary(items):
    stages = {}
    for i in items:
        stages.setdefault(i["stage"], {"passed": 0, "failed": 0, "skipped": 0})[i["status"]] += 1
    total = {s: sum(c[s] for c in stages.values()) for s in ("passed", "failed", "skipped")}
    print()
    for i in items:
        if i["status"] == "skipped":
            print(f"SKIP {i['stage']}: {i['name']}{': ' + i['reason'] if i['reason'] else ''}")
    for i in items:
        if i["status"] == "failed":
            print(f"FAIL {i['stage']}: {i['name']}{': ' + i['reason'] if i['reason'] else ''}")
    print(f"{'stage':<24}{'passed':>8}{'failed':>8}{'skipped':>8}")
    for name, c in stages.items():
        print(f"{name:<24}{c['passed']:>8}{c['failed']:>8}{c['skipped']:>8}")
    print(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped",
          flush=True)
    return 0 if total["failed"] == 0 and total["passed"] > 0 else 1


def add_tap(rec, stage, text, prefix="", exit_ok=True):
    """Records a TAP stream; a stream that contradicts its plan or its program is a failure too."""
    import ktap
    cases, flaw = ktap.parse(text)
    for name, status, reason in cases:
        rec.add(stage, prefix + name, status, reason)
    failed = any(status == "failed" for _, status, _ in cases)
    if flaw:
        rec.add(stage, f"{prefix}TAP stream", "failed", flaw)
    elif not exit_ok and not failed:
        rec.add(stage, f"{prefix}program", "failed", "it failed though none of its tests did")
    return cases


def add_meson(rec, stage, path):
    import ktap
    count = 0
    with open(path, encoding="utf-8") as f:
        for line in f:
            test = json.loads(line)
            count += 1
            name = test["name"].split(" / ")[-1]
            good = test["result"] in ("OK", "EXPECTEDFAIL")
            if test["result"] == "SKIP":
                # A program that skips itself (exit status 77) says why on stderr.
                said = (test.get("stderr") or "").strip().splitlines()
                rec.add(stage, name, "skipped", said[-1] if said else "exit status 77")
                continue
            text = test.get("stdout") or ""
            if ktap.parse(text)[0]:
                add_tap(rec, stage, text, f"{name}: ", good)
            else:
                rec.add(stage, name, "passed" if good else "failed",
                        "" if good else test["result"])
    if not count:
        rec.add(stage, "meson test", "failed", "ran no test")


def main(argv):
    if argv[1:2] in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    if len(argv) < 3:
        print(__doc__, file=sys.stderr)
        return 2
    cmd, path, rest = argv[1], argv[2], argv[3:]
    rec = Recorder(path)
    if cmd == "add":
        rec.add(rest[0], rest[1], rest[2], rest[3] if len(rest) > 3 else "")
    elif cmd == "tap":
        if not add_tap(rec, rest[0], sys.stdin.read()):
            rec.add(rest[0], "TAP stream", "failed", "no test result in the output")
    elif cmd == "meson":
        add_meson(rec, rest[0], rest[1])
    elif cmd == "run":
        stage, name, command = rest[0], rest[1], rest[3:]
        r = subprocess.run(command, stdin=subprocess.DEVNULL, check=False)
        rec.add(stage, name, {0: "passed", 4: "skipped"}.get(r.returncode, "failed"),
                "" if r.returncode == 0 else f"exit status {r.returncode}")
    elif cmd == "ended":
        stage, status = rest
        with open(path, encoding="utf-8") as f:
            items = [json.loads(line) for line in f]
        if status != "0" and not any(i["stage"] == stage and i["status"] == "failed" for i in items):
            rec.add(stage, "the run", "failed",
                    f"exit status {status}, though none of its tests failed")
    elif cmd == "summary":
        with open(path, encoding="utf-8") as f:
            return print_summary([json.loads(line) for line in f])
    else:
        print(__doc__, file=sys.stderr)
        return 2
    # A recorded failure is the summary's business: the caller goes on with the next stage.
    return 0


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    sys.exit(main(sys.argv))
