"""Forms: what handlers take, what is refused, and that cuts change nothing."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, cast

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiohttpd import App, FormData, HTTPError, UploadedFile
from aiohttpd.handlers.forms import MultiMap
from aiohttpd.testing import exchange, running

from ..support.asking import QUIET, answer_to
from ..support.clients import MIB, connected, ended, get, head
from ..support.forming import (
    END,
    FORM_LIMITS,
    MULTIPART,
    URL_ENCODED,
    Taker,
    Teller,
    form_of_size,
    parse,
    part,
    post_form,
    taker,
    told,
)
from ..support.loops import on_both_loops
from ..support.places import DATA
from ..support.waiting import until
from ..support.wire import Response, split

CASES: list[dict[str, Any]] = [json.loads(line) for line in (DATA / "multipart_cases.jsonl").read_text().splitlines()]


# The cases.


def judge(case: dict[str, Any], status: int, form: Any, reason: str) -> None:
    if "form" not in case:
        assert (status, form) == (case["status"], None)
        assert case["reason"] in reason
        return
    assert status == 200, reason
    assert len(form) == len(case["form"])
    for (name, value), (expected_name, expected) in zip(form, case["form"], strict=True):
        assert name == expected_name
        if isinstance(expected, dict):
            assert {key: value[key] for key in expected} == expected
        else:
            assert value == expected


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
class TestCase:
    async def check(self, case: dict[str, Any], cut: Callable[[bytes], list[bytes]]) -> None:
        app = type("Limited", (Teller,), case.get("limits", {}))
        body = case["body"].encode("latin-1")
        start = post_form(b"", case.get("type", MULTIPART), length=len(body))
        pieces = [start, *cut(body), get("/after")]
        answer, *more = split(await exchange(app, pieces, config=QUIET))
        form = json.loads(answer.body) if answer.status == 200 else None
        judge(case, answer.status, form, answer.body.decode())
        # The body was short, so the connection is of use afterwards, whatever was in it; Teller has no GET.
        assert [after.status for after in more] == [405]

    async def test_whole_and_byte_by_byte(self, case: dict[str, Any]) -> None:
        await self.check(case, lambda body: [body])
        await self.check(case, lambda body: [body[at : at + 1] for at in range(len(body))])

    async def test_cut_at_each_offset(self, case: dict[str, Any]) -> None:
        limits = {name.removeprefix("max_").removeprefix("form_"): n for name, n in case.get("limits", {}).items()}
        if limits.pop("body_size", None) is not None:
            return  # it is not the form's
        body = case["body"].encode("latin-1")
        for at in range(1, len(body) or 2):
            status, form, reason = 200, None, ""
            try:
                found = await parse(
                    body[:at], body[at:], kind=case.get("type", MULTIPART), limits=FORM_LIMITS._replace(**limits)
                )
                form = [[name, await told(value)] for name, value in found.pairs()]
                found.close()
            except HTTPError as error:
                status, reason = error.status, str(error.explain)
            judge(case, status, form, reason)


# Against the encoder of httpx.

# It percent-encodes all controls and doubles backslashes, which browsers do not.
NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="\\%", exclude_categories=("Cc", "Cs"))
    | st.sampled_from('\r\n"; ='),
    max_size=30,
)

FIELDS = st.dictionaries(NAMES, st.lists(st.text(max_size=50), max_size=3), max_size=4)
FILES = st.lists(st.tuples(NAMES, st.tuples(NAMES.filter(bool), st.binary(max_size=200))), max_size=3)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(fields=FIELDS, files=FILES, size=st.integers(1, 400))
def test_httpx_is_understood(fields: dict[str, list[str]], files: Any, size: int) -> None:
    files = files or [("last", ("name", b""))]  # without any it is no multipart
    request = httpx.Request("POST", "http://a/", data=fields, files=files)
    body = request.read()
    raw = b"".join(b"%b: %b\r\n" % field for field in request.headers.raw)
    cut = [body[at : at + size] for at in range(0, len(body), size)]
    answer = asyncio.run(ask_in_pieces(Teller, [b"POST / HTTP/1.1\r\n" + raw + b"\r\n", *cut]))
    assert answer.status == 200, answer.body
    found = [
        (name, value if isinstance(value, str) else (value["filename"], value["content"].encode("latin-1")))
        for name, value in json.loads(answer.body)
    ]
    assert found == [(name, value) for name, values in fields.items() for value in values] + files


async def ask_in_pieces(app: App, pieces: list[bytes]) -> Response:
    [answer] = split(await exchange(app, pieces, config=QUIET))
    return answer


@settings(max_examples=40, deadline=None)
@given(fields=FIELDS)
def test_httpx_url_encoded_is_understood(fields: dict[str, list[str]]) -> None:
    body = httpx.Request("POST", "http://a/", data=fields).read()
    answer = asyncio.run(answer_to(Teller, post_form(body, URL_ENCODED)))
    assert [tuple(pair) for pair in json.loads(answer.body)] == [(n, v) for n, vs in fields.items() for v in vs]


PIECES = [b"--XX", b"--", b"\r\n", b"\r", b"\n", b": ", b"a", b"\r\n\r\n", b"; filename=", *part("n").splitlines()[1:2]]


@settings(max_examples=80, deadline=None)
@given(body=st.lists(st.sampled_from(PIECES), max_size=14).map(b"".join), at=st.integers(0, 200))
def test_a_cut_changes_nothing(body: bytes, at: int) -> None:
    body = b"--XX\r\n" + body + b"\r\n--XX--"

    async def outcome(*pieces: bytes) -> Any:
        try:
            return [[name, await told(value)] for name, value in (await parse(*pieces)).pairs()]
        except HTTPError as error:
            return error.status

    assert asyncio.run(outcome(body)) == asyncio.run(outcome(body[:at], body[at:]))


# The life of a connection that carries forms.


@on_both_loops
async def test_a_connection_is_of_use_after_forms() -> None:
    async with running(Teller) as server, connected(server) as client:
        for size in (10, 3 * MIB):
            await client.send(post_form(form_of_size(size)))
            answer = await client.answer()
            assert (answer.status, answer["Connection"]) == (200, None)
        await client.send(post_form(b"a=1", URL_ENCODED))
        assert (await client.answer()).body == b'[["a","1"]]'


@on_both_loops
async def test_an_epilogue_is_read() -> None:
    async with running(Teller) as server, connected(server) as client:
        await client.send(post_form(part("a") + END + bytes(MIB)), post_form(part("b") + END))
        assert [(await client.answer()).status for _ in range(2)] == [200, 200]


@pytest.mark.parametrize("size", [1000, 4 * MIB], ids=["short", "long"])
@pytest.mark.parametrize("limits", [{"max_file_size": 100}, {"max_field_size": 100}], ids=str)
@on_both_loops
async def test_a_refusal_keeps_a_connection_if_little_is_unread(limits: dict[str, int], size: int) -> None:
    name = "x" if "max_file_size" in limits else None
    async with running(type("Limited", (Teller,), limits)) as server, connected(server) as client:
        body = part("f", bytes(size), name) + END
        await client.send(post_form(length=len(body)), body[:1000])
        answer = await client.answer()
        assert (answer.status, answer["Connection"]) == (413, None if size == 1000 else "close")
        await client.send(body[1000:5000])
        if size == 1000:
            assert (await client.ask()).status == 405
        else:
            assert await ended(client)


@pytest.mark.parametrize("kind", [MULTIPART, URL_ENCODED])
@on_both_loops
async def test_continue_is_sent_when_the_form_is_read(kind: str) -> None:
    seen = []
    read = asyncio.Event()

    async def do_post(self: Taker) -> None:
        seen.append("handler")
        await read.wait()
        form = await self.form()
        self.send_text(cast(str, form["a"]))

    body = part("a") + END if kind == MULTIPART else b"a=v"
    async with running(taker(do_post)) as server, connected(server) as client:
        await client.send(post_form(b"", kind, "Expect: 100-continue", length=len(body)))
        await until(lambda: seen)
        assert not client.reader._buffer  # type: ignore[attr-defined]
        read.set()
        assert (await client.answer()).status == 100
        await client.send(body)
        assert (await client.answer()).body == b"v"


@on_both_loops
async def test_no_continue_for_what_is_no_form() -> None:
    async with running(Teller) as server, connected(server) as client:
        await client.send(post_form(b"", "text/plain", "Expect: 100-continue", length=10))
        answer = await client.answer()
        assert (answer.status, answer["Connection"]) == (415, "close")
        assert "multipart/form-data" in (answer["Accept-Post"] or "")
        assert await ended(client)


@on_both_loops
async def test_a_chunked_form_that_is_cut_is_an_error() -> None:
    """Its last boundary has come, the end of the body has not."""
    data = part("a") + END
    fields = (f"Content-Type: {MULTIPART}", "Transfer-Encoding: chunked")
    async with running(Teller) as server, connected(server) as client:
        await client.send(head("POST", "/", *fields), b"%x\r\n%b\r\n" % (len(data), data))
        client.send_eof()
        assert (await client.answer()).status == 400


# The mapping.


def test_form_data() -> None:
    file, none = UploadedFile("a", "", {}), UploadedFile("", "", {})
    form = FormData([("a", "1"), ("f", file), ("a", "2"), ("n", none)])
    assert (form["a"], form.get("a"), form.get("x"), form.get("x", "y")) == ("1", "1", None, "y")
    assert (form.getall("a"), form.getall("x"), form.getall("x", None)) == (["1", "2"], [], None)
    assert (list(form), len(form), "a" in form, "x" in form) == (["a", "f", "n"], 3, True, False)
    assert list(form.items()) == [("a", "1"), ("f", file), ("n", none)]
    assert form.pairs() == [("a", "1"), ("f", file), ("a", "2"), ("n", none)]
    assert (form.text("a"), form.text("f"), form.text("x", "y")) == ("1", "", "y")
    assert [form.file(name) for name in ("f", "n", "a", "x")] == [file, None, None, None]
    with pytest.raises(KeyError):
        form["x"]
    assert MultiMap([("a", "1"), ("a", "2")]) != MultiMap([("a", "1")])
    assert MultiMap([("a", "1")]) == MultiMap([("a", "1")]) == {"a": "1"}
