# SPDX-License-Identifier: MIT
"""A VM's initramfs: busybox, our init and agent, and the stock kernel modules the guest needs.

Written as an uncompressed newc cpio: under TCG decompressing costs more than reading. Device nodes
are only entries of the archive, so no root is needed.
"""

import lzma
import os
import stat
import subprocess

# Names as modprobe knows them; what they depend on comes along.
MODULES = [
    "9p", "9pnet_virtio",
    "drm", "gpu-sched", "drm_gpuvm", "drm_exec", "drm_buddy", "drm_shmem_helper",
    "nvme", "aer_inject", "virtio_blk", "ext4", "crc32c_generic",
]
# Wanted where the kernel has them as modules (7.x splits and renames some, the one with all checkers
# has no disks).
OPTIONAL = {"drm_exec", "drm_buddy", "gpu-buddy", "drm_shmem_helper", "aer_inject",
            "virtio_blk", "ext4", "crc32c_generic"}

# Where a script of guest/ is in the archive.
SCRIPTS = {"init": "init", "bin/zw-agent": "agent", "bin/zw-load": "load", "bin/zw-host": "host"}

HERE = os.path.dirname(os.path.abspath(__file__))


class Cpio:
    """newc archive (Documentation/driver-api/early-userspace/buffer-format.rst of the kernel)."""

    def __init__(self):
        self.parts = []
        self.ino = 0
        self.dirs = set()

    def add(self, path, mode, data=b"", rdev=(0, 0), nlink=1):
        self.ino += 1
        name = path.strip("/").encode() + b"\0"
        fields = (self.ino, mode, 0, 0, nlink, 0, len(data), 0, 0, rdev[0], rdev[1], len(name), 0)
        head = b"070701" + b"".join(b"%08x" % f for f in fields) + name
        self.parts.append(head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4))

    def mkdir(self, path):
        path = path.strip("/")
        if path and path not in self.dirs:
            self.mkdir(os.path.dirname(path))
            self.dirs.add(path)
            self.add(path, stat.S_IFDIR | 0o755, nlink=2)

    def file(self, path, data, mode=0o644):
        self.mkdir(os.path.dirname(path))
        self.add(path, stat.S_IFREG | mode, data)

    def link(self, path, target):
        self.mkdir(os.path.dirname(path))
        self.add(path, stat.S_IFLNK | 0o777, target.encode())

    def chardev(self, path, major, minor):
        self.mkdir(os.path.dirname(path))
        self.add(path, stat.S_IFCHR | 0o600, rdev=(major, minor))

    def bytes(self):
        self.add("TRAILER!!!", 0)
        data = b"".join(self.parts)
        # The kernel takes several archives one after the other when each is padded.
        return data + bytes(-len(data) % 512)


def read_module(path):
    if path.endswith(".xz"):
        with lzma.open(path) as f:
            return f.read()
    if path.endswith(".zst"):
        return subprocess.run(["zstd", "-dcq", path], check=True, stdout=subprocess.PIPE).stdout
    with open(path, "rb") as f:
        return f.read()


def plain(rel):
    for ext in (".xz", ".zst"):
        rel = rel.removesuffix(ext)
    return rel


def module_closure(moddir, modules, optional):
    """modules.dep lines of what these modules need: {path: [paths it depends on]}."""
    deps = {}
    by_name = {}
    with open(os.path.join(moddir, "modules.dep"), encoding="ascii") as f:
        for line in f:
            path, _, rest = line.partition(":")
            deps[path] = rest.split()
            by_name[os.path.basename(plain(path)).removesuffix(".ko").replace("_", "-")] = path
    builtin = set()
    with open(os.path.join(moddir, "modules.builtin"), encoding="ascii") as f:
        for line in f:
            builtin.add(os.path.basename(line.strip()).removesuffix(".ko").replace("_", "-"))
    wanted = {}
    for name in modules + sorted(optional):
        key = name.replace("_", "-")
        if key in by_name:
            path = by_name[key]
            for p in [path] + deps[path]:
                wanted[p] = deps[p]
        elif key not in builtin and name not in optional:
            raise SystemExit(f"vm: the kernel in {moddir} has no module {name}")
    return wanted


def build(image_dir, out):
    """Writes the test VM's initramfs for the unpacked kernel in image_dir; returns the kernel's
    release."""
    releases = os.listdir(os.path.join(image_dir, "modules"))
    if len(releases) != 1:
        raise SystemExit(f"vm: expected one kernel in {image_dir}/modules, found {releases}")
    release = releases[0]
    write(os.path.join(image_dir, "modules", release), release, out, MODULES, OPTIONAL, SCRIPTS)
    return release


def write(moddir, release, out, modules, optional, scripts):
    """Writes an initramfs with these modules from moddir, and scripts as SCRIPTS has them."""
    busybox = "/bin/busybox"
    applets = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True)

    ar = Cpio()
    for d in ("dev", "proc", "sys", "tmp", "run", "mnt", "root", "etc", "lib64"):
        ar.mkdir(d)
    ar.chardev("dev/console", 5, 1)
    ar.chardev("dev/null", 1, 3)
    with open(busybox, "rb") as f:
        ar.file("bin/busybox", f.read(), 0o755)
    for name in applets.stdout.split():
        if name != "busybox":
            ar.link(f"bin/{name}", "busybox")
    ar.link("sbin", "bin")
    ar.mkdir("usr")
    ar.link("usr/bin", "../bin")
    ar.link("usr/sbin", "../bin")
    for dest, name in scripts.items():
        with open(os.path.join(HERE, "guest", name), "rb") as f:
            ar.file(dest, f.read(), 0o755)
    ar.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")
    ar.file("etc/group", b"root:x:0:\nnogroup:x:65534:\n")
    base = f"lib/modules/{release}"
    lines = []
    for path, needs in sorted(module_closure(moddir, modules, optional).items()):
        ar.file(f"{base}/{plain(path)}", read_module(os.path.join(moddir, path)))
        lines.append(f"{plain(path)}: {' '.join(plain(n) for n in needs)}".rstrip())
    ar.file(f"{base}/modules.dep", ("\n".join(lines) + "\n").encode())
    data = ar.bytes()
    tmp = f"{out}.{os.getpid()}"
    with open(tmp, "wb") as f:
        f.write(data)
    os.replace(tmp, out)
