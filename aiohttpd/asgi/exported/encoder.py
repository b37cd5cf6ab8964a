"""ASGIEncoder: answers as messages of ASGI.

Owns which parts of an answer become messages: status, fields and content. Framing, Date, Server and the persistence of
connections are that server's.
"""

import os
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from ...engine.answer import Buffer
from ...engine.encoder import FileReader
from ...engine.interfaces import Encoder, FileSource, Out, ResponseHead, Sink
from ...errors import ContractError
from ...wire.response import ResponseFields, has_no_content
from .sender import Message, Sender
from .unframing import Unframer

__all__ = ["ASGIEncoder", "HandshakeEncoder", "Offers"]

_START, _BODY = "http.response.start", "http.response.body"
_READ = 256 * 1024  # bytes of a file in one message

# Fields that the ASGI server sends itself, and those of the connection (RFC 9110 section 7.6.1).
_ITS_OWN = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"date", b"server"))

_NO_UPGRADE = (
    "this App is exported as ASGI, which has no upgrade of a connection: of its protocols only WebSocket "
    "(self.websocket()) is available there; CONNECT and others want aiohttpd's own server"
)


class Offers(NamedTuple):
    """What the ASGI server can do beyond the interface itself.

    Attributes:
        http1: the client speaks HTTP/1, where ``Connection: close`` and Upgrade have a meaning.
        early_hint, pathsend, trailers, denial: extensions.
    """

    http1: bool
    early_hint: bool
    pathsend: bool
    trailers: bool
    denial: bool

    @classmethod
    def of(cls, scope: dict[str, Any]) -> "Offers":
        """Read them from a scope."""
        extensions = scope.get("extensions") or {}
        names = [f"http.response.{name}" for name in ("early_hint", "pathsend", "trailers")]
        names.append("websocket.http.response")
        return cls(scope.get("http_version", "1.1").startswith("1"), *[name in extensions for name in names])


