"""RelayWriter: an answer that somebody else has framed, passed on and checked.

Owns the question whether what a handler of ``http.server`` writes is an answer, where it ends, and whether another
may follow on the connection (RFC 9112 sections 6.3 and 9.3). A mistake in it costs the connection, never the next
answer.
"""

import functools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from ..engine.answer import ResponseState, check_chunks
from ..engine.encoder import EncoderWrapper, ResponseFraming
from ..engine.interfaces import Encoder
from ..engine.response import StreamWriter
from ..errors import ContractError
from ..wire.body import ChunkedDecoder
from ..wire.headers import FIELD_VALUE, OWS, TOKEN

__all__ = ["RelayWriter"]

START = ResponseState.START
LENGTH, MANUAL, CLOSE, NONE = (
    ResponseFraming.LENGTH,
    ResponseFraming.MANUAL,
    ResponseFraming.CLOSE,
    ResponseFraming.NONE,
)

_LONGEST_HEAD = 256 * 1024  # bytes; a handler that writes more before an empty line writes no head
_SHORT_HEAD = 1024  # bytes; what is said in a longer one is not remembered
_OWS = OWS.encode()
_LONGEST_LENGTH = 19  # digits
# RFC 9112 sections 2.2, 4 and 5. Scripts and their like end lines by LF alone, and leave the space before an empty
# reason out: that is put right.
_STATUS_LINE = re.compile(rb"HTTP/1\.([0-9]) ([1-9][0-9][0-9])((?: %b)?)\r?\n" % FIELD_VALUE.encode("latin-1"))
_FIELD_LINE = re.compile(rb"(%b):(%b)\r?\n" % (TOKEN.encode(), FIELD_VALUE.encode("latin-1")))
_END = re.compile(rb"\r?\n\r?\n")
_FOLD = re.compile(rb"\r?\n[ \t]++(?=[^\r\n])")


class _Head(NamedTuple):
    """What of a head decides."""

    status: int
    http10: bool
    length: int | None
    chunked: bool
    connection: list[bytes]  # lower case
    text: bytes  # as it may be sent
    folded: bool  # its lines were

    @property
    def closes(self) -> bool:
        if self.folded or (self.http10 and self.chunked):
            return True  # RFC 9112 section 6.1: chunks are faulty for whoever looks at the version
        return b"close" in self.connection or (self.http10 and b"keep-alive" not in self.connection)


