"""The type parameter of ``BaseHTTPRequestHandler[State]``: what ``self.server.state`` is.

Owns what a type checker knows of the server that a handler sees. At run time there is no type parameter, and
``BaseHTTPRequestHandler[State]`` is `BaseHTTPRequestHandler` itself, so it costs nothing.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from typing import Generic as Typed

    from typing_extensions import TypeVar

    StateT = TypeVar("StateT", default=Any)
    T = TypeVar("T")

    class Server(Protocol[StateT]):
        """What a handler uses of its `HTTPServer`, with the attributes that the program has set on it."""

        state: StateT
        shutting_down: asyncio.Event

        @property
        def url(self) -> str: ...
        def background(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[None]: ...
        async def run_in_process(self, function: Callable[..., T], *args: object) -> T: ...
        def __getattr__(self, name: str) -> Any: ...

else:
    StateT = None

    class Typed:
        """Takes a type parameter, and forgets it."""

        __slots__ = ()

        def __class_getitem__(cls, item: object) -> type:
            return cls


__all__ = ["StateT", "Typed"]
