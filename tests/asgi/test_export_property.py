"""Whatever another server lets pass: scopes of any bytes, and frames in any pieces."""

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from aiohttpd import Config, WireError
from aiohttpd.asgi.exported.request import request_of
from aiohttpd.asgi.exported.websocket import FrameReader
from aiohttpd.wire.headers import is_field_value, is_token

from ..support.asgi import http_scope
from ..support.examples import examples
from ..support.websocket_clients import CONT, PING, frame

CONFIG = Config()
odd = st.text("ab%/?#\\ .:;=\r\n\0\t\xff\u20ac", max_size=8)
odd_bytes = st.lists(st.sampled_from([b"a", b"%2F", b"/", b"?", b"#", b" ", b"\r\n", b"\0", b"\xff", b".."])).map(
    b"".join
)
names = st.one_of(
    st.sampled_from([b"host", b":authority", b":path", b"cookie", b"content-length", b"connection", b"upgrade"]),
    odd_bytes,
)


@examples(400)
@given(
    method=st.one_of(st.sampled_from(["GET", "get", "", "G T"]), odd),
    raw=st.one_of(st.none(), odd_bytes),
    path=odd,
    query=odd_bytes,
    root=odd,
    headers=st.lists(st.tuples(names, st.one_of(odd_bytes, st.sampled_from([b"1", b"close", b"a:80"]))), max_size=5),
    version=st.sampled_from(["1.0", "1.1", "2", "3"]),
)
def test_a_request_is_well_formed_or_refused(
    method: str,
    raw: bytes | None,
    path: str,
    query: bytes,
    root: str,
    headers: list[tuple[bytes, bytes]],
    version: str,
) -> None:
    scope: dict[str, Any] = http_scope() | {
        "method": method, "raw_path": raw, "path": path, "query_string": query, "root_path": root, "headers": headers,
        "http_version": version,
    }  # fmt: skip
    try:
        request, _ = request_of(scope, CONFIG)
    except WireError:
        return
    assert re.fullmatch(r"[\x21-\x7e]+ [\x21-\x7e]+ HTTP/1\.[01]", request.requestline)
    assert request.target == "*" or request.target.startswith("/")
    assert not request.root_path.endswith("/")
    for name, value in request.headers.items():
        assert is_token(name)
        assert is_field_value(value)
        assert not set(value) & set("\r\n\0")


@examples(200)
@given(
    messages=st.lists(st.tuples(st.sampled_from([1, 2]), st.integers(0, 300), st.integers(1, 4)), max_size=6),
    cut=st.integers(1, 700),
)
def test_frames_in_any_pieces(messages: list[tuple[int, int, int]], cut: int) -> None:
    sent = bytearray()
    for opcode, size, parts in messages:
        for part in range(parts):
            last = part == parts - 1
            sent += frame(CONT if part else opcode, bytes([part]) * size, fin=last, masked=False)
            if not last:
                sent += frame(PING, b"p", masked=False)  # it may stand between fragments
    taken: list[tuple[int, bytes]] = []
    reader = FrameReader(10_000, lambda opcode, content: taken.append((opcode, content)))
    assert all(reader.feed(sent[at : at + cut]) for at in range(0, len(sent), cut))
    expected = [(opcode, b"".join(bytes([part]) * size for part in range(parts))) for opcode, size, parts in messages]
    assert [each for each in taken if each[0] != PING] == expected
    assert sum(1 for each in taken if each[0] == PING) == sum(parts - 1 for _, _, parts in messages)