class RelayWriter(EncoderWrapper):
    """The answer to one request, in the words of its handler.

    It takes the place of the answer's encoder, until the answer is restarted: what the handler has written comes to
    `deliver`, is checked, and passed on as it is. The answer is told what has left.

    Args:
        response: the answer.

    Attributes:
        tunnelled: what follows the head is no HTTP: after 101, and after 2xx to CONNECT.
        spoken: whether the handler has read what follows its request from a socket; None if it has none.
        hangs_up: the handler has closed the connection itself, so no answer is no mistake.
        resets: it has, and its client is to be told by a reset.
    """

    begun = True  # what is passed on has left

    def __init__(self, response: StreamWriter) -> None:
        super().__init__(response.encoder)
        self.request = response.request
        self._response = response
        self._sink = response.sink
        self._head_bytes = b""
        self._interim = False
        self._framing = NONE
        self._no_content = False  # what the handler writes as content is not passed on
        self._length = 0
        self._checker: ChunkedDecoder
        self.tunnelled = False
        self.spoken: Callable[[], bool] | None = None
        self.hangs_up = False
        self.resets = False
        response.encode_with(self)

    # What the handler's thread asks of the answer.

    @property
    def status(self) -> int:
        """The status code; 0 before the head has been given."""
        return self._response.status

    @property
    def close_connection(self) -> bool:
        """Whether the connection is closed after the answer."""
        return self._response.close_connection

    @close_connection.setter
    def close_connection(self, closes: bool) -> None:
        self._response.close_connection = closes

    def is_closing(self) -> bool:
        """Whether the peer is gone, as far as is known."""
        return self._response.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What asyncio's transport knows."""
        return self._response.get_extra_info(name, default)

    def set_timeout(self, seconds: float) -> None:
        """Set what ``timeout_body`` and ``timeout_write`` are for this connection."""
        self._response.set_timeout(seconds)

    # What the handler has written.

    def deliver(self, parts: list[bytes]) -> None:
        """Pass on what the handler has written.

        Raises:
            ContractError: it is no answer.
            ClientDisconnected: the client is gone.
        """
        if self._response.state is START:
            head, parts = self._split(parts)
            while head:
                lines = self._take_head(head)
                if self._response.state is not START:
                    self.inner.framed([*lines, *self._content_of(parts)])
                    return
                if lines:
                    self.inner.framed(lines)  # an interim one, and the head of the answer is still to come
                head, parts = self._split(parts)
        elif content := self._content_of(parts):
            self.inner.framed(content)

    def _split(self, parts: list[bytes]) -> tuple[bytes, list[bytes]]:
        """Split a head off what has come; keep it, and say that there is none, as long as its end is missing."""
        if not self._head_bytes and parts and (end := _END.search(parts[0])) and end.end() == len(parts[0]):
            return parts[0], parts[1:]  # as the handlers of http.server write it, in one piece
        data = self._head_bytes + b"".join(parts)
        end = _END.search(data)
        if end is None:
            if data:
                _check_beginning(data)
            self._head_bytes = data
            return b"", []
        self._head_bytes = b""
        return data[: end.end()], [data[end.end() :]]

    async def writable(self) -> None:
        """Wait while the client is slow."""
        await self._sink.writable()

    def ended(self) -> None:
        """The handler has returned; whether its answer is whole is looked at when the answer is finished."""
        if self.resets:
            self._framing = CLOSE
            self._response.abort()
        elif (self._interim or self.hangs_up) and self._response.state is START and not self._head_bytes:
            self.close_connection = True  # 102 as an answer, say: the handler has had nothing else to say
            self._framing = NONE
            self._response.relayed(0, 0)

    # What the answer asks of its encoder.

    @property
    def complete(self) -> bool:
        """Whether the client has everything; a tunnel ends when one of them goes."""
        full = self._framing is LENGTH and self._response.size >= self._length
        return self.tunnelled or self._no_content or full

    def end(self, parts: list[bytes], size: int) -> int:
        """The handler has returned.

        Raises:
            ContractError: a part of the answer is missing.
        """
        if self._framing is LENGTH and self._response.size < self._length:
            raise ContractError(f"{self._response.size} bytes of content, but Content-Length says {self._length}")
        if self._framing is MANUAL and not self._checker.complete:
            raise ContractError("Transfer-Encoding is chunked, but the last chunk is missing")
        return 0

    def restart(self) -> Encoder:
        """Let somebody else answer, in the usual way."""
        return self.inner.restart()

    def abort(self) -> None:
        """Cut the connection; by a reset where closing it is how the content would end."""
        self._sink.cut(reset=self._framing is CLOSE)

    # A head.

    def _take_head(self, head: bytes) -> list[bytes]:
        """Decide by a head how the answer goes on; return it as it is to be sent."""
        facts = _read_known_head(head) if len(head) <= _SHORT_HEAD else _read_head(head)
        head = facts.text
        if 100 <= facts.status < 200:
            return self._take_interim(facts, _without_framing(head))
        request = self.request
        self._response.relayed(facts.status, 0)
        close = facts.closes
        if facts.chunked and (request.http10 or facts.length is not None):
            # RFC 9112 sections 6.1 and 6.2: an old client knows no chunks, they are taken apart for it.
            head = _without(head, b"transfer-encoding" if request.http10 else b"content-length")
        if facts.chunked and request.http10:
            head = _without(head, b"content-length")
            close = True
        if request.method == "CONNECT" and facts.status < 300:
            head = _without_framing(head)
            self._open_tunnel()
        elif request.method == "HEAD" or facts.status in (204, 304):
            self._framing = NONE
            self._no_content = True
            if facts.status == 204:
                head = _without_framing(head)
                # Nobody knows what a handler thinks that comes next which announces content.
                close = close or facts.chunked or bool(facts.length)
        elif facts.chunked:
            self._framing = MANUAL
            self._checker = self._sink.check_chunks()
        elif facts.length is not None:
            self._framing = LENGTH
            self._length = facts.length
        else:
            self._framing = CLOSE
            close = True
        if close or self.close_connection or not self._sink.persists:
            self.close_connection = True
            said = b"close" in facts.connection or (facts.http10 and not facts.connection)
            if not (said or self.tunnelled):
                head = _closing(head)  # RFC 9112 section 9.6
        return [head]

    def _take_interim(self, facts: _Head, head: bytes) -> list[bytes]:
        """Section 15.2 of RFC 9110: 100 only if the client still waits for it; 101 is the last head."""
        if facts.status == 100:
            return [head] if self._sink.continued() else []
        if facts.status == 101:
            self._response.relayed(101, 0)
            self._open_tunnel()
            return [head]
        self._interim = True
        return [head] if not self.request.http10 else []

    def _open_tunnel(self) -> None:
        """Nobody knows where the answer ends, so it ends with the connection."""
        self.tunnelled = True
        self._framing = CLOSE
        self.close_connection = True

    def _content_of(self, parts: list[bytes]) -> list[bytes]:
        """What may be passed on of content."""
        if self._no_content and not self._is_no_http():
            return []
        if self._framing is MANUAL:
            data = b"".join(parts)
            if self._checker.complete and data and self._is_no_http():
                parts = [data]
            else:
                parts = [check_chunks(self._checker, data, keep=not self.request.http10)]
        size = sum(map(len, parts))
        passed = self._response.size
        if self._framing is LENGTH and passed + size > self._length and not self._is_no_http():
            parts = [b"".join(parts)[: self._length - passed]]
            size = len(parts[0])
            if not self.close_connection:
                self.close_connection = True  # the handler and its client may disagree on what is next
                error = ContractError(f"more content than Content-Length says, {self._length} bytes; it is cut")
                self._response.report(error)
        self._response.relayed(self.status, size)
        return parts if size else []

    def _is_no_http(self) -> bool:
        """Whether what comes after an answer belongs to it, since the two of them have begun to speak otherwise."""
        if self.spoken is None or not self.spoken():
            return False
        self._no_content = False
        self._open_tunnel()
        return True


