"""ExportedServer: what handlers find as ``self.server`` when another server runs them.

Owns the part of `HTTPServer` that is available there: the options, the attributes that a lifespan sets, the processes
of ``run_in_process``, and the event of the shutdown.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

from ...config import Config
from ...engine.error_log import error_logger

if TYPE_CHECKING:
    from ...engine.context import ServerContext
    from ...threads.cpu_pool import ProcessPool

__all__ = ["ExportedServer"]

T = TypeVar("T")


class ExportedServer:
    """Stands for `HTTPServer`. It has no sockets; the ASGI server has.

    Attributes:
        app: the App.
        config: the options that the export has been given.
        shutting_down: an ``asyncio.Event``, set when the ASGI server ends the lifespan.
        state: for the program, as that of `HTTPServer`.
        server_address: ``(host, port)`` of the last request, as the ASGI server tells it.
    """

    def __init__(self, app: Any, config: Config) -> None:
        self.app = app
        self.config = config
        self.shutting_down = asyncio.Event()
        self.server_address: Any = ("", 0)
        self.state: Any = SimpleNamespace()
        self._context: ServerContext | None = None
        self._processes: ProcessPool | None = None

    def attach(self, context: "ServerContext") -> None:
        """Set the context of its requests."""
        self._context = context

    @property
    def server_name(self) -> str:
        """The host of `server_address`, or the path of a unix socket."""
        return str(self.server_address[0] if isinstance(self.server_address, tuple) else self.server_address)

    @property
    def server_port(self) -> int | None:
        """The port of `server_address`; None on a unix socket."""
        return self.server_address[1] if isinstance(self.server_address, tuple) else None

    @property
    def ready(self) -> bool:
        """Whether its shutdown has not begun."""
        return not self.shutting_down.is_set()

    def background(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[None]:
        """Start work that outlives the answer; see ``HTTPServer.background``."""
        if self._context is None:
            work.close()
            raise RuntimeError("the server is not running")
        return self._context.background(work)

    async def drain(self) -> None:
        """Wait for work in the background, ``timeout_grace`` at most, and cancel what is left."""
        assert self._context is not None
        tasks = self._context.registry.background
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.config.timeout_grace):
                while tasks:
                    await asyncio.wait(tuple(tasks))
        for task in tuple(tasks):
            error_logger.warning("%s is cancelled: it has not ended within timeout_grace", task.get_name())
            task.cancel()
        if tasks:
            await asyncio.wait(tuple(tasks), timeout=1)

    async def run_in_process(self, function: Callable[..., T], *args: object) -> T:
        """Call a function in another process; see ``HTTPServer.run_in_process``."""
        if self._processes is None:
            from ...threads.cpu_pool import ProcessPool  # it imports multiprocessing

            self._processes = ProcessPool(self.config.processes)
        return await self._processes.run(function, *args)

    def close(self) -> None:
        """The ASGI server has ended."""
        self.shutting_down.set()
        if self._processes is not None:
            self._processes.close()
