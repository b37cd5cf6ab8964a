"""BaseHTTPRequestHandler: the contract of http.server, with ``async def do_GET``.

Owns the names that handler code uses. The methods that read a request or send a whole response are one call each, to
`reading` and `answers`. A handler sees a `Request` and a `StreamWriter`; it does not know the connection.

============================  ==========================================================================
name of http.server           here
============================  ==========================================================================
do_*, send_*, end_headers,    the same; differences are noted at the method
flush_headers, log_*,
*_string, error_*,
responses, weekdayname,
monthname, MessageClass
close_connection              set it to True to close the connection after this response
server_version, sys_version   ``sys_version`` is sent only by a class that sets its own
protocol_version              "HTTP/1.0" closes the connection after each response, as there
timeout                       ``timeout_body`` and ``timeout_write`` for this class, in seconds
setup, finish                 ``async def``
raw_requestline, connection   read-only
rbufsize, wbufsize,           ignored: input and output are buffered, TCP_NODELAY is on
disable_nagle_algorithm,
default_request_version
handle, handle_one_request,   TypeError when a class overrides them: the connection parses requests
parse_request
============================  ==========================================================================
"""

from __future__ import annotations

import sys
import time
from collections.abc import Coroutine, Generator, Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast, overload

from ..engine.error_body import DEFAULT_ERROR_MESSAGE, checked, error_fields, escape
from ..engine.failures import check_result
from ..engine.traceback_page import send_traceback
from ..errors import ClientDisconnected, ContractError, HTTPError, meant_by
from ..net.clock import log_date
from ..wire.cookies import read_cookies, set_cookie_value
from ..wire.dates import MONTHS, WEEKDAYS, http_date
from ..wire.headers import Headers, is_field_value
from ..wire.product import __version__
from ..wire.request import Address, Body, ErrorPages, Request
from ..wire.response import ResponseFields
from ..wire.response import phrase as standard_phrase
from . import after, answers, reading
from .checks import Lazy, check_class, explain_init, inherits, json_text
from .dispatch import Method, find_method
from .typed_state import StateT, Typed

if TYPE_CHECKING:
    import asyncio
    import os
    from collections.abc import AsyncIterator, Callable

    from ..engine.response import StreamWriter
    from ..engine.upgrade import UpgradeWriter
    from .events import EventStream
    from .forms import FormData, MultiMap, Part
    from .session import Session
    from .typed_state import Server
    from .websocket.block import WebSocketBlock

__all__ = ["BaseHTTPRequestHandler", "allows_prepared_responses", "open_head"]

T = TypeVar("T")


