"""Pages of the server's own beside an App: metrics and health.

Owns what they answer and how they stand in front of an App at next to no cost. What is counted is `metrics`'.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from ..engine.context import ServerContext
from ..engine.interfaces import App
from ..engine.response import StreamWriter
from ..errors import HTTPError
from ..wire.request import Request
from .metrics import CONTENT_TYPE, Snapshot, merge, prometheus_text

if TYPE_CHECKING:
    from ..engine.answer import PreparedResponse

__all__ = ["Snapshots", "add_pages", "health_page", "is_path", "metrics_page", "not_found", "with_pages"]

# Gives the snapshots of all workers; of one process there is one.
Snapshots = Callable[[], Awaitable[list[Snapshot]]]

_PLAIN = "text/plain; charset=utf-8"


def is_path(text: str) -> bool:
    """Whether an option names a page of the server itself, not an address of its own."""
    return text.startswith("/")


def with_pages(pages: dict[str, App], app: App) -> App:
    """An App around an App that answers some paths by itself.

    Args:
        pages: Apps by path; they are asked with GET and HEAD only.
        app: for all other paths.
    """

    # A plain function, since one more coroutine for each request would cost more than all that is done here.
    # The target is nearly always the path already.
    def choose(request: Request, response: StreamWriter) -> Awaitable[None]:
        page = pages.get(request.target) or ("?" in request.target and pages.get(request.path))
        return _answer(page, request, response) if page else app(request, response)

    return choose


def add_pages(pages: dict[str, App], service: ServerContext) -> None:
    """Put pages before the App of a service, whichever way it answers."""
    service.app = with_pages(pages, service.app)
    instant = service.instant
    if instant is None:
        return

    def choose(request: Request) -> "PreparedResponse | None":
        return None if request.path in pages else instant(request)

    service.instant = choose


def metrics_page(snapshots: Snapshots) -> App:
    """The page with the metrics of all workers together."""

    async def metrics(request: Request, response: StreamWriter) -> None:
        text = prometheus_text(merge(await snapshots()))
        response.send_head(200, (("Content-Type", CONTENT_TYPE), ("Cache-Control", "no-store")))
        response.write(text.encode())

    return metrics


def health_page(is_ready: Callable[[], bool]) -> App:
    """The page that says 200 while the server is ready for requests, 503 once it is not any more."""

    async def health(request: Request, response: StreamWriter) -> None:
        ready = is_ready()
        response.send_head(200 if ready else 503, (("Content-Type", _PLAIN), ("Cache-Control", "no-store")))
        response.write(b"ready\n" if ready else b"draining\n")

    return health


async def not_found(request: Request, response: StreamWriter) -> None:
    """The App of an address that has nothing but pages."""
    raise HTTPError(404)


async def _answer(page: App, request: Request, response: StreamWriter) -> None:
    response.log = _unlogged  # whoever asks every second would fill the log
    response.head_mirrors_get = True
    if request.method in ("GET", "HEAD"):
        await page(request, response)
        return
    raise HTTPError(405, headers=[("Allow", "GET, HEAD")])


def _unlogged(status: int, size: int) -> None:
    pass
