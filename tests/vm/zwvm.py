# SPDX-License-Identifier: MIT
"""A test VM: QEMU with the Zhenwu device, a stock Debian kernel and our initramfs.

	with Vm(Config()) as vm:
	    rc, out = vm.run("uname -r")
	    vm.qmp("device_del", id="zw0")

One Vm is used from one thread at a time, except qmp(), which may be called from any.
"""

import base64
import ctypes
import json
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import autopsy
import initramfs

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.environ.get("ZW_BUILD", os.path.join(ROOT, "build"))
CACHE = os.environ.get("ZW_CACHE") or os.path.join(
    os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "zhenwu")

# What a kernel never says when all is well. KFENCE, KASAN and UBSAN reports start with BUG: or
# with the sanitizer's name; "Call Trace" catches the dumps that have no such head.
KERNEL_TROUBLE = re.compile(
    r"\bBUG:|\bWARNING: |\bOops\b|kernel BUG at|\bKFENCE:|\bUBSAN:|\bKASAN:|"
    r"[Uu]nable to handle|general protection fault|Kernel panic|Call Trace:|"
    r"blocked for more than|soft lockup|hard LOCKUP|detected stalls|self-detected stall|"
    r"refcount_t:|list_(add|del) corruption|Object padding overwritten|Redzone overwritten|"
    r"Poison overwritten|Object already free|scheduling while atomic|sleeping function called|"
    r"DMA-API: .*(driver|device|overlapping)|ODEBUG: .*(active|destroyed|disabled)|DMAR:.*fault|AMD-Vi:.*FAULT|Bad page state|Bad rss-counter")

# The guest may ask for these through zw-host; nothing that touches the host's files.
GUEST_QMP = {"device_del", "device_add", "qom-get", "qom-set", "qom-list", "query-pci",
             "query-status", "human-monitor-command", "query-named-block-nodes"}
GUEST_HMP = re.compile(r"^(pcie_aer_inject_error|info (pci|qtree|mtree)\b)")


class VmError(Exception):
    """The VM cannot be used (any more): it did not start, died or does not answer."""


class Config:
    """How to start a VM. Everything has a default; the ZW_* variables override some."""

    def __init__(self):
        self.memory = os.environ.get("ZW_VM_MEM", "2G")
        self.cpus = int(os.environ.get("ZW_VM_CPUS", "2"))
        self.device = True
        self.device_options = {}
        self.extra = []             # QEMU arguments
        self.append = ""            # kernel command line
        self.shares = []            # host folders the guest reads, besides the project itself
        self.disks = []             # the same, copied to a disk each
        self.shell = False
        self.qmp_socket = None      # path of an additional QMP socket for other programs
        self.debug = True           # slab debugging and KFENCE: off where time is measured
        # A role of scripts/fetch-kernel; with "debug-" in front, of scripts/build-debug-kernel.
        self.kernel = os.environ.get("ZW_VM_KERNEL", "vm")
        self.iommu = False          # translates the DMA of all devices
        self.bios = "qboot.rom"     # bios-256k.bin for machines that wake up from S3
        self.nvme = False           # an NVMe disk on null-co, the benchmark's yardstick
        # Emulation on a busy machine can be a hundred times slower than hardware: these limits
        # only end runs that would never end by themselves.
        self.boot_timeout = int(os.environ.get("ZW_VM_BOOT_TIMEOUT", "240"))
        self.timeout = int(os.environ.get("ZW_VM_TIMEOUT", "3600"))
        self.accel = os.environ.get("ZW_ACCEL", "auto")
        self.name = "vm"
        # A folder as scripts/build-qemu makes it: QEMU, pc-bios/ and version.
        self.qemu = os.path.join(BUILD, "qemu")
        self.logs = os.path.join(BUILD, "logs")

    @property
    def checkers(self):
        """The kernel has KASAN, lockdep and so on built in."""
        return self.kernel.startswith("debug-")

    @property
    def patience(self):
        """How much longer than on a stock kernel things may take."""
        return 6 if self.checkers else 1


