"""Our parser beside h11 and llhttp (httptools): whoever accepts a message must see the same one.

Messages are made of pieces that are nearly valid, and then damaged a little more. No claim is made about
a message that one side refuses. One that both accept must be the same in method, target, fields, content and
trailers, and must end at the same byte, else the next request begins elsewhere for each: request smuggling.
Where we differ on purpose, or an oracle is wrong, stands in `EXCEPTIONS`, each with a proof.

``HYPOTHESIS_PROFILE=campaign`` runs for minutes instead of seconds.
"""

import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import h11
import httptools
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiohttpd.config import Config
from aiohttpd.errors import WireError
from aiohttpd.wire.body import ChunkedDecoder, LengthDecoder
from aiohttpd.wire.parser import RequestParser
from aiohttpd.wire.request import Framing

_COMMON = settings(deadline=None, suppress_health_check=list(HealthCheck))
settings.register_profile("suite", _COMMON, max_examples=500, derandomize=True, database=None)
settings.register_profile("campaign", _COMMON, max_examples=100_000, print_blob=True)
PROFILE = settings.get_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))
SLOWER = settings(PROFILE, max_examples=PROFILE.max_examples // 4)

STATUSES = {400, 414, 417, 431, 501, 505}

Pairs = tuple[tuple[bytes, bytes], ...]


# What a parser makes of bytes.


@dataclasses.dataclass(frozen=True)
class Message:
    """One request as a parser saw it; ``end`` is None if its body is not complete yet."""

    method: bytes
    target: bytes
    version: bytes
    fields: Pairs
    body: bytes
    trailers: Pairs
    end: int | None


@dataclasses.dataclass(frozen=True)
class Ours:
    """All that our parser made of some bytes: messages, how each was framed, and how it went on."""

    messages: tuple[Message, ...]
    framings: tuple[Framing, ...]
    status: int | None  # of the refusal
    rest: bytes  # what it holds of the next head

    @property
    def end(self) -> int | None:
        """Where the last message ended."""
        return self.messages[-1].end if self.messages else 0


def latin(pairs: Iterable[tuple[str, str]]) -> Pairs:
    return tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs)


def ours(pieces: Iterable[bytes], config: Config = Config(), looks: Iterator[bool] = iter(())) -> Ours:  # noqa: B008
    """Drive the parser and the decoders as a connection does.

    Args:
        pieces: what arrives.
        config: the limits.
        looks: for each piece but the last, whether the parser is asked before the next one comes.
    """
    parser = RequestParser(config)
    messages: list[Message] = []
    framings: list[Framing] = []
    decoder: LengthDecoder | ChunkedDecoder | None = None
    body = bytearray()
    fed = 0
    pieces = list(pieces)
    try:
        for number, piece in enumerate(pieces, 1):
            parser.feed(piece)
            fed += len(piece)
            if number < len(pieces) and not next(looks, True):
                continue
            while True:
                if decoder is None:
                    request = parser.next_request()
                    if request is None:
                        break
                    framing = request.framing
                    framings.append(framing)
                    head = [text.encode("latin-1") for text in (request.method, request.target, request.version)]
                    message = Message(*head, latin(request.headers.raw_items()), b"", (), fed - parser.pending)
                    if not framing.has_body:
                        messages.append(message)
                        continue
                    body = bytearray()
                    decoder = (
                        ChunkedDecoder(config, request.headers)
                        if framing.content_length is None
                        else LengthDecoder(framing.content_length)
                    )
                    messages.append(dataclasses.replace(message, end=None))
                parser.decode(decoder, body)
                trailers = latin(decoder.trailers.raw_items()) if decoder.trailers is not None else ()
                end = fed - parser.pending if decoder.complete else None
                messages[-1] = dataclasses.replace(messages[-1], body=bytes(body), trailers=trailers, end=end)
                if not decoder.complete:
                    assert parser.pending == 0, "a decoder leaves nothing that belongs to its body"
                    break
                decoder = None
    except WireError as error:
        assert error.status in STATUSES
        assert error.reason
        assert parser.pending == 0
        if messages and messages[-1].end is None:  # what was decoded before depends on the cuts
            messages[-1] = dataclasses.replace(messages[-1], body=b"")
        return Ours(tuple(messages), tuple(framings), error.status, b"")
    return Ours(tuple(messages), tuple(framings), None, parser.take())


# The oracles: one message from the beginning of bytes, "waiting" for a head that is not whole, None for a refusal.

Seen = Message | str | None


