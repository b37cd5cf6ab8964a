"""HTTPExchange: ``receive`` and ``send`` of one HTTP request of an ASGI application.

Owns the messages ``http.*``, their order, and ``http.disconnect``. `engine.response` has framing, limits and
back-pressure; if an application breaks a rule, ``send`` raises an exception.
"""

import asyncio
import os
import stat
from collections.abc import Callable, Iterable
from typing import Any

from ..engine.error_log import error_logger
from ..engine.response import StreamWriter
from ..errors import ClientDisconnected, ContractError, WireError
from ..net.sendfile import size_of_part
from ..wire.headers import list_elements
from ..wire.request import Request
from ..wire.response import ResponseFields

__all__ = ["HTTPExchange", "Message"]

Message = dict[str, Any]

_PIECE = 64 * 1024  # bytes of a request body in one message, at most
_BODY, _START = "http.response.body", "http.response.start"

# Caches of encoded response fields: of those that do not affect framing, and of Content-Length with its value.
_known_lines: dict[tuple[bytes, bytes], bytes] = {}
_known_lengths: dict[tuple[bytes, bytes], tuple[bytes, str]] = {}
_KNOWN_LINES = 512
_LONGEST_KNOWN = 128

_NO_TRAILERS = frozenset(  # RFC 9110 section 6.5.1: fields for framing, routing, authentication or content
    (
        "authorization", "cache-control", "connection", "content-encoding", "content-length", "content-range",
        "content-type", "host", "keep-alive", "set-cookie", "te", "trailer", "transfer-encoding", "upgrade",
    )
)  # fmt: skip


def _field_lines(headers: Iterable[Iterable[bytes]]) -> ResponseFields:
    """Check and encode the fields of a response. Transfer-Encoding is dropped, as the specification says.

    Raises:
        TypeError: they are not pairs of bytes.
        ValueError: a name or a value is not valid.
    """
    lines = ResponseFields()
    for name, value in headers:
        try:
            line = _known_lines.get((name, value))
            if line is not None:
                lines.append(line)
                continue
            length = _known_lengths.get((name, value)) if lines.deciding is None else None
        except TypeError:  # not hashable, so not bytes; `_add_line` raises
            length = None
        if length is not None:
            lines.append(length[0])
            lines.deciding = {"content-length": length[1]}
        else:
            _add_line(lines, name, value)
    return lines


def _add_line(lines: ResponseFields, name: Any, value: Any) -> None:
    if not isinstance(name, bytes) or not isinstance(value, bytes):
        raise TypeError(f"headers are pairs of bytes, not ({name!r}, {value!r})")
    key = str(name, "latin-1")
    if key.lower() == "transfer-encoding":
        return
    text = str(value.strip(b" \t"), "latin-1")
    lines.add(key, text)
    line = lines[-1]
    if len(line) > _LONGEST_KNOWN:
        return
    if key.lower() == "content-length":
        _remember(_known_lengths, (name, value), (line, text))
    elif lines.deciding is None or key.lower() not in lines.deciding:
        _remember(_known_lines, (name, value), line)


def _remember(known: dict[tuple[bytes, bytes], Any], field: tuple[bytes, bytes], made: Any) -> None:
    if len(known) >= _KNOWN_LINES:
        known.clear()
    known[field] = made


