"""The file cases: preconditions, ranges and codings by RFC 9110, each from memory and from an open file.

A case has the fields of a request, in which ``{etag}`` and ``{modified}`` stand for the validators of the file that is
to be selected, and what the RFC wants of the answer. Besides, for every case: the next answer is the same, HEAD is
answered as GET is, and parts carry the fields of the whole.
"""

import asyncio
import email.utils
import gzip
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiohttpd.fileserver.handler import SimpleHTTPRequestHandler
from aiohttpd.handlers.files.store import Policy, Representation, Store
from aiohttpd.handlers.files.tree import open_inside
from aiohttpd.testing import exchange, running
from aiohttpd.wire.dates import MONTHS, http_date, parse_http_date
from aiohttpd.wire.negotiation import CODINGS, IDENTITY, accepted_codings
from aiohttpd.wire.ranges import Span, select

from ...support.asking import QUIET
from ...support.examples import examples
from ...support.places import DATA
from ...support.waiting import block_until
from ...support.wire import Response, split

CASES: list[dict[str, Any]] = [json.loads(line) for line in (DATA / "file_cases.jsonl").read_text().splitlines()]
PROPERTY = examples(400)

MODIFIED = 1709210096  # Thu, 29 Feb 2024 12:34:56 GMT
FUTURE = 4102444800  # the year 2100
# Frames of one raw block each, RFC 8878 section 3.1.1.
ZSTD = b"\x28\xb5\x2f\xfd\x20\x17\xb9\0\0 in another coding: zst"
TWIN = b"\x28\xb5\x2f\xfd\x20\x16\xb1\0\0two names of one file."
PAGE = b"<!DOCTYPE html>\n<title>A page</title>\n" + b"<p>A paragraph of the page.</p>\n" * 40
FILES = {
    "data.bin": b"".join(b"%03d." % number for number in range(250)),
    "large.bin": b"".join(b"%05d\n" % number for number in range(50_000)),
    "empty.txt": b"",
    "one.txt": b"1",
    "future.bin": b"%0100d" % 7,
    "page.html": PAGE,
    "page.html.br": b"in another coding: br",
    "page.html.zst": ZSTD,
    "page.html.gz": gzip.compress(PAGE, mtime=0),
    "twin.txt": b"a text",
    "twin.txt.br": TWIN,
    "twin.txt.zst": TWIN,
    "style.css": b"p { color: black }\n",
    "style.css.gz": gzip.compress(b"p { color: black }\n", mtime=0),
    "site/index.html": b"<title>An index page</title>\n",
    "coded/index.html": b"<title>Another one</title>\n",
    "coded/index.html.gz": gzip.compress(b"<title>Another one</title>\n", mtime=0),
    "plain/a.txt": b"a\n",
}
CODED = {".br": "br", ".zst": "zstd", ".gz": "gzip"}
RANGE_FIELDS = ("range", "if-range")  # without these a request is for the whole file
AS_IN_200 = ("Cache-Control", "Content-Location", "ETag", "Expires", "Vary")  # of 206 and 304

Fields = list[tuple[str, str]]


