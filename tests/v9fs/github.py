#!/usr/bin/env python3
"""Runs `datakit serve`, a fake GitHub server with a pull request, and a bridge between the two
servers.

  github.py PROGRAMS

PROGRAMS is the directory that contains the programs. Once the pull request is in the database, this
script prints the address of the database server. Once the pull request has a status on GitHub, this
script prints a line of the form `CONTEXT STATE`. The programs run until this script is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from typing import Any

REPO = "alice/hello"


def main(programs: str) -> None:
    os.environ["PATH"] = f"{os.path.abspath(programs)}:{os.environ['PATH']}"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with contextlib.ExitStack() as running:
        fake = started(running, "github_fake")
        api, control = line(fake), line(fake)
        call(f"{control}/create", repo=REPO)
        token = call(f"{control}/token")
        server = line(started(running, "datakit", "serve", "--listen-9p", "tcp://127.0.0.1:0"))
        database = server.split()[-1]
        started(running, "datakit", "bridge", "github", "-r", REPO, "--datakit", database,
                "--github-url", api, "--resync-interval", "1", GITHUB_TOKEN=token)
        head = call(f"{control}/push", repo=REPO, branch="topic", message="Add a greeting")
        call(f"{control}/open_pull", repo=REPO, branch="topic", title="Say hello", login="bob")
        titles = started(running, "datakit", "-a", database, "db", "watch", "--print",
                         "github-metadata", f"{REPO}/pr/1/title")
        while line(titles) != "Say hello":
            pass
        print(server, flush=True)
        print(status(f"{api}/repos/{REPO}/commits/{head}/statuses", token), flush=True)
        signal.pause()


def started(running: contextlib.ExitStack, *command: str, **env: str) -> subprocess.Popen[str]:
    """Starts a program. Closing `running` kills the program."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                               env={**os.environ, **env})
    running.callback(process.wait)
    running.callback(process.kill)
    return process


def line(process: subprocess.Popen[str]) -> str:
    """Returns the next line that the program prints."""
    assert process.stdout
    text = process.stdout.readline()
    if not text:
        sys.exit(f"github.py: {process.args} ended")
    return text.strip()


def call(url: str, **arguments: str) -> Any:
    """Sends a command to the fake's control interface and returns the result."""
    with urllib.request.urlopen(url, json.dumps(arguments).encode(), timeout=60) as answer:
        return json.load(answer)


def status(url: str, token: str) -> str:
    """Polls the list of statuses until it is not empty. The script receives no events from the
    fake.
    """
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    while True:
        with urllib.request.urlopen(request, timeout=60) as answer:
            statuses = json.load(answer)
        if statuses:
            return ", ".join(f"{one['context']} {one['state']}" for one in statuses)
        time.sleep(0.1)


if __name__ == "__main__":
    main(*sys.argv[1:])
