"""The wire cases: each fed whole, byte by byte, cut at each offset, and followed by a second request."""

import base64
import json
import re
from typing import Any

import pytest

from ..support.places import DATA
from ..support.wire import Echo, drive, finals, split

CASES: list[dict[str, Any]] = [json.loads(line) for line in (DATA / "wire_cases.jsonl").read_text().splitlines()]
# These want time to pass; tests of slow peers have it.
CASES = [case for case in CASES if case["id"] not in ("ro-partial-hdr", "ro-slow-body")]
NEXT = b"GET /after HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
CUT_EACH = 1000  # bytes of a message that is cut at each offset; a larger one at fifty


def request_bytes(case: dict[str, Any]) -> bytes:
    if "raw_b64" in case:
        return base64.b64decode(case["raw_b64"])
    if "raw_parts" in case:
        return b"".join(text.encode("latin-1") * count for text, count in case["raw_parts"])
    return str(case["raw"]).encode("latin-1")


def methods_of(data: bytes) -> list[str]:
    """The methods in the order of the requests, as far as telling HEAD needs them."""
    return re.findall(r"(?:\A|(?<=\n))(HEAD|[A-Z]+)(?= \S+ HTTP/1)", data.decode("latin-1"))


def judge(case: dict[str, Any], data: bytes, output: bytes, closed: bool) -> None:
    expect = case["expect"]
    methods = methods_of(data)
    answers = finals(output, methods)
    statuses = [answer.status for answer in answers]
    if not answers:
        assert closed or case.get("drip") or not expect["status"]
        assert expect.get("silent_close_ok") or not expect["status"]
        return
    assert statuses[0] in expect["status"]
    if "prefer" in expect and case["id"] not in PREFERENCES_NOT_FOLLOWED:
        assert statuses[0] == expect["prefer"]
    assert not [status for status in statuses if status >= 500 and status not in (501, 505)]
    assert len(answers) <= expect.get("responses_max", 99)
    if case.get("valid") and not expect.get("responses_min"):
        assert len(answers) == expect["responses"]
    for status, allowed in zip(statuses, expect.get("statuses", []), strict=False):
        assert status in allowed
    if expect["close"] is not None:
        assert closed is expect["close"]
    if statuses[0] == 200:
        if "body" in expect:
            assert answers[0].body == expect["body"].encode("latin-1")
        if "body_b64" in expect:
            assert answers[0].body == base64.b64decode(expect["body_b64"])
        if "body_len" in expect:
            assert len(answers[0].body) == expect["body_len"]
    for wanted, answer in zip(expect.get("bodies", []), answers, strict=False):
        assert wanted is None or answer.body == wanted.encode("latin-1")
    interim = [response.status for response in split(output, methods) if response.status < 200]
    assert not set(interim) & {*expect.get("interim_forbidden", ()), *expect.get("status_forbidden", ())}
    for answer in answers:
        assert answer["Date"] is not None
        assert not (answer["Content-Length"] and answer["Transfer-Encoding"])
        if answer.status == 400:
            assert answer["Connection"] == "close"


# Where the RFC leaves the choice and the design chose otherwise than the case prefers.
PREFERENCES_NOT_FOLLOWED = {
    "tg-absolute-mismatch": "design 3: the authority of the target wins over Host (RFC 9112 section 3.2.2)",
    "tg-bad-pct": "a stray percent sign is the handler's to judge; browsers send it in queries",
    "cl-lead-zero": "design 3: leading zeros are allowed, up to 19 digits",
    "cl-00": "as cl-lead-zero",
    "cl-octal": "as cl-lead-zero",
    "li-method-100k": "it is the request line that is too long: 414",
}


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
class TestCase:
    async def test_whole(self, case: dict[str, Any]) -> None:
        data = request_bytes(case)
        judge(case, data, *await drive(Echo, [data], eof=case.get("eof", False)))

    async def test_byte_by_byte(self, case: dict[str, Any]) -> None:
        data = request_bytes(case)
        pieces = [data[at : at + 1] for at in range(len(data))]
        judge(case, data, *await drive(Echo, pieces, eof=case.get("eof", False)))

    async def test_cut_at_each_offset(self, case: dict[str, Any]) -> None:
        data = request_bytes(case)
        step = 1 if len(data) <= CUT_EACH else len(data) // 50
        judged = set()  # most offsets have the same outcome
        for at in range(1, len(data), step):
            outcome = await drive(Echo, [data[:at], data[at:]], eof=case.get("eof", False))
            if outcome not in judged:
                judge(case, data, *outcome)
                judged.add(outcome)

    async def test_followed_by_another(self, case: dict[str, Any]) -> None:
        data = request_bytes(case)
        expect = case["expect"]
        if case.get("eof"):
            return  # nothing can follow
        before, closed = await drive(Echo, [data])
        after, closed_after = await drive(Echo, [data + NEXT])
        count = len(finals(before, methods_of(data)))
        if closed or not count:
            assert len(finals(after, methods_of(data))) <= max(count, expect.get("responses_max", 1))
            assert closed_after
        else:
            answers = finals(after, [*methods_of(data), "GET"])
            assert len(answers) == count + 1
            assert answers[-1].status == 200
            assert closed_after
