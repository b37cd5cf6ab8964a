"""The grammar of a request head once more, as a machine that reads one byte after the other.

`RequestParser` is a pattern and a few short cuts, made to be fast. `Machine` is the same grammar (RFC 9112 sections
2 to 6, with the choices that the project has made where the RFC leaves some), made to be read. They share no code
and have to agree: on what is a head, on all that stands in it, and on how the body is framed.

``HYPOTHESIS_PROFILE=campaign pytest --timeout=0`` runs for minutes instead of seconds; see `support/examples.py`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiohttpd.config import Config
from aiohttpd.errors import WireError
from aiohttpd.wire.body import ChunkedDecoder
from aiohttpd.wire.headers import Headers
from aiohttpd.wire.parser import RequestParser
from aiohttpd.wire.request import Request

from ..support.examples import SHORT, examples

PROFILE = examples(400)
GENERATED = examples(900)

DIGIT = b"0123456789"
ALPHA = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
TCHAR = b"!#$%&'*+-.^_`|~" + DIGIT + ALPHA  # RFC 9110 section 5.6.2
TARGET = bytes(set(range(0x21, 0x7F)) - set(b"#"))  # visible ASCII, no fragment
VALUE = b"\t " + bytes(range(0x21, 0x7F)) + bytes(range(0x80, 0x100))  # RFC 9110 section 5.5
HOST = b"-._~" + DIGIT + ALPHA  # RFC 3986 unreserved; no percent-encoding, no sub-delims
CR, LF, SP, COLON = b"\r\n :"


class Refused(Exception):
    """No head: the statuses of all faults that were seen, any of which is a fair answer."""

    def __init__(self, statuses: Iterable[int]) -> None:
        super().__init__(set(statuses))
        self.statuses = set(statuses)


@dataclass
class Head:
    """What a head says."""

    method: bytes = b""
    target: bytes = b""
    version: bytes = b""
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    end: int = 0

    def values(self, name: bytes) -> list[bytes]:
        """The values of a field, by its name in lower case."""
        return [value for key, value in self.fields if key.lower() == name]


class Machine:
    """Reads a head: each state takes one byte and returns the next state, None at the end of the head."""

    def __init__(self) -> None:
        self.head = Head()
        self.faults: set[int] = set()
        self._empty_lines = 0
        self._name = b""
        self._value = b""

    def read(self, data: bytes, state: Callable[[int], object] | None = None) -> Head | None:
        """Return the head at the beginning of some bytes, None if they are only a part of one."""
        state = state or self.before_method
        for index, byte in enumerate(data):
            state = state(byte)  # type: ignore[assignment]
            if state is None:
                self.head.end = index + 1
                return self.head
        return None

    def refuse(self, status: int = 400) -> NoReturn:
        raise Refused({*self.faults, status})

    # RFC 9112 section 2.2: "a server [...] SHOULD ignore at least one empty line (CRLF) received prior to the
    # request-line". We ignore two.

    def before_method(self, byte: int) -> object:
        return self.empty_line if byte == CR else self.method(byte)

    def empty_line(self, byte: int) -> object:
        self._empty_lines += 1
        if byte != LF or self._empty_lines > 2:
            self.refuse()
        return self.before_method

    # RFC 9112 section 3: request-line = method SP request-target SP HTTP-version

    def method(self, byte: int) -> object:
        if byte == SP and self.head.method:
            return self.target
        if byte not in TCHAR:
            self.refuse()
        self.head.method += bytes([byte])
        return self.method

    def target(self, byte: int) -> object:
        if byte == SP:
            if not self.head.target:
                self.faults.add(400)
            return self.version
        if self.head.target.endswith(b"\r") and byte == LF:
            self.refuse()  # the line ends, and has no version: HTTP/0.9
        if byte not in TARGET:
            self.faults.add(400)  # the version may be worse
        self.head.target += bytes([byte])
        return self.target

    def version(self, byte: int) -> object:
        if byte == CR:
            return self.line_end
        if byte not in b"HTTP/." + DIGIT:
            self.refuse()
        self.head.version += bytes([byte])
        return self.version

    def line_end(self, byte: int) -> object:
        version = self.head.version
        if byte != LF or len(version) != 8 or version[:5] != b"HTTP/" or version[6:7] != b".":
            self.refuse()
        if version[5] not in DIGIT or version[7] not in DIGIT:
            self.refuse()
        if version[5:6] != b"1":
            self.refuse(505)
        if self.faults:
            raise Refused(self.faults)
        return self.line_start

    # RFC 9112 section 5: field-line = field-name ":" OWS field-value OWS, no obs-fold

    def line_start(self, byte: int) -> object:
        return self.head_end if byte == CR else self.name(byte)

    def name(self, byte: int) -> object:
        if byte == COLON and self._name:
            return self.value
        if byte not in TCHAR:
            self.refuse()
        self._name += bytes([byte])
        return self.name

    def value(self, byte: int) -> object:
        if byte == CR:
            return self.value_end
        if byte not in VALUE:
            self.refuse()
        self._value += bytes([byte])
        return self.value

    def value_end(self, byte: int) -> object:
        if byte != LF:
            self.refuse()
        self.head.fields.append((self._name, self._value.strip(b"\t ")))
        self._name = self._value = b""
        return self.line_start

    def head_end(self, byte: int) -> object:
        if byte != LF:
            self.refuse()
        return None


# What the words of a head have to be, and what they say.


@dataclass
class Framed:
    """How a message goes on after its head."""

    length: int | None = None
    chunked: bool = False
    keep_alive: bool = False
    expects_continue: bool = False
    upgrade: bytes | None = None


def all_in(value: bytes, alphabet: bytes) -> bool:
    return all(byte in alphabet for byte in value)


def is_host(value: bytes, *, with_port: bool = False) -> bool:
    """Whether it is ``uri-host [":" port]`` with a host that is not empty, RFC 9110 section 7.2."""
    if value.startswith(b"["):
        host, bracket, rest = value[1:].partition(b"]")
        if not (bracket and host and all_in(host, b"0123456789abcdefABCDEF:.")):
            return False
        if rest and not rest.startswith(b":"):
            return False
        port = rest[1:]
    else:
        host, _, port = value.partition(b":")
        if not (host and all_in(host, HOST)):
            return False
    if with_port and not port:
        return False
    return all_in(port, DIGIT) and len(port) <= 5 and int(port or b"0") <= 65535


def target_faults(method: bytes, target: bytes) -> set[int]:
    """RFC 9112 section 3.2: origin-form, absolute-form, authority-form and asterisk-form."""
    if method == b"CONNECT":
        return set() if is_host(target, with_port=True) else {400}
    if target.startswith(b"/") or (target == b"*" and method == b"OPTIONS"):
        return set()
    scheme, separator, rest = target.partition(b"://")
    if not separator or scheme.lower() not in (b"http", b"https"):
        return {400}
    authority = rest.partition(b"/")[0].partition(b"?")[0]
    return set() if is_host(authority) else {400}


def members(values: list[bytes]) -> list[bytes]:
    """The members of a list field, in lower case; RFC 9110 section 5.6.1."""
    return [member.strip(b"\t ").lower() for value in values for member in value.split(b",")]


def frame(head: Head) -> Framed:
    """Read the six fields that decide framing.

    Raises:
        Refused: with the statuses of all faults.
    """
    old = head.version == b"HTTP/1.0"
    faults = target_faults(head.method, head.target)
    framed = Framed()

    hosts = head.values(b"host")  # RFC 9112 section 3.2
    if len(hosts) > 1 or (not hosts and not old) or not all(is_host(host) for host in hosts):
        faults.add(400)

    lengths = head.values(b"content-length")  # RFC 9110 section 8.6
    for length in lengths:
        if not (length and all_in(length, DIGIT) and len(length) <= 19):
            faults.add(400)
        elif len(lengths) == 1:
            framed.length = int(length)
    if len(lengths) > 1:
        faults.add(400)

    codings = head.values(b"transfer-encoding")  # RFC 9112 section 6.1
    if len(codings) > 1 or (codings and (old or lengths)):
        faults.add(400)
    for value in codings:
        names = members([value])
        framed.chunked = True
        if names == [b"chunked"]:
            continue
        known = all(name and all_in(name, TCHAR) for name in names)
        faults.add(501 if known and names[-1] == b"chunked" and names.count(b"chunked") == 1 and not old else 400)

    options = members(head.values(b"connection"))  # RFC 9112 section 9.3
    framed.keep_alive = b"close" not in options and (not old or b"keep-alive" in options)

    expectations = [value.lower() for value in head.values(b"expect")]  # RFC 9110 section 10.1.1
    if not old and any(value != b"100-continue" for value in expectations):
        faults.add(417)
    framed.expects_continue = bool(expectations) and not old

    upgrades = head.values(b"upgrade")  # RFC 9110 section 7.8
    if upgrades and b"upgrade" in options and not old:
        framed.upgrade = upgrades[-1]

    if faults:
        raise Refused(faults)
    return framed


def size_faults(data: bytes, config: Config) -> set[int]:
    """The limits that a whole head is over."""
    while data.startswith(b"\r\n"):
        data = data[2:]
    head, end, _ = data.partition(b"\r\n\r\n")
    line, *fields = head.split(b"\r\n")
    faults = set()
    if len(line) > config.limit_request_line:
        faults.add(414)
    if len(head + end) > config.limit_head or len(fields) > config.limit_fields:
        faults.add(431)
    if any(len(line) > config.limit_field for line in fields):
        faults.add(431)
    return faults


# Both, side by side.


def by_machine(data: bytes, config: Config) -> tuple[Head, Framed] | None:
    """The first head of some bytes, None if it is not whole.

    Raises:
        Refused: it is no head.
    """
    sizes = size_faults(data, config)
    machine = Machine()
    try:
        head = machine.read(data)
        if head is None and machine.faults:
            raise Refused(machine.faults)  # whatever follows
        if head is None:
            return None
        if sizes:
            raise Refused(sizes)
        return head, frame(head)
    except Refused as refused:
        raise Refused(refused.statuses | sizes)


def by_parser(data: bytes, config: Config) -> tuple[Request, int] | None:
    """The first request of some bytes and where its head ends, None if it is not whole.

    Raises:
        WireError: it is no head.
    """
    parser = RequestParser(config)
    parser.feed(data)
    request = parser.next_request()
    return None if request is None else (request, len(data) - parser.pending)


def check(data: bytes, config: Config, *, whole: bool = True) -> str:
    """Assert that both say the same, and return what: accepted, refused or waiting.

    Args:
        data: what has arrived.
        config: the limits.
        whole: whether a head must have ended in the data; else the parser may be late with a refusal.
    """
    statuses: set[int] = set()
    ours = machine = None
    status = None
    try:
        machine = by_machine(data, config)
    except Refused as refused:
        statuses = refused.statuses
    try:
        ours = by_parser(data, config)
    except WireError as error:
        status = error.status
    if status is not None:
        assert status in statuses, f"refused with {status}, the machine has {statuses or machine} for {data!r}"
        return "refused"
    if ours is None:
        assert machine is None, f"not whole to the parser, to the machine {machine}: {data!r}"
        assert not (statuses and whole), f"waiting, the machine refuses with {statuses}: {data!r}"
        return "waiting"
    assert machine is not None, f"accepted, the machine has {statuses or 'an incomplete head'} for {data!r}"
    (request, end), (head, framed) = ours, machine
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in request.headers.raw_items()]
    assert (request.method.encode(), request.target.encode(), request.version.encode(), pairs, end) == (
        head.method,
        head.target,
        head.version,
        head.fields,
        head.end,
    )
    framing = request.framing
    assert (
        Framed(
            framing.content_length,
            framing.chunked,
            framing.keep_alive,
            framing.expects_continue,
            None if framing.upgrade is None else framing.upgrade.encode("latin-1"),
        )
        == framed
    )
    assert framing.has_body == bool(framed.chunked or framed.length)
    return "accepted"


DEFAULTS = Config()
TIGHT = Config(limit_request_line=20, limit_field=16, limit_head=64, limit_fields=3)

BASES = [
    b"GET /a HTTP/1.1\r\nHost: h:1\r\nA: b\r\n\r\n",
    b"POST http://h/ HTTP/1.0\r\nContent-Length:1 \r\nX:\r\n\r\n",
    b"CONNECT [::1]:8 HTTP/1.9\r\nHost:h\r\nTransfer-Encoding: Chunked\r\n\r\n",
    b"\r\nOPTIONS * HTTP/1.1\r\nConnection: upgrade,close\r\nUpgrade:x\r\nhost:h\r\nexpect:100-continue\r\n\r\n",
]


CLASSES = b'\x00\t\n\x0b\r\x1f !"#%(),-./09:;=?@AFGZ[\\]_afgz{|~\x7f\x80\x85\xa0\xff'


@pytest.mark.parametrize("base", BASES)
def test_every_byte_at_every_place(base: bytes) -> None:
    """Each byte of a head replaced by each byte there is, and each byte put in before it.

    In the short loop, by one or two of each class of the grammar.
    """
    assert check(base, DEFAULTS) == "accepted"
    for index in range(len(base)):
        for number in CLASSES if SHORT else range(256):
            byte = bytes([number])
            # An end, so that a head that was damaged there has one too.
            check(base[:index] + byte + base[index + 1 :] + b"\r\n\r\n", DEFAULTS)
            check(base[:index] + byte + base[index:] + b"\r\n\r\n", DEFAULTS)


@pytest.mark.parametrize("base", BASES)
def test_every_part_of_a_head(base: bytes) -> None:
    """Each beginning waits, and each head with some bytes left out is judged alike."""
    for start in range(len(base)):
        assert check(base[:start], DEFAULTS, whole=False) == "waiting"
        for end in range(start + 1, len(base) + 1):
            check(base[:start] + base[end:] + b"\r\n\r\n", DEFAULTS)


# Heads that are nearly valid: what stands first in a list is tried first when a failure is made small.

METHODS = ["GET", "POST", "OPTIONS", "CONNECT", "get", "!#$%&'*+-.^_`|~", "G(T", "", "G\xc9T"]
TARGETS = [
    *("/", "/a?b=c", "*", "h:80", "http://h/", "https://[::1]:8/p?q", "HTTP://h?q", "http://h", "//h/../%2e",
      "[::1]:80"),
    *("h", "h:", "h:65536", "h:080", "[]:1", "[::1]", "[::1]x:1", "http://", "http:///p", "http://u@h/", "http:/h",
      "ftp://h/"),
    *("http://h:x/", "http://h:99999/", "http://h%41/", "", "/#f", "/\xe9", "/\x7f", "/a b", "http", "://h/",
      "/\\^`{|}<>\""),
    *("http://a\x00/", "http+x://h/", "http://h#f", "http://h:/", "?q", "*?", "http://[::1/", "http://]/",
      "http://[g]/"),
]  # fmt: skip
VERSIONS = ["HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "HTTP/1.9", "HTTP/2.0", "HTTP/0.9", "HTTP/1.10", "http/1.1", "HTTP/1,1"]
VERSIONS += [
    "HTTP/1",
    "HTTP/\xb9.1",
    "HTTP/1.1 ",
    "",
    "HTTP/9.9",
    "HTTP/-1.1",
    "HTTP/1.\u0661".encode().decode("latin-1"),
]
FIELDS = {
    "Host": [
        *("h", "h:80", "[::1]", "[::1]:8", "1.2.3.4", "h:", "", "h:65535", "h:65536", "h:123456", "a,b", "a b",
          "u@h", "[", "[]"),
        *("h:x", "h:\xb2", "\xe9", "%41", "[::1]8", ":8", "h/", "h:8:8", "a_b~c", "[::1%25lo]", "[v1.x]", "h:+8",
          "h: 8"),
    ],
    "Content-Length": [
        *("0", "1", "007", "9" * 19, "9" * 20, "0" * 19, "0" * 20, "+1", "-1", "1_0", "1,1", "1, 1", "", "\xb2",
          "0x1", "1 1"),
        *("1.0", "1e3", "\xa01", "1\x85", "\x0b1", "\u0661".encode().decode("latin-1")),
    ],
    "Transfer-Encoding": [
        *("chunked", "Chunked", "gzip, chunked", "gzip", "chunked, gzip", "chunked, chunked", "identity", "",
          "chunked,", ","),
        *(",chunked", "gzip;q=1, chunked", "x, y\t,\tchunked", "chunked\xa0", "\x0bchunked", "xchunked", "chunked;a",
          '"chunked"'),
    ],
    "Connection": ["close", "keep-alive", "upgrade", "Keep-Alive, Upgrade", "close,keep-alive", "\tCLOSE ,", "x", "",
        "clo\xa0se"],
    "Expect": ["100-continue", "100-Continue", "100-continue, 100-continue", "200-ok", "", "100-continue;q",
        "\xa0100-continue"],
    "Upgrade": ["websocket", "", "h2c, x"],
    "X": ["", "a", " a b ", "a\tb", "\xff\x80", "a:b", "\x00", "a\x7f", "a\rb", "a\nb", "a\r\n b", "\x1b", "\x0b",
        "Host: h"],
}  # fmt: skip
COLONS = [":", ": ", ":\t", ": \t ", " :", "\t:", "", "::", ":\x0b", ":\xa0"]
LINE_ENDS = ["\r\n", "\r\n", " \r\n", "\t\r\n", "\n", "\r", "\r\r\n", "\r\n ", "\r\n\r\n", "\xa0\r\n", "\x00\r\n"]
BEFORE = ["", "\r\n", "\r\n\r\n", "\r\n\r\n\r\n", "\n", "\r", " ", "\r\n\n", "\xef\xbb\xbf"]
PLACES = 30  # about as many pieces as a head is made of; at most two of them are odd


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """A head of nearly valid pieces."""
    odd = draw(st.sets(st.integers(0, PLACES), max_size=2))
    places = iter(range(1000))

    def piece(choices: list[str], usual: int = 1) -> str:
        index = 0 if usual == 1 else draw(st.integers(0, usual - 1))
        return draw(st.sampled_from(choices)) if next(places) in odd else choices[index]

    def line(name: str) -> str:
        value = draw(st.sampled_from(FIELDS[name][:2])) if draw(st.booleans()) else draw(st.sampled_from(FIELDS[name]))
        return piece([name, name.lower(), name.upper(), name + "\xa0", name[:-1]], 3) + piece(COLONS, 4) + value

    before = piece(BEFORE, 2)
    method, target, version = piece(METHODS, 4), draw(st.sampled_from(TARGETS)), piece(VERSIONS, 2)
    if draw(st.booleans()):
        target = "/"
    space = piece([" ", "  ", "\t", "", "\xa0", "\x0b"])
    names = draw(st.lists(st.sampled_from(list(FIELDS)), max_size=4))
    lines = [line(name) for name in names]
    if "Host" not in names:
        lines.insert(draw(st.integers(0, len(lines))), piece(["Host: h", "X: h", "Host: a\r\nHost: b"]))
    lines.insert(0, f"{method} {target}{space}{version}")
    return (
        before + "".join(text + piece(LINE_ENDS, 1) for text in lines) + piece(["\r\n", "\n", "\r\r\n", "\r\n\r\n"])
    ).encode("latin-1")


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A head with a few bytes put in, left out or replaced."""
    head = draw(heads())
    edits = st.tuples(st.integers(0, 2**10), st.integers(0, 2), st.binary(max_size=2))
    for position, length, data in draw(st.lists(edits, max_size=2)):
        start = position % (len(head) + 1)
        head = head[:start] + data + head[start + length :]
    return head


