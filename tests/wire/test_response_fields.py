"""The memory of response fields: what is remembered changes no line and no error."""

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


def test_no_handler_can_make_it_grow() -> None:
    for length in range(2000):
        ResponseFields.of([("Content-Length", length), ("X-Number", str(length))])
    for known in (response._known_deciding, response._known_lines):
        assert len(known) <= response._KNOWN_LINES
        assert all(len(name) + len(value) <= response._LONGEST_KNOWN for name, value in known)
