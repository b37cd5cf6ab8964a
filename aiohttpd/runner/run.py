"""run(): a server as a program, with an event loop, signals, and lines on stderr.

Owns what a program has that embeds no `HTTPServer`: for one process here, for many in `supervise`.
"""

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from ssl import SSLContext
from typing import TYPE_CHECKING, Literal, Unpack

from ..asgi.host import hosted
from ..config import Config, misspelt_variables
from ..engine.interfaces import App
from ..errors import StartupFailed, TLSError
from ..handlers.app import Lifespan, check_lifespan, resolve_app
from ..net.forking import not_for_children
from ..net.sockets import ServerAddress, check_address
from ..net.systemd import Notifier, forget_descriptors
from ..net.tls import Certificates
from ..server.access_log import stderr_log
from ..server.server import HTTPServer
from ..server.stacks import report
from ..server.status_server import metrics_server
from ..threads.cores import cores
from .announce import Listening, announce, serving_on
from .loader import is_importing, load_target
from .pid1 import leave_pid1
from .process import (
    MOST_WORKERS,
    STARTUP_STATUS,
    allow_open_files,
    freeze_objects,
    main_loop,
    open_standard_streams,
    refuse_import,
    refuse_loop,
    say,
    startup_failed,
)
from .signals import handle_signals, hang_up_awaited, stop_and_reload
from .stderr import own_stderr

if TYPE_CHECKING:
    from ..config.keywords import Options

__all__ = ["run", "serve", "serve_many"]


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
    **options: "Unpack[Options]",
) -> None:
    """Serve an App until SIGINT or SIGTERM; then finish the requests in flight, and return.

    ::

        aiohttpd.run(Hello, port=8080)
        aiohttpd.run("hello:Hello", workers="auto")

    A second signal, 0.3 seconds after the first or later, stops at once. SIGHUP reads the files of `Certificates`
    again; with workers it replaces the workers. uvloop is used if it is installed. systemd is notified if the unit
    has ``Type=notify``.

    Args:
        app: a handler class, another App, an ASGI application, or ``"module:name"`` of one.
        host: the address to listen on; ``""`` or ``"::"`` for all addresses.
        port: the port; 0 takes a free one.
        bind: used in place of host and port: ``("host", port)``, the path of a unix socket, a listening socket, or a
            list of these.
        workers: the number of worker processes, at most 1024, or ``"auto"`` for one on each core. A supervisor starts
            them, and replaces those that die. By default this process serves alone.
        reload: replace the workers (by default there is one) when Python files change.
        lifespan: as for `HTTPServer`; each worker has its own.
        ssl: the TLS context; with it the server speaks HTTPS. `Certificates` names files, which may be replaced while
            the server runs. Workers need `Certificates`, since an SSLContext cannot be pickled.
        options: fields of `Config`. Those that are not given are read from the environment (``AIOHTTPD_*``).

    Raises:
        TypeError: an option is unknown (the text names the nearest); ``app`` is not an App; ``bind`` is not an
            address; something cannot be handed to a worker.
        ValueError: an option or a port is out of its range.
        BindError: the server cannot listen on the address.
        TLSError: a file of `Certificates` cannot be used.
        RuntimeError: an event loop runs in this thread; workers are wanted outside of the main thread, or by a program
            that is not a file.
        SystemExit: no worker can start, or an ASGI application has said that it cannot.
    """
    refuse_import(as_target=is_importing())
    refuse_loop()
    open_standard_streams()
    leave_pid1()
    with hang_up_awaited():
        address = (host or "", port) if bind is None else bind
        config = Config.from_options(options, os.environ)
        check_address(address)
        if address == []:
            raise ValueError("no address to listen on: bind is an empty list")
        if not isinstance(app, str):
            app = hosted(app)
            resolve_app(app)  # an error is better raised here than in each worker
        for text in misspelt_variables(os.environ):
            say(text)
        if workers is None and not reload:
            app = load_target(app) if isinstance(app, str) else app
            serve(app, address, config, lifespan=lifespan, ssl=ssl)
            return
        if isinstance(ssl, SSLContext):
            raise TypeError("an SSLContext cannot be handed to workers: use Certificates with the names of its files")
        if ssl is not None and not isinstance(ssl, Certificates):
            raise TypeError(f"ssl is {ssl!r}: write aiohttpd.Certificates('cert.pem', 'key.pem')")
        if lifespan is not None:
            check_lifespan(lifespan)
        make_app = partial(load_target, app) if isinstance(app, str) else partial(_given, app)
        serve_many(make_app, address, config, workers=workers, reload=reload, lifespan=lifespan, ssl=ssl)


