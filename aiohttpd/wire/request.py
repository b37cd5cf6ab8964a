"""A request whose head has been parsed.

Owns `Request` and `RequestFraming`. A request knows its connection only as a `Peer`.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol

from ..config import Config
from ..errors import ContractError
from .address import Address
from .headers import Headers

if TYPE_CHECKING:
    from .urlencoded import MultiMap

__all__ = ["Address", "Body", "ErrorPages", "RequestFraming", "Peer", "Request", "absolute_form"]

# RFC 9112 section 3.2.2, for the two schemes that a server of HTTP has: authority, then path and query.
absolute_form = re.compile(r"(?i:https?)://([^/?]*+)(.*+)").fullmatch


@dataclass(slots=True)  # a named tuple is read slower
class RequestFraming:
    """The framing of a request, as the six fields say that decide it; `framing` reads them. Requests share it."""

    http10: bool
    host: str | None
    content_length: int | None  # None: chunked, or no length given
    chunked: bool
    keep_alive: bool
    expects_continue: bool
    upgrade: str | None
    ordinary: bool  # no body, HTTP/1.1, and the connection may persist

    @property
    def has_body(self) -> bool:
        """Whether bytes of a body follow the head, RFC 9112 section 6.3."""
        return self.chunked or bool(self.content_length)

    def with_length(self, length: int) -> "RequestFraming":
        """The same framing with another Content-Length, which is not 0."""
        return RequestFraming(
            self.http10,
            self.host,
            length,
            self.chunked,
            self.keep_alive,
            self.expects_continue,
            self.upgrade,
            ordinary=False,
        )


class Body(Protocol):
    """The interface of request bodies; `aiohttpd.StreamReader` is the implementation."""

    limit: int | None
    received: int

    def read(self, n: int = -1) -> Awaitable[bytes]: ...
    def read_at_once(self) -> bytes | None: ...
    def readexactly(self, n: int) -> Awaitable[bytes]: ...
    def readline(self, limit: int = -1) -> Awaitable[bytes]: ...
    def readuntil(self, separator: bytes = b"\n") -> Awaitable[bytes]: ...
    @property
    def taken(self) -> int: ...
    def check_awaited(self) -> None: ...
    def at_eof(self) -> bool: ...
    def __aiter__(self) -> AsyncIterator[bytes]: ...


class Peer(Protocol):
    """What a request needs of its connection."""

    @property
    def client_address(self) -> Address: ...
    @property
    def server_address(self) -> Address: ...
    @property
    def scheme(self) -> str: ...
    @property
    def config(self) -> Config: ...
    @property
    def server(self) -> Any: ...
    def shared(self, kind: Callable[..., Any]) -> Any: ...
    def background(self, work: Coroutine[Any, Any, Any], *, after: bool = False) -> Any: ...
    @property
    def silence(self) -> float | None: ...
    def set_silence(self, seconds: float | None) -> None: ...
    def open_tunnel(self, *, last: bool) -> Body: ...
    def close_tunnel(self, unread: bytes) -> None: ...
    def empty_body(self) -> Body: ...
    def server_field(self) -> bytes: ...
    def message(self, line: str) -> None: ...


class ErrorPages(Protocol):
    """Answers for errors, those of a router say."""

    def has(self, error: BaseException) -> bool: ...
    async def answer(self, handler: Any, error: BaseException) -> bool: ...


class Request:
    """One request: its head is complete, its body is a stream.

    Attributes:
        method: the method, for example ``GET``; it is case-sensitive.
        target: the request target as it was sent.
        version: the version in the request line, for example ``HTTP/1.1``.
        headers: the header fields.
        http10: whether the rules of HTTP/1.0 hold.
        known_body: the body; None if there is none and nobody has asked for it. `body` is for handlers.
        root_path: where the App is mounted that serves the request, as it was sent; empty if it is not.
        known_params: the parameters of the route; None if there are none. `params` is for handlers.
        error_pages: answers for errors in place of the handler's ``send_error``; None without such.
        user: who sends the request, as a layer for authentication has found out; None if there is no such layer.
        known_log_fields: fields of the access log that the program has set; None if there are none. `log_fields` is
            for handlers.
        open_session: gives the session, if there is a layer for sessions. `session` is for handlers.
    """

    peer: Peer
    known_body: Body | None
    known_params: dict[str, Any] | None = None
    root_path: str = ""
    error_pages: "ErrorPages | None" = None
    user: Any = None
    known_log_fields: dict[str, Any] | None = None
    _outer: "Request | None" = None  # of a mount: the request that it was made of
    _state: Any = None
    open_session: Callable[[], Any] | None = None

    def __init__(self, method: str, target: str, version: str, headers: Headers, framing: RequestFraming) -> None:
        self.method = method
        self.target = target
        self.version = version
        self.headers = headers
        self.framing = framing
        self.known_body = None

    def __repr__(self) -> str:
        return f"<Request {self.requestline}>"

    @property
    def requestline(self) -> str:
        """The request line without its CRLF."""
        return f"{self.method} {self.target} {self.version}"

    @property
    def http10(self) -> bool:
        """Whether the rules of HTTP/1.0 hold for the answer."""
        return self.framing.http10

    @property
    def body(self) -> Body:
        """The body as a stream; an empty one if there is none."""
        if self.known_body is None:
            self.known_body = self.peer.empty_body()
        return self.known_body

    @body.setter
    def body(self, body: Body) -> None:
        self.known_body = body

    @property
    def path(self) -> str:
        """The path of the target without the query, not decoded; the whole target if it is ``*`` or for CONNECT."""
        return self._origin_form().partition("?")[0]

    @property
    def query_string(self) -> str:
        """The query: the text after the question mark, not decoded; empty if there is none."""
        return self._origin_form().partition("?")[2]

    @property
    def url_path(self) -> str:
        """The path of the target as text: percent-decoded once, without the query; leading slashes are one.

        Bytes that are no UTF-8 become surrogates, as in the names of files. For the App of a mount it is the path
        below ``root_path``.
        """
        path = self.path
        if "%" in path:
            from urllib.parse import unquote_to_bytes  # by far not every program looks at a path

            path = unquote_to_bytes(path).decode("utf-8", "surrogateescape")
        return "/" + path.lstrip("/") if path.startswith("//") else path

    @property
    def params(self) -> dict[str, Any]:
        """The parameters of the route, by name; empty if it has none."""
        if self.known_params is None:
            self.known_params = {}
        return self.known_params

    @property
    def log_fields(self) -> dict[str, Any]:
        """Fields of the access log that the program sets: ``request.log_fields["user_id"] = 7``.

        The JSON log has them as members of each line, unless it has a member of that name. Other formats have them
        where they say ``{log_fields[user_id]}``, and records of `logging` as the attribute ``log_fields``.
        """
        if self.known_log_fields is None:
            self.known_log_fields = {} if self._outer is None else self._outer.log_fields
        return self.known_log_fields

    @property
    def state(self) -> Any:
        """What layers and handlers remember of this request: an object whose attributes can be set."""
        if self._state is None:
            self._state = SimpleNamespace() if self._outer is None else self._outer.state
        return self._state

    @property
    def session(self) -> Any:
        """The session of the client, a dictionary; see `aiohttpd.middleware.Sessions`.

        Raises:
            ContractError: there is no such layer around the App.
        """
        if self.open_session is None:
            raise ContractError("there is no session: put aiohttpd.middleware.Sessions(...) around the App")
        return self.open_session()

    @property
    def query(self) -> "MultiMap[str]":
        """The fields of the query: ``request.query["page"]`` is the first of that name, as text.

        Raises:
            HTTPError: 400: more than 1,000 fields, one larger than 1 MiB, or no UTF-8.
        """
        from .urlencoded import read_query

        return read_query(self.query_string)

    def mounted(self, root: str) -> "Request":
        """The same request as the App of a mount sees it.

        Args:
            root: the beginning of ``path`` up to the mount, without a slash at its end. The other request has it at
                the end of its ``root_path``, and no longer in its ``target``.
        """
        inner = object.__new__(type(self))
        vars(inner).update(vars(self))
        absolute = None if self.target.startswith("/") else absolute_form(self.target)
        start = 0 if absolute is None else absolute.start(2)
        inner.target = self.target[:start] + self.target[start + len(root) :]
        inner.root_path = self.root_path + root
        inner._outer = self
        return inner

    def _origin_form(self) -> str:
        absolute = None if self.target.startswith("/") else absolute_form(self.target)
        if absolute is None:
            return self.target
        return absolute[2] if absolute[2].startswith("/") else "/" + absolute[2]

    @property
    def host(self) -> str | None:
        """The host and port that the client has asked for: the authority of an absolute-form target, else Host."""
        absolute = None if self.target.startswith("/") else absolute_form(self.target)
        return self.framing.host if absolute is None else absolute[1]

    @property
    def content_length(self) -> int | None:
        """Length of the body in bytes; None if it is chunked or there is none."""
        return self.framing.content_length

    @property
    def keep_alive(self) -> bool:
        """Whether the connection may persist after the answer, as far as the client is concerned."""
        return self.framing.keep_alive

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for 100 (Continue) before it sends the body."""
        return self.framing.expects_continue

    @property
    def upgrade(self) -> str | None:
        """The value of Upgrade, if Connection names it; else None."""
        return self.framing.upgrade

    @property
    def trailers(self) -> Headers:
        """The trailer fields, complete when the body has been read. They are not part of `headers`."""
        return getattr(self.known_body, "trailers", None) or Headers()

    @property
    def client_address(self) -> Address:
        """``(host, port)`` of the client; on a unix socket the path of the socket."""
        return self.peer.client_address

    @property
    def server_address(self) -> Address:
        """``(host, port)`` of the server's end of the connection."""
        return self.peer.server_address

    @property
    def scheme(self) -> str:
        """``https`` on TLS, else ``http``."""
        return self.peer.scheme

    @property
    def server(self) -> Any:
        """The `HTTPServer`, with the attributes that ``lifespan`` has set; see `aiohttpd.testing.exchange`."""
        return self.peer.server
