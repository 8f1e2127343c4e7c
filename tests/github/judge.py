#!/usr/bin/env python3
"""Tests the fake GitHub server with the gidgethub client library.

To run the tests: GITHUB_FAKE=target/debug/github_fake judge.py
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import threading
import unittest
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import gidgethub
import httpx
from gidgethub import apps, sansio
from gidgethub.httpx import GitHubAPI

SECRET = "datakit"


class Fake:
    """A running fake GitHub server and its control interface."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [os.environ["GITHUB_FAKE"]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        self.url = self.process.stdout.readline().strip()
        self.control = self.process.stdout.readline().strip()

    def run(self, command: str, **arguments: Any) -> Any:
        body = json.dumps(arguments).encode()
        with urllib.request.urlopen(f"{self.control}/{command}", body, timeout=20) as answer:
            return json.load(answer)

    def stop(self) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


class Receiver(BaseHTTPRequestHandler):
    """Appends the headers and body of each delivery to `received`."""

    received: list[tuple[dict[str, str], bytes]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.received.append((headers, body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Judge(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        self.fake = Fake()
        self.addCleanup(self.fake.stop)
        self.sha = self.fake.run("create", repo="octo/hello")
        self.http = httpx.AsyncClient()
        self.addAsyncCleanup(self.http.aclose)
        self.github = self.client(self.fake.run("token"))

    def client(self, token: str | None, **more: Any) -> GitHubAPI:
        return GitHubAPI(self.http, "judge", oauth_token=token, base_url=self.fake.url, **more)

    async def test_items_are_created_changed_and_listed(self) -> None:
        for number in range(35):
            self.fake.run("push", repo="octo/hello", branch=f"topic-{number}")
            pull = {"title": f"Topic {number}", "head": f"topic-{number}", "base": "master"}
            await self.github.post("/repos/octo/hello/pulls", data=pull)
        numbers = [pull["number"] async for pull in self.github.getiter("/repos/octo/hello/pulls")]
        self.assertEqual(numbers, list(range(35, 0, -1)))
        changed = await self.github.patch("/repos/octo/hello/pulls/1", data={"state": "closed"})
        self.assertEqual(changed["state"], "closed")
        branch = "/repos/octo/hello/git/refs{/ref}"
        await self.github.delete(branch, {"ref": "heads/topic-1"})

    async def test_errors_have_their_types(self) -> None:
        with self.assertRaises(gidgethub.BadRequest) as missing:
            await self.github.getitem("/repos/octo/none")
        self.assertEqual(missing.exception.status_code, 404)
        with self.assertRaises(gidgethub.InvalidField) as wrong:
            pull = {"title": "x", "head": "none", "base": "none"}
            await self.github.post("/repos/octo/hello/pulls", data=pull)
        self.assertEqual(wrong.exception.errors[0]["field"], "base")
        with self.assertRaises(gidgethub.ValidationError):
            status = {"state": "success", "description": "x" * 141}
            await self.github.post(f"/repos/octo/hello/statuses/{self.sha}", data=status)
        with self.assertRaises(gidgethub.BadRequest) as refused:
            await self.client("wrong").getitem("/user")
        self.assertEqual(refused.exception.status_code, 401)
        self.fake.run("fault", calls="GET *", fault="status", status=502)
        with self.assertRaises(gidgethub.GitHubBroken):
            await self.github.getitem("/user")
        await self.github.getitem("/user")
        self.fake.run("exhaust", left=0, time=60_000)
        with self.assertRaises(gidgethub.RateLimitExceeded):
            await self.github.getitem("/user")

    async def test_an_unchanged_answer_comes_from_the_cache(self) -> None:
        cache: dict[str, Any] = {}
        github = self.client(self.fake.run("token"), cache=cache)
        first = await github.getitem("/repos/octo/hello")
        used = self.fake.run("used")
        self.assertEqual(await github.getitem("/repos/octo/hello"), first)
        self.assertEqual(self.fake.run("used"), used)
        self.assertEqual([call["status"] for call in self.fake.run("calls")], [200, 304])
        self.assertEqual(github.rate_limit and github.rate_limit.limit, 5000)

    async def test_an_app_gets_a_token_and_sets_a_check_run(self) -> None:
        app = self.fake.run("app")
        installation = self.fake.run("install", app=app["id"], account="octo", repo="octo/hello")
        got = await apps.get_installation_access_token(
            self.github, installation_id=str(installation), app_id=str(app["id"]), private_key=app["key"]
        )
        github = self.client(got["token"])
        run = {"name": "build", "head_sha": self.sha, "conclusion": "success"}
        made = await github.post("/repos/octo/hello/check-runs", data=run)
        self.assertEqual(made["status"], "completed")
        runs = github.getiter(f"/repos/octo/hello/commits/{self.sha}/check-runs", iterable_key="check_runs")
        self.assertEqual([found["id"] async for found in runs], [made["id"]])

    async def test_deliveries_are_signed(self) -> None:
        server = HTTPServer(("127.0.0.1", 0), Receiver)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        for kind in ("json", "form"):
            Receiver.received.clear()
            config = {"url": f"http://127.0.0.1:{server.server_port}/{kind}", "content_type": kind, "secret": SECRET}
            hook = {"config": config, "events": ["status"]}
            made = await self.github.post("/repos/octo/hello/hooks", data=hook)
            self.fake.run("settle")
            self.fake.run("fault_delivery", event="status", fault="bad_signature")
            for context in ("forged", "good"):
                self.fake.run("status", repo="octo/hello", sha=self.sha, context=context, state="success")
            self.fake.run("settle")
            ping, forged, good = Receiver.received
            self.assertEqual(sansio.Event.from_http(*ping, secret=SECRET).event, "ping")
            event = sansio.Event.from_http(*good, secret=SECRET)
            self.assertEqual((event.event, event.data["context"]), ("status", "good"))
            for headers, body in (forged, (good[0], good[1] + b" ")):
                with self.assertRaises(gidgethub.ValidationFailure):
                    sansio.Event.from_http(headers, body, secret=SECRET)
            await self.github.delete(f"/repos/octo/hello/hooks/{made['id']}")


if __name__ == "__main__":
    # unittest enables asyncio's debug mode, which logs a warning for each task that blocks while
    # waiting for the fake.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    unittest.main()