class ASGIEncoder:
    """Makes messages of one answer. See `Encoder`.

    Args:
        sink: the peer, as answers know it.
        sender: takes the messages.
        offers: what the ASGI server can do.
    """

    begun = True  # what has been given to the ASGI server cannot be taken back

    def __init__(self, sink: Sink, sender: Sender, offers: Offers) -> None:
        self._sink = sink
        self._sender = sender
        self._offers = offers
        self._left: int | None = None  # bytes of content up to its Content-Length
        self._announced = False  # the head has announced trailers
        self._trailers: list[bytes] = []
        self._ended = False  # the last message of the content has been given
        self._unframed: Unframer | None = None  # takes apart what a handler of http.server has framed
        # Messages that are made in a thread wait here without their content. The content goes through the outbox of
        # the thread, with one byte before it, so that each message has at least one.
        self._out: Out | None = None
        self._carried: deque[tuple[Message, int]] = deque()
        self._arrived = bytearray()

    @property
    def complete(self) -> bool:
        """Whether the content has the length of Content-Length."""
        return self._ended or (self._left is not None and self._left <= 0)

    def takes_early(self, head: ResponseHead) -> bool:
        """False: content need not be given before the head is sent."""
        return False

    def unsent(self, data: Buffer) -> None:
        """Drop it."""

    def keeps_chunks(self, head: ResponseHead) -> bool:
        """False: the ASGI server frames the content itself."""
        return False

    def whole(self, head: ResponseHead, parts: list[bytes], size: int) -> int:
        """Send a whole answer: its length is known, RFC 9110 section 8.6."""
        length = None
        if head.length is None and not has_no_content(head.request.method, head.status):
            length = size if head.has_content or size or head.head_mirrors_get else None
        self._start(head, length, whole=True)
        self._end(parts)
        return size if parts else 0

    def begin(self, head: ResponseHead, parts: list[bytes], size: int, *, push: bool) -> int:
        """Send the head, and the first content."""
        self._start(head, None)
        return self.data(parts, size, push=push) if parts else 0

    def data(self, parts: list[bytes], size: int, *, push: bool) -> int:
        """Send more content."""
        if parts and size:
            if self._left is not None:
                self._left -= size
            self._put({"type": _BODY, "more_body": True}, b"".join(parts))
        return size

    def end(self, parts: list[bytes], size: int) -> int:
        """Send the last of the content."""
        self._end(parts)
        return size

    def trail(self, fields: ResponseFields) -> None:
        """Keep fields for the end; they are sent if the head has announced some by Trailer, RFC 9110 section 6.6.2."""
        self._trailers = fields

    def interim(self, head: ResponseHead, status: int, fields: ResponseFields, reason: str | None) -> None:
        """Send 103 (Early Hints) if the server can. It sends 100 itself, and ASGI has no message for others."""
        if status == 100:
            self._sink.continued()
        elif status == 103 and self._offers.early_hint:
            links = [value.encode("latin-1") for name, value in fields.pairs() if name.lower() == "link"]
            if links:
                self._put({"type": "http.response.early_hint", "links": links})

    def upgrade(self, head: ResponseHead) -> None:
        """Refuse it.

        Raises:
            ContractError: always.
        """
        raise ContractError(_NO_UPGRADE)

    def file(self, descriptor: int) -> FileSource:
        """A `FileSource`: the ASGI server sends the file by its path, or it is read here."""
        return _File(self, descriptor, _READ)

    def framed(self, parts: list[bytes]) -> None:
        """Send an answer that a handler of ``http.server`` has framed: as messages.

        Raises:
            ContractError: the answer is 101 (Switching Protocols).
        """
        if self._unframed is None:
            self._unframed = Unframer(self._sink.config)
        unframed = self._unframed
        content = unframed.take(parts)
        if unframed.status == 101:
            raise ContractError(_NO_UPGRADE)
        if (fields := unframed.new_fields()) is not None:
            self._begin_message(unframed.status, self._headers(fields, unframed.status))
        if content:
            self._put({"type": _BODY, "more_body": True}, content)

    def finish_framed(self) -> None:
        """The handler of ``http.server`` has returned: end its answer."""
        if self._unframed is not None and self._unframed.status and not self._ended:
            self._end([])

    def redirect(self, out: Out | None) -> None:
        """Write content to the outbox of a thread; None: send messages again."""
        self._out = out

    def deliver(self, parts: list[bytes]) -> None:
        """Send the messages whose content has come through the outbox."""
        arrived = self._arrived
        for part in parts:
            arrived += part
        while self._carried and len(arrived) >= self._carried[0][1]:
            message, size = self._carried.popleft()
            if message["type"] == _BODY:
                message["body"] = bytes(memoryview(arrived)[1:size])
            del arrived[:size]
            self._sender.put(message, size - 1)

    def drain(self) -> Awaitable[None]:
        """Wait while the ASGI server, or its client, is slow."""
        return self._sink.writable()

    def restart(self) -> Encoder:
        """Return itself: it buffers nothing that would have to be dropped."""
        return self

    def abort(self) -> None:
        """Have the ASGI server break the connection, so that the client notices that the answer is incomplete."""
        self._sink.cut(reset=True)

    def send_path(self, path: str) -> None:
        """Have the ASGI server send a whole file, which is all of the content."""
        self._left = 0
        self._ended = True
        self._put({"type": "http.response.pathsend", "path": path})

    def takes_path(self, count: int) -> bool:
        """Whether a file of this size can be all of the content, and the ASGI server opens files."""
        return self._offers.pathsend and self._left == count and not self._announced

    # Internals.

    def _start(self, head: ResponseHead, length: int | None, *, whole: bool = False) -> None:
        headers = self._headers(head.fields, head.status)
        if length is None and head.status == 205 and head.request.method != "CONNECT":
            length = 0  # RFC 9110 section 15.3.6
        if length is not None:
            headers.append((b"content-length", b"%d" % length))
        self._left = head.length if head.has_content else 0
        if head.close_connection and self._offers.http1:
            headers.append((b"connection", b"close"))
        self._begin_message(head.status, headers, whole=whole)

    def _begin_message(self, status: int, headers: list[tuple[bytes, bytes]], *, whole: bool = False) -> None:
        message: Message = {"type": _START, "status": status, "headers": headers}
        if self._offers.trailers and any(name == b"trailer" for name, _ in headers):
            self._announced = message["trailers"] = True
        if whole:
            self._sender.put_last((message, 0))
        else:
            self._put(message)

    def _headers(self, fields: list[bytes], status: int) -> list[tuple[bytes, bytes]]:
        """The fields of the handler without those that are for the ASGI server to send."""
        headers = []
        for line in fields:
            name, _, value = line.partition(b":")
            name = name.lower()
            if name in _ITS_OWN or (name == b"upgrade" and not self._offers.http1):
                continue
            if name == b"content-length" and status == 304:
                continue  # servers take it for the length of what follows
            headers.append((name, value.strip(b" \t\r\n")))
        return headers

    def _end(self, parts: list[bytes]) -> None:
        if not self._ended:
            self._ended = True
            content = b"".join(parts)
            self._sender.put_last(({"type": _BODY, "body": content, "more_body": False}, len(content)))
            if self._announced:
                headers = self._headers(self._trailers, 200)
                message = {"type": "http.response.trailers", "headers": headers, "more_trailers": False}
                self._sender.put_last((message, 0))

    def _put(self, message: Message, content: bytes = b"") -> None:
        """Send a message now, or by way of the outbox of a thread."""
        if self._out is None:
            if message["type"] == _BODY:
                message["body"] = content
            self._sender.put(message, len(content))
        else:
            self._carried.append((message, 1 + len(content)))
            self._out.send([b".", content])