class HTTPExchange:
    """The ``receive`` and ``send`` of one request.

    Attributes:
        complete: the application has sent its last message.
        told_gone: before that, the application has got ``http.disconnect``, or an exception that says so.
        refused: the error of an invalid request body; it is sent to the client when the application has ended.
    """

    __slots__ = (
        "_fields", "_given", "_over", "_request", "_response", "_status", "_streams", "_trailers", "_until", "complete",
        "refused", "told_gone",
    )  # fmt: skip

    def __init__(self, request: Request, response: StreamWriter) -> None:
        self._request = request
        self._response = response
        self._status = 0  # the status of http.response.start; 0 before it
        self._fields: ResponseFields | None = None  # the fields of a head that the response has not got yet
        self._given = False  # the application has got all of the request body
        self._over = False  # the application has sent all of the content; trailers may follow
        self._trailers: ResponseFields | None = None  # the trailers so far; None if none were announced
        self._streams = False  # content has been sent, and more may follow, for a client that wants it
        self._until = 0.0  # until this time of the loop further content in a response to HEAD is dropped
        self.complete = False
        self.told_gone = False
        self.refused: WireError | None = None

    @property
    def started(self) -> bool:
        """Whether the application has sent ``http.response.start``."""
        return self._status != 0

    # Called by the application.

    async def receive(self) -> Message:
        """Return ``http.request`` with the next part of the body, or wait for ``http.disconnect``."""
        if not self._given and not self.complete:
            body = self._request.known_body
            if body is None:
                self._given = True
                return {"type": "http.request", "body": b"", "more_body": False}
            try:
                data = body.read_at_once()
                if data is None:
                    data = await body.read(_PIECE)
            except ClientDisconnected:
                return self._gone()
            except WireError as error:
                self.refused = error.with_traceback(None)
                self._streams = False
                return self._gone()
            if not self.complete:
                self._given = body.at_eof()
                return {"type": "http.request", "body": data, "more_body": not self._given}
        if not self.complete and self.refused is None:
            await self._response.wait_closed()
        return self._gone()

    def _gone(self) -> Message:
        self._given = True
        self.told_gone = self.told_gone or not self.complete
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Take a message of the application, and wait until the client has read enough (back-pressure).

        Raises:
            ClientDisconnected: the client has disconnected; it is an OSError, as the specification requires.
            ContractError: the message is not allowed in this state; the text says which one is expected.
            TypeError: a value has a wrong type.
            ValueError: a field or the status is not valid.
        """
        kind = message["type"]
        fields = self._fields
        if fields is not None:
            if kind == _BODY and not message.get("more_body", False) and self._trailers is None:
                body = message.get("body", b"")
                if type(body) is bytes:
                    # The fast path: the response is complete.
                    self._check_there()
                    self._fields = None
                    self._response.send_whole(self._status, fields, body)
                    self.complete = True
                    return
        elif self._streams and kind == _BODY and message.get("more_body", False):
            body = message.get("body", b"")
            if type(body) is bytes:
                # Another fast path: content after content, and more to come.
                self._response.write(body)
                try:
                    await self._response.drain()
                except ClientDisconnected:
                    self._told()
                    raise
                return
        if self.complete:
            self._ignore(kind)
            return
        if kind == _START:
            self._start(message)
            return
        self._check_there()
        if kind == _BODY:
            await self._write(message)
        else:
            await _others.get(kind, HTTPExchange._refuse)(self, message)

    # Internals.

    def _check_there(self) -> None:
        if self.refused is not None or self._response.is_closing():
            self.told_gone = True
            raise ClientDisconnected("the client is gone")

    def _start(self, message: Message) -> None:
        if self._status:
            raise ContractError("http.response.start was sent twice: one request, one answer")
        status = message["status"]
        if not isinstance(status, int) or not 200 <= status <= 999:
            raise ValueError(f"the status of an answer is 200 to 999, not {status!r}")
        self._fields = _field_lines(message.get("headers", ()))
        self._status = int(status)
        if message.get("trailers", False):
            self._trailers = ResponseFields()

    def _require(self, kind: str) -> None:
        """Raise `ContractError` if content is not allowed now."""
        if not self._status:
            raise ContractError(f"{kind!r} was sent where {_START} is due")
        if self._over:
            raise ContractError(f"{kind!r} was sent after all of the content: http.response.trailers is due")

    def _begin(self) -> None:
        """Set the head of the response, now that content follows."""
        if self._fields is not None:
            fields, self._fields = self._fields, None
            self._response.send_head(self._status, fields)
            if self._trailers is not None and self._wants_trailers():
                self._response.flush()  # chunked, unless there is a Content-Length

    def _wants_trailers(self) -> bool:
        """Whether the client accepts trailers (``TE: trailers``), RFC 9110 section 10.1.4."""
        values = self._request.headers.get_all("TE") or ()
        return any(element.lower() == "trailers" for value in values for element in list_elements(value))

    async def _write(self, message: Message) -> None:
        self._require(_BODY)
        self._begin()
        response = self._response
        body, last = message.get("body", b""), not message.get("more_body", False)
        if not isinstance(body, (bytes, bytearray, memoryview)):
            raise TypeError(f"the body is bytes, not {body!r}")
        if body and (last or self._request.method != "HEAD"):
            response.write(body)
        await self._flush(last=last)

    async def _flush(self, *, last: bool) -> None:
        """Send what has been written; after the last part, end the response unless trailers follow."""
        response = self._response
        self._streams = False
        if last:
            if self._trailers is None:
                self._end()
                return
            self._over = True
            if not self._wants_trailers():
                response.end()  # the trailers will be dropped
                return
        if self._request.method == "HEAD":
            self._end_head()
            return
        try:
            await response.drain()
        except ClientDisconnected:
            self._told()
            raise
        self._streams = not (last or self._over or self.complete or self.refused)

    def _told(self) -> None:
        """The application gets an exception that says that the client has gone."""
        self._streams = False
        self.told_gone = True

    def _end(self) -> None:
        self._response.end()
        self.complete = True

    def _end_head(self) -> None:
        """End a response to HEAD after its head. Content that follows is dropped, for at most ``timeout_write``."""
        config = self._request.peer.config
        self._until = asyncio.get_running_loop().time() + config.timeout_write
        self._end()

    def _ignore(self, kind: Any) -> None:
        """Drop a message after the last one, as the specification says, and log a warning."""
        if not self._until:
            line = self._request.requestline
            error_logger.warning("'%s': %r was sent after the answer was complete, and is ignored", line, kind)
        elif self._response.is_closing() or asyncio.get_running_loop().time() > self._until:
            self.told_gone = True
            raise ClientDisconnected("HEAD wants no content")

    async def _hint(self, message: Message) -> None:
        """http.response.early_hint: 103, RFC 8297."""
        if not self._response.status:  # an interim head is not allowed after the head
            links = [("Link", str(_checked_bytes("link", link), "latin-1")) for link in message.get("links", ())]
            self._response.send_head(103, links)

    async def _send_path(self, message: Message) -> None:
        """http.response.pathsend: a complete file, by its path."""
        path = message["path"]
        self._require("http.response.pathsend")
        if self._fields is None:
            raise ContractError("http.response.pathsend was sent after content: it is all of it, or is not sent")
        if not os.path.isabs(path):
            raise ValueError(f"the path of http.response.pathsend is absolute, not {path!r}")
        descriptor = await asyncio.to_thread(_open, path)
        try:
            size = os.fstat(descriptor).st_size
            if "content-length" not in (self._fields.deciding or {}):
                self._fields.add("content-length", size)
            self._begin()
            await self._send_file(descriptor, 0, size)
        finally:
            os.close(descriptor)
        await self._flush(last=True)

    async def _send_descriptor(self, message: Message) -> None:
        """http.response.zerocopysend: a part of an open file."""
        self._require("http.response.zerocopysend")
        file = message["file"]  # a file, or a descriptor, as some frameworks send it
        descriptor = file if isinstance(file, int) else file.fileno()
        given, count = message.get("offset"), message.get("count")
        offset = _position(file) if given is None else given
        count = size_of_part(descriptor, offset, count)
        self._begin()
        await self._send_file(descriptor, offset, count)
        if given is None:
            _seek(file, offset + count)
        await self._flush(last=not message.get("more_body", False))

    async def _send_file(self, descriptor: int, offset: int, count: int) -> None:
        try:
            await self._response.sendfile(descriptor, offset, count)
        except ClientDisconnected:
            if self._request.method != "HEAD":
                self.told_gone = True
                raise

    async def _take_trailers(self, message: Message) -> None:
        """http.response.trailers: fields after the content, RFC 9110 section 6.5."""
        if self._trailers is None:
            raise ContractError("http.response.trailers was sent, and http.response.start did not say 'trailers': True")
        if not self._over:
            raise ContractError("http.response.trailers was sent before the last http.response.body")
        for name, value in message.get("headers", ()):
            _check_trailer(name)
            self._trailers += _field_lines([(name, value)])
        if not message.get("more_trailers", False):
            self._response.end(self._trailers)
            self.complete = True

    async def _refuse(self, message: Message) -> None:
        due = _BODY if self._status else _START
        raise ContractError(f"{message['type']!r} was sent where {due} is due")


_others: dict[str, Callable[[HTTPExchange, Message], Any]] = {
    "http.response.early_hint": HTTPExchange._hint,
    "http.response.pathsend": HTTPExchange._send_path,
    "http.response.trailers": HTTPExchange._take_trailers,
    "http.response.zerocopysend": HTTPExchange._send_descriptor,
}


def _check_trailer(name: Any) -> None:
    if str(_checked_bytes("name of a trailer", name), "latin-1").lower() in _NO_TRAILERS:
        raise ValueError(f"{name!r} may not stand in trailers (RFC 9110 section 6.5.1)")


def _checked_bytes(what: str, value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(f"a {what} is bytes, not {value!r}")
    return value


def _position(file: Any) -> int:
    return os.lseek(file, 0, os.SEEK_CUR) if isinstance(file, int) else int(file.tell())


def _seek(file: Any, position: int) -> None:
    if isinstance(file, int):
        os.lseek(file, position, os.SEEK_SET)
    else:
        file.seek(position)


def _open(path: str) -> int:
    """Open a regular file for reading.

    Raises:
        OSError: it does not exist, cannot be opened, or is not a regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is no regular file")
    return descriptor
