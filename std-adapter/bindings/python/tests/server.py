"""Starts servers. The DATAKIT environment variable contains the path of the `datakit` program.
"""

from __future__ import annotations

import os
import subprocess
from types import TracebackType
from typing import Optional

PROGRAM = os.environ.get("DATAKIT", "datakit")
# An example that serves parameters. Cargo builds the examples into a directory next to the
# programs.
SETTINGS = os.path.join(os.path.dirname(PROGRAM), "examples", "settings")


class Server:
    """A server on a port chosen by the operating system. It stops at the end of a `with` block."""

    def __init__(self, *options: str) -> None:
        self._start(PROGRAM, "serve", "--listen-9p", "tcp://127.0.0.1:0", *options)

    def _start(self, *command: str) -> None:
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        prefix = "listening on "
        if not line.startswith(prefix):
            self.stop()
            raise RuntimeError(f"`{' '.join(command)}` printed {line!r}, not `{prefix}ADDRESS`")
        self.address = line[len(prefix) :].strip()

    @property
    def port(self) -> int:
        """The TCP port."""
        return int(self.address.rsplit(":", 1)[1])

    def stop(self) -> None:
        """Kills the server. Does nothing if the server has already been killed."""
        assert self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> "Server":
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.stop()


class SettingsServer(Server):
    """The `settings` example, which serves parameters."""

    def __init__(self) -> None:
        self._start(SETTINGS, "tcp://127.0.0.1:0")
