"""Raw answers: what an App has answered, as bytes; and the sending of bytes that are no proper answer.

Owns the way past the contract of `StreamWriter`. It exists in tests only.
"""

import asyncio
import contextlib
import os
import socket
import sys
from typing import Any, NamedTuple, cast

from ..engine.encoder import EncoderWrapper, FileReader
from ..engine.interfaces import App, Encoder, FileSource, HTTP1Sink, ResponseHead, ResponseWriter
from ..engine.response import StreamWriter
from ..engine.upgrade import open_streams
from ..wire.request import Request
from ..wire.response import ResponseFields

__all__ = ["CapturedAnswer", "RawAnswer", "RawConnection", "answer_of"]

_DELIVERY = 5.0  # seconds for the client to take what comes before a reset
_PIECE = 64 * 1024
_TICK = 0.01  # seconds between two pieces of what is sent slowly, at least


class RawAnswer(NamedTuple):
    """An answer on the wire.

    Attributes:
        head: status line and fields, up to the empty line.
        body: what follows, with its framing.
    """

    head: bytes
    body: bytes

    @property
    def content(self) -> bytes:
        """The body without chunks."""
        if b"\r\ntransfer-encoding: chunked\r\n" not in self.head.lower():
            return self.body
        parts: list[bytes] = []
        at = 0
        while at < len(self.body):
            line = self.body.index(b"\r\n", at)
            size = int(self.body[at:line], 16)
            parts.append(self.body[line + 2 : line + 2 + size])
            at = line + 4 + size
        return b"".join(parts)

    def without(self, *names: str) -> "RawAnswer":
        """The same without the fields of these names."""
        lower = tuple(name.lower().encode() + b":" for name in names)
        status, *lines = self.head.split(b"\r\n")
        kept = [line for line in lines if not line.lower().startswith(lower)]
        return self._replace(head=b"\r\n".join([status, *kept]))

    def having(self, *lines: bytes) -> "RawAnswer":
        """The same with more lines at the end of the head, whatever is in them."""
        return self._replace(head=self.head[:-2] + b"".join(line + b"\r\n" for line in lines) + b"\r\n")

    def with_content(self, content: bytes, *lines: bytes) -> "RawAnswer":
        """An answer with other content and its right length."""
        bare = self.without("Content-Length", "Transfer-Encoding", "Content-Encoding")
        return bare.having(*lines, b"Content-Length: %d" % len(content))._replace(body=content)


class CapturedAnswer(NamedTuple):
    """What an App has answered.

    Attributes:
        raw: the bytes.
        status: the status code.
        closes: whether the connection is to be closed after it.
    """

    raw: RawAnswer
    status: int
    closes: bool


async def answer_of(app: App, request: Request, response: ResponseWriter) -> CapturedAnswer:
    """Let an App answer, and return the bytes in place of sending them.

    The App gets a writer of its own, so that for the connection nothing has been answered yet. Raises what the App
    raises; that can be answered as ever.
    """
    capture = _Capture(response.encoder)
    writer = StreamWriter(cast(StreamWriter, response).sink, capture, request)
    if response.http10:
        writer.use_http10()
    await app(request, writer)
    writer.finish()
    head, _, body = capture.all.partition(b"\r\n\r\n")
    return CapturedAnswer(RawAnswer(head + b"\r\n\r\n", body), writer.status, writer.close_connection)


class _Capture(EncoderWrapper):
    """Keeps the bytes of an answer."""

    begun = False  # nothing leaves, so the answer can be replaced

    def __init__(self, inner: Encoder) -> None:
        super().__init__(inner)
        self._parts: list[bytes] = []

    @property
    def all(self) -> bytes:
        """All bytes of the answer."""
        return b"".join(self._parts)

    def send(self, parts: list[bytes]) -> None:
        """Take encoded bytes, as an `Out`."""
        self._parts += parts

    def __enter__(self) -> None:
        self.inner.redirect(self)

    def __exit__(self, *error: object) -> None:
        self.inner.redirect(None)

    def whole(self, head: ResponseHead, parts: list[bytes], size: int) -> int:
        with self:
            return self.inner.whole(head, parts, size)

    def begin(self, head: ResponseHead, parts: list[bytes], size: int, *, push: bool) -> int:
        with self:
            return self.inner.begin(head, parts, size, push=push)

    def data(self, parts: list[bytes], size: int, *, push: bool) -> int:
        with self:
            return self.inner.data(parts, size, push=push)

    def end(self, parts: list[bytes], size: int) -> int:
        with self:
            return self.inner.end(parts, size)

    def interim(self, head: ResponseHead, status: int, fields: ResponseFields, reason: str | None) -> None:
        self.inner.interim(head, status, fields, reason)  # it is no part of the answer, and may be waited for

    def framed(self, parts: list[bytes]) -> None:
        self._parts += parts

    def file(self, descriptor: int) -> FileSource:
        return FileReader(self, descriptor, sys.maxsize)  # in one piece, so as one chunk

    def restart(self) -> Encoder:
        return self.inner.restart()