def by_h11(data: bytes) -> Seen:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=2**20)
    connection.receive_data(data)
    request: h11.Request | None = None
    body = b""
    end = None
    trailers: Pairs = ()
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                end = len(data) - len(connection.trailing_data[0])
                trailers = tuple(event.headers.raw_items())
                break
            else:
                assert event in (h11.NEED_DATA, h11.PAUSED)
                break
    except h11.RemoteProtocolError:
        return None
    if request is None:
        return "waiting"
    version = b"HTTP/" + request.http_version
    return Message(request.method, request.target, version, tuple(request.headers.raw_items()), body, trailers, end)


class _Events:
    """What llhttp calls back."""

    def __init__(self) -> None:
        self.target = self.body = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.head_fields: Pairs | None = None
        self.complete = False

    def on_url(self, data: bytes) -> None:
        self.target += data

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        self.head_fields = tuple(self.fields)
        self.fields.clear()

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete = True


def by_httptools(data: bytes) -> Seen:
    events = _Events()
    parser = httptools.HttpRequestParser(events)
    end = None
    for index in range(len(data)):  # byte by byte, so we know where it ended
        try:
            parser.feed_data(data[index : index + 1])
        except httptools.HttpParserUpgrade:
            assert events.complete
        except httptools.HttpParserError:
            return None
        if events.complete:
            end = index + 1
            break
    if events.head_fields is None:
        return "waiting"
    version = b"HTTP/" + parser.get_http_version().encode()
    trailers = tuple(events.fields) if events.complete else ()
    return Message(parser.get_method(), events.target, version, events.head_fields, events.body, trailers, end)


ORACLES: dict[str, Callable[[bytes], Seen]] = {"h11": by_h11, "httptools": by_httptools}


def normalised(seen: Seen) -> Seen:
    """A message without what oracles may tell otherwise: white space after values, the case of ``chunked``."""
    if not isinstance(seen, Message):
        return seen

    def clean(pairs: Pairs) -> Pairs:
        return tuple((name, _value(name, value)) for name, value in pairs)

    return dataclasses.replace(seen, fields=clean(seen.fields), trailers=clean(seen.trailers))


def _value(name: bytes, value: bytes) -> bytes:
    value = value.rstrip(b" \t")
    return value.lower() if name.lower() == b"transfer-encoding" else value


# Where we differ and mean it.


@dataclasses.dataclass(frozen=True)
class Difference:
    """A kind of message that an oracle sees otherwise than we do, with a proof."""

    oracle: str
    section: str
    reason: str
    example: bytes
    covers: Callable[[Message, Message], bool]


EXCEPTIONS = ()

def excused(oracle: str, our: Seen, their: Seen) -> bool:
    return (
        isinstance(our, Message)
        and isinstance(their, Message)
        and any(entry.oracle == oracle and entry.covers(our, their) for entry in EXCEPTIONS)
    )


def disagreements(data: bytes, counts: Counter[str]) -> Iterator[tuple[str, Seen, Seen]]:
    """Every message in ``data`` that we and an oracle accept and see differently, as (oracle, our, their)."""
    outcome = ours([data])
    start: int | None = 0
    messages: list[Seen] = list(outcome.messages)
    if outcome.status is not None and messages and messages[-1].end is None:
        messages.pop()  # refused in the middle of its body
    elif outcome.status is None and outcome.end is not None and outcome.rest:
        messages.append("waiting")
    for message in messages:
        assert start is not None
        while data.startswith(b"\r\n", start):  # RFC 9112 section 2.2: to be ignored, and h11 does not
            start += 2
        if isinstance(message, Message):
            end = message.end
            our: Seen = message if end is None else dataclasses.replace(message, end=end - start)
        else:
            our, end = message, None
        for name, oracle in ORACLES.items():
            their = oracle(data[start:])
            if their is None:
                counts[f"{name} refuses"] += 1
                continue
            counts[name] += 1
            if normalised(our) != normalised(their):
                yield name, our, their
        start = end


# Messages that are nearly valid.


