"""The memory of response fields: what is remembered changes no line and no error."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiohttpd.wire import response
from aiohttpd.wire.response import ResponseFields

NAMES = st.sampled_from(
    ["Content-Length", "content-length", "Connection", "Transfer-Encoding", "Date", "X-A", "No Name"]
)
VALUES = st.sampled_from(["14", " 14 ", "0", "\u0661", "-1", "close", "chunked", "a\rb", 14, True, 14.0, "9" * 200])
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=4)


def made(fields: list[tuple[str, str | int]]) -> object:
    try:
        lines = ResponseFields.of(fields)
    except (TypeError, ValueError) as error:
        return type(error), str(error)
    return list(lines), lines.deciding


@given(FIELDS)
def test_a_memory_changes_nothing(fields: list[tuple[str, str | int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(response, "_known_lines", {})
        patch.setattr(response, "_known_deciding", {})
        assert made(fields) == made(fields)


CL, TE = "Content-Length", "transfer-encoding"


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        *(([(CL, value)], ValueError, "a number of bytes") for value in ("", "abc", "+5", "5_0", "\xb2", "5,5", -5)),
        *(([(TE, value)], ValueError, "'chunked' only") for value in ("", "gzip, chunked", "identity")),
        ([(CL, 5), ("content-LENGTH", 5)], ValueError, "a second content-length"),
        ([(TE, "chunked"), (TE, "chunked")], ValueError, "a second transfer-encoding"),
        ([(CL, 5), (TE, "chunked")], ValueError, "not both"),
        ([(TE, "chunked"), (CL, 5)], ValueError, "not both"),
        *(
            ([(name, value)], TypeError, "is text")
            for name, value in ((b"A", "b"), ("A", b"b"), ("A", 1.5), ("A", None))
        ),
        *(([(name, "b")], ValueError, "no field name") for name in ("", "A B", "A:", "A\n", "\xc4")),
        *(([("A", value)], ValueError, "may not stand") for value in ("b\r\nC: d", "b\n", "\0", "\x7f")),
    ],
)
def test_fields_that_break_the_framing(fields: list[tuple[Any, Any]], error: type[Exception], message: str) -> None:
    for _ in range(2):  # what is remembered is refused as well
        with pytest.raises(error, match=message):
            ResponseFields.of(fields)


def test_fields_that_decide() -> None:
    for _ in range(2):
        assert ResponseFields.of([("A", "b")]).deciding is None
        assert ResponseFields.of([(CL, " 05 "), ("A", "b")]).deciding == {"content-length": "05"}
        assert ResponseFields.of([(TE, "Chunked")]).deciding == {"transfer-encoding": "Chunked"}
        twice = ResponseFields.of([("Connection", "a"), ("Date", "x"), ("connection", "close"), ("Date", "y")])
        assert twice.deciding == {"connection": "a, close", "date": "y"}
        assert list(twice.pairs()) == [("Connection", "a"), ("Date", "x"), ("connection", "close"), ("Date", "y")]
        twice.drop("CONNECTION")
        assert (list(twice), twice.deciding) == ([b"Date: x\r\n", b"Date: y\r\n"], {"date": "y"})


def test_no_handler_can_make_it_grow() -> None:
    for length in range(2000):
        ResponseFields.of([("Content-Length", length), ("X-Number", str(length))])
    for known in (response._known_deciding, response._known_lines):
        assert len(known) <= response._KNOWN_LINES
        assert all(len(name) + len(value) <= response._LONGEST_KNOWN for name, value in known)