def script_output(*argv):
    r = subprocess.run([os.path.join(ROOT, "scripts", argv[0]), *argv[1:]], stdout=subprocess.PIPE,
                       text=True, check=False)
    if r.returncode:
        raise VmError(f"scripts/{' '.join(argv)} failed")
    return r.stdout.strip()


def is_elf(path):
    try:
        with open(path, "rb") as f:
            return f.read(4) == b"\x7fELF"
    except OSError:
        return False


def stage_libraries():
    """Copies the host libraries that the programs under build/ load to build/vm/libs."""
    libs = os.path.join(BUILD, "vm", "libs")
    os.makedirs(libs, exist_ok=True)
    programs = []
    for top in ("native", "kselftest"):
        for root, dirs, files in os.walk(os.path.join(BUILD, top)):
            dirs[:] = [d for d in dirs if not d.endswith(".p") and not d.startswith("meson-")]
            programs += [os.path.join(root, f) for f in files
                         if not f.endswith((".o", ".a", ".ninja")) and
                         (os.access(os.path.join(root, f), os.X_OK) or ".so" in f) and
                         is_elf(os.path.join(root, f))]
    if not programs:
        return libs
    out = subprocess.run(["ldd", *programs], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                         text=True, check=False).stdout
    found = set(re.findall(r"(?:=> |^\s+)(/\S+) \(0x", out, re.M))
    # LLVM and libasan never appear here: sanitizer builds do not run in the VM.
    for lib in sorted(found):
        if lib.startswith(BUILD + "/"):
            continue
        dest = os.path.join(libs, os.path.basename(lib))
        st = os.stat(lib)
        if os.path.exists(dest):
            old = os.stat(dest)
            if old.st_size == st.st_size and int(old.st_mtime) == int(st.st_mtime):
                continue
        tmp = f"{dest}.{os.getpid()}"
        shutil.copy2(os.path.realpath(lib), tmp)
        os.utime(tmp, (st.st_atime, st.st_mtime))
        os.replace(tmp, dest)
    return libs


def unpack_kernel(image):
    """The ELF file in a bzImage, below build/vm; None for a kernel that cannot be started as one (PVH).

    An emulated CPU unpacks its kernel for two seconds, at every boot."""
    try:
        with open(os.path.join(image, "config"), encoding="ascii") as f:
            if "CONFIG_PVH=y" not in f.read().split("\n"):
                return None
        with open(os.path.join(image, "vmlinuz"), "rb") as f:
            data = f.read()
    except OSError:
        return None
    out = os.path.join(BUILD, "vm", f"vmlinux-{os.path.basename(image)}")
    if os.path.exists(out):
        return out
    # Documentation/arch/x86/boot.rst of the kernel. The last four bytes are the size, and no compressor's.
    start = (data[0x1f1] + 1) * 512 + int.from_bytes(data[0x248:0x24c], "little")
    packed = data[start:start + int.from_bytes(data[0x24c:0x250], "little") - 4]
    if packed[:4] != b"\x28\xb5\x2f\xfd" or not shutil.which("zstd"):
        return None
    elf = subprocess.run(["zstd", "-dcq"], input=packed, stdout=subprocess.PIPE, check=False).stdout
    if elf[:4] != b"\x7fELF":
        return None
    os.makedirs(os.path.dirname(out), exist_ok=True)
    tmp = f"{out}.{os.getpid()}"
    with open(tmp, "wb") as f:
        f.write(elf)
    os.replace(tmp, out)
    return out


