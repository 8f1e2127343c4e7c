"""Functions used by both kinds of guests."""

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOST_SEEN_FROM_GUEST = "10.0.2.2"


class RigError(Exception):
    """A failure of the rig itself, which does not indicate a problem in the tested servers."""


def workload_files():
    """Returns the paths of the workload scripts, the programs run by the scripts, and README.md."""
    files = [path for path in (HERE / "workloads").iterdir() if path.suffix in (".sh", ".py")]
    return [*sorted(files), HERE.parents[1] / "README.md"]


def plan(args):
    """Returns the shell commands that the guest runs after `session.sh`."""
    settings = {"HOST": HOST_SEEN_FROM_GUEST, "LIMIT": str(args.limit),
                "VERBOSE": "1000" if args.verbose else ""}
    lines = [f"{key}={value}\n" for key, value in settings.items()]
    lines += [line for target in args.targets for line in target.plan()]
    return "".join(lines)


def reported(command, timeout, run):
    """Starts the guest and yields its lines of output until the line END."""
    started = time.monotonic()
    with open(run / "stderr", "wb") as stderr:
        guest = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=stderr, cwd=run, start_new_session=True)
    # Kill the entire process group, because User Mode Linux runs each guest process as a host
    # process.
    end = lambda: guest.poll() is None and os.killpg(guest.pid, signal.SIGKILL)
    alarm = threading.Timer(timeout, end)
    alarm.start()
    try:
        for line in guest.stdout:
            line = line.decode(errors="replace").rstrip()
            if line == "END":
                return
            if line == "NO NETWORK":
                raise RigError("the guest has no network")
            yield line
        if time.monotonic() - started >= timeout:
            raise RigError(f"timed out after {timeout:g} s")
        logs = [path for name in ("console", "stderr") if (path := run / name).exists()]
        texts = [path.read_text(errors="replace")[-2000:] for path in logs]
        raise RigError("\n".join(["the guest ended early", *texts]))
    finally:
        alarm.cancel()
        end()
        guest.wait()
