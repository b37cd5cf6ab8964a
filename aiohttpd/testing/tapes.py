"""Tapes: requests and answers that have been recorded in a folder, and are answered from it.

Owns the format: ``exchanges.jsonl`` has one JSON object a line for each exchange, and names the files beside it that
hold the bodies. Recording is a proxy; it asks the upstream server with ``http.client``, in a thread.
"""

import asyncio
import contextlib
import http.client
import json
import os
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..engine.interfaces import App, ResponseWriter
from ..errors import HTTPError
from ..wire.request import Request

__all__ = ["REPLACED", "SECRETS", "Replay", "recording_app", "replaying_app"]

SECRETS = ("Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie", "X-Api-Key")
REPLACED = "(secret)"  # what is written in place of the value of such a field

_INDEX = "exchanges.jsonl"
_HOP_BY_HOP = {
    "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
}  # fmt: skip
_TIMEOUT = 60.0  # seconds for the upstream server

Fields = list[tuple[str, str]]


class _Answer(http.client.HTTPResponse):
    """An answer of the server. `http.client` takes an interim one, 103 (Early Hints) say, for the final one."""

    def begin(self) -> None:
        super().begin()
        while 100 < self.status < 200 and self.status != 101:
            self.headers = self.msg = None  # type: ignore[assignment]  # so that the next head is read
            super().begin()


class _Upstream:
    """The server that is recorded.

    Raises:
        ValueError: the URL is none of HTTP.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no URL of a server: write https://api.example.org")
        if parts.query or parts.fragment:
            raise ValueError(f"the URL {url!r} has a query or a fragment: give the server, and a path to begin with")
        self._connect: Callable[..., http.client.HTTPConnection] = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._host, self._port = parts.hostname, parts.port
        self._netloc = parts.netloc.rpartition("@")[2]
        self._origin = f"{parts.scheme}://{self._netloc}"
        self._root = parts.path.rstrip("/")

    def below(self, location: str) -> str:
        """A Location for clients of the recording server: one that leads to this server would lead them past it."""
        path = location.removeprefix(self._origin)
        if path.startswith("//") or (path and path[0] not in "/?#"):
            return location  # another server, or a relative path
        below = path.removeprefix(self._root)
        if (below == path and self._root) or (below and below[0] not in "/?#"):
            return location  # outside of what is recorded
        return below if below.startswith("/") else f"/{below}"

    def ask(self, method: str, target: str, fields: Fields, body: bytes | None) -> tuple[int, str, Fields, bytes]:
        """Send a request; returns status, reason, fields and body of the answer."""
        with contextlib.closing(self._connect(self._host, self._port, timeout=_TIMEOUT)) as connection:
            connection.response_class = _Answer
            connection.putrequest(method, self._root + target, skip_host=True, skip_accept_encoding=True)
            connection.putheader("Host", self._netloc)
            for name, value in fields:
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None)
            answer = connection.getresponse()
            answered = [(name, _unfolded(value)) for name, value in answer.getheaders()]
            answered = [(name, self.below(value) if name.lower() == "location" else value) for name, value in answered]
            return answer.status, answer.reason, answered, answer.read()


class _Tape:
    """A folder that is written."""

    def __init__(self, folder: str | os.PathLike[str], secrets: Iterable[str]) -> None:
        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._index = self._folder / _INDEX
        self._secrets = {name.lower() for name in secrets}
        self._count = len(_lines(self._index)) if self._index.exists() else 0

    def write(self, exchange: dict[str, Any], request_body: bytes, body: bytes) -> None:
        """Append an exchange: first the files, then the line that names them."""
        self._count += 1
        exchange["request_body"] = self._write_body("request", request_body)
        exchange["body"] = self._write_body("answer", body)
        with self._index.open("a", encoding="utf-8") as file:
            file.write(json.dumps(exchange, ensure_ascii=False) + "\n")

    def clean(self, fields: Fields) -> Fields:
        """The fields without secrets."""
        return [(name, REPLACED if name.lower() in self._secrets else value) for name, value in fields]

    def _write_body(self, side: str, body: bytes) -> str | None:
        if not body:
            return None
        name = f"{self._count:04d}-{side}.bin"
        (self._folder / name).write_bytes(body)
        return name


def recording_app(url: str, folder: str | os.PathLike[str], *, secrets: Iterable[str] = SECRETS) -> App:
    """An App that passes requests on to a server, and writes what passes to a folder.

    Args:
        url: of the server, with a path to begin with if there is one.
        folder: is made if it does not exist; what is in it stays, and more is appended.
        secrets: names of header fields whose values are not written. Secrets in targets and bodies are written.

    Raises:
        ValueError: ``url`` is no URL of a server.
    """
    upstream = _Upstream(url)
    tape = _Tape(folder, secrets)

    async def record(request: Request, response: ResponseWriter) -> None:
        request.body.limit = None
        body = await request.body.read()
        fields = _end_to_end(request.headers.items(), {"host", "content-length", "expect"})
        begun = time.monotonic()
        try:
            status, reason, answered, content = await asyncio.to_thread(
                upstream.ask, request.method, request.target, fields, body if _has_body(request) else None
            )
        except (OSError, http.client.HTTPException) as error:
            raise HTTPError(502, explain=f"{url} cannot be asked: {error!r}") from None
        kept = _end_to_end(answered, {"content-length"} if request.method != "HEAD" else set())
        tape.write(
            {
                "method": request.method,
                "target": request.target,
                "request_headers": tape.clean(request.headers.items()),
                "status": status,
                "reason": reason,
                "headers": tape.clean(kept),
                "seconds": round(time.monotonic() - begun, 6),
            },
            body,
            content,
        )
        _answer(response, status, reason, kept, content)

    return record


class Replay:
    """What has been recorded in a folder. An exchange that was recorded several times is answered in that order.

    Raises:
        FileNotFoundError: nothing has been recorded there; the text says how to do it.
        ValueError: a line is no exchange; the text has its number.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)
        index = self._folder / _INDEX
        if not index.exists():
            raise FileNotFoundError(f"{index} does not exist: 'aiohttpd record URL {folder}' records something there")
        self._exchanges: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for number, line in enumerate(_lines(index), 1):
            try:
                exchange = json.loads(line)
                self._exchanges.setdefault((exchange["method"], exchange["target"]), []).append(exchange)
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"line {number} of {index} is no exchange: {error!r}") from None
        self._left = {key: list(exchanges) for key, exchanges in self._exchanges.items()}  # those not answered yet

    def has(self, method: str, target: str) -> bool:
        """Whether such a request has been recorded."""
        return (method, target) in self._exchanges

    def answer(self, request: Request, response: ResponseWriter, body: bytes) -> None:
        """Answer a request that has been recorded: by one with the same body, else by the next that is left."""
        key = request.method, request.target
        left = self._left[key]
        again = reversed(self._exchanges[key])  # the last one that has been answered with this body
        exchange = next((one for one in (*left, *again) if self._body(one["request_body"]) == body), left[0])
        if exchange in left and len(left) > 1:
            left.remove(exchange)
        fields = [(name, value) for name, value in exchange["headers"]]
        _answer(response, exchange["status"], exchange["reason"], fields, self._body(exchange["body"]))

    def explain(self, request: Request) -> str:
        """What is told of a request that has not been recorded."""
        import difflib

        asked = f"{request.method} {request.target}"
        known = [" ".join(key) for key in self._exchanges]
        nearest = difflib.get_close_matches(asked, known, n=3, cutoff=0)
        lines = "".join(f"\n  {text}" for text in nearest)
        return f"{asked} has not been recorded in {self._folder}; the nearest are:{lines}"

    def _body(self, name: str | None) -> bytes:
        return b"" if name is None else (self._folder / Path(name).name).read_bytes()


