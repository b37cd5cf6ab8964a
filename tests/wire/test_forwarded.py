"""Forwarded and X-Forwarded-*: who the client is, and that nobody else can say so."""

import itertools
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import aiohttpd
from aiohttpd.config.trust import TrustedProxies, read_fields
from aiohttpd.engine.interfaces import Answer
from aiohttpd.engine.proxied import Origin, find_origin
from aiohttpd.testing import exchange
from aiohttpd.wire.forwarded import elements, read_node
from aiohttpd.wire.headers import Headers

X_FORWARDED = aiohttpd.Config().trusted_fields
PROXY = ("127.0.0.1", 50000)  # as whom `exchange` connects
SPOOFED = "6.6.6.6"


class Tell(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        request = self.request
        assert self.client_address == request.client_address
        assert self.address_string() == request.client_address[0]
        self.send_json([list(request.client_address), request.scheme, request.host])


def fields_of(*lines: str) -> Headers:
    return Headers("\n" + "".join(f"{line}\r\n" for line in lines))


async def heard(
    *lines: str, trusted: str = "127.0.0.1, 10.0.0.0/8", fields: str = X_FORWARDED, target: str = "/"
) -> list:
    """What a handler is told, behind a proxy at 127.0.0.1."""
    config = aiohttpd.Config(trusted_proxies=trusted, trusted_fields=fields, access_log=False)
    head = [f"GET {target} HTTP/1.1", "Host: own.example", *lines, "", ""]
    answer = await exchange(Tell, "\r\n".join(head).encode("latin-1"), config=config)
    address, *rest = json.loads(answer.partition(b"\r\n\r\n")[2])
    return [tuple(address), *rest]


X_CASES = {
    "nothing": ([], PROXY, "http", "own.example"),
    "one": (["X-Forwarded-For: 192.0.2.1"], ("192.0.2.1", 0), "http", "own.example"),
    "with port": (["X-Forwarded-For: 192.0.2.1:4711"], ("192.0.2.1", 4711), "http", "own.example"),
    "IPv6": (["X-Forwarded-For: 2001:DB8::1"], ("2001:db8::1", 0), "http", "own.example"),
    "IPv6 in brackets": (["X-Forwarded-For: [2001:db8::1]"], ("2001:db8::1", 0), "http", "own.example"),
    "IPv6 with port": (["X-Forwarded-For: [2001:db8:0::1]:80"], ("2001:db8::1", 80), "http", "own.example"),
    "IPv4 in IPv6": (["X-Forwarded-For: ::ffff:192.0.2.1"], ("192.0.2.1", 0), "http", "own.example"),
    "spoofed": ([f"X-Forwarded-For: {SPOOFED}, 192.0.2.1"], ("192.0.2.1", 0), "http", "own.example"),
    "spoofed, no space": ([f"X-Forwarded-For: {SPOOFED},192.0.2.1"], ("192.0.2.1", 0), "http", "own.example"),
    "spoofed in a line": (
        [f"X-Forwarded-For: {SPOOFED}", "X-Forwarded-For: 192.0.2.1"],
        ("192.0.2.1", 0),
        "http",
        "own.example",
    ),
    "spoofed in other letters": (
        [f"x-forwarded-for: {SPOOFED}", "X-FORWARDED-FOR: 192.0.2.1"],
        ("192.0.2.1", 0),
        "http",
        "own.example",
    ),
    "spoofed as a proxy": (["X-Forwarded-For: 10.0.0.1, 192.0.2.1"], ("192.0.2.1", 0), "http", "own.example"),
    "two proxies": ([f"X-Forwarded-For: {SPOOFED}, 192.0.2.1, 10.0.0.1"], ("192.0.2.1", 0), "http", "own.example"),
    "two proxies, two lines": (
        [f"X-Forwarded-For: {SPOOFED}, 192.0.2.1", "X-Forwarded-For: 10.0.0.1"],
        ("192.0.2.1", 0),
        "http",
        "own.example",
    ),
    "proxies only": (["X-Forwarded-For: 10.0.0.7, 10.0.0.1:99"], ("10.0.0.7", 0), "http", "own.example"),
    "unknown": ([f"X-Forwarded-For: {SPOOFED}, unknown"], PROXY, "http", "own.example"),
    "unknown before a proxy": (
        [f"X-Forwarded-For: {SPOOFED}, unknown, 10.0.0.1"],
        ("10.0.0.1", 0),
        "http",
        "own.example",
    ),
    "hidden": ([f"X-Forwarded-For: {SPOOFED}, _hidden"], PROXY, "http", "own.example"),
    "empty": ([f"X-Forwarded-For: {SPOOFED}, "], PROXY, "http", "own.example"),
    "empty first": (["X-Forwarded-For: , 192.0.2.1"], ("192.0.2.1", 0), "http", "own.example"),
    "garbage first": (['X-Forwarded-For: \xff";<script>, 192.0.2.1'], ("192.0.2.1", 0), "http", "own.example"),
    "garbage last": ([f"X-Forwarded-For: {SPOOFED}, 192.0.2.1 OR 1=1"], PROXY, "http", "own.example"),
    "a name": ([f"X-Forwarded-For: {SPOOFED}, localhost"], PROXY, "http", "own.example"),
    "octal": (["X-Forwarded-For: 192.0.2.01"], PROXY, "http", "own.example"),
    "unix, not trusted": ([f"X-Forwarded-For: {SPOOFED}, unix:"], ("unix:", 0), "http", "own.example"),
    "scheme": (["X-Forwarded-Proto: https"], PROXY, "https", "own.example"),
    "scheme in capitals": (["X-Forwarded-Proto: HTTPS"], PROXY, "https", "own.example"),
    "scheme of a WebSocket": (["X-Forwarded-Proto: wss"], PROXY, "https", "own.example"),
    "scheme of a WebSocket without TLS": (["X-Forwarded-Proto: https, ws"], PROXY, "http", "own.example"),
    "scheme, spoofed": (["X-Forwarded-Proto: https, http"], PROXY, "http", "own.example"),
    "scheme, spoofed in a line": (
        ["X-Forwarded-Proto: https", "X-Forwarded-Proto: http"],
        PROXY,
        "http",
        "own.example",
    ),
    "no scheme": (["X-Forwarded-Proto: javascript"], PROXY, "http", "own.example"),
    "host": (["X-Forwarded-Host: www.example:8000"], PROXY, "http", "www.example:8000"),
    "host, spoofed": (["X-Forwarded-Host: evil.example, www.example"], PROXY, "http", "www.example"),
    "host, malformed": (["X-Forwarded-Host: a.example/path"], PROXY, "http", "own.example"),
    "port": (["X-Forwarded-Port: 8443", "X-Forwarded-Proto: https"], PROXY, "https", "own.example:8443"),
    "usual port": (["X-Forwarded-Port: 443", "X-Forwarded-Proto: https"], PROXY, "https", "own.example"),
    "port of the host": (["X-Forwarded-Port: 80", "X-Forwarded-Host: a:81"], PROXY, "http", "a:81"),
    "port, IPv6": (["X-Forwarded-Port: 81", "X-Forwarded-Host: [::1]"], PROXY, "http", "[::1]:81"),
    "port, malformed": (["X-Forwarded-Port: 8080@evil.example"], PROXY, "http", "own.example"),
    "port too high": (["X-Forwarded-Port: 65536"], PROXY, "http", "own.example"),
    "the other kind": ([f"Forwarded: for={SPOOFED};proto=https;host=evil.example"], PROXY, "http", "own.example"),
    "both kinds": (
        [f"Forwarded: for={SPOOFED};proto=https;host=evil.example", "X-Forwarded-For: 192.0.2.1"],
        ("192.0.2.1", 0),
        "http",
        "own.example",
    ),
}


@pytest.mark.parametrize("name", X_CASES)
async def test_x_forwarded(name: str) -> None:
    lines, address, scheme, host = X_CASES[name]
    assert await heard(*lines) == [address, scheme, host]


@pytest.mark.parametrize("name", X_CASES)
async def test_x_forwarded_of_whom_nobody_trusts(name: str) -> None:
    assert await heard(*X_CASES[name][0], trusted="10.0.0.0/8, ::1, unix:") == [PROXY, "http", "own.example"]


F_CASES = {
    "one": ("for=192.0.2.1", ("192.0.2.1", 0), "http", "own.example"),
    "all": ("for=192.0.2.1;proto=https;host=www.example;by=10.0.0.1", ("192.0.2.1", 0), "https", "www.example"),
    "in other letters": ("For=192.0.2.1;PROTO=HTTPS;Host=www.example", ("192.0.2.1", 0), "https", "www.example"),
    "with white space": ("for=192.0.2.1; proto=https ;host=a", ("192.0.2.1", 0), "https", "a"),
    "quoted": ('for="192.0.2.1:4711";proto="https"', ("192.0.2.1", 4711), "https", "own.example"),
    "IPv6": ('for="[2001:db8:cafe::17]:4711"', ("2001:db8:cafe::17", 4711), "http", "own.example"),
    "host with port": ('for=192.0.2.1;host="www.example:8000"', ("192.0.2.1", 0), "http", "www.example:8000"),
    "escaped in quotes": (r'for="192.0.2\.1"', ("192.0.2.1", 0), "http", "own.example"),
    "hidden port": ('for="192.0.2.1:_port"', ("192.0.2.1", 0), "http", "own.example"),
    "empty pairs": (";for=192.0.2.1;;proto=https;", ("192.0.2.1", 0), "https", "own.example"),
    "unknown parameter": ('for=192.0.2.1;x="a, b; for=6.6.6.6";secret=_q', ("192.0.2.1", 0), "http", "own.example"),
    "spoofed": (f"for={SPOOFED};proto=https;host=evil.example, for=192.0.2.1", ("192.0.2.1", 0), "http", "own.example"),
    "open quote before": (f'for="{SPOOFED}, for=192.0.2.1', ("192.0.2.1", 0), "http", "own.example"),
    "open quote before a quote": (f'for="{SPOOFED}, for="[2001:db8::1]"', ("2001:db8::1", 0), "http", "own.example"),
    "open quote, meant to swallow": (
        f'for=9.9.9.9;x="a, for={SPOOFED};y=", for="[2001:db8::1]:5";proto=https',
        ("2001:db8::1", 5),
        "https",
        "own.example",
    ),
    "backslash before": (f'for="{SPOOFED}\\, for="192.0.2.1:1"', ("192.0.2.1", 1), "http", "own.example"),
    "two proxies": (
        f"for={SPOOFED}, for=192.0.2.1;proto=https;host=www.example, for=10.0.0.1;proto=http;host=inner",
        ("192.0.2.1", 0),
        "https",
        "www.example",
    ),
    "the second says no more": (
        "for=192.0.2.1, for=10.0.0.1;proto=https;host=www.example",
        ("192.0.2.1", 0),
        "https",
        "www.example",
    ),
    "unknown": (f"for={SPOOFED}, for=unknown;proto=https", PROXY, "https", "own.example"),
    "hidden": (f"for={SPOOFED}, for=_hidden, for=10.0.0.1", ("10.0.0.1", 0), "http", "own.example"),
    "without for": (f"for={SPOOFED}, proto=https", PROXY, "https", "own.example"),
    "empty element": (f"for={SPOOFED}, ", PROXY, "http", "own.example"),
    "twice in one": (f"for={SPOOFED};for=192.0.2.1;proto=https", PROXY, "http", "own.example"),
    "IPv6 without quotes": (f"for={SPOOFED}, for=[2001:db8::1]", PROXY, "http", "own.example"),
    "no value": (f"for={SPOOFED}, for=;proto=https", PROXY, "http", "own.example"),
    "no equals sign": (f"for={SPOOFED}, 192.0.2.1", PROXY, "http", "own.example"),
    "space at the equals sign": (f"for={SPOOFED}, for = 192.0.2.1", PROXY, "http", "own.example"),
    "quoted name": (f'for={SPOOFED}, "for"=192.0.2.1', PROXY, "http", "own.example"),
    "more after a quote": (f'for={SPOOFED}, for="192.0.2.1"9', PROXY, "http", "own.example"),
    "malformed host": ('for=192.0.2.1;host="evil.example/x"', ("192.0.2.1", 0), "http", "own.example"),
    "scheme of a WebSocket": ("for=192.0.2.1;proto=wss", ("192.0.2.1", 0), "https", "own.example"),
    "another scheme": ("for=192.0.2.1;proto=gopher", ("192.0.2.1", 0), "http", "own.example"),
}


@pytest.mark.parametrize("name", F_CASES)
async def test_forwarded(name: str) -> None:
    value, address, scheme, host = F_CASES[name]
    assert await heard(f"Forwarded: {value}", fields="Forwarded") == [address, scheme, host]
    # A client cannot do more with a line of its own, nor with the other kind.
    lines = [f"Forwarded: for={SPOOFED};proto=gopher", f"Forwarded: {value}", f"X-Forwarded-For: {SPOOFED}"]
    assert await heard(*lines, "X-Forwarded-Host: evil.example", fields="Forwarded") == [address, scheme, host]


@pytest.mark.parametrize("name", F_CASES)
async def test_forwarded_of_whom_nobody_trusts(name: str) -> None:
    answer = await heard(f"Forwarded: {F_CASES[name][0]}", fields="Forwarded", trusted="127.0.0.2")
    assert answer == [PROXY, "http", "own.example"]


async def test_only_the_fields_that_are_named() -> None:
    lines = ["X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil", "X-Forwarded-Port: 81"]
    assert await heard(*lines, fields="X-Forwarded-For") == [("192.0.2.1", 0), "http", "own.example"]
    assert await heard(*lines, fields="x-forwarded-proto X-FORWARDED-PORT") == [PROXY, "https", "own.example:81"]
    assert await heard(*lines, fields="") == [PROXY, "http", "own.example"]


async def test_host_beats_an_absolute_target() -> None:
    """A proxy may pass on the target as the client wrote it."""
    target = "http://target.example/"
    assert (await heard(target=target))[2] == "target.example"
    assert (await heard("X-Forwarded-Host: www.example", target=target))[2] == "www.example"


async def test_a_chain_by_a_unix_socket() -> None:
    line = f"X-Forwarded-For: {SPOOFED}, 192.0.2.1, unix:"
    assert (await heard(line, trusted="127.0.0.1, unix:"))[0] == ("192.0.2.1", 0)


async def test_each_request_of_a_connection_is_another_clients() -> None:
    config = aiohttpd.Config(trusted_proxies="127.0.0.1", access_log=False)
    clients = ["192.0.2.1", "192.0.2.2", "192.0.2.2", None, "192.0.2.1"]
    requests = [
        "GET / HTTP/1.1\r\nHost: a\r\n" + (f"X-Forwarded-For: {client}\r\n" if client else "") + "\r\n"
        for client in clients
    ]
    answer = await exchange(Tell, "".join(requests).encode(), config=config)
    found = re.findall(rb'^\[\["([^"]+)"', answer, re.M)
    assert [host.decode() for host in found] == [client or PROXY[0] for client in clients]


async def test_the_log_has_the_client() -> None:
    seen = []

    class Log:
        def answered(self, request: aiohttpd.Request, answer: Answer, started: float) -> None:
            seen.append((request.client_address[0], answer.status))

        def refused(self, client_address: object, line: str, status: int) -> None:
            raise AssertionError

        def message(self, text: str) -> None:
            seen.append((text.split()[0], 0))

    class Hello(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.log_message("hello")
            self.send_text("hello")

    data = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"
    await exchange(Hello, data, config=aiohttpd.Config(trusted_proxies="127.0.0.1"), access_log=Log())
    assert seen == [("192.0.2.1", 0), ("192.0.2.1", 200)]


async def test_cookies_are_secure_behind_tls_of_the_proxy() -> None:
    class Cookie(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.set_cookie("a", "b")
            self.send_text("")

    data = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n\r\n"
    for trusted, secure in (("127.0.0.1", True), ("127.0.0.2", False)):
        answer = await exchange(Cookie, data, config=aiohttpd.Config(trusted_proxies=trusted, access_log=False))
        assert (b"Secure" in answer) is secure


class TestWhom:
    @pytest.mark.parametrize(
        ("host", "trusted"),
        [
            ("10.0.0.1", True),
            ("10.255.255.255", True),
            ("11.0.0.1", False),
            ("192.0.2.7", True),
            ("192.0.2.8", False),
            ("::ffff:10.0.0.1", True),  # a socket for both families says so
            ("::ffff:11.0.0.1", False),
            ("fe80::1%eth0", True),
            ("2001:db8::1", False),
            ("unix:", False),
            ("localhost", False),
            ("", False),
            ("0", False),
        ],
    )
    def test_networks(self, host: str, trusted: bool) -> None:
        assert TrustedProxies("10.0.0.0/8,192.0.2.7  fe80::/10").includes(host) is trusted

    def test_unix(self) -> None:
        assert TrustedProxies("unix:").includes("unix:")
        assert not TrustedProxies("unix:").includes("127.0.0.1")

    @pytest.mark.parametrize(
        "text", ["10.0.0.1/8", "*", "localhost", "10.0.0.0/33", "unix:/run/x", "10.0.0.0-10.0.0.9"]
    )
    def test_what_is_none(self, text: str) -> None:
        with pytest.raises(ValueError, match="trusted_proxies: .*" + re.escape(text)):
            aiohttpd.Config(trusted_proxies=f"127.0.0.1, {text}")

    @pytest.mark.parametrize("text", ["X-Real-IP", "Forwarded, X-Forwarded-For", "X-Forwarded"])
    def test_fields(self, text: str) -> None:
        with pytest.raises(ValueError, match="trusted_fields"):
            aiohttpd.Config(trusted_fields=text)

    def test_protocol_of_nobody(self) -> None:
        with pytest.raises(ValueError, match="trusted_proxies"):
            aiohttpd.Config(proxy_protocol=True)

    def test_environment(self) -> None:
        environment = {"AIOHTTPD_TRUSTED_PROXIES": "10.0.0.0/8", "AIOHTTPD_PROXY_PROTOCOL": "yes"}
        config = aiohttpd.Config.from_options({}, environment)
        assert config.trusted_proxies == "10.0.0.0/8" and config.proxy_protocol
        with pytest.raises(ValueError, match="trusted_proxies"):
            aiohttpd.Config.from_options({}, {"AIOHTTPD_TRUSTED_PROXIES": "everybody"})


# Whatever a client writes, what the proxies add after it decides.

PROXIES = TrustedProxies("10.0.0.0/8")
NEAREST = Origin(("10.0.0.9", 1), "http")
field_text = st.text(alphabet=st.sampled_from('forhstpby=;,"\\ \t_.:[]0126\xff'), max_size=60) | st.text(
    alphabet=st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=60
)


@given(written=field_text, lines=st.booleans())
def test_a_client_cannot_change_x_forwarded_for(written: str, lines: bool) -> None:
    added = "192.0.2.1, 10.0.0.1"
    headers = (
        fields_of(f"X-Forwarded-For: {written}", f"X-Forwarded-For: {added}")
        if lines
        else fields_of(f"X-Forwarded-For: {written}, {added}")
    )
    assert find_origin(headers, read_fields(X_FORWARDED), PROXIES, NEAREST).client_address == ("192.0.2.1", 0)


@given(
    written=field_text,
    lines=st.booleans(),
    added=st.sampled_from(
        [
            'for="[2001:db8::1]:5";proto=https;host="www.example:1"',
            'host="www.example:1";for="[2001:db8::1]:5";proto=https, for=10.0.0.1;proto=http',
            'proto="https";by="[::1]:1";host="www.example:1";for="[2001:db8::1]:5", for="10.0.0.1:9"',
        ]
    ),
)
def test_a_client_cannot_change_forwarded(written: str, lines: bool, added: str) -> None:
    headers = (
        fields_of(f"Forwarded: {written}", f"Forwarded: {added}")
        if lines
        else fields_of(f"Forwarded: {written}, {added}")
    )
    origin = find_origin(headers, read_fields("forwarded"), PROXIES, NEAREST)
    assert origin == Origin(("2001:db8::1", 5), "https", "www.example:1")


@given(field_text)
def test_any_value(value: str) -> None:
    """Nothing is raised, and nothing comes of it that is no address."""
    for name, fields in itertools.product(("Forwarded", "X-Forwarded-For"), ("Forwarded", X_FORWARDED)):
        origin = find_origin(fields_of(f"{name}: {value}"), read_fields(fields), PROXIES, NEAREST)
        assert re.fullmatch(r"[0-9a-f.:]+|unix:", str(origin.client_address[0]))
    assert all(element is None or all(element) for element in elements(fields_of(f"Forwarded: {value}")))


def test_long_values_take_linear_time() -> None:
    """The longest that the limits let through; a square of it would take minutes."""
    for value in ("," * 64000, '"' * 64000, ";" * 64000, "a=" * 32000, '="\\' * 20000, "10.0.0.1," * 7000, ":" * 64000):
        for fields in ("Forwarded", X_FORWARDED):
            name = fields.split(",")[0]
            find_origin(fields_of(f"{name}: {value}"), read_fields(fields), PROXIES, NEAREST)


@given(st.ip_addresses(), st.integers(0, 65535))
def test_nodes(address: object, port: int) -> None:
    text = str(address)
    mapped = getattr(address, "ipv4_mapped", None)
    wanted = str(mapped or address)
    bracketed = f"[{text}]" if ":" in text else text
    assert read_node(bracketed) == read_node(text) == (wanted, 0)
    assert read_node(f"{bracketed}:{port}") == (wanted, port)
    assert read_node(f"{bracketed}:_{port}") == (wanted, 0)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "unknown", "_hidden", "1.2.3", "1.2.3.4.5", "1.2.3.4:", "1.2.3.4:65536", "1.2.3.4:123456",
        "1.2.3.4:-1", "::1%lo", "[::1", "::1]", "[1.2.3.4]", "[::1]:", "[::1]80", "1:2", "g::1", "::1/64", "0x7f.1",
        "2130706433",
        "1.2.3.4\n", "a" * 9999,
    ],
)  # fmt: skip
def test_no_nodes(text: str) -> None:
    assert read_node(text) is None
