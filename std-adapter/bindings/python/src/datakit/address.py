"""Addresses of servers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union

DEFAULT_PORT = 5640


@dataclass(frozen=True)
class Tcp:
    """A TCP address."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp://{host}:{self.port}"


@dataclass(frozen=True)
class Unix:
    """The address of a Unix socket, which is a path."""

    path: str

    def __str__(self) -> str:
        return f"unix://{self.path}"


Address = Union[Tcp, Unix]


def parse_address(text: str) -> Address:
    """Parses ``HOST``, ``HOST:PORT``, ``tcp://HOST[:PORT]``, ``unix://PATH`` or a path.

    The default port is 5640. A path must begin with ``/``, ``./`` or ``../``. An IPv6 address with
    a port must be in brackets. Raises ValueError for any other text.
    """
    if text.startswith("unix://"):
        return Unix(text[len("unix://") :])
    if text.startswith(("/", "./", "../")):
        return Unix(text)
    rest = text
    for scheme in ("tcp://", "tcp:"):
        if text.startswith(scheme):
            rest = text[len(scheme) :]
            break
    if rest.startswith("["):
        host, bracket, port = rest[1:].partition("]")
        port = port[1:] if port.startswith(":") else port
        if not bracket:
            raise ValueError(f"address {text!r}: the closing ']' is missing")
    elif rest.count(":") > 1:
        host, port = rest, ""
    else:
        host, _, port = rest.partition(":")
    if not host or "/" in host:
        raise ValueError(f"address {text!r}: use HOST:PORT, tcp://HOST:PORT or unix://PATH")
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"address {text!r}: the port {port!r} is not a number from 1 to 65535")
    return Tcp(host, int(port or DEFAULT_PORT))
