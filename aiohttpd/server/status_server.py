"""Seeing: what a program shows of itself to those who watch over it, beside the access log.

Owns the server of the address that the option ``metrics`` names, for one process as for many.
"""

from typing import Protocol

from ..config import Config
from ..net.sockets import ServerAddress, UnixAddress
from .log_format import LineFormat
from .metrics import Snapshot
from .server import HTTPServer
from .status import health_page, is_path, metrics_page, not_found, with_pages

__all__ = ["Watched", "check_seeing", "metrics_server"]


class Watched(Protocol):
    """What is shown: a server, or a supervisor."""

    @property
    def config(self) -> Config:
        """The options."""

    @property
    def ready(self) -> bool:
        """Whether it takes requests, and has not begun to stop."""

    async def snapshots(self) -> list[Snapshot]:
        """The metrics of all processes."""


def check_seeing(config: Config) -> None:
    """Have what is wrong with the options of the log and the metrics said before anything is started.

    Raises:
        ValueError: there is no such format, or no such address; the text says which.
    """
    if config.access_log_format != "none":
        LineFormat(config.access_log_format)
    if config.metrics and not is_path(config.metrics):
        _address(config.metrics)


def metrics_server(watched: Watched) -> HTTPServer | None:
    """The server of the address that the option ``metrics`` names: /metrics, and the health page if there is one.

    It is to run longer than what it tells of. None if there is no such address.
    """
    config = watched.config
    if not config.metrics or is_path(config.metrics):
        return None
    pages = {"/metrics": metrics_page(watched.snapshots)}
    if config.health:
        pages[config.health] = health_page(lambda: watched.ready)
    quiet = Config(
        access_log=False, timeout_drain_idle=0, timeout_grace=0, timeout_idle=config.timeout_idle, hosts=config.hosts
    )
    return HTTPServer(_address(config.metrics), with_pages(pages, not_found), config=quiet)


def _address(text: str) -> ServerAddress:
    if text.startswith("unix:"):
        return UnixAddress(text.removeprefix("unix:"))
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError(f"metrics {text!r}: write /PATH, HOST:PORT or unix:PATH")
    return host.removeprefix("[").removesuffix("]"), int(port)