def test_generated_heads() -> None:
    seen = {"accepted": 0, "refused": 0, "waiting": 0}

    @GENERATED
    @given(heads())
    def run(data: bytes) -> None:
        seen[check(data + b"\r\n\r\n", DEFAULTS)] += 1

    run()
    assert min(seen["accepted"], seen["refused"]) > GENERATED.max_examples // 6  # or there was not much to agree on


@PROFILE
@given(damaged(), st.binary(max_size=3))
def test_damaged_heads(data: bytes, follows: bytes) -> None:
    check(data + b"\r\n\r\n" + follows, DEFAULTS)


@PROFILE
@given(heads() | damaged(), st.integers(0, 2**10))
def test_beginnings_of_heads(data: bytes, length: int) -> None:
    """What may still become a head is not refused, and nothing is a head too early."""
    check(data[: length % (len(data) + 1)], DEFAULTS, whole=False)


@PROFILE
@given(heads() | damaged())
def test_heads_and_small_limits(data: bytes) -> None:
    check(data + b"\r\n\r\n", TIGHT)


@PROFILE
@given(st.binary(max_size=60))
def test_any_bytes(data: bytes) -> None:
    check(data + b"\r\n\r\n", DEFAULTS)


@PROFILE
@given(damaged())
def test_trailers_have_the_grammar_of_fields(head: bytes) -> None:
    fields = head.partition(b"\r\n")[2] + b"\r\n\r\n"
    machine = Machine()
    decoder = ChunkedDecoder(DEFAULTS, Headers())
    try:
        trailers = machine.read(fields, machine.line_start)
    except Refused:
        with pytest.raises(WireError) as caught:
            decoder.decode(b"0\r\n" + fields, 0, bytearray())
        assert caught.value.status == 400
        return
    assert trailers is not None
    end = decoder.decode(b"0\r\n" + fields, 0, bytearray())
    assert decoder.trailers is not None
    assert end == 3 + trailers.end
    assert [
        (name.encode("latin-1"), value.encode("latin-1")) for name, value in decoder.trailers.items()
    ] == trailers.fields


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET /%s HTTP/1.1\r\nHost: h\r\n\r\n" % (b"x" * 16384), 414),
        (b"GET / HTTP/1.1\r\nHost: h\r\nExpect: x\r\n\r\n", 417),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: %s\r\n\r\n" % (b"x" * 16384), 431),
        (b"GET / HTTP/1.1\r\nHost: h\r\n%s\r\n" % (b"X:\r\n" * 128), 431),
        (b"GET / HTTP/1.1\r\nHost: h\r\n%s\r\n" % (b"X: %s\r\n" % (b"x" * 16000) * 5), 431),
        (b"GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505),
    ],
)
def test_each_refusal_has_its_status(data: bytes, status: int) -> None:
    with pytest.raises(Refused) as machine:
        by_machine(data, DEFAULTS)
    with pytest.raises(WireError) as parser:
        by_parser(data, DEFAULTS)
    assert {parser.value.status} == machine.value.statuses == {status}
