"""A guest in QEMU with Debian's kernel and busybox, for machines without User Mode Linux.

The kernel and busybox are unpacked from Debian packages into the directory $DATAKIT_CACHE. If that
variable is not set, the files are unpacked into target/v9fs in the repository. No packages are
installed.
"""

import fcntl
import lzma
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from guest import HERE, RigError, plan, reported, workload_files

CACHE = Path(os.environ.get("DATAKIT_CACHE") or HERE.parents[1] / "target" / "v9fs")
MODULES = ("virtio_pci", "virtio_net", "9pnet_fd", "9p")


# ---- The kernel package --------------------------------------------------------


def unpacked_kernel():
    """Returns the directory with `vmlinux`, `busybox`, `order` and the modules.

    Creates the directory on the first call.
    """
    done = CACHE / "guest"
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            with tempfile.TemporaryDirectory(dir=CACHE) as tmp:
                unpack(download(Path(tmp)), Path(tmp), made := Path(tmp) / "made")
                made.rename(done)
    return done


def download(folder):
    # linux-image-amd64 contains no kernel. This package contains no kernel and only depends on the
    # newest kernel's package. The kernel packages for cloud machines do not include 9P.
    meta = subprocess.run(["apt-cache", "depends", "linux-image-amd64"],
                          capture_output=True, text=True, check=True)
    kernel = re.search(r"Depends: (linux-image-\d\S+)", meta.stdout)
    if not kernel:
        raise RigError("no package linux-image-amd64: run apt-get update")
    names = [kernel[1], "busybox-static"]
    print("rig: downloading", *names, file=sys.stderr)
    got = subprocess.run(["apt-get", "download", *names], cwd=folder, capture_output=True,
                         text=True, timeout=300)
    if got.returncode:
        raise RigError(f"apt-get download: {got.stderr.strip()}")
    return sorted(folder.glob("*.deb"))


def unpack(packages, tmp, made):
    root = tmp / "root"
    made.mkdir()
    for package in packages:
        subprocess.run(["dpkg-deb", "-x", package, root], check=True)
    image = next(root.glob("boot/vmlinuz-*")).read_bytes()
    (made / "vmlinux").write_bytes(uncompressed(image) or image)
    shutil.copy(next(root.glob("**/bin/busybox")), made / "busybox")
    files = {module_name(path): path for path in root.glob("**/*.ko*")}
    modules = {}
    for name in MODULES:
        collect(name, files, modules)
    for name in ("9p", "9pnet_fd"):
        if name not in modules:
            raise RigError(f"no module {name} in {packages}")
    for name, content in modules.items():
        (made / f"{name}.ko").write_bytes(content)
    (made / "order").write_text("".join(f"{name}\n" for name in modules))


def module_name(path):
    return path.name.partition(".ko")[0].replace("-", "_")


def collect(name, files, modules):
    """Adds a module and its dependencies, which come first.

    A module that has no file is built into the kernel.
    """
    if name in modules or name not in files:
        return
    content = files[name].read_bytes()
    if files[name].suffix == ".xz":
        content = lzma.decompress(content)
    depends = re.search(rb"\0depends=([^\0]*)\0", content)
    for other in depends[1].decode().replace("-", "_").split(",") if depends else ():
        collect(other, files, modules)
    modules[name] = content


def uncompressed(image):
    """Returns the ELF file contained in a bzImage, or None if it cannot be extracted.

    If the emulated kernel had to unpack the file, that would take up most of the boot time.
    """
    start = image.find(b"\xfd7zXZ\0")
    if start < 0:
        return None
    try:
        elf = lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(image[start:])
    except lzma.LZMAError:
        return None
    return elf if elf.startswith(b"\x7fELF") else None


# ---- The guest --------------------------------------------------------------

INIT = r"""#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/ TERM=dumb RIG=
mount -t devtmpfs none /dev; mount -t proc none /proc; mount -t sysfs none /sys
stty -F /dev/ttyS1 raw -echo
exec >/dev/ttyS1
while read -r module; do insmod /modules/$module.ko; done </modules/order
until [ -d /sys/class/net/eth0 ]; do usleep 20000; done
ip link set lo up; ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0
. /session.sh
. /plan
echo END
exec poweroff -f
"""


def initrd(kernel, args):
    """Returns an archive of all the guest's files.

    The archive is not compressed, because the guest then boots faster.
    """
    archive = Archive()
    for folder in ("bin", "dev", "proc", "sys", "tmp", "mnt", "modules", "workloads"):
        archive.add(folder, 0o040755)
    archive.add("init", 0o100755, INIT.encode())
    archive.add("plan", 0o100644, plan(args).encode())
    archive.add("session.sh", 0o100644, (HERE / "session.sh").read_bytes())
    archive.add("bin/busybox", 0o100755, (kernel / "busybox").read_bytes())
    archive.add("modules/order", 0o100644, (kernel / "order").read_bytes())
    for module in kernel.glob("*.ko"):
        archive.add(f"modules/{module.name}", 0o100644, module.read_bytes())
    for workload in workload_files():
        archive.add(f"workloads/{workload.name}", 0o100644, workload.read_bytes())
    return archive.finished()


class Archive:
    """A cpio archive in "newc" format, which the kernel can unpack."""

    def __init__(self):
        self.content = bytearray()
        self.inode = 0

    def add(self, name, mode, data=b""):
        self.inode += 1
        name = name.encode() + b"\0"
        # The fields are: inode, mode, uid, gid, nlink, mtime, size, two pairs of device numbers, the
        # size of the name, and a checksum.
        fields = (self.inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0)
        self.append(b"070701" + b"".join(b"%08x" % field for field in fields) + name)
        self.append(data)

    def append(self, part):
        self.content += part
        self.content += bytes(-len(self.content) % 4)

    def finished(self):
        self.add("TRAILER!!!", 0)
        return self.content


def boot(run, args):
    """Starts the guest and returns an iterator over its lines of output."""
    kernel = unpacked_kernel()
    (run / "initrd").write_bytes(initrd(kernel, args))
    return reported(qemu_command(kernel, run), args.timeout, run)


def qemu_command(kernel, run):
    accelerator = "kvm" if kvm_in_hardware() else "tcg,thread=multi"
    append = "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check audit=0 nokaslr"
    return [
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot",
        "-display", "none", "-monitor", "none",
        "-machine", "pc,usb=off", "-accel", accelerator, "-cpu", "max",
        "-smp", "2", "-m", "384",
        "-kernel", str(kernel / "vmlinux"), "-initrd", str(run / "initrd"), "-append", append,
        "-serial", f"file:{run / 'console'}",
        "-serial", "stdio",
        "-netdev", "user,id=net,ipv6=off", "-device", "virtio-net-pci,netdev=net,romfile=",
    ]


def kvm_in_hardware():
    """Returns whether KVM uses hardware support. Without hardware support, KVM is slower than TCG."""
    modules = (Path("/sys/module", name) for name in ("kvm_intel", "kvm_amd"))
    return any(module.exists() for module in modules) and os.access("/dev/kvm", os.R_OK | os.W_OK)
