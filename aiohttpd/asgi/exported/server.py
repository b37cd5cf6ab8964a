"""ExportedServer: what handlers find as ``self.server`` when another server runs them.

Owns what of our own server an App may rely on there: the options, the attributes that a lifespan sets, the processes of
``run_in_process``, and the event of the shutdown.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ...config import Config

if TYPE_CHECKING:
    from ...threads.cpu_pool import ProcessPool

__all__ = ["ExportedServer"]

T = TypeVar("T")


class ExportedServer:
    """Stands for `HTTPServer`. It has no sockets; the server outside has.

    Attributes:
        app: the App.
        config: the options that the export has been given.
        shutting_down: an ``asyncio.Event``, set when the server outside ends the lifespan.
        server_address: ``(host, port)`` of the last request, as the server outside tells it.
    """

    def __init__(self, app: Any, config: Config) -> None:
        self.app = app
        self.config = config
        self.shutting_down = asyncio.Event()
        self.server_address: Any = ("", 0)
        self._processes: ProcessPool | None = None

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

    async def run_in_process(self, function: Callable[..., T], *args: object) -> T:
        """Call a function in another process; see ``HTTPServer.run_in_process``."""
        if self._processes is None:
            from ...threads.cpu_pool import ProcessPool  # it imports multiprocessing

            self._processes = ProcessPool(self.config.processes)
        return await self._processes.run(function, *args)

    def close(self) -> None:
        """The server outside has ended."""
        self.shutting_down.set()
        if self._processes is not None:
            self._processes.close()
