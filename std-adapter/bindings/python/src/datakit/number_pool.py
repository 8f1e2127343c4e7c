"""A pool of numbers, used for tags and fids."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Deque, Optional

from .errors import Error


class NumberPool:
    """A pool of the numbers from 0 up to, but not including, a limit. If all are in use, callers
    wait in FIFO order.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._next = 0
        self._free: list[int] = []
        self._waiting: Deque["asyncio.Future[int]"] = deque()

    def take_now(self) -> Optional[int]:
        """Returns a number, or None if a caller would have to wait."""
        if self._free:
            return self._free.pop()
        if self._next < self._limit:
            self._next += 1
            return self._next - 1
        return None

    async def take(self) -> int:
        """Returns an unused number. Waits while all numbers are in use."""
        number = self.take_now()
        if number is not None:
            return number
        waiting: "asyncio.Future[int]" = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled() and waiting.exception() is None:
                self.give_back(waiting.result())
            raise

    def give_back(self, number: int) -> None:
        """Passes a number to the first waiting caller, or makes it available to later callers."""
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(number)
                return
        self._free.append(number)

    def fail(self, error: Error) -> None:
        """Raises an error in all waiting callers."""
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(error)
        self._waiting.clear()
