"""The server of the address in the option ``metrics``, for one process or many; and the check of options of logs."""

from typing import Protocol

from ..config import Config
from ..net.bind import is_port
from ..net.sockets import ServerAddress, UnixAddress
from .log_format import LineFormat
from .metrics import Snapshot
from .server import HTTPServer
from .status import health_page, is_path, metrics_page, not_found, with_pages

__all__ = ["Watched", "check_log_and_metrics", "metrics_server"]


class Watched(Protocol):
    """A server, or a supervisor with its workers."""

    @property
    def config(self) -> Config:
        """The options."""

    @property
    def ready(self) -> bool:
        """Whether it serves, and has not begun to stop."""

    async def snapshots(self) -> list[Snapshot]:
        """The metrics of all processes."""


def check_log_and_metrics(config: Config) -> None:
    """Check the options ``access_log_format`` and ``metrics`` before anything is started.

    Raises:
        ValueError: the format or the address is invalid; the text shows it.
    """
    if config.access_log_format != "none":
        LineFormat(config.access_log_format)
    if config.metrics and not is_path(config.metrics):
        _address(config.metrics)


def metrics_server(watched: Watched) -> HTTPServer | None:
    """Make the server of the address in the option ``metrics``: it has /metrics, and the health page if there is one.

    It should be stopped after the server that it shows. None if the option is empty or a path.
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
    if not host or not is_port(port):
        raise ValueError(f"metrics {text!r}: write /PATH, HOST:PORT or unix:PATH")
    return host.removeprefix("[").removesuffix("]"), int(port)
