"""The whole application, asked by a client in memory: ``python -m pytest examples/notes``."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from aiohttpd import testing

from . import make_app, passwords

SECRET = "a secret for tests, 32 characters"
ADA = {"name": "ada", "password": "correct horse"}


@pytest.fixture(autouse=True)
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "COST", 2)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with testing.client(make_app(tmp_path, SECRET)) as client:
        yield client


@pytest.fixture
async def ada(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """The client, signed in."""
    assert (await client.post("/sign-in", data=ADA | {"new": "1"})).headers["Location"] == "/"
    return client


async def test_nobody_is_signed_in(client: httpx.AsyncClient) -> None:
    page = await client.get("/")
    assert (page.status_code, page.headers["Location"]) == (303, "/sign-in")
    assert (await client.get("/sign-in")).status_code == 200
    answer = await client.get("/api/notes")
    assert (answer.status_code, answer.json()["detail"]) == (403, "sign in first")


async def test_signing_in_and_out(ada: httpx.AsyncClient) -> None:
    assert "ada" in (await ada.get("/")).text
    await ada.post("/sign-out")
    assert (await ada.get("/")).status_code == 303
    assert (await ada.post("/sign-in", data=ADA | {"password": "wrong horse"})).status_code == 403
    assert (await ada.post("/sign-in", data=ADA | {"name": "nobody"})).status_code == 403
    assert (await ada.post("/sign-in", data=ADA | {"password": "short"})).status_code == 422
    assert (await ada.post("/sign-in", data=ADA | {"new": "1"})).status_code == 409
    cookie = (await ada.post("/sign-in", data=ADA)).headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert (await ada.get("/")).status_code == 200


async def test_pages_of_other_sites_change_nothing(ada: httpx.AsyncClient) -> None:
    evil = {"Origin": "https://evil.example"}
    assert (await ada.post("/", data={"title": "x"}, headers=evil)).status_code == 403
    assert (await ada.post("/sign-in", data=ADA, headers=evil)).status_code == 403
    assert (await ada.get("/api/notes")).json() == []


async def test_forms(ada: httpx.AsyncClient) -> None:
    made = await ada.post("/", data={"title": "<Tea>", "text": "</textarea>&"})
    path = made.headers["Location"]
    assert "&lt;Tea&gt;" in (await ada.get("/")).text
    page = (await ada.get(path)).text
    assert "&lt;/textarea&gt;&amp;" in page
    await ada.post(path, data={"title": "Coffee"})
    assert "Coffee" in (await ada.get("/")).text
    assert (await ada.post("/", data={"title": ""})).status_code == 422
    await ada.post(f"{path}/delete")
    missing = await ada.get(path)
    assert (missing.status_code, "there is no such note" in missing.text) == (404, True)


async def test_json(ada: httpx.AsyncClient) -> None:
    made = await ada.post("/api/notes", json={"title": "Tea", "text": "green"})
    path = made.headers["Location"]
    assert (made.status_code, made.json()["title"]) == (201, "Tea")
    assert (await ada.get(path)).json() == made.json()
    assert (await ada.put(path, json={"title": "Coffee"})).json()["text"] == ""
    wrong = await ada.put(path, json={"title": 7})
    assert wrong.headers["Content-Type"] == "application/problem+json"
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "#/title")
    assert (await ada.delete(path)).status_code == 204
    assert (await ada.get(path)).status_code == 404


async def test_paging(ada: httpx.AsyncClient) -> None:
    made = [(await ada.post("/api/notes", json={"title": str(number)})).json() for number in range(5)]
    first = (await ada.get("/api/notes?limit=2")).json()
    assert first == [made[4], made[3]]
    assert (await ada.get(f"/api/notes?limit=2&before={first[-1]['id']}")).json() == [made[2], made[1]]
    assert (await ada.get("/api/notes?limit=1000")).status_code == 422


async def test_what_sqlite_cannot_keep(ada: httpx.AsyncClient) -> None:
    for title in (r"\ud800", r"a\udfff"):
        assert (await ada.post("/api/notes", content=f'{{"title": "{title}"}}')).status_code == 422
    assert (await ada.post("/api/notes", content=r'{"title": "\ud83d\ude00"}')).json()["title"] == "😀"
    for before in (2**63, 10**30, 0, -1):
        assert (await ada.get(f"/api/notes?before={before}")).status_code == 422
    for last in (str(10**18 - 1), str(2**63), "9" * 5000):
        async with ada.stream("GET", "/api/changes", headers={"Last-Event-ID": last}) as stream:
            assert stream.status_code == 200
            await ada.post("/api/notes", json={"title": "more"})
            if last != str(10**18 - 1):
                assert (await anext(stream.aiter_lines())).startswith("event: added")


async def test_attachments(ada: httpx.AsyncClient, tmp_path: Path) -> None:
    content = os.urandom(2 * 1024 * 1024)  # more than is kept in memory
    path = (await ada.post("/", data={"title": "Tea"})).headers["Location"]
    await ada.post(f"{path}/files", files={"file": ("../tea <1>.bin", content)})
    page = (await ada.get(path)).text
    assert "tea _1_.bin" in page
    file = page.partition('href="/files/')[2].partition('"')[0]
    whole = await ada.get(f"/files/{file}")
    assert whole.content == content
    assert whole.headers["Content-Disposition"] == 'attachment; filename="tea _1_.bin"'
    part = await ada.get(f"/files/{file}", headers={"Range": "bytes=-10"})
    assert (part.status_code, part.content) == (206, content[-10:])
    await ada.post(f"{path}/delete")
    assert (await ada.get(f"/files/{file}")).status_code == 404
    assert list((tmp_path / "files").iterdir()) == []


async def test_others_see_nothing(ada: httpx.AsyncClient) -> None:
    path = (await ada.post("/api/notes", json={"title": "secret"})).headers["Location"]
    await ada.post(f"{path.removeprefix('/api')}/files", files={"file": ("a", b"secret")})
    page = (await ada.get(path.removeprefix("/api"))).text
    file = page.partition('href="/files/')[2].partition('"')[0]
    await ada.post("/sign-in", data={"name": "eve", "password": "battery staple", "new": "1"})
    assert (await ada.get("/api/notes")).json() == []
    answers = [await ada.get(path), await ada.put(path, json={"title": "x"}), await ada.delete(path)]
    assert [answer.status_code for answer in answers] == [404] * 3
    assert (await ada.get(f"/files/{file}")).status_code == 404


async def test_feed(ada: httpx.AsyncClient) -> None:
    async with ada.stream("GET", "/api/changes") as stream:
        lines = stream.aiter_lines()
        for title in ("one", "two"):
            await ada.post("/api/notes", json={"title": title})
        await ada.delete("/api/notes/1")
        events = [[await anext(lines) for _ in range(4)][:3] for _ in range(3)]
    assert events == [
        ["event: added", "id: 1", "data: 1"],
        ["event: added", "id: 2", "data: 2"],
        ["event: deleted", "id: 3", "data: 1"],
    ]
    async with ada.stream("GET", "/api/changes", headers={"Last-Event-ID": "2"}) as stream:
        lines = stream.aiter_lines()
        assert [await anext(lines) for _ in range(3)] == events[2]


async def test_passwords() -> None:
    hashed = await passwords.hash_password("correct horse")
    assert hashed != await passwords.hash_password("correct horse")
    assert await passwords.is_password("correct horse", hashed)
    assert not await passwords.is_password("wrong horse", hashed)
    assert not await passwords.is_password("correct horse", None)
