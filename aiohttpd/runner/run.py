"""run(): a server as a program of its own: loop, signals, what it says on the terminal.

Owns what `HTTPServer` leaves to whoever embeds it.
"""

import asyncio
import contextlib
import gc
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from ssl import SSLContext
from typing import Any, Literal

from ..config import Config, misspelt_variables
from ..engine.interfaces import App
from ..errors import TLSError
from ..handlers.app import resolve_app
from ..net.forking import end_child, not_for_children
from ..net.sockets import ServerAddress, check_address, root_of
from ..net.systemd import Notifier, forget_descriptors
from ..net.tls import Certificates
from ..server.access_log import AccessLog
from ..server.cores import cores
from ..server.loader import load_target
from ..server.server import HTTPServer, Lifespan
from ..server.stacks import report
from ..server.status_server import metrics_server
from .announce import Listening, announce
from .pid1 import leave_pid1
from .process import (
    allow_open_files,
    ended_within,
    loop_factory,
    open_standard_streams,
    refuse_import,
    refuse_loop,
    say,
)
from .signals import Repeated, ends_with_terminal, handle_signals, has_terminal
from .stderr import own_stderr

__all__ = ["run", "serve", "serve_many"]

_AFTERWARDS = 1.0  # seconds from the end of a server to that of its loop


def run(
    app: App | str,
    host: str | None = "127.0.0.1",
    port: int = 8000,
    *,
    bind: ServerAddress | list[ServerAddress] | None = None,
    workers: int | Literal["auto"] | None = None,
    reload: bool = False,
    lifespan: Lifespan | None = None,
    ssl: SSLContext | Certificates | None = None,
    **options: Any,
) -> None:
    """Serve an App until SIGINT or SIGTERM; then finish what is in flight, and return.

    A second signal, a moment later, stops at once. SIGHUP reads the files of `Certificates` again. uvloop is used
    where it is installed. A service manager that asks for it (systemd) is told how things are.

    Args:
        app: a handler class, another App, or ``"module:name"`` of one.
        host: the address to listen on, ``""`` or ``"::"`` for all of them.
        port: the port, 0 for a free one.
        bind: in place of host and port, what `HTTPServer` takes: ``("host", port)``, the path of a unix socket, a
            listening socket, or a list of these.
        workers: how many processes, ``"auto"`` for one on each core; a supervisor replaces them when they die, and
            on SIGHUP. By default this process alone.
        reload: replace the workers, by default one, when Python files change.
        lifespan: as for `HTTPServer`; each worker has its own.
        ssl: makes it HTTPS; `Certificates` names files, which may be replaced while the server runs. Workers want it
            so, since an SSLContext cannot be handed to them.
        options: fields of `Config`; what is not given is looked up in the environment (``AIOHTTPD_*``).

    Raises:
        TypeError: an unknown option (the text names the nearest); what is no App, or no address; what cannot be handed
            to a worker.
        ValueError: an option out of its range; no such port.
        BindError: the address cannot be listened on.
        TLSError: a file of `Certificates` cannot be used.
        RuntimeError: an event loop runs here; workers are asked for in a thread, or by a program that is no file.
        SystemExit: no worker can start.
    """
    refuse_import()
    refuse_loop()
    open_standard_streams()
    leave_pid1()
    address = (host or "", port) if bind is None else bind
    config = Config.from_options(options, os.environ)
    check_address(address)
    if address == []:
        raise ValueError("no address to listen on: bind is an empty list")
    if not isinstance(app, str):
        resolve_app(app)  # better here than in each worker
    for text in misspelt_variables(os.environ):
        say(text)
    if workers is None and not reload:
        app = load_target(app) if isinstance(app, str) else app
        serve(app, address, config, lifespan=lifespan, ssl=ssl)
        return
    if isinstance(ssl, SSLContext):
        raise TypeError("an SSLContext cannot be handed to workers: name its files with Certificates")
    make_app = partial(load_target, app) if isinstance(app, str) else partial(_given, app)
    serve_many(make_app, address, config, workers=workers, reload=reload, lifespan=lifespan, ssl=ssl)


def _given(app: App) -> App:
    """The App that a worker has been given, and need not load."""
    resolve_app(app)
    return app