def _given(app: App) -> App:
    """The App itself, for a worker that gets it pickled and not by name."""
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
    """`serve` with worker processes.

    Args:
        make_app: makes the App in each worker; it must be picklable.
        address: as for `HTTPServer`.
        config: the options.
        workers: the number of workers, or ``"auto"``; by default one.
        reload: replace the workers when Python files change in the current folder or in ``folders``.
        folders: more folders that are watched.
        lifespan: as for `HTTPServer`; it must be picklable.
        ssl: the files for TLS; with them the workers speak HTTPS.
        started: called once all workers accept connections; by default it writes the addresses on stderr.

    Raises:
        RuntimeError: this is not the main thread.
        ValueError: ``workers`` is out of range; this is not a POSIX system; watchfiles is not installed.
        TLSError: a file of ``ssl`` cannot be used.
        SystemExit: no worker can start.
    """
    if os.name != "posix":
        raise ValueError("workers need a POSIX system, with signals and descriptors that can be handed over")
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError(
            "run() with workers or reload needs the main thread, the only one that gets signals: call it there, "
            "or call run() without them here"
        )
    from .supervise import Target, supervise

    count = cores() if workers == "auto" else 1 if workers is None else workers
    if not (isinstance(count, int) and 1 <= count <= MOST_WORKERS):
        raise ValueError(f"workers must be 1 to {MOST_WORKERS}, or 'auto', not {workers!r}")
    watch = None
    if reload:
        from .reload import watcher

        watch = watcher(".", *folders)
    config = replace(config, processes=config.processes or max(1, cores() // count))
    if ssl is not None:
        ssl.context()  # an error in its files is better raised now
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
    """Serve in this process until a signal stops it: `run` without its checks.

    Args:
        app: the App.
        address: as for `HTTPServer`.
        config: the options.
        lifespan: as for `HTTPServer`.
        ssl: as for `run`.
        started: called once connections are accepted; by default it writes the addresses on stderr.
    """
    forget_descriptors(os.environ)
    certificates, context = (ssl, ssl.context()) if isinstance(ssl, Certificates) else (None, ssl)
    allow_open_files()
    with own_stderr(config.access_log_format), not_for_children() as is_loop, main_loop(is_loop) as runner:
        try:
            runner.run(_serve(app, address, config, lifespan, context, certificates, started or announce))
        except StartupFailed as error:
            say(startup_failed(error))
            sys.exit(STARTUP_STATUS)


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
    access_log = stderr_log(config, loop)
    server = HTTPServer(address, app, config=config, lifespan=lifespan, ssl=context, access_log=access_log)
    async with metrics_server(server) or contextlib.nullcontext():
        program = _Program(server, certificates)
        restore = handle_signals(loop, program.actions())
        try:
            if await program.start():
                started(server)
                program.notify_ready(loop)
                freeze_objects()
                await server.serve_forever()
                await program.stopped()
        finally:
            program.close()
            if access_log is not None:
                access_log.flush()
            restore()


class _Program:
    """A server, the signals that stop and reload it, and the service manager that is notified."""

    def __init__(self, server: HTTPServer, certificates: Certificates | None) -> None:
        self._server = server
        self._certificates = certificates
        self._manager = Notifier(os.environ)
        self._stops: set[asyncio.Task[None]] = set()
        self._starting: asyncio.Task[None] | None = None

    def actions(self) -> dict[str, Callable[[], None]]:
        """What is done for each signal, by name."""
        return {**stop_and_reload(self.stop, self.reload), "SIGUSR1": lambda: say(report(self._server))}

    async def start(self) -> bool:
        """Start the server; return False if a signal has stopped it meanwhile."""
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

    def notify_ready(self, loop: asyncio.AbstractEventLoop) -> None:
        """Notify the service manager that the server serves, and its watchdog from now on."""
        self._manager.ready(serving_on(self._server.urls))
        self._manager.watch(loop)

    async def stopped(self) -> None:
        """Wait until the shutdowns that signals have started are over."""
        await asyncio.gather(*self._stops)

    def close(self) -> None:
        """Close the connection to the service manager."""
        self._manager.close()

    def stop(self) -> None:
        """SIGINT and SIGTERM: finish the requests in flight; the second time wait for nothing."""
        if self._starting is not None and self._starting.cancel():
            return  # else the start has ended in this turn
        if not self._stops:
            self._say_what_is_left()
        stop = asyncio.get_running_loop().create_task(self._server.shutdown(0 if self._stops else None))
        stop.add_done_callback(lambda task: task.cancelled() or task.exception())  # serve_forever() raises it, too
        self._stops.add(stop)

    def _say_what_is_left(self) -> None:
        count = self._server.in_flight
        what = f"{count} request{'s' * (count != 1)}, at most {self._server.config.timeout_grace:g} s"
        if count:
            say(f"Finishing {what} (Ctrl-C again stops at once)")
        self._manager.stopping(f"Finishing {what}")

    def reload(self) -> None:
        """SIGHUP: read the certificates again."""
        serves = self._starting is None and not self._stops  # else it is not ready afterwards
        if serves:
            self._manager.reloading()
        if self._certificates is not None:
            try:
                self._server.use_ssl(self._certificates.context())
            except TLSError as error:
                say(f"The old certificate stays in use: {error}")
            else:
                say(f"{self._certificates.certificate} has been read again")
        if serves:
            self._manager.ready(serving_on(self._server.urls))
