"""The parser of requests.

`RequestParser` owns the buffer of received bytes; a decoder of `body` reads the bodies out of it. There are four ways
to parse a head, the fastest first:

1. The fields are those of the last request on this connection, byte for byte: only the request line is read.
2. Some values have other ends than in earlier requests on this connection, and all else is the same: the request line
   and these ends are read. See `head_template`.
3. A head of usual size is split into lines; lines that are known are not matched again: see `known_lines`.
4. The grammar of a whole head is one pattern. If a head does not match it, `refusals` finds the rule that it breaks.
   After a refusal the parser parses nothing more.
"""

import functools
import re
from dataclasses import dataclass
from typing import Protocol

from ..config import Config
from ..errors import WireError
from . import refusals
from .framing import decide_framing, framing_of
from .head_template import HeadTemplate
from .headers import FIELD_LINE, TOKEN, Headers
from .known_lines import deciding_lines
from .request import Request, RequestFraming

__all__ = ["TLS_HANDSHAKE", "Decoder", "RequestParser"]

# RFC 9112 section 3: method SP request-target SP HTTP-version. The target is visible ASCII without
# "#": no controls, no raw non-ASCII, no fragment. Minor versions above 1 are answered as 1.1.
REQUEST_LINE = rf"({TOKEN}) ([!-\"$-~]++) (HTTP/1\.[0-9])"

_match_request_line = re.compile(REQUEST_LINE).fullmatch

_CRLF = b"\r\n"
_EMPTY_LINES = 2  # before a request line, RFC 9112 section 2.2
_SMALL = 4096  # bytes of a head that is read line by line
_HEAVY = 8 * 1024  # bytes of a head that takes long to parse
_REMEMBERED = 200  # bytes of a refused message
TLS_HANDSHAKE = b"TLS handshake on a port without TLS"
_REPEATED = 1024  # bytes of a request that is remembered as a whole
_TEMPLATES = 4  # of a connection
_LEARNING = 4  # that many heads are read before two are compared; then at 8, 16, 32 and so on, since it takes long
_LONGEST_TAIL = 4096  # bytes of a head that a connection remembers


class Decoder(Protocol):
    """Decodes one message body; see `aiohttpd.wire.body`."""

    complete: bool

    def decode(self, data: bytes | bytearray, start: int, out: bytearray) -> int: ...


@dataclass(slots=True)
class _HeadLimits:
    """What follows from the limits of a `Config`; the parsers of all connections share it.

    Attributes:
        pattern: the grammar of a whole head, RFC 9112 section 2.1: request line, field lines, an empty line.
        roomy: bytes of a head that cannot exceed another limit, so its limits are not checked.
        few: bytes of a head whose lists are not checked if it has few commas and semicolons: each line has one more
            element than these.
        small: bytes of a head that is read line by line.
        separators: commas and semicolons from which on lists are checked.
        line_room: bytes of a request line that is read without the grammar, before fields that are known.
    """

    pattern: re.Pattern[str]
    roomy: int
    few: int
    small: int
    separators: int
    line_room: int


@functools.lru_cache(maxsize=16)
def _head_limits(line: int, field: int, head: int, elements: int, fields: int) -> _HeadLimits:
    pattern = re.compile(rf"{REQUEST_LINE}\r(\n(?:{FIELD_LINE}){{0,{fields}}}+)\r\n")
    roomy, few = min(line, field, head), min(2 * elements, _HEAVY)
    small, line_room = min(_SMALL, roomy, few), min(roomy, head - _LONGEST_TAIL)
    return _HeadLimits(pattern, roomy, few, small, max(0, elements - fields), line_room)


