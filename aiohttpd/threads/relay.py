"""RelayWriter: checks responses that a handler of ``http.server`` has framed itself, and sends them.

Owns the parsing of their heads, the search for the end of their content (RFC 9112 section 6.3), and the decision
whether the connection persists (section 9.3). After an invalid response the connection is closed, so that the client
cannot take its bytes for the next response.
"""

import functools
import re
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, cast

from ..engine.answer import ChunkChecker, ResponseState
from ..engine.encoder import EncoderWrapper, ResponseFraming
from ..engine.interfaces import Encoder
from ..engine.response import StreamWriter
from ..errors import ContractError
from ..wire.headers import FIELD_VALUE, OWS, TOKEN

__all__ = ["RelayWriter"]

START = ResponseState.START
LENGTH, MANUAL, CLOSE, NONE = (
    ResponseFraming.LENGTH,
    ResponseFraming.MANUAL,
    ResponseFraming.CLOSE,
    ResponseFraming.NONE,
)

_LONGEST_HEAD = 256 * 1024  # bytes before the empty line; a longer head is an error
_SHORT_HEAD = 1024  # bytes; longer heads are not kept in the cache of parsed heads
_SPECIAL = "HEAD", "CONNECT"  # the same head means something else in responses to these methods
_OWS = OWS.encode()
_LONGEST_LENGTH = 19  # digits
# RFC 9112 sections 2.2, 4 and 5. Some handlers end lines by LF alone, or leave out the space before an empty reason
# phrase. Both are accepted and corrected.
_STATUS_LINE = re.compile(rb"HTTP/1\.([0-9]) ([1-9][0-9][0-9])((?: %b)?)\r?\n" % FIELD_VALUE.encode("latin-1"))
_FIELD_LINE = re.compile(rb"(%b):(%b)\r?\n" % (TOKEN.encode(), FIELD_VALUE.encode("latin-1")))
_FOLD = re.compile(rb"\r?\n[ \t]++(?=[^\r\n])")


class _Head(NamedTuple):
    """A parsed head: what decides about framing and persistence."""

    status: int
    http10: bool
    length: int | None
    chunked: bool
    connection: list[bytes]  # the options of the Connection field in lower case
    text: bytes  # the head with corrected line ends, as it is sent
    closes: bool  # the connection does not persist after it
    usual: bool  # a final head with a length, after which the connection may persist


