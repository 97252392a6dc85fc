# SPDX-License-Identifier: MIT
"""Jobs for the device of a zwqtest.Machine, with the real firmware: what a driver does, in small.

Random packets, each of which depends on the ones before it, on device memory and on the on-chip
buffer; the same seed gives the same bits, results and simulated times.
"""

import hashlib
import os
import random
import struct

import zwqtest as zw
from zwqtest import expect

FIRMWARE = os.path.join(zw.BUILD, "firmware", "zhenwu", "zhenwu_fw.bin")
MIB = 1 << 20

# in guest RAM
H2F, F2H, DESC, RINGS, MESSAGE = 0x2000000, 0x2001000, 0x2002000, 0x2010000, 0x2100000
# in HBM; what VM 1 sees is the first 32 MiB at the same addresses, the on-chip buffer at 1 GiB, and
# 2 MiB at DEEP
DATA, RESULTS, CMDS, ROOT = 2 * MIB, 14 * MIB, 16 * MIB, 30 * MIB
BUFFER, DEEP = 1 << 30, (1 << 30) + 64 * MIB
AREA = 512 << 10            # of HBM, and of the buffer, that a queue works on

SET_VM, CREATE_QUEUE = 3, 0x10
OP_COPY, OP_FILL = 0x500, 0x501
PMU, PMU_PACKETS, PMU_COUNT, TLB = 0x1000, 0x1060, 23, (0x1078, 0x1080)
SLOTS, MBOX_SLOTS = 64, 64


def fill(dst, size, pattern):
    return struct.pack("<HHIQQIHBB", OP_FILL, 64, 0, 0, 0, 0, 0, 0, 0) + \
        struct.pack("<QQQII", dst, size, 0, 1, pattern)


def copy(dst, src, size):
    return struct.pack("<HHIQQIHBB", OP_COPY, 80, 0, 0, 0, 0, 0, 0, 0) + \
        struct.pack("<QQQQQII", dst, src, size, 0, 0, 1, 0)


def packets(queue, count, rng):
    """A command buffer."""
    def area(size):
        off = rng.randrange(AREA - size) & ~63
        return rng.choice((BUFFER + queue * MIB, DATA + queue * 2 * MIB)) + off

    out = []
    for _ in range(count):
        size = 64 * rng.randint(1024, 4096)
        dst = src = area(size)
        if rng.randrange(3):
            while src < dst + size and dst < src + size:
                src = area(size)
            out.append(copy(dst, src, size))
        else:
            out.append(fill(dst, size, rng.getrandbits(32)))
    return b"".join(out)


