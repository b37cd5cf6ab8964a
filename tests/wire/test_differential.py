"""Our parser beside h11 and llhttp (httptools): whoever accepts a message must see the same one.

Messages are made of pieces that are nearly valid, and then damaged a little more. No claim is made about
a message that one side refuses. One that both accept must be the same in method, target, fields, content and
trailers, and must end at the same byte, else the next request begins elsewhere for each: request smuggling.
Where we differ on purpose, or an oracle is wrong, stands in `EXCEPTIONS`, each with a proof.

``HYPOTHESIS_PROFILE=campaign pytest --timeout=0`` runs for minutes instead of seconds; see `support/examples.py`.
"""

import contextlib
import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import h11
import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aiohttpd.config import Config
from aiohttpd.errors import WireError
from aiohttpd.wire.body import ChunkedDecoder, LengthDecoder
from aiohttpd.wire.headers import Headers
from aiohttpd.wire.parser import RequestParser
from aiohttpd.wire.request import RequestFraming

from ..support.examples import examples
from ..support.odd_messages import PIECES, streams

PROFILE = examples(400)
SLOWER = examples(100)
DEFAULTS = Config()

TIGHT = Config(
    limit_request_line=24,
    limit_field=20,
    limit_head=72,
    limit_fields=3,
    limit_chunk_extension=3,
    limit_chunk_extensions=5,
)

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
    framings: tuple[RequestFraming, ...]
    status: int | None  # of the refusal
    rest: bytes  # what it holds of the next head

    @property
    def end(self) -> int | None:
        """Where the last message ended."""
        return self.messages[-1].end if self.messages else 0


def latin(pairs: Iterable[tuple[str, str]]) -> Pairs:
    return tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs)


def ours(
    pieces: Iterable[bytes], config: Config = DEFAULTS, *, looks: Iterable[bool] = (), stop: int | None = None
) -> Ours:
    """Drive the parser and the decoders as a connection does.

    Args:
        pieces: what arrives.
        config: the limits.
        looks: for each piece but the last, whether the parser is asked before the next one comes.
        stop: after how many messages to take the rest.
    """
    parser = RequestParser(config)
    messages: list[Message] = []
    framings: list[RequestFraming] = []
    decoder: LengthDecoder | ChunkedDecoder | None = None
    refusal: WireError | None = None
    body = bytearray()
    fed = 0
    pieces = list(pieces)
    looks = iter(looks)
    try:
        for number, piece in enumerate(pieces, 1):
            parser.feed(piece)
            fed += len(piece)
            if number < len(pieces) and not next(looks, True):
                continue
            while stop is None or len(messages) < stop or decoder is not None:
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
        refusal = error
    if refusal is None:
        return Ours(tuple(messages), tuple(framings), None, parser.take())
    assert refusal.status in STATUSES
    assert refusal.reason
    assert parser.pending == 0
    if messages and messages[-1].end is None:  # what was decoded before depends on the cuts
        messages[-1] = dataclasses.replace(messages[-1], body=b"")
    return Ours(tuple(messages), tuple(framings), refusal.status, b"")


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


def tokens(message: Message, name: bytes) -> set[bytes]:
    """The members of a list field, in lower case."""
    values = [value.lower() for key, value in message.fields if key.lower() == name]
    return {token.strip(b" \t") for value in values for token in value.split(b",")}


@dataclasses.dataclass(frozen=True)
class Difference:
    """A kind of message that an oracle sees otherwise than we do.

    Attributes:
        oracle: which one.
        section: of the RFC that decides.
        reason: why we do as we do.
        differing: the attributes of `Message` that differ; "head" if the oracle waits for more of it.
        when: whether a message of ours is of the kind.
        example: a proof.
    """

    oracle: str
    section: str
    reason: str
    differing: set[str]
    when: Callable[[Message], bool]
    example: bytes


