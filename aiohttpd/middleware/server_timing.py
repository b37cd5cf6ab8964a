"""ServerTiming: how long what took, for the developer tools of browsers (https://www.w3.org/TR/server-timing/).

Owns the field Server-Timing.
"""

from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from ..engine.interfaces import App, ResponseHead
from ..wire.headers import is_token
from ..wire.request import Request
from ..wire.response import ResponseFields
from .layer import Layer, on_head

__all__ = ["ServerTiming", "timing"]

_MOST = 32  # names of one answer


class ServerTiming(Layer):
    """Say in each answer how long the App took up to its head: ``Server-Timing: total;dur=12.3``, in milliseconds.

    With `timing` the handler adds what it measures. Who can read the answers learns these times, so put it around an
    App for developers only, or where they tell nothing.
    """

    def serve(self, app: App, request: Request, response: Any) -> Awaitable[None]:
        began = perf_counter()
        spans: dict[str, float] = {}
        request.state.server_timing = spans

        def add(head: ResponseHead, fields: ResponseFields) -> None:
            spent = [*spans.items(), ("total", perf_counter() - began)]
            fields.add("Server-Timing", ", ".join(f"{name};dur={seconds * 1e3:.1f}" for name, seconds in spent))

        on_head(response, add)
        return app(request, response)


@contextmanager
def timing(request: Request, name: str) -> Iterator[None]:
    """Measure a block; blocks of one name are added up. Without `ServerTiming` around the App it does nothing.

    ::

        with middleware.timing(self.request, "db"):
            rows = await self.server.state.db.fetch(query)

    Args:
        request: the request.
        name: a token.

    Raises:
        ValueError: the name is no token.
    """
    if not is_token(name):
        raise ValueError(f"{name!r} is no name for Server-Timing: it is a token")
    spans: dict[str, float] | None = getattr(request.state, "server_timing", None)
    began = perf_counter()
    try:
        yield
    finally:
        if spans is not None and (name in spans or len(spans) < _MOST):
            spans[name] = spans.get(name, 0.0) + perf_counter() - began