class RelayWriter(EncoderWrapper):
    """The response to one request, as bytes that its handler has framed.

    It replaces the encoder of the response until the response is restarted. `deliver` gets the bytes of the handler,
    checks them, sends them as they are, and reports status and size to the response.

    Args:
        response: the response.

    Attributes:
        tunnelled: another protocol than HTTP follows the head: after 101, and after 2xx to CONNECT.
        spoken: returns whether the handler has read bytes that follow its request from its socket; None if the handler
            has no socket.
        hangs_up: the handler has closed the connection itself, so a missing response is not an error.
        resets: the handler has closed the connection so that the client gets RST.
    """

    begun = True  # it buffers nothing but an incomplete head

    def __init__(self, response: StreamWriter) -> None:
        super().__init__(response.encoder)
        self.request = response.request
        self._response = response
        self._sink = response.sink
        self._head_bytes = b""
        self._interim = False
        self._framing = NONE
        self._no_content = False  # content of the handler is dropped
        self._length = 0
        self._checker: ChunkChecker
        self.tunnelled = False
        self.spoken: Callable[[], bool] | None = None
        self.hangs_up = False
        self.resets = False
        response.encode_with(self)

    # For the thread of the handler.

    @property
    def status(self) -> int:
        """The status code; 0 before the head."""
        return self._response.status

    @property
    def close_connection(self) -> bool:
        """Whether the connection is closed after the response."""
        return self._response.close_connection

    @close_connection.setter
    def close_connection(self, closes: bool) -> None:
        self._response.close_connection = closes

    def is_closing(self) -> bool:
        """Whether the connection is lost, as far as is known."""
        return self._response.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Information of asyncio's transport."""
        return self._response.get_extra_info(name, default)

    def set_timeout(self, seconds: float) -> None:
        """Set ``timeout_body`` and ``timeout_write``, in seconds, for this connection."""
        self._response.set_timeout(seconds)

    # The bytes of the handler.

    def deliver(self, parts: list[bytes]) -> None:
        """Check bytes of the handler, and send them.

        Raises:
            ContractError: they are not a valid response.
            ClientDisconnected: the connection is lost.
        """
        if self._response.state is START:
            head, parts = self._split(parts)
            while head:
                lines = self._take_head(head)
                if self._response.state is not START:
                    self.inner.framed([*lines, *self._content_of(parts)])
                    return
                if lines:
                    self.inner.framed(lines)  # an interim head; the final head has to follow
                head, parts = self._split(parts)
        elif content := self._content_of(parts):
            self.inner.framed(content)

    def _split(self, parts: list[bytes]) -> tuple[bytes, list[bytes]]:
        """Split a head off the bytes. As long as its end is missing, keep the bytes and return an empty head."""
        if not self._head_bytes and parts and _is_head(parts[0]):
            return parts[0], parts[1:]  # handlers of http.server write the head by one call
        data = self._head_bytes + b"".join(parts)
        end = _end_of_head(data)
        if not end:
            if data:
                _check_beginning(data)
            self._head_bytes = data
            return b"", []
        self._head_bytes = b""
        return data[:end], [data[end:]]

    def writable(self) -> Awaitable[None]:
        """Wait until the client has read enough (back-pressure)."""
        return self._sink.writable()

    def ended(self) -> None:
        """The handler has returned. `end` checks later whether the response is complete."""
        if self.resets:
            self._framing = CLOSE
            self._response.abort()
        elif (self._interim or self.hangs_up) and self._response.state is START and not self._head_bytes:
            self.close_connection = True  # the handler has sent only an interim head (102, for example)
            self._framing = NONE
            self._response.relayed(0, 0)

    # Methods of `Encoder`.

    @property
    def complete(self) -> bool:
        """Whether all of the content has been sent; a tunnel may end at any time."""
        full = self._framing is LENGTH and self._response.size >= self._length
        return self.tunnelled or self._no_content or full

    def end(self, parts: list[bytes], size: int) -> int:
        """The handler has returned: check that its response is complete.

        Raises:
            ContractError: content is missing.
        """
        if self._framing is LENGTH and self._response.size < self._length:
            raise ContractError(f"{self._response.size} bytes of content, but Content-Length says {self._length}")
        if self._framing is MANUAL and not self._checker.complete:
            raise ContractError("Transfer-Encoding is chunked, but the last chunk is missing")
        return 0

    def restart(self) -> Encoder:
        """Return the encoder that was replaced, for a response of the server (an error)."""
        return self.inner.restart()

    def abort(self) -> None:
        """Close the connection; by RST if the client would take a normal close for the end of the content."""
        self._sink.cut(reset=self._framing is CLOSE)

    # Heads.

    def _take_head(self, head: bytes) -> list[bytes]:
        """Set the framing of the response by its head; return the head as it is sent."""
        facts = _read_known_head(head) if len(head) <= _SHORT_HEAD else _read_head(head)
        if facts.usual and self.request.method not in _SPECIAL and not self.close_connection and self._sink.persists:
            self._response.relayed(facts.status, 0)
            self._framing = LENGTH
            self._length = cast(int, facts.length)
            return [facts.text]  # what follows would do the same
        if 100 <= facts.status < 200:
            return self._take_interim(facts)
        self._response.relayed(facts.status, 0)
        head, closes = self._frame(facts)
        if closes or self.close_connection or not self._sink.persists:
            self.close_connection = True
            said = b"close" in facts.connection or (facts.http10 and not facts.connection)
            if not (said or self.tunnelled):
                head = _closing(head)  # RFC 9112 section 9.6
        return [head]

    def _frame(self, facts: _Head) -> tuple[bytes, bool]:
        """Set the framing of a response that is not usual.

        Returns:
            The head without fields that contradict the framing, and whether the connection is closed after it.
        """
        request, head, closes = self.request, facts.text, facts.closes
        # RFC 9112 sections 6.1 and 6.2.
        if facts.chunked and request.http10:  # the chunks are decoded
            head, closes = _without_framing(head), True
        elif facts.chunked and facts.length is not None:
            head = _without(head, b"content-length")
        if request.method == "CONNECT" and facts.status < 300:
            head = _without_framing(head)
            self._open_tunnel()
        elif request.method == "HEAD" or facts.status in (204, 304):
            self._framing = NONE
            self._no_content = True
            if facts.status == 204:
                head = _without_framing(head)
                # The handler has announced content, which 204 cannot have: what it writes next may be content.
                closes = closes or facts.chunked or bool(facts.length)
        elif facts.chunked:
            self._framing = MANUAL
            self._checker = ChunkChecker(self._sink.config)
        elif facts.length is not None:
            self._framing = LENGTH
            self._length = facts.length
        else:
            self._framing = CLOSE
            closes = True
        return head, closes

    def _take_interim(self, facts: _Head) -> list[bytes]:
        """Handle an interim head, RFC 9110 section 15.2: 100 is sent only if the client waits for it; 101 is final."""
        head = _without_framing(facts.text)
        if facts.status == 100:
            return [head] if self._sink.continued() else []
        if facts.status == 101:
            self._response.relayed(101, 0)
            self._open_tunnel()
            return [head]
        self._interim = True
        return [head] if not self.request.http10 else []

    def _open_tunnel(self) -> None:
        """The rest of the connection is another protocol, so the response ends with the connection."""
        self.tunnelled = True
        self._framing = CLOSE
        self.close_connection = True

    def _content_of(self, parts: list[bytes]) -> list[bytes]:
        """Return the part of the handler's content that is sent."""
        if self._no_content and not self._is_other_protocol():
            return []
        if self._framing is MANUAL:
            data = b"".join(parts)
            if self._checker.complete and data and self._is_other_protocol():
                parts = [data]
            else:
                parts = [self._checker.check(data, keep=not self.request.http10)]
        size = sum(map(len, parts))
        passed = self._response.size
        if self._framing is LENGTH and passed + size > self._length and not self._is_other_protocol():
            parts = [b"".join(parts)[: self._length - passed]]
            size = len(parts[0])
            if not self.close_connection:
                self.close_connection = True  # a handler that miscounts may do so in the next response, too
                error = ContractError(f"more content than Content-Length says, {self._length} bytes; it is cut")
                self._response.report(error)
        self._response.relayed(self.status, size)
        return parts if size else []

    def _is_other_protocol(self) -> bool:
        """Whether bytes after a complete response are another protocol: the handler has read from its socket."""
        if self.spoken is None or not self.spoken():
            return False
        self._no_content = False
        self._open_tunnel()
        return True