EXCEPTIONS = (
    Difference(
        "httptools",
        "RFC 9112 section 6.3",
        "llhttp takes what follows the head of a CONNECT for the tunnel, even if the head frames a body. The rules for"
        " the length of a message know methods in answers only, so for h11 and us the body is a body.",
        {"body", "trailers", "end"},
        lambda message: message.method == b"CONNECT",
        b"CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\nContent-Length: 3\r\n\r\nabc",
    ),
    Difference(
        "httptools",
        "RFC 9110 section 7.8",
        "httptools ends a request that asks for an upgrade after its head. But the client changes the protocol only"
        " after the whole request, so its body comes first.",
        {"body", "trailers", "end"},
        lambda message: b"upgrade" in tokens(message, b"connection") and bool(tokens(message, b"upgrade")),
        b"POST / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 3\r\n\r\nabc",
    ),
    Difference(
        "httptools",
        "RFC 9112 appendix C.2.2",
        "To llhttp Proxy-Connection is another name for Connection, so it makes an upgrade of Upgrade. It never was a"
        " field of the standard; we ignore it.",
        {"body", "trailers", "end"},
        lambda message: b"upgrade" in tokens(message, b"proxy-connection") and bool(tokens(message, b"upgrade")),
        b"POST / HTTP/1.1\r\nHost: h\r\nProxy-Connection: upgrade\r\nUpgrade: x\r\nContent-Length: 3\r\n\r\nabc",
    ),
    Difference(
        "httptools",
        "RFC 9110 section 9.1",
        "llhttp takes PRI for the preface of HTTP/2 in whatever version, and waits for the rest. To us it is a method"
        " without a handler, and the preface itself is a 505.",
        {"head"},
        lambda message: message.method == b"PRI",
        b"PRI / HTTP/1.0\r\n\r\n",
    ),
    Difference(
        "h11",
        "RFC 9112 section 7.1.2",
        "h11 merges Content-Length fields among the trailers, as if they were to frame something. We keep trailers"
        " apart, as they were sent.",
        {"trailers"},
        lambda message: b"content-length" in {name.lower() for name, _ in message.trailers},
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
    ),
)  # fmt: skip


def differing(our: Seen, their: Seen) -> set[str]:
    """The attributes in which two views of a message differ."""
    if isinstance(our, Message) and isinstance(their, Message):
        return {
            field.name
            for field in dataclasses.fields(Message)
            if getattr(our, field.name) != getattr(their, field.name)
        }
    return set() if our == their else {"head"}


