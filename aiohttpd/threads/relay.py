"""RelayWriter: an answer that somebody else has framed, passed on and checked.

Owns the question whether what a handler of ``http.server`` writes is an answer, where it ends, and whether another
may follow on the connection (RFC 9112 sections 6.3 and 9.3). A mistake in it costs the connection, never the next
answer.
"""

import functools
import re
from collections.abc import Callable
from typing import NamedTuple

from ..engine.answer import ResponseFraming, ResponseState, check_chunks
from ..engine.response import StreamWriter
from ..errors import ContractError
from ..wire.headers import FIELD_VALUE, OWS, TOKEN

__all__ = ["RelayWriter"]

START, HELD, SENT, DONE = ResponseState.START, ResponseState.HELD, ResponseState.SENT, ResponseState.DONE
AUTO, LENGTH, CHUNKED, MANUAL, CLOSE, NONE = ResponseFraming

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


class RelayWriter(StreamWriter):
    """The answer to one request, in the words of its handler.

    A `StreamWriter` becomes one by its ``__class__``; `begin` then. ``restart`` makes it what it was.

    Attributes:
        tunnelled: what follows the head is no HTTP: after 101, and after 2xx to CONNECT.
        spoken: whether the handler has read what follows its request from a socket; None if it has none.
        hangs_up: the handler has closed the connection itself, so no answer is no mistake.
        resets: it has, and its client is to be told by a reset.
    """

    _head_bytes: bytes
    _interim: bool
    tunnelled: bool
    spoken: Callable[[], bool] | None
    hangs_up: bool
    resets: bool

    @classmethod
    def begin(cls, response: StreamWriter) -> "RelayWriter":
        """Have the bytes of an answer come from a handler that frames them itself."""
        response.__class__ = cls
        assert isinstance(response, RelayWriter)
        response._head_bytes = b""
        response._interim = response.tunnelled = response.hangs_up = response.resets = False
        response.spoken = None
        response._plain = False
        response._cap = response._room = 0
        return response

    def deliver(self, parts: list[bytes]) -> None:
        """Pass on what the handler has written.

        Raises:
            ContractError: it is no answer.
            ClientDisconnected: the client is gone.
        """
        if self.state is START:
            head, parts = self._split(parts)
            while head:
                lines = self._take_head(head)
                if self.state is not START:
                    self._sink.out.send([*lines, *self._content_of(parts)])
                    return
                if lines:
                    self._sink.out.send(lines)  # an interim one, and the head of the answer is still to come
                head, parts = self._split(parts)
        elif content := self._content_of(parts):
            self._sink.out.send(content)

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

    def _is_whole(self) -> bool:
        return self.tunnelled or super()._is_whole()  # a tunnel ends when one of them goes

    async def writable(self) -> None:
        """Wait while the client is slow."""
        await self._sink.writable()

    def finish(self) -> None:
        """The handler has returned.

        Raises:
            ContractError: no answer has been given, or a part of it is missing.
        """
        state, self.state = self.state, DONE
        if self.resets:
            self._framing = CLOSE
            self.abort()
        elif (self._interim or self.hangs_up) and state is START and not self._head_bytes:
            self.close_connection = True  # 102 as an answer, say: the handler has had nothing else to say
        elif state is START:
            self.state = START
            raise ContractError("the handler returned without an answer: no send_response() and end_headers()")
        elif self._framing is LENGTH and not self._discards and self.size < self._length:
            raise ContractError(f"{self.size} bytes of content, but Content-Length says {self._length}")
        elif self._framing is MANUAL and not self._discards and not self._checker.complete:
            raise ContractError("Transfer-Encoding is chunked, but the last chunk is missing")

    def restart(self) -> None:
        """Let somebody else answer, in the usual way."""
        self.__class__ = StreamWriter  # type: ignore[assignment]
        self.restart()

    def _take_head(self, head: bytes) -> list[bytes]:
        """Decide by a head how the answer goes on; return it as it is to be sent."""
        facts = _read_known_head(head) if len(head) <= _SHORT_HEAD else _read_head(head)
        head = facts.text
        if 100 <= facts.status < 200:
            return self._take_interim(facts, _without_framing(head))
        request = self.request
        self.status = facts.status
        self.state = SENT
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
            self._discards = True
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
            self.status = 101
            self.state = SENT
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
        if self._discards and not self._is_no_http():
            return []
        if self._framing is MANUAL:
            data = b"".join(parts)
            if self._checker.complete and data and self._is_no_http():
                parts = [data]
            else:
                parts = [check_chunks(self._checker, data, keep=not self.request.http10)]
        size = sum(map(len, parts))
        if self._framing is LENGTH and self.size + size > self._length and not self._is_no_http():
            parts = [b"".join(parts)[: self._length - self.size]]
            size = len(parts[0])
            if not self.close_connection:
                self.close_connection = True  # the handler and its client may disagree on what is next
                self.report(ContractError(f"more content than Content-Length says, {self._length} bytes; it is cut"))
        self.size += size
        return parts if size else []

    def _is_no_http(self) -> bool:
        """Whether what comes after an answer belongs to it, since the two of them have begun to speak otherwise."""
        if self.spoken is None or not self.spoken():
            return False
        self._discards = False
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


# Most answers of a second have the same head.
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
