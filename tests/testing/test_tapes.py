"""Record and replay: what is passed on, what is written and what is not, what is answered from it."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import aiohttpd
from aiohttpd.testing import TestServer
from aiohttpd.testing.tapes import REPLACED, recording_app, replaying_app


class Upstream(aiohttpd.BaseHTTPRequestHandler):
    count = 0

    async def do_GET(self) -> None:
        type(self).count += 1
        self.send_response(200, "Fine")
        self.send_header("Content-Type", "text/plain")
        self.send_header("Set-Cookie", "session=hidden")
        self.send_header("X-Number", str(self.count))
        self.end_headers()
        self.wfile.write(f"{self.path} {self.headers['Host']} {self.headers['Authorization']}".encode())

    async def do_POST(self) -> None:
        self.send_json({"got": await self.text()}, status=201)

    async def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "12345")
        self.end_headers()


@pytest.fixture
def upstream() -> Iterator[TestServer]:
    Upstream.count = 0
    with TestServer(Upstream) as server:
        yield server


@pytest.fixture
def tape(upstream: TestServer, tmp_path: Path) -> Path:
    """A folder with some exchanges."""
    folder = tmp_path / "tape"
    with TestServer(recording_app(upstream.url + "/v1", folder)) as proxy:
        with httpx.Client(base_url=proxy.url, headers={"Authorization": "Bearer hidden"}) as client:
            for _ in range(2):
                answer = client.get("/a?b=1")
                assert answer.text == f"/v1/a?b=1 127.0.0.1:{upstream.port} Bearer hidden"
                assert answer.headers["Set-Cookie"] == "session=hidden"
                assert answer.reason_phrase == "Fine"
            for content in ("one", "two"):
                assert client.post("/", content=content).json() == {"got": content}
            assert client.head("/a").headers["Content-Length"] == "12345"
    return folder


def test_secrets_are_not_written(tape: Path) -> None:
    text = b"".join(path.read_bytes() for path in tape.iterdir() if path.name == "exchanges.jsonl")
    assert b"hidden" not in text
    first = json.loads(text.splitlines()[0])
    assert ["Set-Cookie", REPLACED] in first["headers"]
    assert dict(first["request_headers"])["Authorization"] == REPLACED
    assert (first["method"], first["target"], first["status"], first["reason"]) == ("GET", "/a?b=1", 200, "Fine")
    assert (tape / first["body"]).read_bytes().startswith(b"/v1/a?b=1 ")


def test_replay(tape: Path) -> None:
    with TestServer(replaying_app(tape)) as server, httpx.Client(base_url=server.url) as client:
        assert [client.get("/a?b=1").headers["X-Number"] for _ in range(3)] == ["1", "2", "2"]
        answer = client.post("/", content="two")
        assert (answer.status_code, answer.json()) == (201, {"got": "two"})
        assert client.post("/", content="one").json() == {"got": "one"}
        assert client.post("/", content="two").json() == {"got": "two"}  # again, whatever else is left
        assert client.head("/a").headers["Content-Length"] == "12345"
        missing = client.get("/a?b=2")
        assert missing.status_code == 404
        assert "GET /a?b=1" in missing.text


def test_replay_of_bodies_that_differ_each_time(tape: Path) -> None:
    """They take what is left in its order, and what has been asked for by its body is no longer left."""
    with TestServer(replaying_app(tape)) as server, httpx.Client(base_url=server.url) as client:
        got = [client.post("/", content=content).json()["got"] for content in ("one", "at 12:00", "one", "at 12:01")]
    assert got == ["one", "two", "one", "two"]


def test_replay_beside_expectations(tape: Path) -> None:
    with TestServer() as server, httpx.Client(base_url=server.url) as client:
        server.replay(tape)
        server.expect("GET", "/a", query="b=1").respond(503).once()
        assert [client.get("/a?b=1").status_code for _ in range(2)] == [503, 200]
        assert client.post("/", content="two").json() == {"got": "two"}
        assert client.get("/other").status_code == 500
        with pytest.raises(AssertionError, match="unexpected request: GET /other"):
            server.verify()
        server.clear()


def test_replay_beside_an_app(tape: Path) -> None:
    with TestServer(Upstream) as server, httpx.Client(base_url=server.url) as client:
        server.replay(tape)
        assert client.post("/", content="two").json() == {"got": "two"}
        assert client.post("/x", content="three").json() == {"got": "three"}


def test_more_is_appended(tape: Path, upstream: TestServer) -> None:
    before = len((tape / "exchanges.jsonl").read_text().splitlines())
    with TestServer(recording_app(upstream.url, tape)) as proxy:
        httpx.get(proxy.url_for("/new"))
    lines = (tape / "exchanges.jsonl").read_text().splitlines()
    assert len(lines) == before + 1
    bodies = [json.loads(line)["body"] for line in lines]
    assert len(set(bodies) - {None}) == len([body for body in bodies if body])


def test_an_upstream_that_is_not_there(tmp_path: Path) -> None:
    with TestServer() as other:
        app = recording_app(other.refused_url, tmp_path)
        with TestServer(app) as proxy:
            answer = httpx.get(proxy.url)
            assert answer.status_code == 502
            assert "cannot be asked: ConnectionRefusedError" in answer.text
    assert not (tmp_path / "exchanges.jsonl").exists()


@pytest.mark.parametrize("url", ["example.org", "ftp://example.org", "http://", "http://example.org/?a=1"])
def test_no_server(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        recording_app(url, tmp_path)


@pytest.mark.parametrize(
    ("root", "location", "told"),
    [
        ("", "{url}/next?a=b", "/next?a=b"),
        ("", "{url}", "/"),
        ("", "{url}?a=b", "/?a=b"),
        ("", "/next", "/next"),
        ("", "next", "next"),
        ("", "//other.example/", "//other.example/"),
        ("", "{url}//next", "{url}//next"),
        ("", "{url}0/next", "{url}0/next"),
        ("", "https://other.example/next", "https://other.example/next"),
        ("/v1", "{url}/v1/next", "/next"),
        ("/v1", "{url}/v1", "/"),
        ("/v1", "/v1?a=b", "/?a=b"),
        ("/v1", "/v10", "/v10"),
        ("/v1", "{url}/sign-in", "{url}/sign-in"),
    ],
)
def test_redirects_stay_here(root: str, location: str, told: str, tmp_path: Path) -> None:
    """FAULT: the client went on at the recorded server, and what followed was not recorded."""
    with TestServer() as upstream, TestServer(recording_app(upstream.url + root, tmp_path)) as proxy:
        upstream.expect("GET", f"{root}/").respond(302, headers={"Location": location.format(url=upstream.url)})
        assert httpx.get(proxy.url + "/").headers["Location"] == told.format(url=upstream.url)
    with TestServer(replaying_app(tmp_path)) as server:
        assert httpx.get(server.url + "/").headers["Location"] == told.format(url=upstream.url)


def test_nothing_recorded(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="aiohttpd record URL"):
        replaying_app(tmp_path)
    (tmp_path / "exchanges.jsonl").write_text('{"method": "GET", "target": "/"}\n{\n')
    with pytest.raises(ValueError, match="line 2 of"):
        replaying_app(tmp_path)


def test_what_upstream_servers_send(tmp_path: Path) -> None:
    """Interim answers, fields in several lines; and an empty body has its length."""
    with TestServer() as upstream, TestServer(recording_app(upstream.url, tmp_path)) as proxy:
        upstream.expect("POST", "/", headers={"Content-Length": "0"}).respond(text="final").interim(100, 103, 103)
        upstream.expect("GET", "/", headers={"Content-Length": None}).respond(text="folded").folded_header()
        with httpx.Client(base_url=proxy.url) as client:
            answer = client.post("/")
            assert (answer.status_code, answer.text) == (200, "final")
            answer = client.get("/")
            assert (answer.status_code, answer.text) == (200, "folded")
    with TestServer(replaying_app(tmp_path)) as server, httpx.Client(base_url=server.url) as client:
        assert (client.post("/").text, client.get("/").text) == ("final", "folded")