def replaying_app(folder: str | os.PathLike[str]) -> App:
    """An App that answers from a folder; 404 to what has not been recorded.

    Raises what `Replay` raises.
    """
    replay = Replay(folder)

    async def answer(request: Request, response: ResponseWriter) -> None:
        request.body.limit = None
        body = await request.body.read()
        if not replay.has(request.method, request.target):
            raise HTTPError(404, explain=replay.explain(request))
        replay.answer(request, response, body)

    return answer


def _has_body(request: Request) -> bool:
    """Whether a request has a body, if only an empty one: some servers want ``Content-Length: 0`` with POST (411)."""
    return request.framing.has_body or request.content_length is not None


def _unfolded(value: str) -> str:
    """The value of a field that is written in several lines, RFC 9112 section 5.2."""
    return re.sub(r"[ \t]*\r?\n[ \t]+", " ", value)


def _lines(index: Path) -> list[str]:
    return [line for line in index.read_text("utf-8").split("\n") if line]


def _end_to_end(fields: Iterable[tuple[str, str]], others: set[str]) -> Fields:
    """The fields without those of the connection, RFC 9110 section 7.6.1, and without some others."""
    fields = list(fields)
    named = [value for name, value in fields if name.lower() == "connection"]
    dropped = _HOP_BY_HOP | others | {token.strip().lower() for value in named for token in value.split(",")}
    return [(name, value) for name, value in fields if name.lower() not in dropped]


def _answer(response: ResponseWriter, status: int, reason: str, fields: Fields, content: bytes) -> None:
    response.send_head(status, fields, reason or None)
    response.write(content)