def _check_beginning(data: bytes) -> None:
    """See early that this will be no head."""
    if not data.startswith(b"HTTP/1."[: len(data)]) or len(data) > _LONGEST_HEAD:
        raise ContractError(
            f"the handler wrote {data[:40]!r} where a status line should be: call send_response() first"
        )


def _read_head(head: bytes) -> _Head:
    """Read what decides.

    Raises:
        ContractError: it is no head, or contradicts itself.
    """
    line = _STATUS_LINE.match(head)
    if line is None:
        raise ContractError(f"{head[:40]!r} is no status line")
    lines = [b"HTTP/1.%b %b%b\r\n" % (line[1], line[2], line[3] or b" ")]
    lengths: list[bytes] = []
    codings: list[bytes] = []
    connection: list[bytes] = []
    at = line.end()
    # RFC 9112 section 5.2; xmlrpc.server sends tracebacks like that.
    head, folds = _FOLD.subn(b" ", head) if head[at : at + 1] not in (b" ", b"\t") else (head, 0)
    end = len(head) - (2 if head.endswith(b"\r\n") else 1)  # the empty line
    while at < end:
        field = _FIELD_LINE.match(head, at)
        if field is None:
            raise ContractError(_why_no_field(head[at:].split(b"\n", 1)[0]))
        at = field.end()
        name, value = field[1].lower(), field[2].strip(_OWS)
        if name == b"content-length":
            lengths.append(value)
            if len(lengths) > 1:
                continue  # RFC 9110 section 8.6: the same again is left out
        elif name == b"connection":
            connection += [token.strip(_OWS) for token in value.lower().split(b",")]
        elif name == b"transfer-encoding":
            codings.append(value.lower())
        lines.append(b"%b:%b\r\n" % field.groups())
    if len(set(lengths)) > 1 or any(not n.isdigit() or len(n) > _LONGEST_LENGTH for n in lengths):
        raise ContractError(f"Content-Length contradicts itself, or is no number: {[n[:40] for n in lengths]!r}")
    if codings and codings != [b"chunked"]:
        raise ContractError(f"Transfer-Encoding can be 'chunked' only, not {b', '.join(codings)!r}")
    length = int(lengths[0]) if lengths else None
    return _Head(int(line[2]), line[1] == b"0", length, bool(codings), connection, b"".join(lines) + b"\r\n", folds > 0)


def _why_no_field(line: bytes) -> str:
    """Say what is wrong with a line that is no field, RFC 9112 section 5."""
    name, colon, _ = line.partition(b":")
    if line[:1] in (b" ", b"\t"):
        why = "it begins with white space, as folded lines do"
    elif not colon:
        why = "it has no colon"
    elif name.rstrip(_OWS) != name:
        why = "white space before the colon"
    else:
        why = "a character that may not stand there; a bare CR, say, which some take for the end of a line"
    return f"{line[:80]!r} in the head of an answer is no field: {why}"


# Most answers of a second have the same head. The result depends on the bytes alone.
_read_known_head = functools.lru_cache(64)(_read_head)


def _without(head: bytes, name: bytes) -> bytes:
    """A head without the fields of a name."""
    return re.sub(rb"(?im)^" + name + rb":[^\n]*\n", b"", head)


def _without_framing(head: bytes) -> bytes:
    """A head that must not announce content (RFC 9110 section 8.6): of 1xx, 204, and 2xx to CONNECT."""
    return _without(_without(head, b"content-length"), b"transfer-encoding")


def _closing(head: bytes) -> bytes:
    """A head that says that the connection closes."""
    head = _without(head, b"connection")
    end = head.index(b"\n") + 1  # after the status line
    return head[:end] + b"Connection: close\r\n" + head[end:]
