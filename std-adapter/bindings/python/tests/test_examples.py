"""Runs the examples."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import unittest

from server import Server

EXAMPLES = pathlib.Path(__file__).resolve().parents[1] / "examples"


class Examples(unittest.TestCase):
    def test_tour(self) -> None:
        with Server() as server:
            command = [sys.executable, str(EXAMPLES / "tour.py"), server.address]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = done.stdout.splitlines()
        self.assertEqual(lines[0], "Set the log level ['level']")
        self.assertEqual(lines[1], "FileValue(data=b'debug\\n', executable=False)")
        self.assertEqual(lines[2], "FileValue(data=b'info\\n', executable=False)")
        self.assertEqual(lines[3], "* etc/app/level")


if __name__ == "__main__":
    unittest.main()
