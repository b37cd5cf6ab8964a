"""What each of the four services has to do, asked by HTTP alone. Each check gets a client that has a token.

Where frameworks have habits of their own, and both are right, a check takes both: malformed JSON is 400 or 422, a path
with letters for a number is 404 or 422.
"""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx

__all__ = ["ADA", "CHECKS", "attach"]

ADA = {"Authorization": "Bearer token-of-ada"}
EVE = {"Authorization": "Bearer token-of-eve"}
PAGE = {"Origin": "https://app.example"}
PIECE = bytes(range(256)) * 256  # 64 KiB

Check = Callable[[httpx.AsyncClient], Awaitable[None]]


async def made(client: httpx.AsyncClient, **fields: Any) -> str:
    """Make a note; gives its path."""
    answer = await client.post("/notes", json={"title": "Tea", **fields})
    assert answer.status_code == 201, answer.text
    return answer.headers["Location"]


def is_problem(answer: httpx.Response, *statuses: int) -> None:
    """An error is problem+json, RFC 9457, with an id of the request."""
    assert answer.status_code in statuses, (answer.status_code, answer.text)
    assert answer.headers["Content-Type"].partition(";")[0] == "application/problem+json"
    found = answer.json()
    assert found["status"] == answer.status_code
    assert found["title"]
    assert answer.headers["X-Request-ID"]


async def create_read_replace_delete(client: httpx.AsyncClient) -> None:
    """CRUD."""
    answer = await client.post("/notes", json={"title": "Tea", "text": "green", "stars": 3})
    note, path = answer.json(), answer.headers["Location"]
    assert answer.status_code == 201
    assert path == f"/notes/{note['id']}"
    assert note == {"id": note["id"], "title": "Tea", "text": "green", "stars": 3}
    assert (await client.get(path)).json() == note
    changed = await client.put(path, json={"title": "Coffee"})
    assert (changed.status_code, changed.json()) == (200, note | {"title": "Coffee", "text": "", "stars": 0})
    assert (await client.get(path)).json() == changed.json()
    gone = await client.delete(path)
    assert (gone.status_code, gone.content) == (204, b"")
    for method in ("GET", "PUT", "DELETE"):
        is_problem(await client.request(method, path, json={"title": "x"}), 404)


async def data_has_types(client: httpx.AsyncClient) -> None:
    """422 with a list of what is wrong, and nothing is stored."""
    path = await made(client)
    before = (await client.get("/notes")).json()
    wrongs: list[Any] = [
        {},
        {"title": 7},
        {"title": ""},
        {"title": "x" * 201},
        {"title": "x", "stars": "many"},
        [],
        "x",
    ]
    for wrong in wrongs:
        for answer in (await client.post("/notes", json=wrong), await client.put(path, json=wrong)):
            is_problem(answer, 422)
            assert answer.json()["errors"]
    fields = {"Content-Type": "application/json"}
    is_problem(await client.post("/notes", content=b'{"title": ', headers=fields), 400, 422)
    assert (await client.get("/notes")).json() == before


async def pages_of_notes(client: httpx.AsyncClient) -> None:
    """The latest first, and on by ``next``."""
    paths = [await made(client, title=str(number)) for number in range(5)]
    numbers = [int(path.rpartition("/")[2]) for path in reversed(paths)]
    first = (await client.get("/notes?limit=2")).json()
    assert [note["id"] for note in first["notes"]] == numbers[:2]
    second = (await client.get(f"/notes?limit=2&before={first['next']}")).json()
    assert [note["id"] for note in second["notes"]] == numbers[2:4]
    assert (await client.get("/notes?before=0")).json() == {"notes": [], "next": None}
    for query in ("limit=0", "limit=101", "limit=x", "before=x"):
        is_problem(await client.get(f"/notes?{query}"), 422)


async def tokens(client: httpx.AsyncClient) -> None:
    """401 with a challenge without a token; each user has notes of his own."""
    path = await made(client)
    for fields in ({"Authorization": "Bearer wrong"}, {"Authorization": "Basic YTpi"}, {"Authorization": ""}):
        for method, target in (("GET", "/notes"), ("POST", "/notes"), ("GET", path), ("GET", "/events")):
            answer = await client.request(method, target, json={"title": "x"}, headers=fields)
            is_problem(answer, 401)
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert (await client.get("/notes", headers=EVE)).json()["notes"] == []
    for method in ("GET", "PUT", "DELETE"):
        is_problem(await client.request(method, path, json={"title": "x"}, headers=EVE), 404)
    assert (await client.get(path)).status_code == 200