class _Silent(EncoderWrapper):
    """Sends nothing of an answer whose bytes are sent beside it."""

    begun = True  # something may have left, so no other answer may take its place
    complete = False

    def whole(self, head: ResponseHead, parts: list[bytes], size: int) -> int:
        return size

    def begin(self, head: ResponseHead, parts: list[bytes], size: int, *, push: bool) -> int:
        return size

    def data(self, parts: list[bytes], size: int, *, push: bool) -> int:
        return size

    def end(self, parts: list[bytes], size: int) -> int:
        return size

    def upgrade(self, head: ResponseHead) -> None:
        self.inner.redirect(self)
        self.inner.upgrade(head)
        self.inner.redirect(None)

    def send(self, parts: list[bytes]) -> None:
        """Send nothing, as an `Out`."""


class RawConnection:
    """The connection of a request, to send anything and to end it in any way. Nothing has been answered before.

    `begin` or `upgrade` comes first; then the answer counts as begun.

    Args:
        response: of the request.
    """

    def __init__(self, response: ResponseWriter) -> None:
        self._response = cast(StreamWriter, response)
        self._encoder = response.encoder
        response.encode_with(_Silent(self._encoder))

    def begin(self, status: int, *, closes: bool) -> None:
        """Begin an answer.

        Args:
            status: for the access log.
            closes: whether the connection is closed when the App has returned.
        """
        response = self._response
        response.close_connection = response.close_connection or closes
        response.send_head(status)
        response.flush()

    def upgrade(self, protocol: str) -> asyncio.StreamReader:
        """Switch to another protocol, without a head; return what the client sends from now on.

        Raises:
            HTTPError: the client has not asked for it, or may not.
        """
        reader, _ = open_streams(self._response.request, self._response, protocol)
        return reader

    @property
    def _sink(self) -> HTTP1Sink:
        return cast(HTTP1Sink, self._response.sink)

    async def send(self, data: bytes, rate: float | None = None) -> None:
        """Send bytes, and wait while the client is slow.

        Args:
            data: the bytes.
            rate: bytes per second; None for as fast as the client reads.
        """
        size = _PIECE if rate is None else min(_PIECE, max(1, int(rate * _TICK)))
        for start in range(0, len(data), size):
            self._encoder.framed([data[start : start + size]])
            await self._encoder.drain()
            if rate is not None:
                await asyncio.sleep(size / rate)

    async def delivered(self) -> None:
        """Wait until the client has everything, or for some seconds."""
        loop = asyncio.get_running_loop()
        end = loop.time() + _DELIVERY
        while self._sink.out.undelivered and loop.time() < end:  # noqa: ASYNC110 - no event tells it
            await asyncio.sleep(0.001)

    async def reset(self) -> None:
        """End by RST; what has been sent arrives before."""
        await self.delivered()
        self._sink.cut(reset=True)

    def close(self) -> None:
        """End by FIN, with TLS after close_notify."""
        self._response.close_connection = True
        self._sink.cut(reset=False)

    async def close_without_notify(self) -> None:
        """End TLS by FIN without close_notify, as an attacker would who cuts an answer short."""
        await self.delivered()
        sock: socket.socket | None = self._response.get_extra_info("socket")
        if sock is not None:
            with socket.socket(fileno=os.dup(sock.fileno())) as own:  # that of uvloop cannot do it
                own.shutdown(socket.SHUT_WR)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DELIVERY):
                await self._response.wait_closed()
        self._sink.cut(reset=True)

    async def wait_closed(self) -> None:
        """Wait until the client has gone."""
        await self._response.wait_closed()

    @property
    def peer(self) -> Any:
        """The connection itself."""
        return self._response.request.peer
