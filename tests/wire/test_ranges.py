"""Byte ranges at their bounds, RFC 9110 section 14, by themselves: also of sizes that no test file has."""

import pytest

from aiohttpd.wire.ranges import select

HUGE = "9" * 40


@pytest.mark.parametrize(
    ("value", "size", "spans"),
    [
        ("0-0", 10, [(0, 1)]),
        ("9-", 10, [(9, 10)]),
        ("9-10", 10, [(9, 10)]),
        ("10-", 10, []),
        ("10-10,2-2", 10, [(2, 3)]),
        ("-1", 10, [(9, 10)]),
        ("-10", 10, [(0, 10)]),
        ("-11", 10, [(0, 10)]),
        ("-0", 10, []),
        ("-0,1-1", 10, [(1, 2)]),
        ("-5", 0, None),
        ("-00", 0, []),
        ("0-", 0, []),
        ("0-5", 0, []),
        ("2-1", 10, None),
        ("0-1,5-4", 10, None),
        ("10-009", 10, None),
        ("009-10", 10, [(9, 10)]),
        ("0" * 30 + "-" + "0" * 30 + "1", 10, [(0, 2)]),
        ("0-" + "9" * 19, 10, [(0, 10)]),
        (f"0-{HUGE}", 10, [(0, 10)]),
        (f"-{HUGE}", 10, [(0, 10)]),
        (f"{HUGE}-", 10, []),
        (f"{HUGE}-{HUGE}", 10, []),
        (f"{HUGE}-1{HUGE}", 10, []),
        (f"{HUGE}-8{HUGE[1:]}", 10, None),
        ("1000000000000000000-", 10**18 + 1, [(10**18, 10**18 + 1)]),
        ("0-4,5-9", 10, [(0, 5), (5, 10)]),
        ("0-5,5-9", 10, None),
        ("0-0,1-1,2-2", 10, [(0, 1), (1, 2), (2, 3)]),
        ("0-0,1-1,2-2,3-3", 10, None),
    ],
)
def test_select(value: str, size: int, spans: list[tuple[int, int]] | None) -> None:
    assert select(f"bytes={value}", size, limit=3) == spans
    assert select(f"BYTES= ,{value}\t,", size, limit=3) == spans
    assert select(f"lines={value}", size, limit=3) is None
