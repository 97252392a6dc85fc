# SPDX-License-Identifier: MIT
"""Tests of tests/qtest/run: snapshots and migration, with jobs in flight."""

import os
import subprocess
import tempfile
import time

import zwqtest as zw
from zwjobs import BUFFER, DATA, DEEP, MIB, Driver, copy, fill
from zwqtest import Failure, Machine, expect

SMALL = "hbm=64M,aperture=32M,workers=1"


def fresh(m):
    m.place_bars()
    m.wait32(zw.RESET_STATUS, 0)


def heir(uri, device=SMALL):
    """The machine that a migration goes to; it stands still until told to go on."""
    return Machine(device, extra=["-incoming", uri, "-S"])


def unmoved(seed):
    """What the work leaves behind in a machine that nobody disturbs; how many packets it has."""
    with Machine(SMALL) as m:
        fresh(m)
        driver = Driver(m)
        driver.start_work(seed)
        return driver.outcome(), driver.packets_done()


def wait_packets(driver, n):
    driver.m.wait(f"{n} packets", lambda: driver.packets_done() >= n)


def hand_over(driver, m):
    driver.m = m
    m.arrived()


def in_flight(m, total):
    done = m.get("packets")
    if not 0 < done < total:
        raise Failure(f"{done} of {total} packets were done: no job was in flight")
    return done