class RequestParser:
    """Incremental parser of the requests on one connection.

    Feed it the bytes that arrive, and call `next_request` until it returns None. If a request has a body, `decode` it
    to its end before you call `next_request` again.

    A client with a keep-alive connection usually repeats its fields byte for byte. So the parser remembers the last
    head from the end of its request line on (``_tail``). If the next head has the same bytes there, only its request
    line is parsed. Otherwise it may fit one of the ``_templates`` of earlier heads. Of small requests without a body it
    also remembers the whole (``_repeated``), as polls and health checks repeat them.

    Attributes:
        buffer: the bytes that have not been consumed.
        heavy: set when a head was large. The connection then lets others have their turn, and resets it.
        refused: the beginning of the refused message, for the log; None as long as none has been refused. Afterwards
            the parser parses nothing more.
    """

    __slots__ = (
        "_config", "_empty_lines", "_framing", "_headers", "_limits", "_line_ended", "_method", "_missed",
        "_repeated", "_searched", "_start", "_tail", "_target", "_templates", "_version", "buffer", "heavy", "refused",
    )  # fmt: skip

    _method: str  # these five are of the last request; the first two only while there is a `_repeated`
    _target: str
    _version: str
    _headers: Headers
    _framing: RequestFraming

    def __init__(self, config: Config) -> None:
        self._config = config
        self._limits = _head_limits(
            config.limit_request_line,
            config.limit_field,
            config.limit_head,
            config.limit_elements,
            config.limit_fields,
        )
        self.heavy = False
        self.buffer: bytes | bytearray = b""
        self._start = 0  # bytes before it have been consumed
        self._searched = 0  # no head ends before it
        self._line_ended = False  # the request line ends before _searched
        self._empty_lines = 0
        self.refused: bytes | None = None
        self._tail = b""
        self._templates: tuple[HeadTemplate, ...] = ()
        self._missed = 0  # heads that neither `_tail` nor a template has fitted
        self._repeated: bytes | None = None

    @property
    def pending(self) -> int:
        """The number of bytes that have not been consumed."""
        return len(self.buffer) - self._start

    def feed(self, data: bytes) -> None:
        """Append bytes that have arrived."""
        if not self.buffer:
            self.buffer = data
            return
        start = self._start
        if type(self.buffer) is not bytearray:
            self.buffer = bytearray(self.buffer[start:])
        elif start:
            del self.buffer[:start]
        self._searched -= start
        self._start = 0
        self.buffer += data

    def take(self) -> bytes:
        """Remove and return all bytes, for another protocol on this connection."""
        data = bytes(self.buffer[self._start :])
        self._consumed(len(self.buffer))
        return data

    def take_some(self, limit: int) -> bytes:
        """Remove and return up to ``limit`` bytes; they are not copied if they are one piece as it has arrived."""
        data, start = self.buffer, self._start
        if not start and type(data) is bytes and len(data) <= limit:
            self.buffer = b""
            self._searched = 0
            return data
        end = min(len(data), start + limit)
        taken = data[start:end] if type(data) is bytes else bytes(memoryview(data)[start:end])
        self._consumed(end)
        return taken

    def decode(self, decoder: Decoder, out: bytearray) -> None:
        """Decode as much of a body as has arrived, and append it to ``out``.

        Raises:
            WireError: the body is malformed or exceeds a limit. The parser parses nothing more.
        """
        try:
            self._consumed(decoder.decode(self.buffer, self._start, out))
        except WireError:
            self.give_up()
            raise

    def next_request(self) -> Request | None:
        """Return the next request, or None if its head is not complete yet.

        Raises:
            WireError: the head breaks a rule or exceeds a limit. The parser parses nothing more.
        """
        data = self.buffer
        start = self._start
        if data == self._repeated and not start:
            self.buffer = b""
            self._searched = 0
            return Request(self._method, self._target, self._version, self._headers, self._framing)
        try:
            if self._searched == start:  # nobody has looked yet
                if type(data) is not bytes:
                    data = self.buffer = bytes(data)
                tail = self._tail
                line_end = data.find(_CRLF, start)
                if tail and 0 < line_end - start < self._limits.line_room:
                    if data.startswith(tail, line_end):
                        line = data[start:line_end]
                        words = _known_request_lines.get(line) or _split_line(line)
                        if words is not None and words[2] == self._version:
                            end = line_end + len(tail)
                            if end == len(data):
                                if end <= _REPEATED and not start:
                                    self._repeated = data
                                    self._method, self._target = words[0], words[1]
                                self.buffer = b""
                                end = 0
                            self._start = self._searched = end
                            return Request(words[0], words[1], self._version, self._headers, self._framing)
                    elif self._templates:
                        request = self._fitting(data, line_end)
                        if request is not None:
                            return request
                if self.refused is not None:
                    self.buffer = b""
                    return None
                request = self._usual(data, line_end)
                if request is not None:
                    return request
            end = self._head_end()
            return None if end < 0 else self._head(end)
        except WireError:
            self.give_up()
            raise

    def _fitting(self, data: bytes, line_end: int) -> Request | None:
        """The next request, if its fields fit a template; else None.

        Args:
            data: the buffer.
            line_end: where the request line ends.
        """
        start = self._start
        limit = start + self._limits.small
        for template in self._templates:
            first = template.first
            if data.startswith(first, line_end):
                end = template.end(data, line_end + len(first), limit)
                if end > 0:
                    break
        else:
            return None
        line = data[start:line_end]
        words = _known_request_lines.get(line) or _split_line(line)
        if words is None or words[2] != template.version:
            return None
        tail = data[line_end:end]
        framing = template.framing or template.framing_of(tail)
        if framing is None:
            return None
        self._tail, self._version, self._framing = tail, template.version, framing
        self._headers = headers = Headers(tail)
        self._repeated = None
        if end == len(data):
            self.buffer = b""
            end = 0
        self._start = self._searched = end
        return Request(words[0], words[1], template.version, headers, framing)

    def _usual(self, data: bytes, line_end: int) -> Request | None:
        """The next request, if its head is complete, small and valid; else None, and the grammar decides.

        Args:
            data: the buffer.
            line_end: where the request line ends.
        """
        start = self._start
        end = data.find(b"\r\n\r\n", line_end, start + self._limits.small) + 4
        if line_end <= start or end < 4:
            return None
        line = data[start:line_end]
        words = _known_request_lines.get(line) or _split_line(line)
        deciding = deciding_lines(str(data[line_end + 2 : end - 4], "latin-1"), self._config.limit_fields)
        if words is None or deciding is None:
            return None
        framing = framing_of(words[2], deciding)
        tail = data[line_end:end]
        missed = self._missed = self._missed + 1
        if missed >= _LEARNING and missed & (missed - 1) == 0 and self._tail:
            self._learn(tail, words[2], framing)
        return self._accept(words, tail, framing, end)

    def _learn(self, tail: bytes, version: str, framing: RequestFraming) -> None:
        """Have one of the templates fit one more head; if none can, add a template for this head."""
        templates = self._templates
        for number, template in enumerate(templates):
            widened = template.widened(tail, version)
            if widened is not None:
                self._templates = (*templates[:number], widened, *templates[number + 1 :])
                return
        last = HeadTemplate((self._tail,), self._version, self._framing)
        added = last.widened(tail, version) or HeadTemplate((tail,), version, framing)
        self._templates = (added, *templates[: _TEMPLATES - 1])

    def _head_end(self) -> int:
        """Where the head ends that begins at ``_start``, after empty lines; -1 if it is not complete yet."""
        while self.buffer.startswith(_CRLF, self._start):
            self._empty_lines += 1
            self._tail = b""  # the short ways count no empty lines
            self._repeated = None
            if self._empty_lines > _EMPTY_LINES:
                raise WireError(400, "empty lines instead of a request")
            self._consumed(self._start + 2)
        if not self.buffer:
            return -1
        if self._searched == self._start:
            self._line_ended = False  # the last head may have left it set
        end = self.buffer.find(b"\r\n\r\n", self._searched)
        if end >= 0:
            return end + 4
        self._line_ended = refusals.check_incomplete(
            self.buffer, self._start, self._searched, self._config, line_ended=self._line_ended
        )
        self._searched = max(self._start, len(self.buffer) - 3)
        return -1

    def _head(self, end: int) -> Request:
        """Make the request whose head ends at ``end``, or raise its refusal."""
        text = str(self.buffer[self._start : end], "latin-1")
        match = self._limits.pattern.match(text)
        if match is None:
            refusals.check_limits(text, self._config)
            raise refusals.of_head(text)
        return self._request(match, end)

    def _request(self, match: re.Match[str], end: int) -> Request:
        """Make a request of a head that matches the grammar."""
        size, limits = end - self._start, self._limits
        if size > limits.roomy:
            refusals.check_limits(match[0], self._config)
        method, target, version, block = match.groups()
        if size > limits.few:
            self.heavy = self.heavy or size > _HEAVY
            if block.count(",") + block.count(";") >= limits.separators:
                refusals.check_elements(block, self._config.limit_elements)
        if target[0] != "/" or method == "CONNECT":
            refusals.check_target(method, target)
        tail = bytes(self.buffer[self._start + match.end(3) : end])
        return self._accept((method, target, version), tail, decide_framing(block, version), end)

    def _accept(self, words: tuple[str, str, str], tail: bytes, framing: RequestFraming, end: int) -> Request:
        method, target, version = words
        headers = Headers(tail)
        if len(tail) <= _LONGEST_TAIL:
            self._tail, self._version, self._headers, self._framing = tail, version, headers, framing
            self._repeated = None
        self._empty_lines = 0
        self._consumed(end)
        return Request(method, target, version, headers, framing)

    def _consumed(self, end: int) -> None:
        if end == len(self.buffer):
            self.buffer = b""
            end = 0
        self._start = self._searched = end

    def give_up(self) -> None:
        """Drop all bytes: what follows a refused message must not be read as a request."""
        line = bytes(self.buffer[self._start : self._start + _REMEMBERED]).split(_CRLF, 1)[0]
        # The log names a TLS handshake (RFC 8446 section 5.1), whose bytes cannot be read.
        self.refused = TLS_HANDSHAKE if line.startswith(b"\x16\x03") else line
        self.buffer = b""
        self._start = self._searched = 0
        self._tail = b""
        self._repeated = None


# Request lines that have been matched before.
_known_request_lines: dict[bytes, tuple[str, str, str]] = {}
_KNOWN_REQUEST_LINES = 256


def _split_line(line: bytes) -> tuple[str, str, str] | None:
    match = _match_request_line(str(line, "latin-1"))
    if match is None or match[2][0] != "/" or match[1] == "CONNECT":
        return None  # the way by the grammar finds out what it is
    if len(_known_request_lines) >= _KNOWN_REQUEST_LINES:
        _known_request_lines.clear()
    words = _known_request_lines[line] = (match[1], match[2], match[3])
    return words