async def other_pages_and_methods(client: httpx.AsyncClient) -> None:
    """404 and 405 with Allow, as problems."""
    is_problem(await client.get("/nothing"), 404)
    is_problem(await client.get("/notes/999999999"), 404)
    is_problem(await client.get("/notes/abc"), 404, 422)
    answer = await client.patch("/notes", json={})
    is_problem(answer, 405)
    assert answer.headers["Allow"]


async def cors(client: httpx.AsyncClient) -> None:
    """A page of one origin may use the service, without a token in its preflight request; errors are readable."""
    asked = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "authorization"}
    answer = await client.options("/notes/1", headers=PAGE | asked | {"Authorization": ""})
    assert answer.status_code in (200, 204), answer.text
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE["Origin"]
    assert "PUT" in answer.headers["Access-Control-Allow-Methods"]
    assert "authorization" in answer.headers["Access-Control-Allow-Headers"].lower()
    for path, status in (("/notes", 200), ("/notes/999999999", 404), ("/notes?limit=x", 422)):
        answer = await client.get(path, headers=PAGE)
        assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (status, PAGE["Origin"])
        assert "x-request-id" in answer.headers["Access-Control-Expose-Headers"].lower()
    other = await client.get("/notes", headers={"Origin": "https://evil.example"})
    assert other.headers.get("Access-Control-Allow-Origin") in (None, PAGE["Origin"])


async def request_ids(client: httpx.AsyncClient) -> None:
    """Each answer has another one; that of a proxy is kept."""
    answers = [await client.get("/notes") for _ in range(3)]
    assert len({answer.headers["X-Request-ID"] for answer in answers}) == 3
    given = "0123456789abcdef0123456789abcdef"
    assert (await client.get("/notes", headers={"X-Request-ID": given})).headers["X-Request-ID"] == given


async def gzip(client: httpx.AsyncClient) -> None:
    """Long answers, for those who accept it."""
    path = await made(client, text="tea " * 1000)
    for coding, expected in (("gzip", "gzip"), ("identity", None)):
        answer = await client.get(path, headers={"Accept-Encoding": coding})
        assert (answer.headers.get("Content-Encoding"), len(answer.json()["text"])) == (expected, 4000)
    short = await client.get(await made(client), headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in short.headers


async def events(client: httpx.AsyncClient) -> None:
    """Server-sent events, each at once, also to a client that accepts gzip."""
    async with client.stream("GET", "/events", headers={"Accept-Encoding": "gzip"}) as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        path = await made(client)
        await client.put(path, json={"title": "x"})
        await client.delete(path)
        found: list[tuple[str, str]] = []
        kind = ""
        async for line in stream.aiter_lines():
            name, _, value = line.partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                found.append((kind, value))
            if len(found) == 3:
                break
    number = path.rpartition("/")[2]
    assert found == [("added", number), ("changed", number), ("deleted", number)]


async def attachments(client: httpx.AsyncClient) -> None:
    """A file of 1 MiB; the driver does the same with 100 MiB."""
    await attach(client, 1)


async def attach(client: httpx.AsyncClient, mebibytes: int) -> None:
    """Store a file and get it back, whole and in part; it goes with its note."""
    sent, path = hashlib.sha256(), await made(client)
    size = mebibytes * 1024 * 1024

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(size // len(PIECE)):
            sent.update(PIECE)
            yield PIECE

    is_problem(await client.get(f"{path}/file"), 404)
    answer = await client.put(f"{path}/file", content=pieces(), headers={"Content-Type": "application/octet-stream"})
    assert answer.status_code == 204, answer.text
    async with client.stream("GET", f"{path}/file") as stream:
        received, length = hashlib.sha256(), 0
        async for piece in stream.aiter_bytes():
            received.update(piece)
            length += len(piece)
    assert (stream.status_code, length, received.digest()) == (200, size, sent.digest())
    part = await client.get(f"{path}/file", headers={"Range": "bytes=-300"})
    assert (part.status_code, part.content) == (206, PIECE[-300:])
    assert (await client.delete(path)).status_code == 204
    is_problem(await client.get(f"{path}/file"), 404)


CHECKS: list[Check] = [
    create_read_replace_delete, data_has_types, pages_of_notes, tokens, other_pages_and_methods, cors, request_ids,
    gzip, events, attachments,
]  # fmt: skip