def _end_of_head(data: bytes) -> int:
    """Return where the first empty line ends; 0 if there is none. Lines may end by LF alone."""
    by_crlf = data.find(b"\n\r\n")
    by_lf = data.find(b"\n\n") if by_crlf < 0 else data.find(b"\n\n", 0, by_crlf + 1)
    return by_lf + 2 if by_lf >= 0 else by_crlf + 3 if by_crlf >= 0 else 0


def _is_head(data: bytes) -> bool:
    """Whether bytes that a handler has written by one call are a head.

    After ``send_error(500, traceback.format_exc())`` the reason phrase may have empty lines, and end by LF. Then the
    first CRLF ends it, and the field ``Server`` of http.server follows.
    """
    if _end_of_head(data) == len(data):
        return True
    status_line = data.find(b"\r\n") + 2
    return data.startswith(b"Server: ", status_line) and status_line + _end_of_head(data[status_line:]) == len(data)


def _check_beginning(data: bytes) -> None:
    """Raise `ContractError` if incomplete bytes cannot become a head."""
    if not data.startswith(b"HTTP/1."[: len(data)]) or len(data) > _LONGEST_HEAD:
        raise ContractError(
            f"the handler wrote {data[:40]!r} where a status line should be: "
            "call send_response() and end_headers() first"
        )


