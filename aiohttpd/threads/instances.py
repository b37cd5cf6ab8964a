"""Handlers of ``http.server``: which methods a class overrides, and how a handler is made without parsing again.

If a class has the parser of ``http.server``, a handler gets the head that has been parsed already.
"""

import functools
import http.client
import http.server
import inspect
from collections.abc import Callable, Coroutine, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ..errors import ContractError
from ..net.clock import Clock
from ..wire.dates import http_date
from ..wire.request import Request
from .fake_socket import FakeSocket

__all__ = ["Factory", "Kind", "served"]

Old = http.server.BaseHTTPRequestHandler
Factory = Callable[[Any, Any, Any], Any]

_OF_CONNECTIONS = ("setup", "handle", "finish", "handle_one_request", "parse_request")


class Kind(NamedTuple):
    """The class that a factory makes instances of, as far as it is known.

    Attributes:
        cls: the class; None if it is not known.
        args: arguments of a ``functools.partial``, before ``(request, client_address, server)``.
        keywords: its keyword arguments.
    """

    cls: Any
    args: tuple[Any, ...] = ()
    keywords: Mapping[str, Any] = MappingProxyType({})

    @classmethod
    def of(cls, factory: Factory) -> "Kind":
        if isinstance(factory, functools.partial):
            inner = cls.of(factory.func)
            return cls(inner.cls, inner.args + factory.args, {**inner.keywords, **factory.keywords})
        is_class = isinstance(factory, type) and issubclass(factory, Old)
        return cls(factory if is_class else None)

    def keeps(self, *names: str) -> bool:
        """Whether the class has the methods of ``http.server`` with these names, and overrides none of them."""
        return self.cls is not None and all(getattr(self.cls, name) is getattr(Old, name) for name in names)

    @property
    def parses_as_usual(self) -> bool:
        """Whether a handler can be given the parsed head, since the class has the usual parser."""
        return (
            self.keeps("handle", "handle_one_request", "parse_request")
            and self.cls.MessageClass is http.client.HTTPMessage
            and type(self.cls).__call__ is type.__call__
            and self.cls.__new__ is object.__new__
        )

    def may_have(self, method: str) -> bool:
        """Whether a handler may have ``do_METHOD``.

        If not, the handler is run before the body arrives, since it will most likely answer 501 at once. It may still
        read the body: its ``__init__`` can set ``do_*``.
        """
        return (
            not self.keeps("handle", "handle_one_request", "parse_request", "__getattribute__")
            or hasattr(self.cls, "__getattr__")
            or hasattr(self.cls, "do_" + method)
        )

    @property
    def logs_as_usual(self) -> bool:
        """Whether its log lines are those of ``http.server``."""
        return self.keeps("log_request", "log_message", "address_string", "log_date_time_string")

    @property
    def minds_connections(self) -> bool:
        """Whether the class overrides methods for connections, so that a handler has to serve a whole connection."""
        return self.cls is not None and not self.keeps(*_OF_CONNECTIONS)


def served(factory: Factory, *, quiet: bool = False) -> Factory:
    """Make a factory whose handlers get the parsed head; the factory itself, if its class has another parser.

    Args:
        factory: makes a handler.
        quiet: whether the server writes the log line of an answer, whose size it knows; not if the class overrides it.
    """
    kind = Kind.of(factory)
    if not kind.parses_as_usual or kind.minds_connections:
        return factory
    return functools.partial(_make, kind, quiet and kind.logs_as_usual, kind.keeps("date_time_string"))


def _make(kind: Kind, quiet: bool, dates: bool, request: FakeSocket, client_address: Any, server: Any) -> Any:
    """Make an instance of the class itself and not of a subclass, since handlers set attributes of ``type(self)``."""
    request.head_is_known = True
    handler = kind.cls.__new__(kind.cls)
    handler.handle = functools.partial(_handle, handler)
    if quiet:
        handler.log_request = _nothing
    if dates:
        handler.date_time_string = _date
    handler.__init__(*kind.args, request, client_address, server, **kind.keywords)
    return handler


def _nothing(code: int | str = "-", size: int | str = "-") -> None:
    """Do nothing: the access log of the server has the line."""


_clock = Clock()


def _date(timestamp: float | None = None) -> str:
    """``date_time_string`` with a cache for the current second."""
    if timestamp is not None:
        return http_date(timestamp)
    _clock.tick()
    return _clock.date


def _handle(handler: Any) -> None:
    """Do what ``handle`` and ``handle_one_request`` of ``http.server`` do, for one request."""
    del handler.handle  # it was set here, and is a reference cycle
    rfile, exchange = handler.rfile, handler.request.exchange
    try:
        if _take_over(handler, handler.request.exchange.request):
            name = "do_" + handler.command
            if hasattr(handler, name):
                result = getattr(handler, name)()
                if result is not None and inspect.iscoroutine(result):
                    raise _explain_coroutine(handler, result)
                if not handler.wfile.closed:  # flush() of a closed file would raise
                    handler.wfile.flush()
            else:
                handler.send_error(501, f"Unsupported method ({handler.command!r})")
    except TimeoutError as error:
        handler.log_error("Request timed out: %r", error)
        handler.close_connection = True
    if handler.rfile is not rfile and exchange.taken_over is not None:  # for example TLS inside of a CONNECT
        while not handler.close_connection:
            handler.handle_one_request()
    exchange.closes |= handler.close_connection


def _explain_coroutine(handler: Any, result: Coroutine[Any, Any, Any]) -> ContractError:
    """The error of a ``do_*`` that is ``async def``, for which there is no loop here."""
    result.close()
    return ContractError(
        f"{type(handler).__qualname__}.do_{handler.command} is 'async def' in a handler class of http.server, where "
        "nobody awaits it: derive the class from aiohttpd.BlockingHTTPRequestHandler"
    )


def _take_over(handler: Any, request: Request) -> bool:
    """Do what ``parse_request`` does, with a parsed head; return False if ``do_*`` must not be run."""
    handler.requestline = request.requestline
    handler.raw_requestline = f"{request.requestline}\r\n".encode("latin-1")
    handler.command = request.method
    handler.request_version = request.version
    path = request.target
    handler.path = "/" + path.lstrip("/") if path.startswith("//") else path  # gh-87389
    handler.headers = message = http.client.HTTPMessage()
    for name, value in request.headers.items():
        message.set_raw(name, value)
    message.set_payload("")
    persists = handler.protocol_version >= "HTTP/1.1"
    handler.close_connection = not (persists and request.keep_alive)
    if request.expects_continue and persists and type(handler).handle_expect_100 is not Old.handle_expect_100:
        return bool(handler.handle_expect_100())
    return True  # without an override it has been sent, or will be when the body is read
