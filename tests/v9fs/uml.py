"""A guest of User Mode Linux: a kernel that runs as a process of the host.

It needs no emulated processor, so it boots in about a second, and its root is the host's own
file system, read-only: git, vim, rsync and Python are there without an image. The network
is slirp's, which needs no privileges.
"""

import shutil

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
busybox ip addr add 10.0.2.15/24 dev eth0
# Its first start of slirp fails at times.
for try in 1 2 3 4 5; do busybox ip link set eth0 up 2>/dev/null && break; sleep 0.5; done
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
        f"eth0=slirp,,{run / 'slirp'}", "con=null", "con0=null,fd:1",
        "quiet", "loglevel=0", f"init={run / 'init'}",
    ]
