"""Expectations: which requests a test expects, how often and in which order, and how they are answered.

Owns the book of them: which one a request meets, what is told of one that meets none, and the verdict at the end.
"""

import asyncio
import inspect
import json as json_module
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from ..asgi.host import hosted
from ..engine.interfaces import App, ResponseWriter
from ..engine.receiver import complete_body
from ..errors import ClientDisconnected
from ..handlers.app import resolve_app
from ..handlers.base import BaseHTTPRequestHandler
from ..handlers.files.media_types import guess_type
from ..handlers.json_values import plain
from ..handlers.routing.functions import add_function
from ..wire.request import Request
from ..wire.response import ResponseFields
from .faults import Faults
from .matching import ANYTHING, Mismatch, RequestMatcher
from .recording import RecordedRequest

__all__ = ["Book", "Expectation"]

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class Expectation(Faults):
    """A request that is expected, and its answer; `TestServer.expect` makes it.

    ::

        httpd.expect("GET", "/users/{id:int}").respond(json={"name": "Ada"}).once()

    Its answer is 200 without content, unless `respond` or `respond_with` says something else. It is expected once or
    more often, unless `times`, `once` or `optional` says something else. Each verb returns the expectation itself, and
    the verbs of `Faults` make its answer go wrong.

    Attributes:
        hits: how often it has been met.
    """

    def __init__(self, matcher: RequestMatcher, in_order: Callable[["Expectation"], None]) -> None:
        super().__init__()
        self.matcher = matcher
        self.hits = 0
        self._put_in_order = in_order
        self._least: int = 1
        self._most: int | None = None
        self._app: App = _answer_app(200, [], b"")
        self._delay = 0.0

    def respond(
        self,
        status: int = 200,
        *,
        json: Any = ANYTHING,
        text: str | None = None,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        file: str | os.PathLike[str] | None = None,
        delay: float = 0,
    ) -> Self:
        """Say what the answer is.

        Args:
            status: the status code, 200 to 999.
            json: a value that is sent as JSON; it may hold what ``send_json`` of a handler takes, and NaN.
            text: a text that is sent in UTF-8, as ``text/plain`` unless ``headers`` has a Content-Type.
            body: bytes.
            headers: fields of the answer, in their order.
            file: the path of a file whose bytes are sent, with the media type of its name; it is read for each answer.
            delay: seconds before the answer.

        Raises:
            TypeError: more than one of ``json``, ``text``, ``body`` and ``file``; or ``status`` is content; or ``text``
                or ``body`` is of another type.
            ValueError: the status or a field cannot be sent.
        """
        given = [name for name, value in (("text", text), ("body", body), ("file", file)) if value is not None]
        given += ["json"] * (json is not ANYTHING)
        if len(given) > 1:
            raise TypeError(
                f"an answer has one content, and respond() has {' and '.join(given)}: leave out all but one"
            )
        if not isinstance(status, int):
            raise TypeError(f"the status is {status!r}: write content as json=..., text=..., body=... or file=...")
        if not 200 <= status <= 999:
            raise ValueError(f"respond() takes a final status, 200 to 999, not {status}; interim() sends 1xx before it")
        if text is not None and not isinstance(text, str):
            raise TypeError(f"text= is text, not {type(text).__name__}: write body=... for bytes, json=... for a value")
        if body is not None and not isinstance(body, (bytes, bytearray, str)):
            raise TypeError(f"body= is bytes or text, not {type(body).__name__}: write json=... for a value")
        fields = list(headers.items() if isinstance(headers, Mapping) else headers)
        ResponseFields.of(fields)  # an error is better raised here than by the server
        content: bytes | Path = body.encode() if isinstance(body, str) else body or b""
        if json is not ANYTHING:
            content = json_module.dumps(json, ensure_ascii=False, default=plain).encode()
            _add_type(fields, "application/json")
        elif text is not None:
            content = text.encode()
            _add_type(fields, "text/plain; charset=utf-8")
        elif file is not None:
            content = Path(file)
            _add_type(fields, guess_type(os.fspath(file)) or "application/octet-stream")
        self._app = _answer_app(status, fields, content)
        self._delay = delay
        return self

    def respond_with(self, responder: type[Any] | App | Callable[[Any], Awaitable[Any]], *, delay: float = 0) -> Self:
        """Have the answer made by code.

        Args:
            responder: a handler class or another App, or ``async def answer(self)``, which gets a handler as ``do_GET``
                would. The parameters of the path are in ``self.params``.
            delay: seconds before it is called.

        Raises:
            TypeError: it is none of these.
        """
        self._app = _app_of(responder, self.matcher.method)
        self._delay = delay
        return self

    def times(self, count: int) -> Self:
        """Expect it exactly so many times.

        Raises:
            ValueError: the number is negative.
        """
        if count < 0:
            raise ValueError(f"times() takes 0 or more, not {count}")
        self._least = self._most = count
        return self

    def once(self) -> Self:
        """Expect it exactly once."""
        return self.times(1)

    def optional(self) -> Self:
        """Expect it any number of times, or never."""
        self._least, self._most = 0, None
        return self

    def in_order(self) -> Self:
        """Expect it after those that have been put in order before it, and before those that are put so later."""
        self._put_in_order(self)
        return self

    @property
    def satisfied(self) -> bool:
        """Whether it has been met as often as it has to be."""
        return self.hits >= self._least

    @property
    def exhausted(self) -> bool:
        """Whether it must not be met once more."""
        return self._most is not None and self.hits >= self._most

    @property
    def count_text(self) -> str:
        """How often it has been met, and how often it was expected."""
        if self._most is not None:
            return f"met {self.hits} of {self._most} times"
        expected = "any number of times" if not self._least else "at least once"
        return f"met {self.hits} times, expected {expected}"

    def __str__(self) -> str:
        return str(self.matcher)

    def __repr__(self) -> str:
        return f"<expect {self}, {self.count_text}>"

    async def serve(self, request: Request, response: ResponseWriter) -> None:
        """Answer a request that has met it."""
        if self._delay:
            await asyncio.sleep(self._delay)
        await self.answer(self._app, request, response)


