# SPDX-License-Identifier: MIT
"""What can be known about a guest that stands still: QEMU's threads, the CPUs, interrupt
controllers and virtio queues as QEMU sees them, then the kernel's own view by sysrq over the serial
line. In this order: the break on the line is an interrupt and may wake the guest."""

import os
import socket
import threading
import time

HMP = ["info status", "info cpus", "info registers -a", "info pic", "info irq", "info lapic 0",
       "info lapic 1", "info virtio", "info chardev", "info pci"]
# Backtraces of the CPUs, blocked tasks, timers, all tasks.
SYSRQ = "lwqt"


def threads(pid):
    """State and CPU time of QEMU's threads."""
    out = []
    top = f"/proc/{pid}/task"
    for tid in sorted(os.listdir(top), key=int):
        try:
            with open(f"{top}/{tid}/stat", encoding="ascii", errors="replace") as f:
                name, _, rest = f.read().partition("(")[2].rpartition(")")
            with open(f"{top}/{tid}/wchan", encoding="ascii") as f:
                where = f.read()
        except OSError:
            continue
        fields = rest.split()
        out.append(f"{tid} {name} state {fields[0]} user {fields[11]} system {fields[12]} in {where}")
    return out


def ask(vm, line):
    try:
        return vm.qmp("human-monitor-command", **{"command-line": line}).replace("\r", "")
    except Exception as e:  # an answer missing must not cost the others
        return f"no answer: {e}"


def settle(vm, seconds=4, limit=60):
    """Returns when the kernel log has not grown for some seconds: a report is over."""
    until = time.monotonic() + limit
    seen, still = -1, 0
    while still < seconds and time.monotonic() < until:
        now = len(vm.console_text())
        still = still + 1 if now == seen else 0
        seen = now
        time.sleep(1)


def drain(line):
    try:
        while line.recv(4096):
            pass
    except OSError:
        pass


def sysrq(vm):
    """The kernel prints to its log; returns whether it said anything."""
    before = len(vm.console_text())
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.connect(f"{vm.dir}/con")
            # Read, or the guest waits: a socket holds only some 280 writes of one byte.
            threading.Thread(target=drain, args=(line,), daemon=True).start()
            for key in SYSRQ:
                vm.qmp("chardev-send-break", id="con")
                line.sendall(key.encode())
                settle(vm)
            line.shutdown(socket.SHUT_RDWR)
    except Exception as e:
        return f"no sysrq: {e}"
    return f"{len(vm.console_text()) - before} bytes in the kernel log"


def write(vm, path):
    """Writes the report; returns a line about it."""
    with open(path, "w", encoding="utf-8") as f:
        for n in range(2):
            f.write(f"== sample {n + 1}\n" + "\n".join(threads(vm.proc.pid)) + "\n")
            for line in HMP:
                if n and line not in ("info registers -a", "info lapic 0", "info lapic 1"):
                    continue
                f.write(f"\n-- {line}\n{ask(vm, line)}\n")
            f.flush()
            time.sleep(1)
        f.write(f"\n== sysrq {SYSRQ}: {sysrq(vm)}\n")
        f.write(f"\n== kernel log\n{vm.console_text()}\n")
    return f"its state is in {path}"
