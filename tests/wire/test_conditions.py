"""Conditions of requests in the order of RFC 9110 section 13.2.2, by themselves: also those that no file has."""

import pytest

from aiohttpd.wire.conditions import Outcome, Validators, evaluate, range_applies
from aiohttpd.wire.headers import headers_of

NOW = 784111777 + 1000  # a thousand seconds after the dates below
THEN, BEFORE, AFTER = (f"Sun, 06 Nov 1994 08:49:{second} GMT" for second in (37, 36, 38))
FILE = Validators('"a"', 784111777)
WEAK = Validators('W/"a"', 784111777)
NONE, UNDATED = None, Validators('"a"', None)
PERFORM, NOT_MODIFIED, FAILED = Outcome.PERFORM, Outcome.NOT_MODIFIED, Outcome.FAILED


@pytest.mark.parametrize(
    ("fields", "current", "get", "post"),
    [
        ({}, FILE, PERFORM, PERFORM),
        ({}, NONE, PERFORM, PERFORM),
        ({"If-Match": "*"}, FILE, PERFORM, PERFORM),
        ({"If-Match": "*"}, NONE, FAILED, FAILED),
        ({"If-Match": '"b", "a"'}, FILE, PERFORM, PERFORM),
        ({"If-Match": '"b"'}, FILE, FAILED, FAILED),
        ({"If-Match": "a"}, FILE, FAILED, FAILED),
        ({"If-Match": 'W/"a"'}, FILE, FAILED, FAILED),
        ({"If-Match": 'W/"a"'}, WEAK, FAILED, FAILED),
        ({"If-Match": '"a"'}, WEAK, FAILED, FAILED),
        ({"If-Unmodified-Since": THEN}, FILE, PERFORM, PERFORM),
        ({"If-Unmodified-Since": BEFORE}, FILE, FAILED, FAILED),
        ({"If-Unmodified-Since": BEFORE}, UNDATED, PERFORM, PERFORM),
        ({"If-Unmodified-Since": "yesterday"}, FILE, PERFORM, PERFORM),
        ({"If-Match": '"a"', "If-Unmodified-Since": BEFORE}, FILE, PERFORM, PERFORM),
        ({"If-None-Match": "*"}, FILE, NOT_MODIFIED, FAILED),
        ({"If-None-Match": "*"}, NONE, PERFORM, PERFORM),
        ({"If-None-Match": '"b", "a"'}, FILE, NOT_MODIFIED, FAILED),
        ({"If-None-Match": 'W/"a"'}, FILE, NOT_MODIFIED, FAILED),
        ({"If-None-Match": '"a"'}, WEAK, NOT_MODIFIED, FAILED),
        ({"If-None-Match": '"b"'}, FILE, PERFORM, PERFORM),
        ({"If-None-Match": '"b"', "If-Modified-Since": THEN}, FILE, PERFORM, PERFORM),
        ({"If-Modified-Since": THEN}, FILE, NOT_MODIFIED, PERFORM),
        ({"If-Modified-Since": AFTER}, FILE, NOT_MODIFIED, PERFORM),
        ({"If-Modified-Since": BEFORE}, FILE, PERFORM, PERFORM),
        ({"If-Modified-Since": THEN}, UNDATED, PERFORM, PERFORM),
        ({"If-Modified-Since": "today"}, FILE, PERFORM, PERFORM),
    ],
)
def test_conditions(fields: dict[str, str], current: Validators | None, get: Outcome, post: Outcome) -> None:
    headers = headers_of(fields.items())
    outcomes = [evaluate(headers, current, now=NOW, method=method) for method in ("GET", "HEAD", "POST", "PUT")]
    assert outcomes == [get, get, post, post]


@pytest.mark.parametrize("name", ["If-Unmodified-Since", "If-Modified-Since"])
def test_a_date_twice_is_none(name: str) -> None:
    assert evaluate(headers_of([(name, BEFORE), (name, AFTER)]), FILE, now=NOW) is PERFORM


@pytest.mark.parametrize("name", ["If-Match", "If-None-Match"])
def test_tags_in_two_fields_are_one_list(name: str) -> None:
    headers = headers_of([(name, '"b"'), (name, '"a"')])
    assert evaluate(headers, FILE, now=NOW) is (PERFORM if name == "If-Match" else NOT_MODIFIED)


@pytest.mark.parametrize(
    ("values", "current", "applies"),
    [
        ([], FILE, True),
        (['"a"'], FILE, True),
        (['"b"'], FILE, False),
        (['W/"a"'], WEAK, False),
        (['"a"', '"a"'], FILE, False),
        ([THEN], FILE, True),
        ([BEFORE], FILE, False),
        ([AFTER], FILE, False),
        ([THEN], UNDATED, False),
        (["today"], FILE, False),
    ],
)
def test_ranges_apply(values: list[str], current: Validators, applies: bool) -> None:
    headers = headers_of([("If-Range", value) for value in values])
    assert range_applies(headers, current, now=NOW) is applies


def test_a_file_that_may_still_change_in_its_second() -> None:
    """Its date is no strong validator, section 8.8.2.2."""
    headers = headers_of([("If-Range", THEN)])
    applied = [range_applies(headers, FILE, now=784111777 + later) for later in (0, 0.9, 1, 2)]
    assert applied == [False, False, True, True]