def modified(name: str) -> int:
    if name == "future.bin":
        return int(time.time())  # as Last-Modified has it
    return MODIFIED + 60 * (Path(name).suffix in CODED)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files, so long after the last change that their entity tags are strong."""
    root = tmp_path_factory.mktemp("tree")
    for name, content in FILES.items():
        path = root / name
        path.parent.mkdir(exist_ok=True)
        if name == "twin.txt.zst":
            os.link(path.with_suffix(".br"), path)
        else:
            path.write_bytes(content)
        seconds = FUTURE if name == "future.bin" else modified(name)
        os.utime(path, ns=(seconds * 10**9, seconds * 10**9 + 789_000_000))
    block_until(lambda: all(is_settled(root, name) for name in FILES if name != "future.bin"))
    return root


def is_settled(root: Path, name: str) -> bool:
    file = open_inside(str(root), str(root / name))
    return file is not None and file.settled


@pytest.fixture(scope="module")
def handlers(tree: Path) -> list[type[SimpleHTTPRequestHandler]]:
    """A class that keeps all but the large file in memory, and one that keeps nothing of a size."""

    class FromMemory(SimpleHTTPRequestHandler):
        directory = tree
        cache_file_size = 64 * 1024

    class FromFile(SimpleHTTPRequestHandler):
        directory = tree
        cache_file_size = 0

    return [FromMemory, FromFile]


@pytest.fixture(scope="module")
def etags(handlers: list[type[SimpleHTTPRequestHandler]]) -> dict[str, str]:
    """The entity tag of each file: of one with a coding, as the coded form of the file without."""

    async def ask(name: str) -> str:
        coding = CODED.get(Path(name).suffix, IDENTITY)
        path = "/" + (name if coding == IDENTITY else name.rpartition(".")[0])
        answer = await exchange(handlers[0], request_bytes("GET", path, [("Accept-Encoding", coding)]), config=QUIET)
        return split(answer)[0]["ETag"] or ""

    async def ask_all() -> dict[str, str]:
        return {name: await ask(name) for name in FILES}

    return asyncio.run(ask_all())


def request_bytes(method: str, path: str, fields: Fields, *, last: bool = False) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *(f"{name}: {value}" for name, value in fields)]
    return "\r\n".join([*lines, "Connection: close\r\n\r\n" if last else "\r\n"]).encode("latin-1")


def file_of(case: dict[str, Any]) -> str:
    """The file that is to be selected; empty if none is."""
    return str(case.get("file", case["path"].partition("?")[0][1:]))


def filled(text: str, name: str, etags: dict[str, str]) -> str:
    """Put validators in the place of placeholders; they are those of a file unless they name another."""

    def etag(match: re.Match[str]) -> str:
        tag = etags[match[2] or name]
        bare = tag.removeprefix("W/")
        return {None: tag, "weak ": f"W/{bare}", "bare ": bare.strip('"')}[match[1]]

    def date(match: re.Match[str]) -> str:
        moment = time.gmtime(modified(match[3] or name) + int(match[1] or 0))
        if match[2] == " asctime":
            return time.asctime(moment)
        if match[2] == " rfc850":
            return time.strftime("%A, %d-%b-%y %H:%M:%S GMT", moment)
        return time.strftime("%a, %d %b %Y %H:%M:%S GMT", moment)

    text = re.sub(r"\{(weak |bare )?etag(?: of ([^}]+))?\}", etag, text)
    return re.sub(r"\{modified(?:([+-][0-9]+)s)?( rfc850| asctime)?(?: of ([^}]+))?\}", date, text)


def requests_of(case: dict[str, Any], etags: dict[str, str]) -> list[tuple[str, Fields]]:
    """The request of a case, twice; with HEAD, and with GET without ranges; with neither conditions nor ranges."""
    fields = [(name, filled(value, file_of(case), etags)) for name, value in case["fields"]]
    without_range = [field for field in fields if field[0].lower() not in RANGE_FIELDS]
    plain = [field for field in fields if field[0] == "Accept-Encoding"]
    method = case["method"]
    return [(method, fields), (method, fields), ("HEAD", fields), ("GET", without_range), ("GET", plain)]


def stable(response: Response, name: str) -> Fields:
    """The fields without what time changes."""
    varying = {"date", "connection", "last-modified"} if name == "future.bin" else {"date", "connection"}
    return [(key, value) for key, value in response.fields if key.lower() not in varying]


def parts_of(response: Response) -> list[tuple[dict[str, str], bytes]]:
    """The parts of a multipart/byteranges: fields and content. Takes nothing but what RFC 2046 section 5.1 has."""
    match = re.fullmatch(
        r"multipart/byteranges; boundary=([0-9A-Za-z'()+_,./:=?-]{1,70})", response["Content-Type"] or ""
    )
    assert match
    delimiter = b"--" + match[1].encode()
    opening, between, closing = delimiter + b"\r\n", b"\r\n" + delimiter + b"\r\n", b"\r\n" + delimiter + b"--\r\n"
    assert response.body.startswith(opening)
    assert response.body.endswith(closing)
    found = []
    for part in response.body[len(opening) : -len(closing)].split(between):
        head, separator, content = part.partition(b"\r\n\r\n")
        assert separator
        lines = [line.partition(": ") for line in head.decode("ascii").split("\r\n")]
        fields = {name: value for name, _, value in lines}
        assert len(fields) == len(lines)
        found.append((fields, content))
    return found


def judge_partial(case: dict[str, Any], answer: Response, plain: Response) -> None:
    """What is a 206 has to be, RFC 9110 section 15.3.7."""
    content = FILES[file_of(case)]
    wanted = [f"bytes {first}-{last}/{len(content)}" for first, last in case["ranges"]]
    slices = [content[first : last + 1] for first, last in case["ranges"]]
    if len(wanted) == 1:
        assert answer["Content-Range"] == wanted[0]
        assert answer["Content-Type"] == plain["Content-Type"]
        assert answer.body == slices[0]
    else:
        assert answer["Content-Range"] is None
        parts = parts_of(answer)
        assert [fields["Content-Range"] for fields, _ in parts] == wanted
        assert [content for _, content in parts] == slices
        assert all(fields["Content-Type"] == plain["Content-Type"] for fields, _ in parts)
    for name in AS_IN_200:
        assert answer[name] == plain[name]
    if not any(name == "If-Range" for name, _ in case["fields"]):
        assert answer["Content-Encoding"] == plain["Content-Encoding"]
        if file_of(case) != "future.bin":
            assert answer["Last-Modified"] == plain["Last-Modified"]


def judge(case: dict[str, Any], answers: list[Response], etags: dict[str, str]) -> None:
    answer, again, head, whole, plain = answers
    name = file_of(case)
    assert all(one.complete and one["Date"] for one in answers)
    assert answer.status == case["status"]
    for key, wanted in case.get("expect", {}).items():
        assert answer[key] == (wanted and filled(wanted, name, etags)), key
    for one in answers:
        if one["Last-Modified"] is not None:
            assert email.utils.parsedate_to_datetime(one["Last-Modified"]).timestamp() <= time.time()
    if answer.status == 206:
        judge_partial(case, answer, plain)
    elif answer.status == 304:
        assert not answer.body
        assert [answer[key] for key in AS_IN_200] == [plain[key] for key in AS_IN_200]
        for key in ("Content-Encoding", "Content-Length", "Content-Range", "Content-Type"):
            assert answer[key] is None
    elif answer.status == 416:
        assert answer["Content-Range"] == f"bytes */{len(FILES[name])}"
    else:
        assert answer["Content-Range"] is None
    if answer.status == 200:
        content = FILES[name] if name else plain.body
        assert answer.body == (b"" if case["method"] == "HEAD" else content)
        assert answer["Content-Length"] == str(len(content))
        assert answer["ETag"] == plain["ETag"]

    assert again.status == answer.status
    if len(case.get("ranges", ())) > 1:
        assert parts_of(again) == parts_of(answer)  # between other boundaries
    else:
        assert (stable(again, name), again.body) == (stable(answer, name), answer.body)
    assert (head.status, stable(head, name)) == (whole.status, stable(whole, name))
    if case["method"] in ("GET", "HEAD") and answer.status not in (206, 416):
        assert (head.status, stable(head, name)) == (answer.status, stable(answer, name))


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
async def test_in_memory(
    case: dict[str, Any], handlers: list[type[SimpleHTTPRequestHandler]], etags: dict[str, str]
) -> None:
    for handler in handlers:
        requests = requests_of(case, etags)
        data = b"".join(request_bytes(method, case["path"], fields) for method, fields in requests)
        output = await exchange(handler, data, config=QUIET)
        judge(case, split(output, [method for method, _ in requests]), etags)


@pytest.mark.parametrize("section", sorted({case["rfc"] for case in CASES}))
async def test_over_sockets(
    section: str, handlers: list[type[SimpleHTTPRequestHandler]], etags: dict[str, str]
) -> None:
    """Where what has been answered a moment ago is answered at once, and files leave by sendfile."""
    for handler in handlers:
        async with running(handler, access_log=False) as server:
            for case in CASES:
                if case["rfc"] != section:
                    continue
                requests = requests_of(case, etags)
                reader, writer = await asyncio.open_connection(*server.server_address)
                for number, (method, fields) in enumerate(requests, start=1):
                    writer.write(request_bytes(method, case["path"], fields, last=number == len(requests)))
                output = await reader.read()
                writer.close()
                await writer.wait_closed()
                judge(case, split(output, [method for method, _ in requests]), etags)


async def test_engines(handlers: list[type[SimpleHTTPRequestHandler]], tree: Path) -> None:
    """The two classes do what they are for: one has the content, the other the open file."""
    in_memory = []
    for handler in handlers:
        store = Store(str(tree), Policy(("index.html",), False, False, True, 2**25, handler.cache_file_size, ()))
        for name in ("data.bin", "large.bin", "empty.txt"):
            found = await store.find(f"/{name}", str(tree / name), (IDENTITY,), str)
            assert isinstance(found, Representation)
            in_memory.append(found.content is not None)
    assert in_memory == [True, False, True, False, False, True]


# The parts by themselves.


def naive_select(value: str, size: int, limit: int) -> list[Span] | None:
    """Section 14 once more, one range after the other, with numbers of any size."""
    unit, equals, text = value.partition("=")
    elements = [element.strip(" \t") for element in text.split(",")]
    ranges = [element.partition("-") for element in elements if element]
    if not equals or unit.lower() != "bytes" or not 0 < len(ranges) <= limit:
        return None
    wanted: list[range] = []
    suffix = False
    for first, dash, last in ranges:
        if not dash or not (first or last) or set(first + last) - set("0123456789"):
            return None
        if first and last and int(last) < int(first):
            return None
        if first:
            wanted.append(range(int(first), min(int(last) + 1 if last else size, size)))
        else:
            wanted.append(range(max(size - int(last), 0), size))
            suffix = suffix or int(last) > 0
    if suffix and not size:
        return None
    spans = [Span(one.start, one.stop) for one in wanted if one]
    return spans if len(spans) < 2 or sum(map(len, wanted)) <= size else None


NUMBERS = st.one_of(
    st.integers(0, 30).map(str),
    st.integers(0, 10**25).map(str),
    st.sampled_from(["", "00", "007", "9" * 18, "9" * 19, "1" + "0" * 19, "9" * 4000]),
)
RANGES = st.lists(
    st.one_of(st.builds("{}-{}".format, NUMBERS, NUMBERS), st.sampled_from(["", " ", "x", "1"])), max_size=6
)
VALUES = st.one_of(
    st.builds("{}{}".format, st.sampled_from(["bytes=", "BYTES=", "bytes= ", "items="]), RANGES.map(",".join)),
    st.builds("bytes={}".format, RANGES.map(" ,\t".join)),
    st.text("bytes=0123456789-, \t", max_size=20),
)


@PROPERTY
@given(VALUES, st.sampled_from([0, 1, 2, 10, 30, 10**12]), st.integers(1, 5))
def test_select_is_as_the_naive_one(value: str, size: int, limit: int) -> None:
    assert select(value, size, limit=limit) == naive_select(value, size, limit)


@PROPERTY
@given(st.integers(0, 253402300799))
def test_dates_survive(timestamp: int) -> None:
    """Up to the end of the year 9999; others write the same."""
    text = http_date(timestamp)
    assert text == email.utils.formatdate(timestamp, usegmt=True)
    assert parse_http_date(text, timestamp) == timestamp
    assert parse_http_date(time.asctime(time.gmtime(timestamp)), timestamp) == timestamp


@PROPERTY
@given(st.integers(-49 * 365, 49 * 365), st.integers(0, 86399))
def test_years_of_two_digits(days: int, second: int) -> None:
    moment = (int(time.time()) // 86400 + days) * 86400 + second
    assert parse_http_date(time.strftime("%A, %d-%b-%y %H:%M:%S GMT", time.gmtime(moment)), time.time()) == moment


@pytest.mark.parametrize(("months", "years"), [(0, 0), (1, 100)])
def test_more_than_fifty_years_ahead_is_the_past(months: int, years: int) -> None:
    """Not by the year alone, RFC 9110 section 5.6.7: the next month is too far when this one is not."""
    present = time.time()
    now = time.gmtime(present)
    year, month = divmod(now.tm_year * 12 + now.tm_mon - 1 + months, 12)
    parsed = parse_http_date(f"Monday, 01-{MONTHS[month + 1]}-{(year + 50) % 100:02d} 00:00:00 GMT", present)
    assert parsed is not None
    assert time.gmtime(parsed)[:2] == (year + 50 - years, month + 1)


DATE_WORDS = ["Sun", "Sunday", ",", " ", "06", " 6", "-", "Nov", "Feb", "31", "00", "94", "1994", "08:49:60", "GMT"]


@PROPERTY
@given(st.text(max_size=40) | st.lists(st.sampled_from(DATE_WORDS), max_size=12).map("".join))
def test_no_text_is_too_much_for_dates(text: str) -> None:
    parsed = parse_http_date(text, time.time())
    assert parsed is None or isinstance(parsed, int)


ELEMENTS = st.builds(
    "{}{}{}".format,
    st.sampled_from(["gzip", "x-gzip", "br", "zstd", "identity", "*", "GZIP", "deflate", "", " br "]),
    st.sampled_from(["", ";", " ; ", ";;", ";x=1;"]),
    st.sampled_from(["", "q=0", "q=1", "q=0.5", "Q=0.25", "q=", "q=2", "q=0.0001", "q=-1", "q=nan", "q"]),
)


@PROPERTY
@given(st.none() | st.lists(ELEMENTS, max_size=6).map(",".join) | st.text(max_size=30))
def test_no_text_is_too_much_for_codings(value: str | None) -> None:
    codings = accepted_codings(value)
    assert set(codings) <= {*CODINGS, IDENTITY}
    assert len(set(codings)) == len(codings)
    assert IDENTITY not in codings[:-1]


@pytest.mark.parametrize("value", ["identity;q=0", "*;q=0", "gzip, *;q=0", "br, identity;q=0.000, *;q=0.5"])
def test_identity_can_be_refused(value: str) -> None:
    assert IDENTITY not in accepted_codings(value)