def _read_head(head: bytes) -> _Head:
    """Parse a head.

    Raises:
        ContractError: the head is malformed, or its fields contradict each other.
    """
    line = _STATUS_LINE.match(head)
    if line is None:
        raise ContractError(f"{head[:40]!r} is no status line")
    lines = [b"HTTP/1.%b %b%b\r\n" % (line[1], line[2], line[3] or b" ")]
    lengths: list[bytes] = []
    codings: list[bytes] = []
    connection: list[bytes] = []
    at = line.end()
    # Unfold lines, RFC 9112 section 5.2: xmlrpc.server sends tracebacks in folded fields.
    head, folds = _FOLD.subn(b" ", head) if head[at : at + 1] not in (b" ", b"\t") else (head, 0)
    end = len(head) - (2 if head.endswith(b"\r\n") else 1)  # the empty line
    while at < end:
        field = _FIELD_LINE.match(head, at)
        if field is None:
            if (joined := _with_one_reason(head)) != head:
                return _read_head(joined)
            raise ContractError(_why_no_field(head[at:].split(b"\n", 1)[0]))
        at = field.end()
        name, value = field[1].lower(), field[2].strip(_OWS)
        if name == b"content-length":
            lengths.append(value)
            if len(lengths) > 1:
                continue  # RFC 9110 section 8.6: a repeated equal Content-Length is left out
        elif name == b"connection":
            connection += [token.strip(_OWS) for token in value.lower().split(b",")]
        elif name == b"transfer-encoding":
            codings.append(value.lower())
        lines.append(b"%b:%b\r\n" % field.groups())
    if len(set(lengths)) > 1 or any(not n.isdigit() or len(n) > _LONGEST_LENGTH for n in lengths):
        raise ContractError(f"Content-Length contradicts itself, or is no number: {[n[:40] for n in lengths]!r}")
    if codings and codings != [b"chunked"]:
        raise ContractError(f"Transfer-Encoding can be 'chunked' only, not {b', '.join(codings)!r}")
    status, http10, chunked = int(line[2]), line[1] == b"0", bool(codings)
    length = int(lengths[0]) if lengths else None
    # Lines that were folded; RFC 9112 section 6.1: chunked in an HTTP/1.0 message is faulty framing.
    closes = folds > 0 or (http10 and chunked)
    closes = closes or b"close" in connection or (http10 and b"keep-alive" not in connection)
    usual = status >= 200 and status not in (204, 304) and length is not None and not (chunked or closes)
    return _Head(status, http10, length, chunked, connection, b"".join(lines) + b"\r\n", closes, usual)


def _with_one_reason(head: bytes) -> bytes:
    """Return a head whose reason phrase is one line; ``send_error(500, str(error))`` may make several of it."""
    line, end, fields = head.partition(b"\r\n")
    return line.replace(b"\n", b" ").rstrip() + end + fields if fields else head  # else the line is the whole head


def _why_no_field(line: bytes) -> str:
    """Return a message about a line that is not a valid field, RFC 9112 section 5."""
    name, colon, _ = line.partition(b":")
    if line[:1] in (b" ", b"\t"):
        why = "it begins with white space, as folded lines do"
    elif not colon and line.startswith(b"HTTP/"):
        why = "it is a second status line; send_response() or send_error() has been called twice"
    elif not colon:
        why = "it has no colon"
    elif name.rstrip(_OWS) != name:
        why = "white space before the colon"
    else:
        why = "a character that may not stand there; a bare CR, say, which some take for the end of a line"
    return f"{line[:80]!r} in the head of an answer is no field: {why}"


# The responses of one second mostly have the same head. The result depends on the bytes alone.
_read_known_head = functools.lru_cache(64)(_read_head)


def _without(head: bytes, name: bytes) -> bytes:
    """Return a head without the fields of a name."""
    return re.sub(rb"(?im)^" + name + rb":[^\n]*\n", b"", head)


def _without_framing(head: bytes) -> bytes:
    """Return a head without framing fields: 1xx, 204, and 2xx to CONNECT must not have them, RFC 9110 section 8.6."""
    return _without(_without(head, b"content-length"), b"transfer-encoding")


def _closing(head: bytes) -> bytes:
    """Return a head with ``Connection: close``."""
    head = _without(head, b"connection")
    end = head.index(b"\n") + 1  # after the status line
    return head[:end] + b"Connection: close\r\n" + head[end:]
