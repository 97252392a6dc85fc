# SPDX-License-Identifier: MIT
"""The Zhenwu device in a QEMU without a CPU: QEMU's qtest protocol takes a CPU's place.

	with Machine("hbm=64M,aperture=32M") as m:
	    m.place_bars()
	    m.r32(regs.MAGIC)

Registers, configuration space and RAM are read and written one line at a time over a socket; QMP
is beside it. One thread uses a Machine.
"""

import hashlib
import json
import os
import select
import shutil
import socket
import struct
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.environ.get("ZW_BUILD", os.path.join(ROOT, "build"))
QEMU = os.path.join(BUILD, "qemu", "qemu-system-x86_64")
BLOBS = os.path.join(BUILD, "qemu", "pc-bios")
MONITOR = os.path.join(BUILD, "native", "tests", "unit", "device", "monitor.bin")

# Ends only what would never end: the machine may be busy.
PATIENCE = float(os.environ.get("ZW_QTEST_PATIENCE", "60"))

PORT_DEV = 4                # the root port on bus 0
BAR0, BAR4, BAR2 = 0xd0000000, 0xd2000000, 0xe0000000
IMAGE, REQUEST, REPLY, DATA = 0x1000000, 0x2000000, 0x2001000, 0x2100000   # in guest RAM


class Failure(Exception):
    """A test's expectation that does not hold."""


def expect(what, got, want):
    if got != want:
        shown = tuple(hex(v) if isinstance(v, int) and not isinstance(v, bool) else repr(v)
                      for v in (got, want))
        raise Failure(f"{what} is {shown[0]}, not {shown[1]}")


class Lines:
    """A socket that speaks in lines."""

    def __init__(self, path, alive):
        until = time.monotonic() + PATIENCE
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.buf = b""
        while True:
            try:
                self.sock.connect(path)
                return
            except OSError:
                alive()
                if time.monotonic() > until:
                    raise
                time.sleep(0.01)

    def send(self, text):
        self.sock.sendall(text.encode() + b"\n")

    def line(self, timeout=PATIENCE):
        """The next line, or None when there is none in time."""
        until = time.monotonic() + timeout
        while b"\n" not in self.buf:
            left = until - time.monotonic()
            if left < 0 or not select.select([self.sock], [], [], left)[0]:
                return None
            data = self.sock.recv(65536)
            if not data:
                raise Failure("QEMU closed the connection")
            self.buf += data
        line, self.buf = self.buf.split(b"\n", 1)
        return line.decode()