def migrate_mid_job():
    """From QEMU to QEMU to QEMU, by socket and by file, with jobs in flight: the same bits come out."""
    want, total = unmoved(5)
    vector, message, data = 1, zw.DATA, 0xcafe0001
    with tempfile.TemporaryDirectory() as tmp:
        file, sock = f"file:{tmp}/state", f"unix:{tmp}/sock"
        with Machine(SMALL) as a, heir(sock) as b:
            fresh(a)
            entry = zw.BAR4 + 16 * vector
            for at, val in ((0, message), (4, 0), (8, data), (12, 0)):
                a.cmd(f"writel {entry + at:#x} {val:#x}")
            msix = a.capability(1, 0, 0x11) + 2
            a.conf_w(1, 0, msix, a.conf_r(1, 0, msix, 2) | 0x8000, 2)
            driver = Driver(a)
            driver.start_work(5)
            wait_packets(driver, total // 10)
            # Slow enough that most pages go out before the jobs write to them again.
            a.qmp("migrate-set-parameters", max_bandwidth=100 * MIB)
            a.migrate(sock)
            hand_over(driver, b)
            first = in_flight(b, total)
            # Ringing is state as well; so is which pages the device wrote.
            driver.bell(1)
            a.__exit__()
            b.qmp("cont")
            wait_packets(driver, first + (total - first) // 10)
            b.migrate(file)
            expect("packets after it was sent", b.get("packets"), driver.packets_done())
            with heir(file) as c:
                hand_over(driver, c)
                if in_flight(c, total) <= first:
                    raise Failure("nothing ran between the two migrations")
                c.mwrite(message, bytes(4))
                c.qmp("cont")
                got = driver.outcome()
                expect("message of the moved device", c.peek32(message), data)
    for what, x, y in zip(("HBM", "completions", "counters"), got, want):
        expect(what, x, y)


def untouched_hbm():
    """96 GiB of which little was written: a small stream, little memory; the little arrives."""
    deep = 90 << 30
    with tempfile.TemporaryDirectory() as tmp:
        path = f"{tmp}/state"
        with Machine("aperture=32M,workers=1") as m:
            fresh(m)
            expect("HBM_SIZE", m.r64(zw.HBM_SIZE), 96 << 30)
            driver = Driver(m, deep)
            driver.create_queue(1)
            driver.submit(1, 1, fill(DEEP, 4096, 0x5eed5eed) + fill(BUFFER, 4096, 0xb0ffe2))
            driver.bell(1)
            driver.finish(1, 1)
            start = time.monotonic()
            m.migrate(f"file:{path}")
            took = time.monotonic() - start
            size = os.path.getsize(path)
            if size > 8 * MIB:
                raise Failure(f"the stream has {size} bytes")
            if took > 20:
                raise Failure(f"it took {took:.1f} s")
            if m.memory() > 512 * MIB:
                raise Failure(f"QEMU takes {m.memory() // MIB} MiB")
        with heir(f"file:{path}", "aperture=32M,workers=1") as m:
            hand_over(driver, m)
            m.qmp("cont")
            driver.submit(1, 2, copy(DATA, DEEP, 4096) + copy(DATA + 4096, BUFFER, 4096))
            driver.bell(1)
            driver.finish(1, 2)
            expect("what came from 90 GiB", m.peek32(zw.BAR2 + DATA + 4092), 0x5eed5eed)
            expect("what came from the buffer", m.peek32(zw.BAR2 + DATA + 8188), 0xb0ffe2)
            if m.memory() > 512 * MIB:
                raise Failure(f"QEMU takes {m.memory() // MIB} MiB")


def job(m, command, **arguments):
    """A job of QMP, until it is over."""
    m.qmp(command, job_id="j", **arguments)
    info = {}

    def over():
        info.update(m.qmp("query-jobs")[0])
        return info["status"] == "concluded"

    m.wait(command, over)
    m.qmp("job-dismiss", id="j")
    if "error" in info:
        raise Failure(f"{command}: {info['error']}")


def snapshot_mid_job():
    """savevm and loadvm with jobs in flight: what ran once runs again, whatever was there meanwhile."""
    want, total = unmoved(6)
    with tempfile.TemporaryDirectory() as tmp, Machine(SMALL) as m:
        size = 256 * MIB
        job(m, "blockdev-create", options={"driver": "file", "filename": f"{tmp}/disk", "size": 0})
        m.qmp("blockdev-add", driver="file", node_name="file", filename=f"{tmp}/disk")
        job(m, "blockdev-create", options={"driver": "qcow2", "file": "file", "size": size})
        m.qmp("blockdev-add", driver="qcow2", node_name="disk", file="file")
        fresh(m)
        driver = Driver(m)
        driver.start_work(6)
        wait_packets(driver, total // 3)
        job(m, "snapshot-save", tag="s", vmstate="disk", devices=["disk"])
        expect("outcome after the snapshot", driver.outcome(), want)
        # HBM that had no contents in the snapshot has some now, and the device is another one.
        m.flr()
        fresh(m)
        m.fill(zw.BAR2, 32 * MIB, 0x77)
        m.qmp("stop")
        job(m, "snapshot-load", tag="s", vmstate="disk", devices=["disk"])
        in_flight(m, total)
        m.qmp("cont")
        expect("outcome from the snapshot", driver.outcome(), want)


def migrate_in_reset():
    """A reset from the bus is done before anything is sent; one that does not end is in the way."""
    with tempfile.TemporaryDirectory() as tmp:
        path = f"{tmp}/state"
        with Machine(SMALL) as m:
            fresh(m)
            m.fill(zw.BAR2, 32 * MIB, 0x77)
            m.set("inject", "stuck-reset")
            m.flr()
            m.place_bars()
            try:
                m.migrate(f"file:{path}")
            except Failure as e:
                if "migrate: " not in str(e):
                    raise
            else:
                raise Failure("a device in a reset that does not end was migrated")
            if "an injected fault keeps a reset from ending" not in m.stderr():
                raise Failure(f"nobody says why: {m.stderr()}")
            m.set("inject", "clear")
            fresh(m)
            m.fill(zw.BAR2, 32 * MIB, 0x77)
            m.flr()
            m.place_bars()
            m.migrate(f"file:{path}")
        with heir(f"file:{path}") as m:
            m.arrived()
            expect("RESET_STATUS", m.r32(zw.RESET_STATUS), 0)
            m.qmp("cont")
            for off in (0, 16 * MIB + 4, 32 * MIB - 4):
                expect(f"HBM at {off:#x}", m.peek32(zw.BAR2 + off), 0)
            Driver(m).create_queue(1)


def refused(uri, says, device=SMALL):
    """A QEMU that is to take this in ends with an error that says so."""
    with heir("defer", device) as m:
        try:
            m.qmp("migrate-incoming", uri=uri)
            m.arrived()
        except (Failure, OSError):
            pass
        try:
            expect("exit status", m.proc.wait(zw.PATIENCE), 1)
        except subprocess.TimeoutExpired:
            raise Failure(f"it was taken in, and not refused with {says!r}") from None
        if says not in m.stderr():
            raise Failure(f"{says!r} was expected, not {m.stderr()!r}")


def bad_migrations():
    """What does not fit, or is damaged, is refused by name; so is what cannot work."""
    with tempfile.TemporaryDirectory() as tmp:
        path, bad = f"{tmp}/state", f"{tmp}/bad"
        with Machine(SMALL) as m:
            fresh(m)
            driver = Driver(m)
            driver.start_work(7, jobs=1, count=2000)
            for cap in ("postcopy-ram", "background-snapshot"):
                caps = [{"capability": cap, "state": True}]
                try:
                    m.qmp("migrate-set-capabilities", capabilities=caps)
                except Failure:
                    continue    # not on this host
                try:
                    m.migrate(f"file:{path}")
                except Failure as e:
                    if cap not in str(e):
                        raise
                else:
                    raise Failure(f"migrated with {cap}")
                caps[0]["state"] = False
                m.qmp("migrate-set-capabilities", capabilities=caps)
            m.migrate(f"file:{path}")
            # A migration is no end.
            m.qmp("cont")
            driver.outcome()
        refused(f"file:{path}", "zhenwu-hbm", SMALL.replace("hbm=64M", "hbm=128M"))
        refused(f"file:{path}", "number of queues", SMALL + ",queues=8")
        refused(f"file:{path}", "profile is '810e'", SMALL + ",profile=c12")
        with open(path, "rb") as f:
            good = f.read()
        at = good.index(b"ZWSTATE\0")
        for says, data in (
                ("damaged", good[:at + 5000] + bytes([good[at + 5000] ^ 1]) + good[at + 5001:]),
                ("bytes are not the state", good[:at - 8] + b"\xff" * 8 + good[at:]),
                ("bytes are not the state", good[:at - 8] + bytes(8) + good[at:]),
                ("cut off", good[:at + 5000]),
                ("not the state of a device", good[:at] + b"zw" + good[at + 2:])):
            with open(bad, "wb") as f:
                f.write(data)
            refused(f"file:{bad}", says)


TESTS = [migrate_mid_job, untouched_hbm, snapshot_mid_job, migrate_in_reset, bad_migrations]