def excused(oracle: str, our: Seen, their: Seen) -> bool:
    """Whether a disagreement is one of `EXCEPTIONS`."""
    found = differing(normalised(our), normalised(their))
    return isinstance(our, Message) and any(
        entry.oracle == oracle and found <= entry.differing and entry.when(our) for entry in EXCEPTIONS
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


# The properties.


def test_accepted_messages_are_seen_alike() -> None:
    counts: Counter[str] = Counter()

    @PROFILE
    @given(streams())
    def check(data: bytes) -> None:
        for oracle, our, their in disagreements(data, counts):
            assert excused(oracle, our, their), f"{oracle} sees {their}, we see {our}"

    check()
    # The property says nothing if nothing is accepted by both.
    assert counts["h11"] > PROFILE.max_examples // 4
    assert counts["httptools"] > PROFILE.max_examples // 4


@PROFILE
@given(streams())
@example(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcxx0\r\n\r\n")  # CVE-2025-43859
@example(
    b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;a\nb\r\nabc\r\n0\r\n\r\n"
)  # CVE-2025-22871
def test_nothing_is_accepted_by_us_alone(data: bytes) -> None:
    """What both oracles refuse we refuse, except methods and minor versions that llhttp does not know."""
    start = 0
    for message in ours([data]).messages:
        if message.end is None:
            break
        while data.startswith(b"\r\n", start):
            start += 2
        if message.version in (b"HTTP/1.0", b"HTTP/1.1") and message.method in PIECES["method"][0]:
            assert any(oracle(data[start:]) for oracle in ORACLES.values()), message
        start = message.end


@pytest.mark.parametrize("entry", EXCEPTIONS, ids=lambda entry: f"{entry.oracle}, {entry.section}")
def test_exception_is_one(entry: Difference) -> None:
    found = [
        (oracle, our, their) for oracle, our, their in disagreements(entry.example, Counter()) if oracle == entry.oracle
    ]
    assert len(found) == 1, "oracle and we agree by now: remove the entry"
    _, our, their = found[0]
    assert differing(normalised(our), normalised(their)) <= entry.differing
    assert excused(*found[0])
    others = [other for other in EXCEPTIONS if other is not entry and isinstance(our, Message) and other.when(our)]
    assert not others, "one entry is enough for it"


def test_exceptions_are_few() -> None:
    assert len(EXCEPTIONS) <= 12


@PROFILE
@given(st.binary(max_size=200) | streams(), st.booleans())
def test_only_refusals_are_raised(data: bytes, tight: bool) -> None:
    ours([data], TIGHT if tight else DEFAULTS)  # holds the rest of what is to be said of an error


@PROFILE
@given(streams(), st.integers(0, 4))
def test_no_byte_is_lost(data: bytes, count: int) -> None:
    """What follows a message is handed over whole, after each message and at the end."""
    outcome = ours([data])
    whole = [message for message in outcome.messages if message.end is not None]
    if outcome.status is None and len(whole) == len(outcome.messages):
        end = whole[-1].end if whole else 0
        skipped = data[end : len(data) - len(outcome.rest)]
        assert data.endswith(outcome.rest)
        assert skipped in (b"", b"\r\n", b"\r\n\r\n")
    if whole:
        chosen = count % len(whole)
        end = whole[chosen].end
        assert ours([data], stop=chosen + 1).rest == data[end:]


def alike(cut: Ours, whole: Ours, config: Config) -> bool:
    """Whether cuts change nothing; under tiny limits, nothing but which of two faults in one head is named."""
    if config is TIGHT and {cut.status, whole.status} & {414, 431}:
        return {cut.status, whole.status} <= {400, 414, 431, 505} and dataclasses.replace(cut, status=None) == (
            dataclasses.replace(whole, status=None)
        )
    return cut == whole


@SLOWER
@given(streams(), st.booleans())
def test_a_cut_at_each_offset_changes_nothing(data: bytes, tight: bool) -> None:
    config = TIGHT if tight else DEFAULTS
    whole = ours([data], config)
    for offset in range(1, len(data)):
        cut = ours([data[:offset], data[offset:]], config)
        assert alike(cut, whole, config), (offset, cut, whole)


@PROFILE
@given(streams(), st.booleans())
def test_byte_by_byte_changes_nothing(data: bytes, tight: bool) -> None:
    config = TIGHT if tight else DEFAULTS
    cut, whole = ours([data[index : index + 1] for index in range(len(data))], config), ours([data], config)
    assert alike(cut, whole, config), (cut, whole)


@PROFILE
@given(streams(), st.lists(st.tuples(st.integers(0, 2**10), st.booleans()), max_size=8))
def test_cuts_and_late_looks_change_nothing(data: bytes, cuts: list[tuple[int, bool]]) -> None:
    """The parser is not always asked before more arrives: not while a request is being answered."""
    cuts = sorted((offset % (len(data) + 1), look) for offset, look in cuts)
    offsets = [0, *(offset for offset, _ in cuts), len(data)]
    pieces = [data[start:end] for start, end in itertools.pairwise(offsets)]
    assert ours(pieces, looks=[look for _, look in cuts]) == ours([data])


# What these properties found once.

REQUEST = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


def test_empty_lines_are_counted_for_each_request() -> None:
    pieces = [REQUEST] + [b"\r\n", REQUEST] * 3
    assert ours(pieces) == ours([b"".join(pieces)])


def test_a_repeated_tail_passes_no_limit() -> None:
    tail = b" HTTP/1.1\r\nHost: h\r\nA: 123456789\r\n\r\n"
    pieces = [b"GET /" + tail, b"GET /" + b"x" * 40 + tail]
    config = Config(limit_head=60)
    assert ours([pieces[1]], config).status == 431
    assert ours(pieces, config).status == 431


def test_a_bare_lf_after_a_body_is_refused_at_once() -> None:
    data = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n\r\n"
    assert ours([data]).status == ours([data[:-1], data[-1:]]).status == 400


def test_the_version_and_a_nul_are_judged_alike_however_cut() -> None:
    data = b"GET /\0 HTTP/2.0\r\nHost: h\r\n\r\n"
    assert ours([data]).status == ours([data[:8], data[8:]]).status


def test_a_parser_that_has_refused_stays_dead() -> None:
    parser = RequestParser(DEFAULTS)
    parser.feed(b"\n" + REQUEST)
    with pytest.raises(WireError):
        parser.next_request()
    parser.feed(REQUEST)
    try:
        request = parser.next_request()
    except WireError:
        request = None
    assert request is None


def test_a_decoder_that_has_refused_stays_dead() -> None:
    decoder = ChunkedDecoder(DEFAULTS, Headers())
    content = bytearray()
    decoder.decode(b"5;", 0, content)
    with pytest.raises(WireError):
        decoder.decode(b"a" * 2000, 0, content)
    with contextlib.suppress(WireError):
        decoder.decode(b"a=b\r\nhello\r\n0\r\n\r\n", 0, content)
    assert not content
    assert not decoder.complete