class Book:
    """The expectations of one server.

    Args:
        reads_all: read the bodies of all requests, even if nothing is expected.
    """

    def __init__(self, *, reads_all: bool) -> None:
        self.reads_all = reads_all
        self.expectations: list[Expectation] = []
        self.failures: list[str] = []
        self._order: list[Expectation] = []
        self._answering: dict[Any, Expectation] = {}  # by connection

    def add(self, matcher: RequestMatcher) -> Expectation:
        """Expect one more request."""
        expectation = Expectation(matcher, self._put_in_order)
        self.expectations.append(expectation)
        return expectation

    def clear(self) -> None:
        """Forget all of them, and what has failed."""
        self.expectations.clear()
        self.failures.clear()
        self._order.clear()

    def _put_in_order(self, expectation: Expectation) -> None:
        if expectation not in self._order:
            self._order.append(expectation)

    async def refuse(self, request: Request, response: ResponseWriter, recorded: RecordedRequest) -> None:
        """Answer a request that nobody expects, with 500 and the reason."""
        text = self._explain(request, recorded)
        self.failures.append(text)
        await _answer_app(500, [("Content-Type", "text/plain; charset=utf-8")], text.encode())(request, response)

    def malformed(self, line: bytes) -> None:
        """Note that a request has been refused before anything could expect it.

        Args:
            line: its first line.
        """
        text = line.decode("latin-1").strip()
        self.failures.append(f"a malformed request has been refused; its answer says why: {text!r}")

    async def answer(self, expectation: Expectation, request: Request, response: ResponseWriter) -> None:
        """Answer a request that has met an expectation."""
        self._answering[request.peer] = expectation
        try:
            await expectation.serve(request, response)
            response.finish()  # what it finds wrong is a failure of this answer, too
        except Exception as error:
            self.failed(request, error)
            raise
        finally:
            del self._answering[request.peer]

    def failed(self, request: Request, error: BaseException) -> None:
        """Note an exception, if it comes from the answer of an expectation and not from the App that is tested.

        A client that has left is no failure: a test of its timeouts makes it leave.
        """
        if request.peer in self._answering and not isinstance(error, ClientDisconnected):
            self.failures.append(f"the answer to {self._answering[request.peer]} has failed: {error!r}")

    async def find(self, request: Request, recorded: RecordedRequest) -> Expectation | None:
        """The expectation that a request meets, or None; it counts as met. The body of the request is read."""
        if not self.expectations and not self.reads_all:
            return None  # what serves the request reads its body itself
        if request.known_body is not None:
            request.body.limit = None
            await request.body.read()  # which is recorded
            request.body = complete_body(recorded.body, None, asyncio.get_running_loop())
        for expectation in self.expectations:
            if expectation.exhausted or self._blockers(expectation) or self._differs(expectation, request, recorded):
                continue
            expectation.hits += 1
            recorded.params = request.known_params = expectation.matcher.params(request.path) or {}
            return expectation
        return None

    def _differs(self, expectation: Expectation, request: Request, recorded: RecordedRequest) -> bool:
        """Whether a request is another one than the expected; an exception of a function of the test is a failure."""
        try:
            return bool(_mismatches(expectation, request, recorded))
        except Exception as error:
            self.failures.append(f"{expectation} cannot be compared with {request.method} {request.target}: {error!r}")
            raise

    def _blockers(self, expectation: Expectation) -> list[str]:
        """Why it is not its turn."""
        if expectation not in self._order:
            return []
        place = self._order.index(expectation)
        early = [f"- {other} comes before it, and is {other.count_text}" for other in self._order[:place]
                 if not other.satisfied]  # fmt: skip
        late = [f"- {other} comes after it, and has been met" for other in self._order[place + 1 :] if other.hits]
        return early + late

    def _explain(self, request: Request, recorded: RecordedRequest) -> str:
        lines = [f"unexpected request: {request.method} {request.target} (connection {recorded.connection})"]
        if not self.expectations:
            return f'{lines[0]}\nnothing is expected: httpd.expect("{request.method}", "{request.path}") expects it'

        def distance(expectation: Expectation) -> float:
            return sum(mismatch.weight for mismatch in _mismatches(expectation, request, recorded))

        nearest = min(self.expectations, key=distance)
        lines.append(f"the nearest expectation is {nearest} ({nearest.count_text})")
        for mismatch in _mismatches(nearest, request, recorded):
            lines.append(f"  {mismatch.what}:")
            lines += [f"    {line}" for line in mismatch.lines]
        if blockers := self._blockers(nearest):
            lines += ["  order:", *(f"    {line}" for line in blockers)]
        if nearest.exhausted:
            lines += ["  times:", f"    it has been {nearest.count_text}; times() or optional() allow more"]
        return "\n".join(lines)

    def verdict(self) -> str | None:
        """What has not been as expected; None if all has."""
        texts = list(self.failures)
        texts += [
            f"{expectation} has not been asked as often as expected: it has been {expectation.count_text}"
            for expectation in self.expectations
            if not expectation.satisfied
        ]
        return "\n\n".join(texts) or None


def _mismatches(expectation: Expectation, request: Request, recorded: RecordedRequest) -> list[Mismatch]:
    return expectation.matcher.mismatches(
        request.method, request.path, recorded.query, recorded.headers, recorded.body
    )  # fmt: skip


def _answer_app(status: int, fields: list[tuple[str, str]], content: bytes | Path) -> App:
    async def answer(request: Request, response: ResponseWriter) -> None:
        data = _read(content)
        response.send_head(status, fields)
        response.write(data)

    return answer


def _read(content: bytes | Path) -> bytes:
    return content.read_bytes() if isinstance(content, Path) else content


def _add_type(fields: list[tuple[str, str]], media_type: str) -> None:
    if not any(name.lower() == "content-type" for name, _ in fields):
        fields.append(("Content-Type", media_type))


def _app_of(responder: Any, method: str | None) -> App:
    if not inspect.isclass(responder) and inspect.iscoroutinefunction(responder):
        required = [
            parameter
            for parameter in inspect.signature(responder).parameters.values()
            if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
        ]
        if len(required) == 1:
            made = type("Answer", (BaseHTTPRequestHandler,), {})
            add_function(made, "/", [method] if method else _METHODS, responder)
            return resolve_app(made)
    return resolve_app(hosted(responder))
