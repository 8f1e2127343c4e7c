"""A guest in User Mode Linux, which is a Linux kernel that runs as a process on the host.

The guest needs no emulated processor and boots in about a second. The guest mounts the host's file
system read-only as its root, so git, vim, rsync and Python are available without a disk image. The
slirp program connects the guest to the network without requiring privileges.
"""

import contextlib
import shutil
import socket
import threading

from guest import HERE, plan, reported, workload_files

PROGRAMS = ("linux.uml", "slirp-fullbolt", "bash", "busybox")

# The guest mounts new file systems on /tmp, /run and /mnt. The new /tmp hides the directory of this
# run, so the guest also mounts that directory under /mnt.
INIT = r"""#!/bin/bash
export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp TERM=dumb LANG=C.UTF-8 LC_ALL=C.UTF-8
mount -t proc none /proc; mount -t sysfs none /sys
for own in /tmp /run /mnt; do mount -t tmpfs none $own; done
mkdir /mnt/rig
mount -t hostfs -o "$RUN" none /mnt/rig
export RIG=/mnt/rig
modules=/usr/lib/uml/modules/$(uname -r)/kernel
for module in net/9p/9pnet net/9p/9pnet_fd fs/netfs/netfs fs/fscache/fscache fs/9p/9p; do
  [ ! -f $modules/$module.ko ] || busybox insmod $modules/$module.ko
done
busybox ip link set lo up
busybox ip addr add 10.0.2.15/24 dev eth0; busybox ip link set eth0 up
if busybox ip route add default via 10.0.2.2; then
  . $RIG/session.sh
  . $RIG/plan
  echo END
else
  echo NO NETWORK
fi
busybox poweroff -f
"""

SLIRP = """#!/bin/sh
exec slirp-fullbolt 'host addr 127.0.0.1' 'mtu 1500' 2>/dev/null
"""


def missing():
    """Returns the programs that this guest requires but that are not installed."""
    return [program for program in PROGRAMS if not shutil.which(program)]


def boot(run, args):
    """Starts the guest and returns an iterator over its lines of output."""
    for target in args.targets:
        target.port = relay(target.port)
    for name, text in (("init", INIT), ("slirp", SLIRP), ("plan", plan(args))):
        (run / name).write_text(text)
        (run / name).chmod(0o755)
    shutil.copy(HERE / "session.sh", run)
    (run / "workloads").mkdir()
    for path in workload_files():
        shutil.copy(path, run / "workloads")
    return reported(command(run), args.timeout, run)


def command(run):
    return [
        "linux.uml", "mem=512M", f"uml_dir={run}/", "umid=guest",
        "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", f"RUN={run}",
        # Use a relative path, because User Mode Linux replaces each _ in this option with a space.
        "eth0=slirp,,./slirp", "con=null", "con0=null,fd:1",
        "quiet", "loglevel=0", f"init={run / 'init'}",
    ]


# ---- A relay that acknowledges data immediately ----------------------------------


def relay(port):
    """Returns a port whose connections are relayed to `port`.

    slirp uses Nagle's algorithm: it sends the second packet of a message only after the first packet
    has been acknowledged. Linux delays this acknowledgment by 40 ms, but the relay sends it
    immediately.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=accept, args=(listener, port), daemon=True).start()
    return str(listener.getsockname()[1])


def accept(listener, port):
    while True:
        guest, _ = listener.accept()
        try:
            server = socket.create_connection(("127.0.0.1", int(port)))
        except OSError:
            guest.close()
            continue
        for pair in ((guest, server), (server, guest)):
            threading.Thread(target=pump, args=pair, daemon=True).start()


def pump(source, sink):
    """Copies data until either connection ends, then shuts down both connections."""
    sink.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with contextlib.suppress(OSError):
        while True:
            source.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            data = source.recv(1 << 18)
            if not data:
                break
            sink.sendall(data)
    for side in (source, sink):
        with contextlib.suppress(OSError):
            side.shutdown(socket.SHUT_RDWR)