class HandshakeEncoder(ASGIEncoder):
    """Makes the messages that accept or deny the handshake of a WebSocket."""

    _denied = False  # by a Close, which has no content

    def upgrade(self, head: ResponseHead) -> None:
        """Accept it, if it is a WebSocket that the handler has made."""
        deciding = head.fields.deciding or {}
        if head.status != 101 or deciding.get("upgrade", "").lower() != "websocket":
            raise ContractError(_NO_UPGRADE)
        accept: Message = {"type": "websocket.accept", "headers": []}
        for name, value in self._headers(head.fields, 101):
            if name == b"sec-websocket-protocol":
                accept["subprotocol"] = str(value, "latin-1")
            elif name != b"upgrade" and not name.startswith(b"sec-websocket-"):
                accept["headers"].append((name, value))
        self._sender.put(accept)

    def _begin_message(self, status: int, headers: list[tuple[bytes, bytes]], *, whole: bool = False) -> None:
        if self._offers.denial:
            message = {"type": f"websocket.{_START}", "status": status, "headers": headers}
        else:
            self._denied = True
            message = {"type": "websocket.close", "code": 1000}  # before it is accepted: 403
        self._put(message)

    def _put(self, message: Message, content: bytes = b"") -> None:
        if message["type"] == _BODY:
            if self._denied:
                return
            message["type"] = f"websocket.{_BODY}"
            message["body"] = content
        super()._put(message, content)

    def _end(self, parts: list[bytes]) -> None:
        if not self._ended:
            self._ended = True
            self._put({"type": _BODY, "more_body": False}, b"".join(parts))


class _File(FileReader):
    """A file as content: sent by its path if it is all of the answer, else read in pieces."""

    _encoder: ASGIEncoder

    async def send(
        self, offset: int, count: int, check: Callable[[], bool] | None, passed: Callable[[int], None]
    ) -> None:
        """See `FileSource`."""
        encoder = self._encoder
        path = _path_of(self._descriptor, count) if offset == 0 and encoder.takes_path(count) else None
        if path is None:
            await super().send(offset, count, check, passed)
            return
        if check is not None and not check():
            raise EOFError("the file has changed before it was sent")
        encoder.send_path(path)
        await encoder.drain()
        passed(count)


def _path_of(descriptor: int, size: int) -> str | None:
    """The path of an open file, if it is still the same file there; None where that cannot be told."""
    try:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        here, there = os.fstat(descriptor), os.stat(path)
    except OSError:
        return None
    same = (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
    return path if same and there.st_size == size else None
