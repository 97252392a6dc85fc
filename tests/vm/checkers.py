# SPDX-License-Identifier: MIT
"""What the checkers of a debug kernel have to say after the tests: leaks that kmemleak sees, and
whether each checker was still on (several turn themselves off when they run out of memory)."""

# kmemleak believes that an object younger than five seconds may still be on its way to its place.
SCAN = "echo scan >/sys/kernel/debug/kmemleak && sleep 6 && echo scan >/sys/kernel/debug/kmemleak"
REPORTS = "cat /sys/kernel/debug/kmemleak"

ALIVE = {
    "lockdep": "grep -q '^ *debug_locks: *1' /proc/lockdep_stats",
    "kmemleak": "echo scan >/sys/kernel/debug/kmemleak",
    "DMA API debugging": "grep -q N /sys/kernel/debug/dma-api/disabled",
}


def forget_leaks(vm):
    """What was lost while the kernel started is not the driver's."""
    vm.run(f"{SCAN}; echo clear >/sys/kernel/debug/kmemleak", timeout=1200)


def leaks(vm):
    """kmemleak's reports, one text each."""
    rc, out = vm.run(f"{SCAN} && {REPORTS}", timeout=1200)
    if rc:
        return [f"kmemleak does not scan: {out.strip()}"]
    return ["unreferenced object" + part for part in out.split("unreferenced object")[1:]]


def verdict(vm):
    """[(name, status, reason)]"""
    out = []
    # With the module first, because only then the stacks of its leaks have names.
    found = leaks(vm)
    rc, text = vm.run("zw-load -r", timeout=600)
    if rc:
        out.append(("the module can be unloaded", "failed", text.strip()))
    else:
        found += leaks(vm)
    seen = []
    for text in found:
        # The address and the age differ between two reports of one leak.
        key = text.split("\n", 1)[0]
        if key not in seen:
            seen.append(key)
            print("\n".join("    | " + t for t in text.rstrip().splitlines()), flush=True)
    out.append(("kmemleak", "failed" if seen else "passed",
                f"{len(seen)} unreferenced objects" if seen else ""))
    for name, test in ALIVE.items():
        rc, _ = vm.run(test, timeout=1200)
        out.append((f"{name} is still on", "failed" if rc else "passed", ""))
    off = "ODEBUG: Out of memory" in vm.console_text()
    out.append(("DEBUG_OBJECTS is still on", "failed" if off else "passed", ""))
    return out