class BaseHTTPRequestHandler(Typed[StateT]):
    """Base class of request handlers. Derive from it and write ``async def do_GET(self)``.

    ::

        class Hello(aiohttpd.BaseHTTPRequestHandler):
            async def do_GET(self):
                self.send_text("Hello, world!")

    One instance serves one *request*. An instance is awaitable, so the class is an App.

    ``class Hello(aiohttpd.BaseHTTPRequestHandler[State])`` tells type checkers that ``self.server.state``, which is the
    program's own, is a ``State``.

    Attributes of an instance:
        request: the `Request`.
        command: the method, for example ``"GET"``.
        path: the request target as http.server gives it: path and query, not decoded; several leading slashes are one.
            Compare `url_path` with a path instead, which is decoded and has no query.
        headers: the header fields of the request.
        rfile: the body of the request, a `StreamReader`.
        wfile: the response, a `StreamWriter`.
        client_address: ``(host, port)`` of the client.
        server: the `HTTPServer`; None in tests that have no server.
        close_connection: whether the connection is closed after this response.

    Attributes that a class can set:
        max_body_size: bytes of body that may be read (413); None for no limit, ``...`` for the option ``limit_body``.
        max_json_size: bytes of body that `json` reads (413); None for no limit but that of the body, ``...`` for the
            option ``limit_json``.
        max_form_parts: fields and files of a form, or fields of a query (413).
        max_part_headers: header fields of one part of a multipart form (413).
        max_part_header_size: bytes of one of these header fields (413).
        max_field_size: bytes of one form field that is not a file (413).
        max_fields_size: bytes of all form fields that are not files (413).
        max_file_size: bytes of one uploaded file (413); None for no limit but that of the body.
        cancel_on_disconnect: whether the handler is cancelled when its client disconnects.
        max_message_size: bytes of a WebSocket's message (1009); None for the option ``limit_websocket_message``.
        websocket_origins: of pages of other sites that may open a WebSocket; ``"*"`` for any.
        timeout: seconds; in place of the options ``timeout_body`` and ``timeout_write``.
        error_message_format: template of error pages, with ``%(code)d``, ``%(message)s`` and ``%(explain)s``.
        error_content_type: the Content-Type of error pages.
    """

    server_version: str = f"aiohttpd/{__version__}"
    sys_version: str = "Python/" + sys.version.split()[0]
    protocol_version: str = "HTTP/1.1"
    default_request_version: str = "HTTP/0.9"
    error_message_format: str = DEFAULT_ERROR_MESSAGE
    error_content_type: str = "text/html;charset=utf-8"
    MessageClass: type = Headers
    weekdayname: ClassVar[list[str]] = list(WEEKDAYS)
    monthname: ClassVar[list[str | None]] = [None, *MONTHS[1:]]
    responses: ClassVar[dict[int, tuple[str, str]]] = {
        status.value: (status.phrase, status.description) for status in HTTPStatus
    }
    timeout: float | None = None
    rbufsize: int = -1
    wbufsize: int = 0
    disable_nagle_algorithm: bool = False
    max_body_size: Any = ...
    max_json_size: Any = ...
    max_form_parts: int = 1000
    max_part_headers: int = 8
    max_part_header_size: int = 4096
    max_field_size: int = 1024 * 1024
    max_fields_size: int = 16 * 1024 * 1024
    max_file_size: int | None = None
    cancel_on_disconnect: bool = False
    max_message_size: int | None = None
    websocket_origins: ClassVar[Iterable[str]] = ()

    _methods: ClassVar[dict[str, Method]] = {}
    _is_plain: ClassVar[bool] = True  # no hook is overridden, and no attribute set, that `_serve` has to look at
    _own_log: ClassVar[bool] = False  # the class writes the log lines of its requests itself
    _own_prelude: ClassVar[bool] = False  # the class makes Server or Date itself
    _status: int
    _reason: str | None
    _added_fields: list[tuple[str, str]] | None = None  # by `add_header`, for a head that is not ended
    _content: reading.RequestContent | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_class(cls)
        base = BaseHTTPRequestHandler
        cls._methods = {}
        cls._own_log = not inherits(cls, base, "log_request", "log_message")
        cls._own_prelude = not inherits(
            cls, base, "version_string", "date_time_string", "server_version", "sys_version"
        )
        cls._is_plain = (
            inherits(cls, base, "setup", "finish", "handle_expect_100")
            and not cls._own_log
            and cls.timeout is None
            and cls.max_body_size is ...
            and not cls.cancel_on_disconnect
            and cls.protocol_version != "HTTP/1.0"
        )

    def __init__(self, request: Request, wfile: StreamWriter) -> None:
        self.request = request
        self.wfile = wfile
        self.command = request.method
        target = request.target
        self.path = target if target[0] == "/" and not target.startswith("//") else _path(request)
        self.close_connection = not request.framing.keep_alive
        self._fields: ResponseFields | None = None

    def __await__(self) -> Generator[Any, None, None]:
        return self._serve().__await__()

    @classmethod
    def serve(cls, request: Request, response: StreamWriter) -> Coroutine[Any, Any, None]:
        """Make an instance for a request and run it: the class as a plain App."""
        try:
            handler = cls(request, response)
        except TypeError as error:
            explain_init(cls, error)
            raise
        return handler._serve()

    # The request.

    requestline = Lazy(lambda self: str(self.request.requestline))
    raw_requestline = Lazy(lambda self: f"{self.requestline}\r\n".encode("latin-1"))
    request_version = Lazy(lambda self: str(self.request.version))

    @Lazy
    def url_path(self) -> str:
        """The path that is asked for: decoded once, without the query."""
        return self.request.url_path

    @Lazy
    def params(self) -> dict[str, Any]:
        """The parameters of the route of this request: ``self.params["id"]``."""
        return self.request.params

    @Lazy
    def state(self) -> Any:
        """What layers and this handler remember of this request: ``self.state.started = time.time()``."""
        return self.request.state

    @Lazy
    def session(self) -> Session:
        """The session of the client: a dictionary in a signed cookie; see `aiohttpd.middleware.Sessions`.

        Raises:
            ContractError: there is no such layer around the handler.
        """
        return cast("Session", self.request.session)

    @Lazy
    def log_fields(self) -> dict[str, Any]:
        """Fields of the access log that the program sets; see `Request.log_fields`."""
        return self.request.log_fields

    @Lazy
    def headers(self) -> Headers:
        """The header fields of the request."""
        return self.request.headers

    @Lazy
    def rfile(self) -> Body:
        """The body of the request: a stream that ends where the body ends."""
        return self.request.body

    @Lazy
    def client_address(self) -> Address:
        """``(host, port)`` of the client."""
        return self.request.client_address

    @Lazy
    def server(self) -> Server[StateT]:
        """The `HTTPServer`, with the attributes that its ``lifespan`` has set. Its ``state`` is the program's own."""
        return self.request.server  # type: ignore[no-any-return]

    @Lazy
    def connection(self) -> Any:
        """The socket, for ``getpeername()``, ``getsockname()`` and the like. Do not read from it or write to it."""
        return reading.socket_of(self.wfile)

    @Lazy
    def query(self) -> MultiMap[str]:
        """The fields of the query, decoded. Parsed on first access.

        Raises:
            HTTPError: 400: the query is not UTF-8, or has more than `max_form_parts` fields.
        """
        from .forms import query_of

        return query_of(self.request, reading.form_limits(self))

    @Lazy
    def cookies(self) -> dict[str, str]:
        """The cookies of the request. They are decoded as UTF-8, or as ISO 8859-1 if they are not valid UTF-8.

        Of several cookies with one name, the first counts.
        """
        return read_cookies(self.request.headers)

    async def body(self) -> bytes:
        """Read the whole body. A second call returns the same bytes.

        After it, `text`, `json`, `form` and `parts` read these bytes, too.

        Raises:
            HTTPError: 400, 408 or 413, as for ``self.rfile.read()``.
            ContractError: the body has been read in another way.
        """
        return await self._reading().body()

    async def text(self) -> str:
        """Read the body as text, in the charset of Content-Type, by default UTF-8.

        Raises:
            HTTPError: 400: the bytes are not valid in this charset; 415: the charset is not known, or the request has
                Content-Encoding; and what `body` raises.
        """
        return await reading.read_text(self)

    @overload
    async def json(self) -> Any: ...
    @overload
    async def json(self, kind: type[T]) -> T: ...
    async def json(self, kind: type[Any] | None = None) -> Any:
        """Read the body as JSON (RFC 8259).

        ::

            note = await self.json(Note)  # a dataclass

        Args:
            kind: the type of the value: a dataclass, a TypedDict, a NamedTuple, a ``msgspec.Struct``, a pydantic model,
                or ``list``, ``dict`` and the like of these. By default the value is what ``json.loads`` returns.

        Raises:
            HTTPError: 400: malformed JSON, with the position, or a number that is too large for a float; 413: more than
                `max_json_size` bytes; 415: Content-Type is another type, or it is missing in a request of a page of
                another origin; or the request has Content-Encoding.
            InvalidData: 422: the value does not fit the type. The exception has the places and the reasons.
        """
        if kind is None:
            return await reading.read_json(self, self.max_json_size)
        return await reading.read_json_as(self, self.max_json_size, kind)

    def query_as(self, kind: type[T]) -> T:
        """The query as a value of a type: a dataclass, a TypedDict, a ``msgspec.Struct`` or a pydantic model.

        Numbers, booleans (``true false 1 0 on off yes no``), dates and so on are converted from text. A field whose
        type is a list gets all values of its name, another field the first one.

        Raises:
            HTTPError: as for `query`.
            InvalidData: 422: the query does not fit the type. The exception has the places and the reasons.
        """
        from .typed import convert

        return convert(self.query, kind, text=True)

    async def form_as(self, kind: type[T]) -> T:
        """Read the form in the body as a value of a type, as `query_as` does; a file is an `UploadedFile`.

        Raises:
            HTTPError: as for `form`.
            ContractError: the body has been read in another way.
            InvalidData: 422: the form does not fit the type. The exception has the places and the reasons.
        """
        from .typed import convert

        return convert(await self.form(), kind, text=True)

    async def form(self) -> FormData:
        """Read the form in the body, URL-encoded or multipart. A second call returns the same form.

        Files of more than 1 MiB, or of more than 16 MiB together, are stored on disk, all files of a form in one
        unnamed temporary file. They are closed and deleted when the request ends.

        Raises:
            HTTPError: 400: the form is malformed or incomplete; 413: it is over a limit; 415: Content-Type is no form,
                or the request has Content-Encoding; 507: the disk is full.
            ContractError: the body has been read in another way.
        """
        return await self._reading().form(reading.form_limits(self))

    def parts(self) -> AsyncIterator[Part]:
        """Read a multipart form part by part; nothing is stored.

        ::

            async for part in self.parts():
                async for data in part:
                    ...

        Raises:
            HTTPError: as for `form`.
            ContractError: the body has been read in another way.
        """
        return self._reading().parts(reading.form_limits(self))

    def _reading(self) -> reading.RequestContent:
        content = self._content
        if content is None:
            content = self._content = reading.RequestContent(self.request)
        return content

    # Hooks.

    async def setup(self) -> None:
        """Called before ``do_*``."""

    async def finish(self) -> None:
        """Called after ``do_*``, also when it has raised an exception."""

    def handle_expect_100(self) -> bool:
        """Called before ``do_*`` if the request has ``Expect: 100-continue``.

        100 (Continue) is sent when the body is first read.

        Returns:
            True to go on; False if the hook has sent a response itself: ``do_*`` is not called then.
        """
        return True

    # The head of the response.

    def send_response(self, code: int, message: str | None = None) -> None:
        """Begin the response: status line, Server and Date. The request is logged when the response is complete.

        Args:
            code: the status code.
            message: the reason phrase, by default the standard one.

        Raises:
            ContractError: a response has been begun already.
        """
        if self._fields is not None or self.wfile.status:
            raise ContractError("send_response() was called twice: one request, one answer")
        self._status = code
        self._reason = message
        self._fields = ResponseFields()
        if self._own_prelude:
            for name, value in self._prelude():
                self.send_header(name, value)

    def send_response_only(self, code: int, message: str | None = None) -> None:
        """Begin a head with nothing but the status line: an interim response such as 103 (Early Hints).

        The response itself follows it.
        """
        self._status, self._reason = code, message
        self._fields = ResponseFields()

    def send_header(self, keyword: str, value: str | int) -> None:
        """Add a header field to the head.

        Raises:
            ValueError: the name is no token, or the value has CR, LF, NUL or another control character.
            ContractError: no head has been begun, or it has been ended.
        """
        if self._fields is None:
            raise ContractError(
                f"send_header({keyword!r}) outside of a head: after send_response(), before end_headers()"
            )
        self._fields.add(keyword, value)

    def add_header(self, keyword: str, value: str) -> None:
        """Add a header field to the response before its head is ended, also before ``send_response``.

        The field is sent with any response: text, a file, a redirect, or an error page that replaces the response.

        Raises:
            ValueError: as for `send_header`; or the field decides how the response is framed, as Content-Length does.
            ContractError: the head has been ended.
        """
        answers.check_added_field(self, keyword, value)
        if self._added_fields is None:
            self._added_fields = []
        self._added_fields.append((keyword, value))

    def set_cookie(
        self,
        name: str,
        value: str,
        *,
        max_age: int | None = None,
        path: str = "/",
        domain: str | None = None,
        secure: bool | None = None,
        httponly: bool = True,
        samesite: str | None = "Lax",
    ) -> None:
        """Set a cookie (RFC 6265), before the head of the response is ended. It is sent with error pages, too.

        Args:
            name: a token.
            value: ASCII without white space, double quotes, commas, semicolons, backslashes and control characters.
            max_age: seconds until the client deletes the cookie; by default it does so when the browser ends.
            path: the client sends the cookie for this path and all paths below it.
            domain: the client sends the cookie to this host and all hosts below it; by default to this host only.
            secure: the client sends the cookie over TLS only. By default True if this request came over TLS, or the
                name begins with ``__Host-`` or ``__Secure-``.
            httponly: scripts cannot read the cookie.
            samesite: ``"Strict"``, ``"Lax"`` or ``"None"``, which requires ``secure``; None leaves out the attribute.

        Raises:
            ValueError: an argument has characters that a cookie cannot hold, or browsers would reject the cookie.
            ContractError: the head has been ended.
        """
        cookie = set_cookie_value(
            name,
            value,
            max_age=max_age,
            path=path,
            domain=domain,
            secure=secure,
            httponly=httponly,
            samesite=samesite,
            over_tls=self.request.scheme == "https",
            now=time.time(),
        )
        self.add_header("Set-Cookie", cookie)

    def delete_cookie(self, name: str, *, path: str = "/", domain: str | None = None) -> None:
        """Have the client delete a cookie; ``path`` and ``domain`` are those with which it was set."""
        self.set_cookie(name, "", max_age=0, path=path, domain=domain)

    def end_headers(self) -> None:
        """End the head. It is sent together with the first bytes of content.

        Raises:
            ContractError: no head has been begun.
        """
        fields = self._fields
        if fields is None:
            raise ContractError("end_headers() without send_response()")
        if self._added_fields is not None and self._status >= 200:
            for name, value in self._added_fields:
                fields.add(name, value)
        self._fields = None
        wfile = self.wfile
        if self.close_connection:
            wfile.close_connection = True
        wfile.send_head(self._status, fields, self._reason)
        if wfile.close_connection and fields.deciding is not None:
            self.close_connection = True

    def flush_headers(self) -> None:
        """Send a head that has been ended, without waiting for content."""
        if self._fields is None:
            self.wfile.flush()

    def head_fields(self) -> list[tuple[str, str]]:
        """The fields that each head of this handler has, for one that `send_response` does not begin.

        They are what `add_header` has been given, and Server and Date if the class makes them itself.
        """
        return [*(self._added_fields or ()), *(self._prelude() if self._own_prelude else ())]

    def _prelude(self) -> Iterator[tuple[str, str]]:
        """Server and Date as the class makes them."""
        if self.request.peer.server_field() and (version := self.version_string()):
            yield "Server", version
        yield "Date", self.date_time_string()

    # Complete responses.

    def send_text(self, text: str, status: int = 200) -> None:
        """Send ``text/plain`` in UTF-8. Lone surrogates become question marks."""
        answers.send_text(self, status, "text/plain; charset=utf-8", text)

    def send_html(self, text: str, status: int = 200) -> None:
        """Send an HTML page in UTF-8. Lone surrogates become question marks."""
        answers.send_text(self, status, "text/html; charset=utf-8", text)

    def send_json(self, value: Any, status: int = 200) -> None:
        """Send a value as JSON (RFC 8259).

        Dataclasses, ``msgspec.Struct``, pydantic models, Enum, datetime, date, time, Decimal, UUID and sets may be in
        it, as `json` reads them.

        Raises:
            TypeError: a part of the value is of another type that JSON does not have.
            ValueError: the value holds NaN or an infinity, or contains itself.
        """
        answers.send_content(self, status, "application/json", json_text().dumps(value))

    def redirect(self, location: str, status: int | None = None) -> None:
        """Redirect the client to another URL.

        Args:
            location: a URL or a relative reference. Characters that a URL cannot hold are percent-encoded. If it comes
                from the client, check that it does not lead to another host.
            status: 300 to 399; by default 302 (Found) for GET and HEAD, 303 (See Other) for other methods.

        Raises:
            TypeError: the location is no text.
            ValueError: the status is another one.
        """
        answers.send_redirect(self, location, status)

    async def send_file(
        self, path: str | os.PathLike[str], *, download_as: str | None = None, content_type: str | None = None
    ) -> None:
        """Send a file, with Content-Type, validators, conditional and range requests as the file server does.

        Args:
            path: the path in the file system. If it comes from the client, check it. The file is looked at for each
                call, so what you have just written is sent.
            download_as: a file name; the browser saves the file under it instead of showing it.
            content_type: by default guessed from the file name.

        Raises:
            HTTPError: 403: the file may not be read; 404: it does not exist, or is no regular file.
        """
        from .files.response import send_path

        await send_path(self, path, content_type=content_type, download_as=download_as)

    def event_stream(self, *, ping: float = 15.0) -> EventStream:
        """Send server-sent events as long as the ``async with`` block runs.

        ::

            async with self.event_stream() as events:
                while True:
                    await events.send(str(time.time()))
                    await asyncio.sleep(1)

        The block ends without an error when the client disconnects or the server stops.

        Args:
            ping: seconds without an event after which a comment line is sent, so that both ends notice a dead
                connection; 0 for never.
        """
        from .events import EventStream

        return EventStream(self, ping)

    def after(self, work: Coroutine[Any, Any, Any]) -> None:
        """Start work once the answer is complete, whatever it is; see `HTTPServer.background`.

        ::

            self.after(send_mail(address))
            self.send_text("You will get a mail", 202)

        It begins when the task ends that calls this: call it in ``do_*`` itself, and not in a task of a task group.

        Raises:
            HTTPError: 503: there is too much of it already (``max_background``).
            ContractError: this is a plain ``def`` in a thread.
        """
        after.start(self, work)

    def every(self, seconds: float) -> AsyncIterator[int]:
        """Iterate at once, then each so many seconds, until the client disconnects or the server stops.

        ::

            async for number in self.every(1):
                self.wfile.write(b"tick\\n")
                await self.wfile.drain()

        The values count from 0. What has been missed, because the block took longer, is left out. For HEAD, which
        wants no content, there is none.

        Raises:
            ValueError: the time is not positive.
        """
        return after.every(self, seconds)

    async def run_in_process(self, function: Callable[..., T], *args: object) -> T:
        """Call a function in a worker process for computations; see `HTTPServer.run_in_process`."""
        result: T = await self.request.server.run_in_process(function, *args)
        return result

    # Errors.

    def send_error(
        self,
        code: int,
        message: str | None = None,
        explain: str | None = None,
        *,
        headers: Iterable[tuple[str, str]] | Mapping[str, str] = (),
    ) -> None:
        """Send an error page. It replaces a response of which nothing has been sent yet.

        Unlike with http.server, the connection is kept if the body of the request has been read.

        Args:
            code: the status code.
            message: one line, by default the standard phrase.
            explain: a longer text, by default the standard description.
            headers: more header fields.

        Raises:
            ContractError: the head of a response has been sent.
            HTTPError: the application has a function for this status (``error_handlers``), which answers instead.
        """
        pages = self.request.error_pages
        if pages is not None and code >= 400:
            error = HTTPError(code, message, explain, headers=headers)
            if pages.has(error) and self.wfile.replaceable():
                try:
                    raise error
                finally:
                    del error  # its traceback refers to this frame: see `_serve`
        phrase, description = self.responses.get(code, ("???", "???"))
        message = phrase if message is None else message
        explain = description if explain is None else explain
        self.log_error("code %d, message %s", code, message)
        if self.wfile.replaceable():
            self.wfile.restart()
            self._fields = None
        content_type, content = None, b""
        if code >= 200 and code not in (204, 205, 304):
            content_type, content = checked(self.error_body(code, message, explain))
        reason = message if is_field_value(message) else phrase
        self.send_response(code, None if reason == standard_phrase(code) else reason)
        for name, value in error_fields(content_type, headers):
            self.send_header(name, value)
        if content_type is not None:
            self.send_header("Content-Length", len(content))
        self.end_headers()
        if content:
            self.wfile.write(content)

    def error_body(self, status: int, message: str, explain: str) -> tuple[str, bytes]:
        """Make the content of an error response. Override it to send errors in a format of your own.

        ::

            @staticmethod
            def error_body(status, message, explain):
                return "application/json", json.dumps({"status": status, "error": message}).encode()

        It is used for each error of the handler: `send_error`, `HTTPError`, 404, 405, 500. If it is a static or class
        method, it is also used for errors that occur before there is a handler: malformed requests, 401, 503.
        The default fills in ``error_message_format``; message and explain are escaped for ``error_content_type``.

        Args:
            status: the status code.
            message: one line.
            explain: a longer text; may be empty.

        Returns:
            Content-Type and content.
        """
        kind = self.error_content_type
        texts = {"code": status, "message": escape(message, kind), "explain": escape(explain, kind)}
        return kind, (self.error_message_format % texts).encode("utf-8", "replace")

    # Other protocols.

    async def upgrade(
        self, protocol: str | None = None, *, headers: Iterable[tuple[str, str]] | Mapping[str, str] = ()
    ) -> tuple[asyncio.StreamReader, UpgradeWriter]:
        """Answer 101 (Switching Protocols), or 200 to CONNECT, and go on in another protocol.

        ::

            async def do_GET(self):
                reader, writer = await self.upgrade("echo")
                while data := await reader.read(65536):
                    writer.write(data)
                    await writer.drain()

        The connection is closed when the handler returns, or by ``writer.close()``. An end of the client's side is the
        end of what ``reader`` has; ours stays open then, but on TLS.

        Args:
            protocol: what the client must ask for by Upgrade; left out for CONNECT.
            headers: more fields of the head.

        Raises:
            HTTPError: 426: the request does not ask for the protocol, or is HTTP/1.0; 400: it has a body.
            ContractError: a response has been begun already; or the method is a plain ``def`` in a thread.
        """
        from ..engine.upgrade import open_streams  # few programs have it

        more = headers.items() if isinstance(headers, Mapping) else headers
        return open_streams(self.request, self.wfile, protocol, [*self.head_fields(), *more])

    def websocket(
        self,
        *,
        subprotocols: Iterable[str] = (),
        origins: Iterable[str] | None = None,
        compression: bool = True,
        headers: Iterable[tuple[str, str]] | Mapping[str, str] = (),
    ) -> WebSocketBlock:
        """Open a WebSocket for a block, RFC 6455.

        ::

            async def do_GET(self):
                async with self.websocket(subprotocols=["chat"]) as socket:
                    async for message in socket:  # str or bytes
                        await socket.send(message)

        It is closed when the block ends: with 1000, with 1011 if the block has raised, with 1001 if it has been
        cancelled. When the server stops it is closed with 1001, and the handler has ``timeout_grace`` to end. What the
        block raises when the client has gone, `ConnectionClosed`, is no error where it leaves the handler.

        Args:
            subprotocols: that the handler speaks, the best first; ``socket.subprotocol`` is the first of them that the
                client offers, too.
            origins: of pages that may open it beside those of this server, by default `websocket_origins`; ``"*"``
                for any.
            compression: use permessage-deflate where the client offers it (RFC 7692).
            headers: more fields of the head.

        Raises:
            HTTPError: at the beginning of the block: 426: the request asks for no WebSocket; 405: it is not GET; 400:
                the handshake is malformed; 403: a page of another origin asks.
            ContractError: a response has been begun already; or the library ``websockets`` is not installed.
        """
        from .websocket.block import WebSocketBlock  # few programs have it, and its library is an extra

        return WebSocketBlock(self, subprotocols, origins, headers, compression=compression)

    # The log.

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log a request whose response is complete.

        The access log does not call it. A class that overrides it, or `log_message`, gets every request.
        """
        self.log_message('"%s" %s %s', self.requestline, str(int(code) if isinstance(code, int) else code), str(size))

    def log_error(self, format: str, *args: Any) -> None:
        """Log an error; calls `log_message`."""
        self.log_message(format, *args)

    def log_message(self, format: str, *args: Any) -> None:
        """Write a line to the access log, with the client's address and the time. Control characters are escaped."""
        text = (format % args).translate(_ESCAPES)
        self.request.peer.message(f"{self.address_string()} - - [{self.log_date_time_string()}] {text}\n")

    # Texts.

    def version_string(self) -> str:
        """The value of Server. It includes ``sys_version`` only in a class that sets its own."""
        if self.sys_version is BaseHTTPRequestHandler.sys_version:
            return self.server_version
        return f"{self.server_version} {self.sys_version}".rstrip()

    def date_time_string(self, timestamp: float | None = None) -> str:
        """An HTTP-date (RFC 9110 section 5.6.7).

        Args:
            timestamp: seconds since the epoch, by default now.
        """
        return http_date(time.time() if timestamp is None else timestamp)

    def log_date_time_string(self) -> str:
        """The current time in the format of the log."""
        return log_date(time.time())

    def address_string(self) -> str:
        """The host of the client."""
        return str(self.client_address[0])

    # How a request is served.

    async def _serve(self) -> None:
        try:
            if self._is_plain:
                result = await (self._methods.get(self.command) or find_method(self, self.command, self._methods))(self)
            else:
                result = await self._serve_with_hooks()
            if result is not None:
                check_result(f"do_{self.command}", result, self.wfile)
            if self._fields is not None:
                raise ContractError("the head was begun but not ended: call end_headers()")
        except BaseException as error:  # also sys.exit(), and a cancellation
            # No variable may refer to an exception after its clause: its traceback refers to this frame, and this cycle
            # would keep the request, its body included, until the garbage collector runs.
            if self._is_for_connection(error):
                raise
            await self._answer_error(meant_by(error))
        finally:
            if self._content is not None:
                self._content.close()
        if self.close_connection:
            self.wfile.close_connection = True

    def _is_for_connection(self, error: BaseException) -> bool:
        """Whether an exception is raised and not answered: the client has gone, or the server ends the handler."""
        meant = meant_by(error)
        by_server = meant is error and not isinstance(error, Exception) and self.wfile.is_ours(error)
        return by_server or isinstance(meant, ClientDisconnected)

    async def _answer_error(self, error: BaseException) -> None:
        """Send an error page for an exception of ``do_*``; called in its ``except`` clause."""
        if not self.wfile.replaceable():
            raise
        pages = self.request.error_pages
        if pages is not None and pages.has(error):
            try:
                await self._answer_by_page(pages, error)
                return
            except ClientDisconnected:
                raise
            except Exception as second:
                if not self.wfile.replaceable():
                    raise
                self._send_error_page(meant_by(second))
                return
        self._send_error_page(error)

    def _send_error_page(self, error: BaseException) -> None:
        """Report an exception that is no `HTTPError`, and call `send_error`."""
        if isinstance(error, HTTPError):
            self._send_http_error(error)
        else:
            self.wfile.report(error)
            if not (self.request.peer.config.debug and send_traceback(error, self.wfile)):
                self._send_http_error(HTTPError(500))

    async def _answer_by_page(self, pages: ErrorPages, error: BaseException) -> None:
        """Call the application's function for an error (`error_handlers`).

        If it raises an exception itself, that is answered without such functions.
        """
        self.request.error_pages = None
        added = self._added_fields
        self._restart_for(error)
        try:
            await pages.answer(self, error)
            if self._fields is not None:
                raise ContractError("the head was begun but not ended: call end_headers()")
        except BaseException:
            self._added_fields = added
            raise

    def _send_http_error(self, error: HTTPError) -> None:
        """Call `send_error` in place of the response that the handler has begun.

        A class may override `send_error` with http.server's arguments or fewer, so the fields are not given to it.
        """
        self._restart_for(error)
        texts = [error.message, error.explain]
        while texts and texts[-1] is None:
            texts.pop()
        self.send_error(error.status, *texts)

    def _restart_for(self, error: BaseException) -> None:
        """Drop the response that the handler has begun; the next one gets the fields of the error."""
        self.wfile.restart()
        self._fields = None
        if isinstance(error, HTTPError) and error.headers:
            self._added_fields = [*(self._added_fields or ()), *error.headers]

    async def _serve_with_hooks(self) -> object:
        """Set what the class's attributes say, then call ``setup``, ``do_*`` and ``finish``."""
        wfile = self.wfile
        if self.timeout is not None:
            wfile.set_timeout(self.timeout)
        if self.max_body_size is not ... and self.request.framing.has_body:
            self.request.body.limit = self.max_body_size
        if self._own_log:
            wfile.log = self.log_request
        if self.protocol_version == "HTTP/1.0":
            self.close_connection = True
            wfile.use_http10()
        wfile.cancel_on_disconnect = self.cancel_on_disconnect
        await self.setup()
        try:
            if not self.request.expects_continue or self.handle_expect_100():
                return await (self._methods.get(self.command) or find_method(self, self.command, self._methods))(self)
        finally:
            await self.finish()
        return None


def allows_prepared_responses(cls: type[BaseHTTPRequestHandler]) -> bool:
    """Whether a `PreparedResponse` can stand for a response of a handler class.

    It cannot if the class has hooks, or sets attributes, that apply to each request, or makes Server or Date itself.
    """
    return cls._is_plain and not cls._own_prelude


def open_head(handler: BaseHTTPRequestHandler) -> tuple[int, ResponseFields] | None:
    """Status and fields of the head that has been begun and not ended, for classes that override ``end_headers``."""
    fields = handler._fields
    return None if fields is None else (handler._status, fields)


# The characters that http.server escapes in log lines: C0 and C1 controls and the backslash.
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {ord("\\"): "\\\\"}


def _path(request: Request) -> str:
    """The path of a target that does not begin with exactly one slash, as http.server gives it (gh-87389)."""
    path, query = request.path, request.query_string
    if path.startswith("//"):
        path = "/" + path.lstrip("/")
    return f"{path}?{query}" if query else path