def mostly(*usual: bytes, odd: Iterable[bytes]) -> st.SearchStrategy[bytes]:
    """A usual piece; about one time in twelve an odd one."""
    strange = list(odd)
    return st.sampled_from([*(usual * (11 * len(strange) // len(usual) + 1)), *strange])


SP = mostly(b" ", odd=[b"", b"  ", b"\t", b"\x0b", b"\xa0"])
CRLF = mostly(b"\r\n", odd=[b"\n", b"\r", b"", b"\r\r\n", b"\n\r", b"\r\n\r\n", b" \r\n", b"\r\n ", b"\0\r\n"])
OWS = mostly(b" ", b"", b"\t", b"  ", odd=[b"\r\n ", b"\n", b"\x0b", b"\x0c", b"\xa0", b"\x85", b"\0", b"\r"])
COLON = mostly(b":", odd=[b" :", b"", b"::", b"\t:", b"\0:"])

METHODS = mostly(
    *(b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS", b"CONNECT", b"DELETE", b"M-SEARCH", b"PRI"),
    odd=[b"", b"get", b"GE T", b"G\xc9T", b"GET\0", b"G@T", b"QUERY", b"\r\nGET", b"\nGET", b" GET", b"\r\n\r\n\r\nGET"],
)
TARGETS = mostly(
    *(b"/", b"/a?b=c", b"//h/", b"*", b"http://h/p?q", b"HTTP://h:80", b"h:80", b"[::1]:80"),
    odd=[b"", b"/#f", b"/a b", b"/\xe9", b"/\x7f", b"/\t", b"a", b"http://", b"http://u@h/", b"ws://h/", b"/\0", b"/%zz"],
)
VERSIONS = mostly(
    *(b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0"),
    odd=[b"HTTP/1.2", b"HTTP/1.9", b"HTTP/2.0", b"HTTP/0.9", b"http/1.1", b"HTTP/1.10", b"HTTP/1", b"HTTP/01.1", b""],
)
HOSTS = mostly(
    *(b"h", b"h:80", b"[::1]:8000", b"a.example"),
    odd=[b"", b"a b", b"a,b", b"h:", b"h:x", b"h:99999", b"u@h", b"h/", b"[::1", b"\xe9", b"h\0", b"%41"],
)
NAMES = mostly(
    *(b"A", b"X-Y", b"accept", b"Cookie", b"!#$%&'*+-.^_`|~1"),
    odd=[b"", b"A B", b"A\0", b"\xe9", b"(A)", b'"A"', b"A\t", b" A", b"Content-Length ", b"Transfer-Encoding\x0b"],
)
VALUES = mostly(
    *(b"", b"v", b"a, b", b'"q: r"', b"\xe9\xff", b"a\tb", b"\x80\x85\xa0"),
    odd=[b"\0", b"\x01", b"\x7f", b"a\rb", b"a\nb", b"a\r\n b", b"\x0b", b"\r\n\r\n", b"a\r\nHost: z", b"\x1b[0m"],
)
DECIDING = st.tuples(
    st.sampled_from([b"Connection", b"Expect", b"Upgrade", b"Keep-Alive", b"TE", b"Trailer", b"connection"]),
    st.sampled_from(
        [b"close", b"keep-alive", b"Upgrade, close", b"upgrade", b"100-continue", b"100-Continue", b"x", b"", b"websocket"]
        + [b"close, , x", b"h2c", b"Content-Length", b"clo se", b"CLOSE"]
    ),
)
LENGTHS = [b"0", b"1", b"3", b"5", b"003", b"+3", b"-0", b"3, 3", b"3,5", b"0x3", b"3_0", b"", b"3 ", b"3 3", b"\xb3", b"3.0"]
LENGTHS += [b"9" * 18, b"9" * 19, b"9" * 20, b"18446744073709551619", b"0" * 17 + b"3", b"0" * 30 + b"3", b"3;", b"3\0", b"3\r"]
CODINGS = [b"chunked", b"Chunked", b"CHUNKED", b"chunked, chunked", b"gzip, chunked", b"chunked, gzip", b"identity", b""]
CODINGS += [b"chunked;q=1", b"xchunked", b"chunked,", b",chunked", b"\x0bchunked", b'"chunked"', b"chunked\0", b"chun ked"]
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
CONTENTS = st.sampled_from([b"", b"abc", b"\r\n", b"0\r\n\r\n", b"\0\xff", b"a=b&c", SMUGGLED, b"x" * 17, b"abcde", b"\r"])
SIZES = mostly(
    *(b"%x", b"%X", b"0%x", b"000000%x"),
    odd=[b"0x%x", b"+%x", b"-%x", b" %x", b"%x ", b"%x\t", b"%xg", b"", b"1%x", b"%x0", b"%x_", b"%064x", b"%017x", b"%016x"]
    + [b"ffffffffffffffff%x", b"%x\0", b"%x,", b"\xb2%x"],
)
EXTENSIONS = mostly(
    *(b"", b"", b"", b";a", b";a=b", b';a="b c"', b';a="\\"";b=c', b";a;b"),
    odd=[b";", b" ;a", b"; a", b";a =b", b";a= b", b';a="', b';a="\r"', b";a\n", b";a\nb", b';a="\r\n"', b";\0", b";a=\xe9"]
    + [b';a="\x7f"', b";a\r", b";a;", b";=b", b'="x"', b",a", b" ", b';a="\xe9"', b';a="\\\r\n"', b";a=b=c", b';a="b"c'],
)


@st.composite
def field_lines(draw: st.DrawFn, name: bytes | None = None, value: bytes | None = None) -> bytes:
    parts = (
        draw(NAMES) if name is None else name,
        draw(COLON),
        draw(OWS),
        draw(VALUES) if value is None else value,
        draw(OWS),
        draw(CRLF),
    )
    return b"".join(parts)


@st.composite
def chunked_bodies(draw: st.DrawFn) -> bytes:
    out = bytearray()
    for content in draw(st.lists(CONTENTS.filter(bool), max_size=3)):
        size = draw(SIZES)
        out += (size % len(content) if b"%" in size else size) + draw(EXTENSIONS) + draw(CRLF) + content + draw(CRLF)
    out += draw(mostly(b"0", b"00", b"0" * 16, odd=[b"", b"0x0", b"-0", b"0 ", b"0" * 17, b"1"]))
    out += draw(EXTENSIONS) + draw(CRLF)
    for line in draw(st.lists(field_lines() | field_lines(b"Content-Length", b"5"), max_size=2)):
        out += line
    return bytes(out + draw(CRLF))


@st.composite
def bodies(draw: st.DrawFn) -> tuple[list[bytes], bytes]:
    """Framing fields, and a body that mostly fits them."""
    kind = draw(st.sampled_from(["none", "none", "length", "length", "chunked", "chunked", "chunked", "odd"]))
    if kind == "none":
        return [], b""
    if kind == "length":
        content = draw(CONTENTS)
        return [draw(field_lines(b"Content-Length", b"%d" % len(content)))], content
    if kind == "chunked":
        coding = draw(mostly(*CODINGS[:3], odd=CODINGS[3:]))
        return [draw(field_lines(draw(st.sampled_from([b"Transfer-Encoding", b"transfer-encoding"])), coding))], draw(
            chunked_bodies()
        )
    lines = draw(
        st.lists(
            st.sampled_from(LENGTHS).flatmap(lambda value: field_lines(b"Content-Length", value))
            | st.sampled_from(CODINGS).flatmap(lambda value: field_lines(b"Transfer-Encoding", value)),
            min_size=1,
            max_size=2,
        )
    )
    return lines, draw(CONTENTS | chunked_bodies())


@st.composite
def tails(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """All of a head that follows the request line, and the body."""
    lines, body = draw(bodies())
    lines += draw(st.lists(field_lines() | DECIDING.flatmap(lambda pair: field_lines(*pair)), max_size=3))
    hosts = draw(st.sampled_from([1] * 12 + [0, 2]))
    lines += [draw(field_lines(draw(st.sampled_from([b"Host", b"HOST"])), draw(HOSTS))) for _ in range(hosts)]
    return b"".join(draw(st.permutations(lines))) + draw(CRLF), body


@st.composite
def request_lines(draw: st.DrawFn) -> bytes:
    return b"".join((draw(METHODS), draw(SP), draw(TARGETS), draw(SP), draw(VERSIONS), draw(CRLF)))


USUAL_LINES = st.sampled_from([b"GET / HTTP/1.1\r\n", b"POST /a?b HTTP/1.1\r\n", b"PUT http://h/ HTTP/1.1\r\n"])
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["insert", "delete", "replace"]),
        st.integers(0, 2**16),
        st.sampled_from([bytes([byte]) for byte in b"\0\t\n\v\r \"#,:;0a/\\\x7f\x80\x85\xa0\xff"] + [b"\r\n", b"\r\n "]),
    ),
    max_size=2,
)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """One to three requests; some have the fields of the one before, some are cut short or damaged."""
    out = b""
    tail = draw(tails())
    for number in range(draw(st.sampled_from([1, 1, 2, 3]))):
        if number and draw(st.booleans()):
            tail = draw(tails())
        gap = draw(mostly(b"", b"", b"\r\n", odd=[b"\n", b"\r", b" ", b"\r\n\r\n", b"\0", b"\r\n\r\n\r\n"])) if number else b""
        out += gap + draw(USUAL_LINES | request_lines()) + tail[0] + tail[1]
    for kind, position, data in draw(st.just([]) | EDITS):
        index = position % (len(out) + 1)
        out = out[:index] + (b"" if kind == "delete" else data) + out[index + (kind != "insert") :]
    return out[: draw(st.integers(0, len(out)))] if draw(st.sampled_from([False] * 9 + [True])) else out
