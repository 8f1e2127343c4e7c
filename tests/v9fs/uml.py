"""A guest of User Mode Linux: a kernel that runs as a process of the host.

It needs no emulated processor, so it boots in about a second, and its root is the host's own
file system, read-only: git, vim, rsync and Python are there without an image. The network
is slirp's, which needs no privileges.
"""

import contextlib
import shutil
import socket
import threading

from guest import HERE, plan, reported

PROGRAMS = ("linux.uml", "slirp-fullbolt", "bash", "busybox")

# /tmp, /run and /mnt are the guest's own. The files of this run are mounted again below /mnt,
# because /tmp hides them where they usually are.
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
    """The programs that this guest needs and this machine does not have."""
    return [program for program in PROGRAMS if not shutil.which(program)]


def boot(run, args):
    """Starts the guest; returns the lines that it reports."""
    for target in args.targets:
        target.port = relay(target.port)
    for name, text in (("init", INIT), ("slirp", SLIRP), ("plan", plan(args))):
        (run / name).write_text(text)
        (run / name).chmod(0o755)
    shutil.copy(HERE / "session.sh", run)
    shutil.copytree(HERE / "workloads", run / "workloads")
    return reported(command(run), args.timeout, run)


def command(run):
    return [
        "linux.uml", "mem=512M", f"uml_dir={run}/", "umid=guest",
        "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", f"RUN={run}",
        # Relative to the directory of this run: in a path that is given here, _ means a space.
        "eth0=slirp,,./slirp", "con=null", "con0=null,fd:1",
        "quiet", "loglevel=0", f"init={run / 'init'}",
    ]


# ---- Acknowledged at once ---------------------------------------------------


def relay(port):
    """A port whose connections go on to `port`.

    slirp leaves Nagle's algorithm on: it holds the second packet of a message until the first
    one is acknowledged, which Linux delays by 40 ms. The relay acknowledges at once.
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
    """Copies until the end of one side, and then ends both."""
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
