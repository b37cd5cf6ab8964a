"""Sender: the messages of one answer, on their way to the ASGI server.

Owns their order and the back-pressure: the engine gives messages without waiting, ASGI takes them one at a time by
``await send(message)``. What messages mean is the encoder's.
"""

import asyncio
import sys
from asyncio import Task
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from ...errors import ClientDisconnected, WriteBufferFull

__all__ = ["Message", "Receive", "Send", "Sender"]

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Sender:
    """The queue of messages before ``send``.

    Args:
        send: what the ASGI server has given.
        loop: the running loop.
        limit: bytes of content that may wait.

    Attributes:
        lost: nothing more is sent: the client is gone, or the ASGI server takes nothing more.
        unsent: bytes of content that wait.
        emptied: called when nothing waits any more.
        failed: called when ``send`` has raised, so that nothing more is sent.
        error: what the ASGI server has raised, if that was no `OSError`.
    """

    def __init__(self, send: Send, loop: asyncio.AbstractEventLoop, limit: int) -> None:
        self._send = send
        self._loop = loop
        self._limit = limit
        self._queue: deque[tuple[Message, int]] = deque()
        self.unsent = 0
        self.emptied: Callable[[], None] | None = None
        self.failed: Callable[[], None] | None = None
        self._last: list[tuple[Message, int]] = []  # the messages that end the answer
        self._task: asyncio.Task[None] | None = None  # sends what waits
        self._soon: asyncio.Handle | None = None  # the call that starts that task
        self.lost = False
        self.error: Exception | None = None

    def put(self, message: Message, size: int = 0) -> None:
        """Have a message sent, in order. It leaves soon, even if nobody waits for that.

        Args:
            message: the message.
            size: bytes of content in it.

        Raises:
            WriteBufferFull: more bytes than the limit wait already. Nothing more is sent.
        """
        if self.lost:
            return
        # One piece of any size may wait, as on our own connections.
        if self.unsent and self.unsent + size > self._limit:
            self.lose()
            raise WriteBufferFull(self._limit)
        self._queue.append((message, size))
        self.unsent += size
        if self._soon is None and not self._is_sending:
            self._soon = self._loop.call_soon(self._begin)

    def put_last(self, *messages: tuple[Message, int]) -> None:
        """Have messages sent that end the answer, each with its bytes of content: by `finish`, or after `end_now`."""
        if not self.lost:
            self._last += messages

    def end_now(self) -> None:
        """Send what ends the answer, and do not wait for `finish`."""
        last, self._last = self._last, []
        for message, size in last:
            self.put(message, size)

    def lose(self) -> None:
        """Drop what waits: nobody takes it."""
        self.lost = True
        self._queue.clear()
        self._last.clear()
        self.unsent = 0

    async def drain(self) -> None:
        """Wait until everything has been taken.

        Raises:
            ClientDisconnected: nothing more is taken.
        """
        while self._queue or self._is_sending:
            if not self._is_sending:
                self._begin()
            if self._is_sending:
                assert self._task is not None
                # Not cancelled with its waiter: the answer would lack a message.
                await asyncio.wait([self._task])
        if self.lost:
            raise ClientDisconnected("the client is gone")

    async def finish(self) -> None:
        """Send what is left, in the task of the application itself.

        Raises:
            Exception: the ASGI server has raised it.
        """
        if self._is_sending:
            assert self._task is not None
            await asyncio.wait([self._task])
        self._end_soon()
        if self.error is not None:
            raise self.error
        last, self._last = self._last, []
        try:
            for message, _ in (*self._queue, *last):
                await self._send(message)
        except OSError:  # by ASGI 2.4, the client is gone
            self.lost = True
        self._queue.clear()
        self.unsent = 0

    def close(self) -> None:
        """The request is over: nothing more is sent."""
        self._end_soon()
        self.lose()
        if self._task is not None:
            self._task.cancel()

    @property
    def _is_sending(self) -> bool:
        return self._task is not None and not self._task.done()

    def _begin(self) -> None:
        self._end_soon()
        if not self._queue or self._is_sending:
            return
        if sys.version_info >= (3, 12):
            self._task = Task(self._run(), loop=self._loop, eager_start=True)  # most servers take a message at once
        else:
            self._task = self._loop.create_task(self._run())

    def _end_soon(self) -> None:
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None

    async def _run(self) -> None:
        try:
            while self._queue:
                message, size = self._queue.popleft()
                await self._send(message)
                self.unsent = max(0, self.unsent - size)
                if not self._queue and self.emptied is not None:
                    self.emptied()
        except OSError:
            self._fail()
        except Exception as error:
            self.error = error
            self._fail()

    def _fail(self) -> None:
        self.lose()
        if self.failed is not None:
            self.failed()
