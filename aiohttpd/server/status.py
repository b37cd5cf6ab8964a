"""The metrics page and the health page.

Owns their answers, and how they are put in front of an App. What is counted is in `metrics`.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from ..engine.error_body import error_fields
from ..engine.interfaces import App, ServedApp
from ..engine.response import StreamWriter
from ..errors import HTTPError
from ..wire.request import Request
from .metrics import CONTENT_TYPE, Snapshot, merge, prometheus_text

if TYPE_CHECKING:
    from ..engine.answer import PreparedResponse

__all__ = ["Snapshots", "add_pages", "health_page", "is_path", "metrics_page", "not_found", "with_pages"]

# Returns the snapshots of all processes that serve together.
Snapshots = Callable[[], Awaitable[list[Snapshot]]]

_PLAIN = "text/plain; charset=utf-8"
_NO_STORE = ("Cache-Control", "no-store")


def is_path(text: str) -> bool:
    """Whether the value of the option ``metrics`` is a path, and not an address."""
    return text.startswith("/")


def with_pages(pages: dict[str, App], app: App) -> App:
    """Make an App that has pages at some paths.

    Args:
        pages: Apps by path; they get only GET and HEAD.
        app: the App for all other paths.
    """

    # A plain function, since another coroutine for each request would cost more than the lookup.
    # The target is nearly always equal to the path, which takes longer.
    def choose(request: Request, response: StreamWriter) -> Awaitable[None]:
        page = pages.get(request.target) or ("?" in request.target and pages.get(request.path))
        return _answer(page, request, response) if page else app(request, response)

    return choose


def add_pages(pages: dict[str, App], served: ServedApp) -> ServedApp:
    """Pages in front of an App, whichever way it answers."""
    app, instant = with_pages(pages, served.app), served.instant
    if instant is None:
        return served._replace(app=app)

    def choose(request: Request) -> "PreparedResponse | None":
        return None if request.path in pages else instant(request)

    return served._replace(app=app, instant=choose)


def metrics_page(snapshots: Snapshots) -> App:
    """An App that answers with the sum of the metrics of all processes."""

    async def metrics(request: Request, response: StreamWriter) -> None:
        text = prometheus_text(merge(await snapshots()))
        response.send_head(200, (("Content-Type", CONTENT_TYPE), _NO_STORE))
        response.write(text.encode())

    return metrics


def health_page(is_ready: Callable[[], bool]) -> App:
    """An App that answers 200 while the server is ready, and 503 when it is not."""

    async def health(request: Request, response: StreamWriter) -> None:
        if is_ready():
            response.send_head(200, (("Content-Type", _PLAIN), _NO_STORE))
            response.write(b"ready\n")
        else:
            response.send_head(503, error_fields(_PLAIN, [_NO_STORE]))
            response.write(b"draining\n")

    return health


async def not_found(request: Request, response: StreamWriter) -> None:
    """An App that answers 404, for a server that has only pages."""
    raise HTTPError(404)


async def _answer(page: App, request: Request, response: StreamWriter) -> None:
    response.log = _unlogged  # a monitor that asks every second would fill the log
    response.head_mirrors_get = True
    if request.method in ("GET", "HEAD"):
        await page(request, response)
        return
    raise HTTPError(405, headers=[("Allow", "GET, HEAD")])


def _unlogged(status: int, size: int) -> None:
    pass
