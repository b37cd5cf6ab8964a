"""A thread with an event loop, in which a test server runs for tests that are not asynchronous."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

__all__ = ["LoopThread"]


class LoopThread:
    """A thread with a loop of its own. The constructor returns when ``begin`` has returned there.

    Args:
        begin: starts what runs there.
        end: stops it.

    Raises:
        Exception: what ``begin`` raises.
    """

    def __init__(self, begin: Callable[[], Awaitable[None]], end: Callable[[], Awaitable[None]]) -> None:
        self._begin = begin
        self._end = end
        self._begun = threading.Event()
        self._error: BaseException | None = None
        self._stopping: asyncio.Event
        self._loop: asyncio.AbstractEventLoop
        self._thread = threading.Thread(target=self._run, name="aiohttpd-testing", daemon=True)
        self._thread.start()
        self._begun.wait()
        self._raise_error()

    @property
    def is_current(self) -> bool:
        """Whether this is called in the thread itself."""
        return threading.current_thread() is self._thread

    def stop(self) -> None:
        """Stop what runs there, and wait for the end of the thread.

        Raises:
            Exception: what ``end`` raises.
        """
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._raise_error()

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            self._thread.join()
            raise error

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(self._main())
        except BaseException as error:
            self._error = error
        self._begun.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        await self._begin()
        self._begun.set()
        await self._stopping.wait()
        await self._end()