def die_with_parent():
    """In the child: QEMU must not outlive a run script that was killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class Qmp:
    """One QMP connection. Events are kept in .events."""

    def __init__(self, sock):
        self.sock = sock
        # For reading only: a text file drops what it has read ahead when it is written to.
        self.file = self.sock.makefile("r", encoding="utf-8", newline="\n")
        self.lock = threading.Lock()
        self.events = []
        json.loads(self.file.readline())
        self.request({"execute": "qmp_capabilities"})

    def request(self, msg):
        with self.lock:
            self.sock.sendall((json.dumps(msg) + "\n").encode())
            while True:
                line = self.file.readline()
                if not line:
                    raise VmError("QEMU closed its monitor")
                answer = json.loads(line)
                if "event" in answer:
                    self.events.append(answer)
                else:
                    return answer


class Vm:
    profile = "/etc/profile"        # what the guest's shell reads before each script

    def __init__(self, config):
        self.config = config
        self.proc = None
        self.dir = tempfile.mkdtemp(prefix="zw-vm-")
        os.makedirs(config.logs, exist_ok=True)
        self.console = os.path.join(config.logs, f"{config.name}-{os.getpid()}-console.log")
        self.stderr = os.path.join(self.dir, "qemu.err")
        self.boot_seconds = None
        self.vmlinux = None         # the kernel unpacked, for TCG
        self.accel = None
        self.agent = None
        self.monitor = None
        self.relay_stop = False
        self.pending = b""
        self.deadline = None

    # -- starting

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc):
        self.close()

    def find_kernel(self):
        """Sets .image, the folder with modules/, .vmlinuz, and .libs for the guest."""
        kernel = self.config.kernel
        if self.config.checkers:
            self.image = script_output("build-debug-kernel", "image", kernel[len("debug-"):])
        else:
            self.image = script_output("fetch-kernel", "image", kernel)
        self.vmlinuz = os.path.join(self.image, "vmlinuz")
        # SeaBIOS is there for what real machines do: they unpack.
        if not self.config.checkers and self.config.bios == "qboot.rom":
            self.vmlinux = unpack_kernel(self.image)
        self.libs = stage_libraries()

    def start(self):
        self.find_kernel()
        self.qemu = os.path.join(self.config.qemu, "qemu-system-x86_64")
        if not os.access(self.qemu, os.X_OK):
            raise VmError(f"no {self.qemu}: run 'make qemu' first")
        for accel in self.accels():
            self.accel = accel
            limit = 45 if accel == "kvm" and self.config.accel == "auto" else \
                self.config.boot_timeout * self.config.patience
            try:
                self.boot_or_autopsy(accel, limit)
            except VmError:
                if accel != "kvm" or self.config.accel == "kvm":
                    raise
                self.remember_kvm("no")
                continue
            if accel == "kvm":
                self.remember_kvm("yes")
            return

    def boot_or_autopsy(self, accel, limit):
        """Boots. A guest that does not come up is reported with all that can be known about it."""
        try:
            self.boot(accel, limit)
        except VmError:
            if self.monitor and self.proc.poll() is None:
                print("  " + autopsy.write(self, self.console.replace("-console.log", "-hang.log")),
                      file=sys.stderr, flush=True)
            self.stop_qemu()
            raise

    def kvm_key(self):
        """KVM's usability belongs to this host, kernel and QEMU; probed once for each."""
        try:
            with open(os.path.join(self.config.qemu, "version"), encoding="ascii") as f:
                version = f.read().strip()
        except OSError:
            version = "unknown"
        return f"{os.uname().release} {os.path.basename(self.image)} {version}"

    def accels(self):
        if self.config.accel in ("tcg", "kvm"):
            return [self.config.accel]
        if not os.access("/dev/kvm", os.R_OK | os.W_OK):
            return ["tcg"]
        try:
            with open(os.path.join(CACHE, "kvm-probe"), encoding="ascii") as f:
                known = json.load(f)
        except (OSError, ValueError):
            known = {}
        answer = known.get(self.kvm_key())
        if answer == "no":
            return ["tcg"]
        return ["kvm", "tcg"]

    def remember_kvm(self, answer):
        path = os.path.join(CACHE, "kvm-probe")
        os.makedirs(CACHE, exist_ok=True)
        tmp = f"{path}.{os.getpid()}"
        with open(tmp, "w", encoding="ascii") as f:
            json.dump({self.kvm_key(): answer}, f)
        os.replace(tmp, path)

    def build_initrd(self):
        kernel = self.config.kernel
        base = os.path.join(BUILD, "vm", f"initramfs-{kernel}.cpio")
        os.makedirs(os.path.dirname(base), exist_ok=True)
        initramfs.build(self.image, base)
        out = os.path.join(BUILD, "vm", "out")
        os.makedirs(out, exist_ok=True)
        self.mounts = [("zwroot", ROOT, "ro,cache=loose", True),
                       ("zwout", out, "rw,cache=none", False)]
        if not (BUILD + "/").startswith(ROOT + "/"):
            self.mounts.append(("zwbuild", BUILD, "ro,cache=loose", True))
        for i, path in enumerate(self.config.shares):
            path = os.path.realpath(path)
            if not (path + "/").startswith(ROOT + "/"):
                self.mounts.append((f"zwshare{i}", path, "ro,cache=loose", True))
        conf = initramfs.Cpio()
        # Every path of a mount is created in the initramfs: a share is read-only.
        for _, path, _, _ in self.mounts:
            if not path.startswith(ROOT + "/"):
                conf.mkdir(path)
        conf.file("etc/zw/mounts", "".join(f"{t}\t{p}\t{o}\n" for t, p, o, _ in self.mounts)
                  .encode())
        disks = [(f"zwdisk{i}", os.path.realpath(d)) for i, d in enumerate(self.config.disks)]
        for tag, path in disks:
            self.build_disk(tag, path)
            if not path.startswith(ROOT + "/"):
                conf.mkdir(path)
        conf.file("etc/zw/disks", "".join(f"{t}\t{p}\n" for t, p in disks).encode())
        env = {"ZW_ROOT": ROOT, "ZW_BUILD": BUILD, "ZW_LIBS": self.libs, "ZW_OUT": out,
               "ZW_MODULE": os.path.join(BUILD, "modules", kernel, "zhenwu.ko"),
               "ZW_SHELL": "1" if self.config.shell else ""}
        conf.file("etc/zw/env", "".join(
            f"export {k}='{v}'\n" for k, v in env.items()).encode())
        conf.file("etc/profile", b". /etc/zw/env\nexport LD_LIBRARY_PATH=$ZW_LIBS PATH=/bin\n"
                  b"export PATH=$PATH:$ZW_BUILD/native/runtime/tools\ncd $ZW_ROOT\n"
                  b"PS1='zhenwu-vm:\\w# '\n")
        initrd = os.path.join(self.dir, "initrd")
        with open(initrd, "wb") as f, open(base, "rb") as b:
            shutil.copyfileobj(b, f)
            f.write(conf.bytes())
        return initrd

    def build_disk(self, tag, path):
        """A file system with what is in a folder, as large as that and half again."""
        image = os.path.join(self.dir, tag)
        used = subprocess.run(["du", "-sk", "--apparent-size", path], check=True,
                              stdout=subprocess.PIPE, text=True).stdout.split()[0]
        r = subprocess.run(["mke2fs", "-q", "-t", "ext4", "-m", "0", "-O", "^has_journal", "-d", path,
                            image, f"{int(used) * 3 // 2 + 16384}k"], stdout=subprocess.DEVNULL,
                           stderr=subprocess.PIPE, text=True, check=False,
                           env=dict(os.environ, PATH=os.environ.get("PATH", "") + ":/sbin:/usr/sbin"))
        if r.returncode:
            raise VmError(f"no disk of {path}: {r.stderr.strip()}")

    def device_args(self):
        if not self.config.device:
            return []
        opts = {"id": "zw0", "bus": "zwport", **self.config.device_options}
        # Behind a root port: FLR, AER and unplugging work as in a real slot. With ACPI's hot-plug QEMU does
        # not show the link of a faster port as active, and a reset of the bus waits for that in vain.
        return ["-device", "pcie-root-port,id=zwport,bus=pcie.0,chassis=1,slot=1,x-speed=2_5",
                "-device", "zhenwu," + ",".join(f"{k}={v}" for k, v in opts.items())]

    def command(self, accel, initrd):
        c = self.config
        blobs = os.path.join(c.qemu, "pc-bios")
        if c.checkers:
            # KASAN has redzones and poisons of its own. A report ends the VM: what comes after one
            # proves nothing. lockdep only reports, then is off: tests/vm/run looks.
            debug = "panic_on_warn=1 oops=panic page_poison=1 printk.time=1"
        elif c.debug:
            # Without U, which finds nothing: it says who allocated what was found broken, and to walk the
            # stack at every allocation takes an emulated CPU a sixth of a boot.
            debug = "slab_debug=FZP kfence.sample_interval=100"
        else:
            # Without rcu_nocbs the tick goes on for some periods after each interrupt that freed
            # something, and each tick takes a core from the threads that compute.
            debug = "kfence.sample_interval=0 rcu_nocbs=all"
        if c.iommu:
            debug += " intel_iommu=on iommu.passthrough=0 iommu.strict=1"
        append = ["console=ttyS0", "panic=-1", "sysrq_always_enabled", debug,
                  # An emulated CPU may stand still while the host is busy.
                  "rcupdate.rcu_cpu_stall_timeout=300", "watchdog_thresh=60",
                  "sysctl.kernel.hung_task_timeout_secs=480", "tsc=reliable", "no_timer_check",
                  # Nobody attacks this kernel, and a retpoline costs TCG a look-up for each call.
                  "mitigations=off", c.append]
        argv = [self.qemu, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                "-L", blobs, "-bios", os.path.join(blobs, c.bios),
                "-M", "q35,kernel-irqchip=split" if c.iommu else "q35", "-m", c.memory, "-smp", str(c.cpus),
                "-kernel", self.vmlinux if accel == "tcg" and self.vmlinux else self.vmlinuz, "-initrd", initrd,
                "-append", " ".join(a for a in append if a),
                # A socket, so that an autopsy can type; nobody needs to listen.
                "-chardev", f"socket,id=con,path={self.dir}/con,server=on,wait=off,"
                f"logfile={self.console}", "-serial", "chardev:con",
                "-device", "virtio-serial-pci,id=zwser"]
        # Big apertures need a big 64-bit window; the kernel places the BARs, not the firmware.
        argv += ["-global", "q35-pcihost.pci-hole64-size=512G"]
        if c.checkers:
            # KASAN has a shadow byte for eight mapped ones, made at every probe, and the driver maps
            # the whole aperture. For every device, also those that a test plugs in.
            argv += ["-global", "zhenwu.hbm=2G", "-global", "zhenwu.aperture=512M"]
        if c.iommu:
            # Before every device whose DMA it translates.
            argv += ["-device", "intel-iommu,intremap=on,aw-bits=48"]
        if accel == "kvm":
            argv += ["-accel", "kvm", "-cpu", "host"]
        else:
            # TCG runs "rep movsb" byte by byte: a kernel that is told it were fast copies to user
            # space at a quarter of the speed.
            argv += ["-accel", "tcg,thread=multi", "-cpu", "max,la57=off,erms=off,fsrm=off"]
        for name in ("agent", "host"):
            argv += ["-chardev", f"socket,id={name},path={self.dir}/{name},server=on,wait=off",
                     "-device", f"virtserialport,bus=zwser.0,chardev={name},name=zw.{name}"]
        argv += ["-qmp", f"unix:{self.dir}/qmp,server=on,wait=off"]
        if c.qmp_socket:
            argv += ["-qmp", f"unix:{c.qmp_socket},server=on,wait=off"]
        if c.shell:
            argv += ["-chardev", f"socket,id=shell,path={self.dir}/shell,server=on,wait=off",
                     "-device", "virtconsole,bus=zwser.0,chardev=shell"]
        for tag, path, _, readonly in self.mounts:
            ro = ",readonly=on" if readonly else ""
            argv += ["-fsdev", f"local,id={tag},path={path.replace(',', ',,')},"
                     f"security_model=none,multidevs=remap{ro}",
                     "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]
        if c.nvme:
            argv += ["-blockdev", "null-co,node-name=null0,size=1073741824,read-zeroes=off",
                     "-device", "nvme,serial=zwnull,drive=null0"]
        for i in range(len(c.disks)):
            argv += ["-blockdev", f"file,node-name=disk{i},filename={self.dir}/zwdisk{i},read-only=on",
                     "-device", f"virtio-blk-pci,drive=disk{i},serial=zwdisk{i}"]
        return argv + self.device_args() + c.extra

    def boot(self, accel, limit):
        start = time.monotonic()
        self.deadline = start + self.config.timeout * self.config.patience
        initrd = self.build_initrd()
        self.monitor = None
        argv = self.command(accel, initrd)
        for name in ("agent", "host", "qmp", "shell", "con"):
            if os.path.exists(f"{self.dir}/{name}"):
                os.unlink(f"{self.dir}/{name}")
        with open(self.stderr, "wb") as err:
            self.proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=err, stderr=err,
                                         start_new_session=True, preexec_fn=die_with_parent)
        self.agent = self.connect("agent", start + limit)
        try:
            self.monitor = Qmp(self.connect("qmp", start + limit))
        except (OSError, VmError, ValueError) as e:
            self.wait_exit()
            self.check_alive()
            raise VmError(f"no QEMU monitor: {e}") from e
        threading.Thread(target=self.relay, args=(self.connect("host", start + limit),),
                         daemon=True).start()
        self.pending = b""
        self.read_until(b"zw-agent ready\n", start + limit)
        self.boot_seconds = time.monotonic() - start
        for path in map(os.path.realpath, self.config.disks):
            if self.run(f"grep -qF {shlex.quote(f' {path} ext4 ')} /proc/mounts")[0]:
                raise VmError(f"the guest has not mounted the disk of {path}")

    def connect(self, name, until):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        while True:
            try:
                sock.connect(f"{self.dir}/{name}")
                return sock
            except OSError:
                self.check_alive()
                if time.monotonic() > until:
                    raise VmError(f"QEMU did not open its {name} socket") from None
                time.sleep(0.02)

    # -- talking to the guest

    def check_alive(self):
        rc = self.proc.poll()
        if rc is not None:
            with open(self.stderr, encoding="utf-8", errors="replace") as f:
                err = f.read().strip()
            raise VmError(f"QEMU ended (exit status {rc}){': ' + err[-2000:] if err else ''}\n" +
                          self.console_tail())

    def console_tail(self, lines=25):
        text = self.console_text()
        bad = self.trouble(text)
        if bad:
            return f"kernel log ({self.console}):\n" + "\n".join("  | " + t for t in bad)
        tail = text.splitlines()[-lines:]
        return f"last lines of {self.console}:\n" + "\n".join("  | " + t for t in tail)

    def console_text(self):
        try:
            with open(self.console, encoding="utf-8", errors="replace") as f:
                return f.read().replace("\r", "")
        except FileNotFoundError:
            return ""

    def receive(self, until):
        """Bytes from the agent, at least one; raises when the VM dies or time is over."""
        while True:
            now = time.monotonic()
            if now > min(until, self.deadline):
                raise VmError("the VM does not answer in time\n" + self.console_tail())
            self.agent.settimeout(min(1.0, max(0.01, until - now)))
            try:
                data = self.agent.recv(65536)
            except TimeoutError:
                self.check_alive()
                continue
            except OSError as e:
                raise VmError(f"connection to the guest lost: {e}") from e
            if data:
                return data
            self.wait_exit()
            self.check_alive()
            raise VmError("the guest closed its side")

    def wait_exit(self):
        try:
            self.proc.wait(5)
        except subprocess.TimeoutExpired:
            pass

    def read_until(self, mark, until, sink=None):
        """Passes what comes before mark to sink, as it comes; returns what follows up to a newline."""
        buf = self.pending
        while True:
            at = buf.find(mark)
            if at >= 0:
                if sink and at:
                    sink(buf[:at])
                rest = buf[at + len(mark):]
                if mark.endswith(b"\n"):
                    self.pending = rest
                    return b""
                while b"\n" not in rest:
                    rest += self.receive(until)
                line, self.pending = rest.split(b"\n", 1)
                return line
            # Hold back only what may be the beginning of the mark.
            keep = next((n for n in range(min(len(mark) - 1, len(buf)), 0, -1)
                         if mark.startswith(buf[-n:])), 0)
            if sink:
                if len(buf) > keep:
                    sink(buf[:len(buf) - keep])
                buf = buf[len(buf) - keep:]
            buf += self.receive(until)

    def run(self, script, sink=None, timeout=600):
        """Runs a shell script in the guest. Returns (exit status, output); with a sink the output
        goes there instead, piece by piece, and the returned output is empty. Status 124: it was
        still running after timeout seconds and was killed."""
        chunks = []
        nonce = "zw" + secrets.token_hex(12)
        body = f". {self.profile}\n{script}\n"
        line = f"{nonce} {timeout} {base64.b64encode(body.encode()).decode()}\n"
        self.agent.settimeout(60)
        try:
            self.agent.sendall(line.encode())
        except OSError as e:
            self.wait_exit()
            self.check_alive()
            raise VmError(f"connection to the guest lost: {e}") from e
        # The guest ends it; our own limit only covers a guest that hangs.
        rc = self.read_until(f"\n{nonce} ".encode(), time.monotonic() + timeout + 120,
                             sink or chunks.append)
        return int(rc), b"".join(chunks).decode(errors="replace")

    def kernel_log(self, since=0):
        """(text, position) of the kernel log written after position since. A mark is written to the
        log and waited for, so everything logged before this call is in it."""
        mark = "zw-mark-" + secrets.token_hex(6)
        self.run(f"echo {mark} >/dev/kmsg")
        until = time.monotonic() + 30 * self.config.patience
        while True:
            text = self.console_text()
            if mark in text:
                break
            self.check_alive()
            if time.monotonic() > until:
                raise VmError("the kernel log does not reach the console")
            time.sleep(0.02)
        lines = [t for t in text[since:].splitlines() if "zw-mark-" not in t]
        return "\n".join(lines), len(text)

    def trouble(self, log):
        """Lines of a kernel log that mean a bug: the first one and some context after it."""
        lines = log.splitlines()
        for i, line in enumerate(lines):
            if KERNEL_TROUBLE.search(line):
                # A lock order report prints the chain of all locks involved.
                return lines[i:i + (150 if self.config.checkers else 30)]
        return []

    def qmp(self, command, **arguments):
        """Runs a QMP command; returns its result or raises VmError with QEMU's reason."""
        msg = {"execute": command}
        if arguments:
            msg["arguments"] = {k.replace("_", "-"): v for k, v in arguments.items()}
        try:
            answer = self.monitor.request(msg)
        except (OSError, VmError) as e:
            # When QEMU has ended, why is what counts.
            self.wait_exit()
            self.check_alive()
            raise VmError(f"{command}: {e}") from e
        if "error" in answer:
            raise VmError(f"{command}: {answer['error'].get('desc')}")
        return answer["return"]

    def relay(self, sock):
        """Answers the guest's zw-host requests."""
        with sock, sock.makefile("r", encoding="utf-8", newline="\n") as f:
            while not self.relay_stop:
                try:
                    line = f.readline()
                    if not line:
                        return
                    sock.sendall((json.dumps(self.guest_request(line)) + "\n").encode())
                except (OSError, ValueError, VmError):
                    return

    def guest_request(self, line):
        try:
            msg = json.loads(line)
            command = msg["execute"]
        except (ValueError, KeyError, TypeError):
            return {"error": {"desc": "not a QMP command"}}
        if command not in GUEST_QMP:
            return {"error": {"desc": f"{command} is not for guests"}}
        if command == "human-monitor-command" and not GUEST_HMP.match(
                str(msg.get("arguments", {}).get("command-line", ""))):
            return {"error": {"desc": "this monitor command is not for guests"}}
        return self.monitor.request(msg)

    # -- ending

    def stop_qemu(self):
        self.relay_stop = True
        if self.proc and self.proc.poll() is None:
            # Its own session, started here: nothing but this QEMU is in the group.
            os.killpg(self.proc.pid, signal.SIGKILL)
            self.proc.wait()
        if self.agent:
            self.agent.close()
            self.agent = None
        self.relay_stop = False

    def close(self):
        self.stop_qemu()
        shutil.rmtree(self.dir, ignore_errors=True)


def prune_logs(keep=30):
    logs = os.path.join(BUILD, "logs")
    try:
        old = sorted((os.path.join(logs, f) for f in os.listdir(logs)
                      if f.endswith("-console.log")), key=os.path.getmtime)[:-keep]
    except OSError:
        return
    for f in old:
        try:
            os.unlink(f)
        except OSError:
            pass


def note(text):
    print(f"  {text}", file=sys.stderr, flush=True)
