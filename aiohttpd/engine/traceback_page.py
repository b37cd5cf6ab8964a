"""Error pages with tracebacks, for the option ``debug``: for development, and on loopback only.

All text in a page is escaped, and values of variables are not shown.

A page is sent only if the addresses of server and client are loopback addresses, Host names this machine (otherwise a
page of another site could read it by DNS rebinding), and the request has not passed a proxy: clients of a proxy on this
machine may be elsewhere, while the proxy connects from loopback.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..config.hosts import AllowedHosts, is_loopback
from ..wire.negotiation import accepts_html
from ..wire.request import Request
from .error_body import error_fields

if TYPE_CHECKING:
    from traceback import FrameSummary, TracebackException

    from .interfaces import ResponseWriter

__all__ = ["send_traceback"]

_FRAMES = 40  # the innermost frames of an exception that are shown
_CAUSES = 10  # exceptions of a chain that are shown
_WIDTH = 2000  # characters of a message or a source line that are shown
_CONTEXT = 3  # source lines that are shown before and after the line that raised
_PASSED_ON = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP")

_STYLE = """
:root { color-scheme: light dark }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: auto; padding: 1rem; overflow-wrap: anywhere }
h1 { font-size: 1.25rem } h2 { font-size: 1rem; margin: 1.5rem 0 .5rem; border-bottom: 1px solid #8886 }
pre { font: .875rem/1.4 ui-monospace, monospace; margin: 0 0 .75rem; padding: .5rem; overflow-x: auto;
  background: #8881; border-radius: .25rem }
b { background: #f804; display: inline-block; min-width: 100% }
"""
_FIELDS = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    ("X-Content-Type-Options", "nosniff"),
)


def send_traceback(error: BaseException, response: "ResponseWriter") -> bool:
    """Send the traceback of an exception if the client may see it; return whether it may.

    It is HTML if Accept allows HTML, else plain text.
    """
    request = response.request
    if not _may_see(request, response):
        return False
    import traceback

    told = traceback.TracebackException.from_exception(error, limit=-_FRAMES, compact=True)
    if accepts_html(request.headers["Accept"]):
        kind, text = "text/html; charset=utf-8", "".join(_page(told, request))
    else:
        kind, text = "text/plain; charset=utf-8", "".join(told.format())
    response.restart()
    response.send_head(500, error_fields(kind, _FIELDS))
    response.write(text.encode("utf-8", "backslashreplace"))
    return True


def _may_see(request: Request, response: "ResponseWriter") -> bool:
    config = request.peer.config
    return (
        config.debug
        and is_loopback(response.get_extra_info("sockname"))
        and is_loopback(response.get_extra_info("peername"))
        and not config.trusted_proxies
        and AllowedHosts("").includes(request.framing.host)
        and not any(name in request.headers for name in _PASSED_ON)
    )


def _page(told: "TracebackException", request: Request) -> Iterator[str]:
    chain = [*_chain(told)]
    title = _escaped(_title(chain[0]))
    yield f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
    yield f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
    yield f"<p>{_escaped(request.requestline)}</p>\n<p>The frame that raised it is the first one.</p>\n"
    for number, each in enumerate(chain):
        yield f"<h2>{'Raised while this was handled, or from it: ' if number else ''}{_escaped(_title(each))}</h2>\n"
        for frame in reversed(each.stack):
            yield f"<p>{_escaped(frame.filename)}, line {frame.lineno}, in {_escaped(frame.name)}</p>\n"
            yield f"<pre>{''.join(_source(frame))}</pre>\n"
    whole = "".join(told.format())
    yield f"<h2>As the log has it</h2>\n<pre>{_escaped(whole, _WIDTH * 50)}</pre>\n</body>\n</html>\n"


def _chain(told: "TracebackException") -> Iterator["TracebackException"]:
    """An exception, then its ``__cause__`` or ``__context__``, and so on."""
    following: TracebackException | None = told
    for _ in range(_CAUSES):
        if following is None:
            return
        yield following
        hidden = following.__suppress_context__
        following = following.__cause__ or (None if hidden else following.__context__)


def _title(told: "TracebackException") -> str:
    # The first lines of a SyntaxError are the source, and are indented.
    return next((line.strip() for line in told.format_exception_only() if not line.startswith(" ")), "")


def _source(frame: "FrameSummary") -> Iterator[str]:
    """The source lines around the line that raised, which is emphasised."""
    import linecache

    number = frame.lineno or 0
    for at in range(max(1, number - _CONTEXT), number + _CONTEXT + 1):
        line = linecache.getline(frame.filename, at).rstrip("\n")
        if line or at <= number:
            text = _escaped(f"{at:5}  {line}")
            yield f"<b>{text}</b>\n" if at == number else f"{text}\n"


def _escaped(text: str, longest: int = _WIDTH) -> str:
    import html

    return html.escape(text if len(text) <= longest else text[:longest] + "…")
