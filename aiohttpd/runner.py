"""run(): a server as a program of its own: loop, signals, what it says on the terminal.

Owns what `HTTPServer` leaves to whoever embeds it.
"""

import asyncio
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Callable
from ssl import SSLContext
from typing import Any

from .access_log import AccessLog
from .config import Config
from .errors import TLSError
from .listeners import ServerAddress, url_of
from .live import report
from .log_format import LineFormat
from .pages import health_page, is_path, metrics_page, not_found, with_pages
from .server import HTTPServer, Lifespan
from .service import App
from .systemd import Notifier
from .tls import Certificates

__all__ = ["announce", "check_seeing", "local_url", "loop_factory", "metrics_server", "run", "say", "serve"]

_ALL = ("0.0.0.0", "::")
_LOOPBACK = ("127.0.0.1", "::1")


def run(
    app: App,
    host: str | None = "127.0.0.1",
    port: int = 8000,
    *,
    lifespan: Lifespan | None = None,
    ssl: SSLContext | Certificates | None = None,
    **options: Any,
) -> None:
    """Serve an App until SIGINT or SIGTERM; then finish what is in flight, and return.

    A second signal stops at once. SIGHUP reads the files of `Certificates` again. uvloop is used where it is
    installed. A service manager that asks for it (systemd) is told how things are.

    Args:
        app: a handler class, or another App.
        host: the address to listen on, ``""`` or ``"::"`` for all of them.
        port: the port, 0 for a free one.
        lifespan: as for `HTTPServer`.
        ssl: makes it HTTPS; `Certificates` names files, which may be replaced while the server runs.
        options: fields of `Config`; what is not given is looked up in the environment (``AIOHTTPD_*``).

    Raises:
        TypeError: an unknown option; the text names the nearest.
        BindError: the address cannot be listened on.
        TLSError: a file of `Certificates` cannot be used.
    """
    serve(app, (host or "", port), Config.from_options(options, os.environ), lifespan=lifespan, ssl=ssl)


def serve(
    app: App,
    address: ServerAddress | list[ServerAddress],
    config: Config,
    *,
    lifespan: Lifespan | None = None,
    ssl: SSLContext | Certificates | None = None,
    started: Callable[[HTTPServer], None] | None = None,
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
    certificates = ssl if isinstance(ssl, Certificates) else None
    context = ssl.context() if isinstance(ssl, Certificates) else ssl
    _allow_open_files()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve(app, address, config, lifespan, context, certificates, started or announce))


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes a loop: uvloop where it is installed; None stands for asyncio's own."""
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
    context: SSLContext | None,
    certificates: Certificates | None,
    started: Callable[[HTTPServer], None],
) -> None:
    loop = asyncio.get_running_loop()
    access_log = None
    if config.access_log and config.access_log_format != "none":
        access_log = AccessLog(sys.stderr, loop, config.access_log_format)
    server = HTTPServer(address, app, config=config, lifespan=lifespan, ssl=context, access_log=access_log)
    async with metrics_server(server) or contextlib.nullcontext():
        await server.start()
        program = _Program(server, certificates)
        restore = _on_signals(loop, program.actions())
        try:
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


def check_seeing(config: Config) -> None:
    """Have what is wrong with the options of the log and the metrics said before anything is started.

    Raises:
        ValueError: there is no such format, or no such address; the text says which.
    """
    if config.access_log_format != "none":
        LineFormat(config.access_log_format)
    if config.metrics and not is_path(config.metrics):
        _address(config.metrics)


def metrics_server(server: HTTPServer) -> HTTPServer | None:
    """The server of the address that the option ``metrics`` names: /metrics, and the health page if there is one.

    It is to run longer than the server that it tells of. None if there is no such address.
    """
    config = server.config
    if not config.metrics or is_path(config.metrics):
        return None
    pages = {"/metrics": metrics_page(lambda: server.snapshots())}
    if config.health:
        pages[config.health] = health_page(lambda: server.ready)
    quiet = Config(access_log=False, timeout_drain_idle=0, timeout_grace=0, timeout_idle=config.timeout_idle)
    return HTTPServer(_address(config.metrics), with_pages(pages, not_found), config=quiet)


def _address(text: str) -> ServerAddress:
    if text.startswith("unix:"):
        return text.removeprefix("unix:")
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError(f"metrics {text!r}: write /PATH, HOST:PORT or unix:PATH")
    return host.removeprefix("[").removesuffix("]"), int(port)


class _Program:
    """A server, with the signals that it is sent and the service manager that watches over it."""

    def __init__(self, server: HTTPServer, certificates: Certificates | None) -> None:
        self._server = server
        self._certificates = certificates
        self._manager = Notifier(os.environ)
        self._stops: set[asyncio.Task[None]] = set()
        self._ends_with_terminal = _ends_with_terminal()

    def actions(self) -> dict[str, Callable[[], None]]:
        """What is done about signals, by their names."""
        return {
            "SIGINT": self.stop,
            "SIGTERM": self.stop,
            "SIGHUP": self.hang_up,
            "SIGUSR1": lambda: say(report(self._server)),
        }

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
        """SIGINT and SIGTERM: finish what is in flight; the second time wait for nothing."""
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
        if self._ends_with_terminal and not _has_terminal():
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
        return f"Serving on {', '.join(self._server.urls)}"


def announce(server: HTTPServer, folder: str | None = None) -> None:
    """Say where the server is, and who can reach it.

    Args:
        server: one that listens.
        folder: what it serves, if it is a folder.
    """
    what = "" if folder is None else " this folder" if folder == "." else f" {folder}"
    hosts = [address[0] for address in server.addresses if isinstance(address, tuple)]
    if not any(host in _ALL for host in hosts):
        say(f"Serving{what} on {', '.join(server.urls)} (Ctrl-C stops)")
        if folder is not None and hosts and all(host in _LOOPBACK for host in hosts):
            say("Only this machine can reach it; --bind 0.0.0.0 shares it with the network")
        return
    from .reachable import addresses

    port = server.server_port
    say(f"Serving{what} on port {port} of all addresses (Ctrl-C stops)")
    own = ["127.0.0.1"] if "0.0.0.0" in hosts else ["::1"]
    for host in own + addresses(ipv4="0.0.0.0" in hosts, ipv6="::" in hosts):
        say(f"  {url_of((host, port), tls=server.tls)}")


def local_url(server: HTTPServer) -> str | None:
    """A URL at which this machine reaches the server."""
    for address in server.addresses:
        if isinstance(address, tuple):
            host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address[0], address[0])
            return url_of((host, address[1]), tls=server.tls)
    return None


def say(text: str) -> None:
    """Tell the person at the terminal, if there still is one."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def _ends_with_terminal() -> bool:
    """Whether there is a terminal, and its end is ours: it is not under nohup."""
    if not hasattr(signal, "SIGHUP") or signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return False
    return _has_terminal()


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _allow_open_files() -> None:
    """Use as many descriptors as the system lets us have; the usual limit is for programs that use select()."""
    try:
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ImportError, OSError, ValueError):
        pass


def _on_signals(loop: asyncio.AbstractEventLoop, actions: dict[str, Callable[[], None]]) -> Callable[[], None]:
    """Call the actions when the signals come by whose names they go; return what undoes it."""
    numbers: list[int] = []
    try:
        for name, action in actions.items():
            number = getattr(signal, name)
            loop.add_signal_handler(number, action)
            numbers.append(number)
    except (AttributeError, NotImplementedError, RuntimeError, ValueError):
        # Windows has no such thing; a thread other than the main one must not touch signals.
        pass

    def restore() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)

    return restore