def serve_many(
    make_app: Callable[[], App],
    address: ServerAddress | list[ServerAddress],
    config: Config,
    *,
    workers: int | Literal["auto"] | None,
    reload: bool = False,
    folders: tuple[str, ...] = (),
    lifespan: Lifespan | None = None,
    ssl: Certificates | None = None,
    started: Callable[[Listening], None] | None = None,
) -> None:
    """`serve` by workers.

    Args:
        make_app: makes the App, in each worker; it can be pickled.
        address: what `HTTPServer` takes.
        config: the options.
        workers: how many; by default one.
        reload: replace them when Python files change, in the current folder or these:
        folders: more folders.
        lifespan: as for `HTTPServer`.
        ssl: makes it HTTPS.
        started: called once connections are accepted; by default it says where, on stderr.

    Raises:
        ValueError: no such number of workers; watchfiles is not installed.
        TLSError: a file of ``ssl`` cannot be used.
        SystemExit: no worker can start.
    """
    if os.name != "posix":
        raise ValueError("workers want a POSIX system: descriptors and signals are handed to them")
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError(
            "run() with workers or reload belongs to the main thread, which alone gets signals: call it there, "
            "or run() without them here"
        )
    from .supervise import Target, supervise

    count = cores() if workers == "auto" else 1 if workers is None else workers
    if not isinstance(count, int) or count < 1:
        raise ValueError(f"workers must be at least 1, or 'auto', not {workers!r}")
    watch = None
    if reload:
        from .reload import watcher

        watch = watcher(".", *folders)
    config = replace(config, processes=config.processes or max(1, cores() // count))
    if ssl is not None:
        ssl.context()  # what is wrong with its files is better told now
    target = Target(make_app, lifespan, ssl)
    status = supervise(address, target, config, workers=count, watch=watch, started=started or announce)
    if status:
        sys.exit(status)


def serve(
    app: App,
    address: ServerAddress | list[ServerAddress],
    config: Config,
    *,
    lifespan: Lifespan | None = None,
    ssl: SSLContext | Certificates | None = None,
    started: Callable[[Listening], None] | None = None,
) -> None:
    """`run` with everything made already.

    Args:
        app: the App.
        address: what `HTTPServer` takes.
        config: the options.
        lifespan: as for `HTTPServer`.
        ssl: as for `run`.
        started: called once connections are accepted; by default it says where, on stderr.
    """
    forget_descriptors(os.environ)
    certificates = ssl if isinstance(ssl, Certificates) else None
    context = ssl.context() if isinstance(ssl, Certificates) else ssl
    allow_open_files()
    with (
        own_stderr(config.access_log_format),
        not_for_children() as is_loop,
        ended_within(_AFTERWARDS) as end,
        asyncio.Runner(loop_factory=loop_factory()) as runner,
    ):
        is_loop(runner.get_loop())
        pid = os.getpid()
        try:
            runner.run(_serve(app, address, config, lifespan, context, certificates, started or announce))
        except BaseException as error:
            end_child(error, pid)
            end(1, error)
            raise
        else:
            end_child(None, pid)
            end()


async def _serve(
    app: App,
    address: ServerAddress | list[ServerAddress],
    config: Config,
    lifespan: Lifespan | None,
    context: SSLContext | None,
    certificates: Certificates | None,
    started: Callable[[Listening], None],
) -> None:
    loop = asyncio.get_running_loop()
    access_log = None
    if config.access_log and config.access_log_format != "none":
        access_log = AccessLog(sys.stderr, loop, config.access_log_format)
    server = HTTPServer(address, app, config=config, lifespan=lifespan, ssl=context, access_log=access_log)
    async with metrics_server(server) or contextlib.nullcontext():
        program = _Program(server, certificates)
        restore = handle_signals(loop, program.actions())
        try:
            if not await program.start():
                return
            started(server)
            program.begin(loop)
            gc.collect()
            gc.freeze()  # what is there now stays; no collection needs to look at it again
            await server.serve_forever()
            await program.ended()
        finally:
            restore()
            program.close()
            if access_log is not None:
                access_log.flush()


class _Program:
    """A server, with the signals that it is sent and the service manager that watches over it."""

    def __init__(self, server: HTTPServer, certificates: Certificates | None) -> None:
        self._server = server
        self._certificates = certificates
        self._manager = Notifier(os.environ)
        self._stops: set[asyncio.Task[None]] = set()
        self._starting: asyncio.Task[None] | None = None
        self._ends_with_terminal = ends_with_terminal()
        self._repeated = Repeated()

    def actions(self) -> dict[str, Callable[[], None]]:
        """What is done about signals, by their names."""
        return {
            "SIGINT": self.stop,
            "SIGTERM": self.stop,
            "SIGHUP": self.hang_up,
            "SIGUSR1": lambda: say(report(self._server)),
        }

    async def start(self) -> bool:
        """Start the server; say whether it has been, and not been told to stop meanwhile."""
        self._starting = asyncio.get_running_loop().create_task(self._server.start())
        try:
            await self._starting
        except asyncio.CancelledError:
            if not self._starting.cancelled():
                raise
            return False
        finally:
            self._starting = None
        return True

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """The server serves."""
        self._manager.ready(self._status())
        self._manager.watch(loop)

    async def ended(self) -> None:
        """Wait for what has stopped it."""
        await asyncio.gather(*self._stops)

    def close(self) -> None:
        """Have nothing to do with the service manager any more."""
        self._manager.close()

    def stop(self) -> None:
        """SIGINT and SIGTERM: finish what is in flight; the second time, a moment later, wait for nothing."""
        if self._repeated.is_same():
            return
        if self._starting is not None:
            self._starting.cancel()
            return
        if not self._stops:
            count = self._server.in_flight
            what = f"{count} request{'s' * (count != 1)}, at most {self._server.config.timeout_grace:g} s"
            if count:
                say(f"Finishing {what} (Ctrl-C again stops at once)")
            self._manager.stopping(f"Finishing {what}")
        stop = self._server.shutdown(0 if self._stops else None)
        self._stops.add(asyncio.get_running_loop().create_task(stop))

    def hang_up(self) -> None:
        """SIGHUP: read what may have changed; but end with the terminal that the server was started on."""
        if self._ends_with_terminal and not has_terminal():
            self.stop()
            return
        self._manager.reloading()
        if self._certificates is not None:
            try:
                self._server.use_ssl(self._certificates.context())
            except TLSError as error:
                say(f"The certificate stays what it was: {error}")
            else:
                say(f"{self._certificates.certificate} has been read again")
        self._manager.ready(self._status())

    def _status(self) -> str:
        return f"Serving on {', '.join(map(root_of, self._server.urls))}"