class Driver:
    """Of machine m, whose BARs are placed and whose reset is over. It can be handed to another one."""

    def __init__(self, m, deep=None):
        self.m = m
        self.requests = self.jobs = 0
        with open(FIRMWARE, "rb") as f:
            image = f.read()
        m.mwrite(zw.IMAGE, image)
        m.w64(zw.MBOX_H2F, H2F)
        m.w64(zw.MBOX_F2H, F2H)
        m.w64(zw.FW_ADDR, zw.IMAGE)
        m.w32(zw.FW_SIZE, len(image))
        m.w32(zw.BOOT_CTRL, 1)
        m.wait32(zw.BOOT_STATUS, zw.BOOT_READY)
        leaf, table, sram = 0xf, 1, 2 << 4
        self.hbm(ROOT, struct.pack("<Q", ROOT + 0x1000 | table))
        self.hbm(ROOT + 0x1000, struct.pack("<QQ", ROOT + 0x2000 | table, ROOT + 0x3000 | table))
        self.hbm(ROOT + 0x2000, struct.pack("<16Q", *(i * 2 * MIB | leaf for i in range(16))))
        self.hbm(ROOT + 0x3000, struct.pack("<2Q", *(i * 2 * MIB | leaf | sram for i in range(2))))
        if deep is not None:
            self.hbm(ROOT + 0x3000 + 32 * 8, struct.pack("<Q", deep | leaf))
        self.request(SET_VM, struct.pack("<III", 1, ROOT, 0))

    def hbm(self, addr, data):
        self.m.mwrite(zw.BAR2 + addr, data)

    def request(self, kind, payload):
        self.requests += 1
        msg = struct.pack("<IIII44sI", kind, 0, 0, 0, payload, self.requests)
        self.m.mwrite(H2F + self.requests % MBOX_SLOTS * 64, msg)
        self.m.w32(zw.MBOX_DOORBELL, 1)
        at = F2H + self.requests % MBOX_SLOTS * 64
        self.m.wait("a reply", lambda: self.m.peek32(at + 60) == self.requests)
        expect("status of the reply", self.m.peek32(at + 4), 0)

    def ring(self, queue):
        return RINGS + queue * 0x3000

    def create_queue(self, queue):
        ring = self.ring(queue)
        self.m.mwrite(ring, bytes(0x3000))
        self.m.mwrite(DESC, struct.pack("<8I4Q", 64, 0, 0, 1, 1, 6, queue, 0, ring, ring + 0x1000,
                                        ring + 0x2000, 0))
        self.request(CREATE_QUEUE, struct.pack("<IIII", queue, 64, DESC, 0))

    def submit(self, queue, seq, cmds, at=0):
        """Job seq of the queue; its commands lie `at` bytes behind where the queue's begin."""
        va = CMDS + queue * 4 * MIB + at
        self.hbm(va, cmds)
        ring = self.ring(queue)
        result = RESULTS + queue * 65536 + seq % SLOTS * 256
        self.m.mwrite(ring + seq % SLOTS * 64, struct.pack(
            "<QQIIQQIIQQ", seq, va, len(cmds), 1, result, queue << 16 | seq, 0, 0, 0, 0))
        self.m.mwrite(ring + 0x1000, struct.pack("<I", seq))

    def bell(self, queue):
        self.m.w32(0x1000000 + queue * 4096, 0)

    def done(self, queue, seq):
        slot = self.m.mread(self.ring(queue) + 0x2000 + seq % SLOTS * 64, 64)
        return struct.unpack_from("<Q", slot, 56)[0] == seq

    def finish(self, queue, seq):
        self.m.wait(f"job {seq} of queue {queue}", lambda: self.done(queue, seq))
        slot = self.m.mread(self.ring(queue) + 0x2000 + seq % SLOTS * 64, 64)
        expect(f"status of job {seq} of queue {queue}", struct.unpack_from("<I", slot, 24)[0], 0)

    # -- a load of work

    def start_work(self, seed, jobs=4, count=6000, queues=(1, 2)):
        """Queues with jobs, rung for."""
        rng = random.Random(seed)
        self.jobs, self.queues = jobs, queues
        for q in queues:
            self.create_queue(q)
            at = 0
            for seq in range(1, jobs + 1):
                cmds = packets(q, count, rng)
                self.submit(q, seq, cmds, at)
                at += len(cmds)
        for q in queues:
            self.bell(q)

    def packets_done(self):
        return self.m.r64(PMU_PACKETS)

    def outcome(self):
        """When the work is over: everything it left behind, and what it took."""
        for q in self.queues:
            self.finish(q, self.jobs)
        path = os.path.join(self.m.dir, "hbm")
        self.m.qmp("pmemsave", val=zw.BAR2, size=32 * MIB, filename=path)
        with open(path, "rb") as f:
            hbm = hashlib.sha256(f.read()).hexdigest()
        rings = [self.m.mread(self.ring(q) + 0x2000, 4096) for q in self.queues]
        # How often the cache of translations was asked depends on who ran when.
        pmu = [self.m.r64(PMU + 8 * i) for i in range(PMU_COUNT) if PMU + 8 * i not in TLB]
        return hbm, rings, pmu