class Machine:
    """QEMU's q35 with the device (id zw0) behind a root port; device: its properties, or None."""

    def __init__(self, device="", extra=()):
        self.device = device
        self.extra = list(extra)
        self.events = []
        self.seq = 0

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="zw-qtest-")
        argv = [QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-L", BLOBS,
                "-bios", os.path.join(BLOBS, "qboot.rom"), "-M", "q35", "-m", "64M", "-accel", "qtest",
                "-qtest", f"unix:{self.dir}/qtest,server=on,wait=off", "-qtest-log", "none",
                "-qmp", f"unix:{self.dir}/qmp,server=on,wait=off",
                # PCIe's own hot-plug, which needs no ACPI of a guest
                "-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off",
                "-device", f"pcie-root-port,id=zwport,bus=pcie.0,addr={PORT_DEV:#x},chassis=1,slot=1",
                *self.extra]
        if self.device is not None:
            argv += ["-device", ",".join(["zhenwu,id=zw0,bus=zwport", *filter(None, [self.device])])]
        self.err = open(os.path.join(self.dir, "stderr"), "w+", encoding="utf-8", errors="replace")
        self.proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self.err,
                                     stderr=self.err)
        try:
            self.qmp_lines = Lines(f"{self.dir}/qmp", self.check_alive)
            self.qmp_lines.line()
            self.qtest = Lines(f"{self.dir}/qtest", self.check_alive)
            self.qmp("qmp_capabilities")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc):
        if self.proc.poll() is None:
            self.proc.kill()
        self.proc.wait()
        self.err.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def check_alive(self):
        if self.proc.poll() is not None:
            raise Failure(f"QEMU ended, exit status {self.proc.returncode}: {self.stderr()}")

    def stderr(self):
        with open(self.err.name, encoding="utf-8", errors="replace") as f:
            return f.read().strip()

    # -- QMP

    def qmp_message(self, timeout):
        line = self.qmp_lines.line(timeout)
        return None if line is None else json.loads(line)

    def qmp(self, command, **arguments):
        """The result of a QMP command; a refusal is a Failure with QEMU's reason."""
        self.qmp_lines.send(json.dumps({"execute": command, "arguments": {
            k.replace("_", "-"): v for k, v in arguments.items()}}))
        while True:
            msg = self.qmp_message(PATIENCE)
            if msg is None:
                raise Failure(f"no answer to {command}")
            if "event" in msg:
                self.events.append(msg)
            elif "error" in msg:
                raise Failure(f"{command}: {msg['error']['desc']}")
            else:
                return msg["return"]

    def wait_event(self, name, timeout=PATIENCE, **data):
        """Waits for an event with this data; events are used up. False: it did not come."""
        def match(e):
            return e["event"] == name and all(e["data"].get(k) == v for k, v in data.items())

        until = time.monotonic() + timeout
        while True:
            for e in self.events:
                if match(e):
                    self.events.remove(e)
                    return True
            msg = self.qmp_message(max(0, until - time.monotonic()))
            if msg is None:
                return False
            self.events.append(msg)

    def get(self, prop, path="/machine/peripheral/zw0"):
        return self.qmp("qom-get", path=path, property=prop)

    def migrate(self, uri):
        """Sends the machine there, and waits until that is done; a Failure with the reason."""
        self.qmp("migrate", uri=uri)
        info = {}

        def over():
            info.update(self.qmp("query-migrate"))
            return info.get("status") in ("completed", "failed")

        self.wait("the migration", over)
        if info["status"] == "failed":
            raise Failure(f"migrate: {info.get('error-desc', 'failed')}")

    def arrived(self):
        """Of a machine made with -incoming and -S: waits until all has come in."""
        self.wait("what comes in", lambda: self.qmp("query-status")["status"] != "inmigrate")

    def set(self, prop, value, path="/machine/peripheral/zw0"):
        return self.qmp("qom-set", path=path, property=prop, value=value)

    # -- qtest

    def cmd(self, text):
        self.qtest.send(text)
        while True:
            line = self.qtest.line()
            if line is None:
                raise Failure(f"no answer to {text[:60]!r}")
            if line.startswith("IRQ"):
                continue
            word, _, rest = line.partition(" ")
            if word != "OK":
                raise Failure(f"{text[:60]!r}: {line}")
            return rest

    def mread(self, addr, size):
        return bytes.fromhex(self.cmd(f"read {addr:#x} {size:#x}")[2:])

    def mwrite(self, addr, data):
        for at in range(0, len(data), 4096):
            piece = data[at:at + 4096]
            self.cmd(f"write {addr + at:#x} {len(piece):#x} 0x{piece.hex()}")

    def fill(self, addr, size, byte):
        self.cmd(f"memset {addr:#x} {size:#x} {byte:#x}")

    def peek32(self, addr):
        return int(self.cmd(f"readl {addr:#x}"), 16)

    # -- configuration space, by the ports of mechanism 1

    def conf_addr(self, bus, dev, off):
        self.cmd(f"outl 0xcf8 {0x80000000 | bus << 16 | dev << 11 | (off & 0xfc):#x}")

    def conf_r(self, bus, dev, off, size=4):
        self.conf_addr(bus, dev, off)
        op = {1: "inb", 2: "inw", 4: "inl"}[size]
        return int(self.cmd(f"{op} {0xcfc + off % 4:#x}"), 16)

    def conf_w(self, bus, dev, off, val, size=4):
        self.conf_addr(bus, dev, off)
        op = {1: "outb", 2: "outw", 4: "outl"}[size]
        self.cmd(f"{op} {0xcfc + off % 4:#x} {val:#x}")

    def capability(self, bus, dev, ident):
        at = self.conf_r(bus, dev, 0x34, 1)
        while at:
            if self.conf_r(bus, dev, at, 1) == ident:
                return at
            at = self.conf_r(bus, dev, at + 1, 1)
        raise Failure(f"no capability {ident:#x}")

    def open_port(self):
        """Bus number and windows of the root port."""
        self.conf_w(0, PORT_DEV, 0x18, 0x010100)
        self.conf_w(0, PORT_DEV, 0x20, (BAR4 & 0xfff00000) | BAR0 >> 16)
        self.conf_w(0, PORT_DEV, 0x24, (BAR2 + 0x0ff00000) & 0xfff00000 | BAR2 >> 16)
        self.conf_w(0, PORT_DEV, 0x04, 6, 2)

    def place_bars(self, command=6):
        """What firmware and operating system do: bridge windows, BARs, memory and bus master on."""
        self.open_port()
        for reg, val in ((0x10, BAR0), (0x18, BAR2), (0x20, BAR4)):
            self.conf_w(1, 0, reg, val)
            self.conf_w(1, 0, reg + 4, 0)
        self.conf_w(1, 0, 0x04, command, 2)

    def flr(self):
        at = self.capability(1, 0, 0x10) + 8
        self.conf_w(1, 0, at, self.conf_r(1, 0, at, 2) | 0x8000, 2)

    def bus_reset(self):
        self.conf_w(0, PORT_DEV, 0x3e, 0x40, 2)
        self.conf_w(0, PORT_DEV, 0x3e, 0, 2)

    def slot_power(self, on):
        at = self.capability(0, PORT_DEV, 0x10) + 0x18
        val = self.conf_r(0, PORT_DEV, at, 2) & ~0x700
        self.conf_w(0, PORT_DEV, at, val | (0x100 if on else 0x700), 2)

    # -- the device

    def r32(self, off):
        return int(self.cmd(f"readl {BAR0 + off:#x}"), 16)

    def r64(self, off):
        return int(self.cmd(f"readq {BAR0 + off:#x}"), 16)

    def w32(self, off, val):
        self.cmd(f"writel {BAR0 + off:#x} {val:#x}")

    def w64(self, off, val):
        self.cmd(f"writeq {BAR0 + off:#x} {val:#x}")

    def wait(self, what, ready, timeout=PATIENCE):
        until = time.monotonic() + timeout
        while not ready():
            self.check_alive()
            if time.monotonic() > until:
                raise Failure(f"{what}: not within {timeout:.0f} s")
            time.sleep(0.002)

    def wait32(self, off, val):
        self.wait(f"register {off:#x} = {val:#x}", lambda: self.r32(off) == val)

    def boot_monitor(self):
        """Boots the firmware of tests/unit/device, which executes what mon() asks for."""
        with open(MONITOR, "rb") as f:
            text = f.read()
        header = struct.pack("<8IQQ32s32s", 0x5746575a, 2, 240, 240 + len(text),
                             self.r32(ABI_VERSION), 0, 1, 0, 0x80000000, 0, b"test", bytes(32))
        header += struct.pack("<IIIIQQ", 240, len(text), len(text) + 65536, 0, 0x80000000, 0)
        image = bytearray(header + bytes(32 * 3) + text)
        image[80:112] = hashlib.sha256(image).digest()
        self.mwrite(IMAGE, bytes(image))
        self.w64(FW_ADDR, IMAGE)
        self.w32(FW_SIZE, len(image))
        self.w32(BOOT_CTRL, 1)

    def monitor_ready(self):
        self.wait32(BOOT_STATUS, BOOT_READY)
        self.w64(MBOX_H2F, REQUEST)
        self.w64(MBOX_F2H, REPLY)

    def mon_send(self, op, addr=0, val=0, behind=b""):
        self.seq += 1
        self.mwrite(REQUEST, struct.pack("<IIQQQ", self.seq, op, addr, val, 0) + behind)
        self.w32(MBOX_DOORBELL, 1)

    def mon(self, op, addr=0, val=0, behind=b""):
        """One request to the monitor: its value. A bus error of the access is a Failure."""
        self.mon_send(op, addr, val, behind)
        self.wait("the monitor's reply", lambda: self.peek32(REPLY + 16) == self.seq)
        value, cause = struct.unpack("<QQ", self.mread(REPLY, 16))
        expect("cause", cause, 0)
        return value

    def memory(self, field="VmRSS"):
        """Bytes of host memory of the process, as /proc/PID/status has them."""
        with open(f"/proc/{self.proc.pid}/status", encoding="ascii") as f:
            for line in f:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) * 1024
        raise Failure(f"no {field}")


# uapi/zhenwu/zw_regs.h
ZW_MAGIC = 0x5550575a
MAGIC, ABI_VERSION, PROFILE, CAPS, HBM_SIZE, APERTURE_SIZE = 0, 4, 8, 0xc, 0x10, 0x18
PROFILE_NAME, RESET, RESET_STATUS, BOOT_CTRL, BOOT_STATUS, BOOT_ERROR = \
    0x30, 0x70, 0x74, 0x80, 0x84, 0x88
FW_ADDR, FW_SIZE, FW_VERSION, MBOX_H2F, MBOX_F2H, MBOX_DOORBELL = \
    0x90, 0x98, 0x9c, 0x100, 0x108, 0x110
BOOT_IDLE, BOOT_READY, BOOT_FAILED = 0, 3, 4

# tests/unit/device/monitor.h
MON_LOAD32, MON_LOAD64, MON_STORE32, MON_STORE64, MON_SPIN, MON_DMA = 1, 2, 4, 5, 10, 12
MON_BUF = 0x80080000
