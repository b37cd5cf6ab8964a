"""run(): a server as a program of its own: loop, signals, what it says on the terminal.

Owns what `HTTPServer` leaves to whoever embeds it.
"""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from .access_log import AccessLog
from .config import Config
from .listeners import ServerAddress
from .server import HTTPServer, Lifespan
from .service import App

__all__ = ["run", "serve"]


def run(
    app: App,
    host: str | None = "127.0.0.1",
    port: int = 8000,
    *,
    lifespan: Lifespan | None = None,
    **options: Any,
) -> None:
    """Serve an App until SIGINT or SIGTERM; then finish what is in flight, and return.

    A second signal stops at once. uvloop is used where it is installed.

    Args:
        app: a handler class, or another App.
        host: the address to listen on, ``""`` for all of them.
        port: the port, 0 for a free one.
        lifespan: as for `HTTPServer`.
        options: fields of `Config`; what is not given is looked up in the environment (``AIOHTTPD_*``).

    Raises:
        TypeError: an unknown option; the text names the nearest.
        BindError: the address cannot be listened on.
    """
    serve(app, (host or "", port), Config.from_options(options, os.environ), lifespan=lifespan)


def serve(
    app: App,
    address: ServerAddress | list[ServerAddress],
    config: Config,
    *,
    lifespan: Lifespan | None = None,
    started: Callable[[HTTPServer], None] | None = None,
) -> None:
    """`run` with everything made already.

    Args:
        app: the App.
        address: what `HTTPServer` takes.
        config: the options.
        lifespan: as for `HTTPServer`.
        started: called once connections are accepted; by default it says where, on stderr.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(app, address, config, lifespan, started or _announce))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve(
    app: App,
    address: ServerAddress | list[ServerAddress],
    config: Config,
    lifespan: Lifespan | None,
    started: Callable[[HTTPServer], None],
) -> None:
    loop = asyncio.get_running_loop()
    access_log = AccessLog(sys.stderr, loop)
    server = HTTPServer(
        address, app, config=config, lifespan=lifespan, access_log=access_log if config.access_log else None
    )
    stops: set[asyncio.Task[None]] = set()

    def stop() -> None:
        # The second signal does not wait for anything.
        if not stops and (count := server.in_flight):
            what = f"{count} request{'s' * (count > 1)}, at most {config.timeout_grace:g} s"
            print(f"Finishing {what} (Ctrl-C again stops at once)", file=sys.stderr, flush=True)
        stops.add(loop.create_task(server.shutdown(0 if stops else None)))

    await server.start()
    restore = _on_signals(loop, stop)
    try:
        started(server)
        gc.collect()
        gc.freeze()  # what is there now stays; no collection needs to look at it again
        await server.serve_forever()
        await asyncio.gather(*stops)
    finally:
        restore()
        access_log.flush()


def _announce(server: HTTPServer) -> None:
    print(f"Serving on {', '.join(server.urls)} (Ctrl-C stops)", file=sys.stderr, flush=True)


def _on_signals(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> Callable[[], None]:
    """Call ``stop`` for SIGINT and SIGTERM; return what undoes it."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    try:
        for number in numbers:
            loop.add_signal_handler(number, stop)
    except (NotImplementedError, RuntimeError, ValueError):
        # Windows has no such thing; a thread other than the main one must not touch signals.
        return lambda: None

    def restore() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)

    return restore
