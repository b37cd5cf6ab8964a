"""TestServer: a server on a free port, for tests that are synchronous or asynchronous.

Owns its start and its stop. What it has been asked is `recording`'s, what is expected `expectations`'.
"""

import asyncio
import contextlib
import os
import re
import shutil
import socket
import ssl
import tempfile
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack, get_args
from urllib.parse import quote, urlencode

from ..asgi.host import hosted
from ..config import Config
from ..engine.interfaces import App, ResponseWriter
from ..handlers.app import Lifespan, forward_attributes, resolve_app
from ..server.server import HTTPServer
from ..wire.request import Request
from .certificates import TLSKind, server_context, write_authority
from .expectations import Book, Expectation
from .faults import refused_for_reuse
from .loop_thread import LoopThread
from .matching import ANYTHING, Pairs, RequestMatcher
from .ports import bound_socket
from .recording import Connection, RecordedRequest, Records
from .tapes import Replay
from .tls_front import TLSFront

if TYPE_CHECKING:
    from ..config.keywords import Options

__all__ = ["TestServer"]

_LIFESPAN = 10.0  # seconds for the lifespan to be left, before it is cancelled
_ORDERLY = 0.002  # seconds for connections to be closed in good order, before they are aborted


class _Server(HTTPServer):
    """A server that tells the book what has failed."""

    def __init__(self, book: Book, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._book = book

    def handle_error(self, error: BaseException, request: Request) -> None:
        """Note it, and log it as ever."""
        self._book.failed(request, error)
        super().handle_error(error, request)


class TestServer:
    """A server for tests, on a free port of 127.0.0.1.

    In a synchronous test its loop runs in a thread of its own::

        with TestServer(Notes) as server:
            assert urllib.request.urlopen(server.url_for("/notes")).status == 200

    In an asynchronous test it runs in the loop of the test::

        async with TestServer(Notes) as server, httpx.AsyncClient() as client:
            ...

    Without an App it answers what is expected of it::

        with TestServer() as server:
            server.expect("GET", "/users/{id}").respond(json={"name": "Ada"})

    It stops at once: requests in flight are cancelled, connections are closed. If the block ends without an exception,
    and something was not as expected, leaving it raises AssertionError.

    Args:
        app: a handler class, another App, or an ASGI application, for all requests that meet no expectation.
        tls: True for HTTPS, with a certificate of `ca_file`; needs ``aiohttpd[testing]``. Or a fault: ``expired``,
            ``wrong_name`` and ``unknown_authority`` are certificates that a client has to refuse; ``slow`` begins the
            handshake after ``tls_delay``; ``reset`` resets the connection in place of it.
            A server context of the ``ssl`` module is used as it is, and there is no `ca_file`.
        unix: listen on a unix socket, `unix_path`, in place of a port.
        port: of 127.0.0.1; 0, the default, is a free one. For clients that know the port of their server.
        lifespan: as for `HTTPServer`; that of the App is entered, too.
        tls_delay: seconds, for ``slow``.
        options: fields of `Config`. The access log is off by default.

    Raises:
        TypeError, ValueError: ``app`` is no App, there is no such fault, an option is unknown or out of its range, or
            arguments contradict each other.
        ImportError: TLS without trustme.
    """

    __test__ = False  # its name begins as those of test classes do, and pytest must not collect it

    def __init__(
        self,
        app: App | None = None,
        tls: bool | TLSKind | ssl.SSLContext = False,
        unix: bool = False,
        *,
        port: int = 0,
        lifespan: Lifespan | None = None,
        tls_delay: float = 1.0,
        **options: "Unpack[Options]",
    ) -> None:
        if tls and unix:
            raise ValueError("TestServer has tls or unix, not both")
        if port and unix:
            raise ValueError("TestServer has port or unix, not both")
        self._own_context = tls if isinstance(tls, ssl.SSLContext) else None
        kind = bool(tls) if isinstance(tls, ssl.SSLContext) else tls
        if kind not in (False, True, *get_args(TLSKind)):
            raise ValueError(
                f"tls is True, False, an SSLContext, or one of {', '.join(get_args(TLSKind))}, not {tls!r}"
            )
        self._given = hosted(app)
        self._app = None if app is None else resolve_app(self._given)
        self._lifespan = lifespan
        self._tls: TLSKind | None = ("good" if kind is True else kind) or None
        self._tls_delay = tls_delay
        given: Options = {"timeout_drain_idle": 0, "access_log": False, **options}
        self._config = Config(**given)
        self._unix = unix
        self._port = port
        self._book = Book(reads_all=app is None)
        self._replays: list[Replay] = []
        self._records = Records()
        self._server: HTTPServer | None = None
        self._front: TLSFront | None = None
        self._thread: LoopThread | None = None
        self._closed: socket.socket | None = None
        self._stack = contextlib.ExitStack()
        self._ca_file: str | None = None

    # Start and stop.

    def start(self) -> None:
        """Start it in a thread of its own; `stop` has to follow.

        Raises:
            RuntimeError: it runs already, or has run.
            OSError: the port is in use.
            Exception: the lifespan has raised it.
        """
        self._check_new()
        self._thread = LoopThread(self._begin, self._end)

    def stop(self) -> None:
        """Stop a server that `start` has started. A second call does nothing.

        Raises:
            TimeoutError: the lifespan does not end; it has been cancelled after ten seconds.
            Exception: the lifespan has raised it when it was left.
        """
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        if kind is None:
            self.verify()

    async def __aenter__(self) -> Self:
        self._check_new()
        await self._begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._end()
        if kind is None:
            self.verify()

    def _check_new(self) -> None:
        if self._server is not None:
            raise RuntimeError("a TestServer can be started only once; make another one")

    async def _begin(self) -> None:
        context = self._own_context
        if context is None and self._tls is not None:
            context = server_context(self._tls)
            self._ca_file = write_authority()
            self._stack.callback(os.unlink, self._ca_file)
        served = self._records.recording(self._serve)
        if self._given is not None:
            forward_attributes(self._given, served)
        silence = getattr(self._app, "aiohttpd_silence", None)
        vars(served).update(aiohttpd_refused=self._refused, aiohttpd_silence=silence)  # see `threads.legacy`
        fronted = self._tls in ("slow", "reset")
        self._server = _Server(
            self._book,
            [] if fronted else self._address(),
            served,
            config=self._config,
            lifespan=self._lifespan,
            ssl=None if fronted else context,
        )
        try:
            await self._server.start()
            if fronted and context is not None:
                delay = self._tls_delay if self._tls == "slow" else None
                self._front = TLSFront(self._server, context, delay, self._port)
        except BaseException:
            self._stack.close()
            raise

    async def _end(self) -> None:
        assert self._server is not None
        try:
            if self._front is not None:
                await self._front.close()
            task = asyncio.get_running_loop().create_task(self._server.shutdown(0))
            await asyncio.wait([task], timeout=_ORDERLY)
            if not task.done():
                for connection in self._server.connections:
                    connection.abort()
                await asyncio.wait([task], timeout=_LIFESPAN)
            late = not task.done()
            if late:
                await self._server.shutdown(0)  # a second call cancels the lifespan
            await task
            if late:
                raise TimeoutError(f"the lifespan has not ended {_LIFESPAN:g} s after the stop, and has been cancelled")
        finally:
            await self._records.close()
            self._stack.close()

    def _address(self) -> Any:
        if not self._unix:
            return ("127.0.0.1", self._port)
        folder = tempfile.mkdtemp(prefix="aiohttpd-")
        self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
        return os.path.join(folder, "server.sock")

    async def _serve(self, request: Request, response: ResponseWriter, recorded: RecordedRequest) -> None:
        if refused_for_reuse(request, response):
            return
        book = self._book
        if (found := await book.find(request, recorded)) is not None:
            await book.answer(found, request, response)
        elif tape := next((tape for tape in self._replays if tape.has(request.method, request.target)), None):
            tape.answer(request, response, recorded.body)
        elif self._app is not None:
            await self._app(request, response)
        else:
            await book.refuse(request, response, recorded)

    def _refused(self, line: bytes) -> None:
        tell = getattr(self._app, "aiohttpd_refused", None)
        if tell is not None:
            tell(line)
        if self._app is None and line:  # there is none if the client has gone within the head
            self._book.malformed(line)

    # Addresses.

    @property
    def url(self) -> str:
        """Its URL without a slash at its end; on a unix socket ``http://localhost``, for clients that take its path.

        Raises:
            RuntimeError: it does not run.
        """
        if self._front is not None:
            return self._front.url
        return "http://localhost" if self._unix else self.server.url

    def url_for(self, path: str, /, **query: Any) -> str:
        """The URL of a path, which is encoded; ``url_for("/a b", page=2)``.

        Raises:
            ValueError: the path does not begin with a slash.
        """
        if not path.startswith("/"):
            raise ValueError(f"a path begins with a slash: url_for('/{path}')")
        question = f"?{urlencode(query, doseq=True)}" if query else ""
        return f"{self.url}{quote(path)}{question}"

    @property
    def host(self) -> str:
        """The host of its address."""
        return "127.0.0.1"

    @property
    def port(self) -> int:
        """The port.

        Raises:
            RuntimeError: it does not run, or on a unix socket.
        """
        if self._unix:
            raise RuntimeError("a server on a unix socket has no port: see unix_path")
        return int(self.url.rpartition(":")[2])

    @property
    def unix_path(self) -> str:
        """The path of its unix socket.

        Raises:
            RuntimeError: it does not run, or not on a unix socket.
        """
        if not self._unix:
            raise RuntimeError("this server listens on a port: TestServer(unix=True) has a unix_path")
        return str(self.server.server_address)

    @property
    def ca_file(self) -> str:
        """The path of a file in PEM: the authority that a client has to trust, ``verify=server.ca_file``.

        Raises:
            RuntimeError: it does not run with TLS.
        """
        if self._ca_file is None:
            raise RuntimeError("there is a ca_file while a server with TLS runs: TestServer(tls=True)")
        return self._ca_file

    @property
    def refused_url(self) -> str:
        """A URL on whose port nobody listens, as long as this server runs: connections are refused."""
        if self._closed is None:
            self._closed = bound_socket()
            self._stack.callback(self._closed.close)
        return f"http://127.0.0.1:{self._closed.getsockname()[1]}"

    @property
    def server(self) -> HTTPServer:
        """The server itself, which handlers have as ``self.server``. It belongs to the thread of its loop.

        Raises:
            RuntimeError: it has not been started.
        """
        if self._server is None:
            raise RuntimeError("the TestServer does not run: use it in a with statement, or call start()")
        return self._server

    # Expectations.

    def expect(
        self,
        method: str | None,
        path: str | re.Pattern[str],
        *,
        query: str | Pairs | None = None,
        headers: Mapping[str, Any] | None = None,
        json: Any = ANYTHING,
        body: bytes | str | re.Pattern[Any] | None = None,
    ) -> Expectation:
        """Expect a request. If several expectations are met, the first counts that may be met once more.

        ::

            server.expect("POST", "/users", json={"name": "Ada"}).respond(status=201).once()

        Args:
            method: the method; None for any.
            path: without the query, as for a `Router`: ``/users/{id}``, ``/users/{id:int}``, ``/files/{rest...}``. Or
                a compiled regular expression for the whole path as it is sent.
            query: the whole query, as text or as names and values, in any order; a value may be a list, a compiled
                regular expression or a function. By default any.
            headers: fields that the request has; a value may be a compiled regular expression, a function, or None for
                a field that must not be there. Other fields may come, too.
            json: the value that the body is in JSON.
            body: the body, or a compiled regular expression that is searched in it.

        Returns:
            The expectation, whose verbs say what is answered and how often it is expected.

        Raises:
            TypeError: the method or the body is of another type.
            ValueError: the path is none, or both ``json`` and ``body`` are given.
        """
        return self._book.add(RequestMatcher(method, path, query=query, headers=headers, json=json, body=body))

    def replay(self, folder: str | os.PathLike[str]) -> None:
        """Answer what has been recorded in a folder by ``aiohttpd record``, unless it meets an expectation.

        A request that has been recorded several times gets the answers in that order, and the last one again.

        Raises:
            FileNotFoundError, ValueError: there is nothing recorded, or what cannot be read.
        """
        self._replays.append(Replay(folder))
        self._book.reads_all = True  # since a tape compares them

    def verify(self) -> None:
        """See whether everything has been as expected; the fixtures and the ``with`` statement do it at the end.

        Raises:
            AssertionError: a request was unexpected, an expectation has not been met, or an answer has failed; the text
                has the differences.
        """
        __tracebackhide__ = True
        verdict = self._book.verdict()
        if verdict is not None:
            raise AssertionError(verdict)

    def clear(self) -> None:
        """Forget expectations, tapes, failures and records; connections stay open."""
        self._book.clear()
        self._replays.clear()
        self._records.clear()

    # Recorded requests.

    @property
    def requests(self) -> list[RecordedRequest]:
        """All requests, in their order."""
        return self._records.requests

    @property
    def connections(self) -> list[Connection]:
        """The connections on which requests have come, in the order of their first requests."""
        return self._records.connections

    def wait_for(self, count: int = 1, timeout: float = 5.0) -> list[RecordedRequest]:
        """Wait until so many requests have been answered; return all that have come.

        Raises:
            TimeoutError: they have not within ``timeout`` seconds; the text says how many have.
            RuntimeError: the server runs in the loop of the test: ``await server.arrived(count)``.
        """
        if self._thread is None or self._thread.is_current:
            raise RuntimeError("wait_for() would block the loop in which the server runs: 'await server.arrived(n)'")
        if not self._records.wait_for(count, timeout):
            raise self._late(count, timeout)
        return self.requests

    async def arrived(self, count: int = 1, timeout: float = 5.0) -> list[RecordedRequest]:
        """`wait_for` in an asynchronous test, wherever the server runs.

        Raises:
            TimeoutError: they have not come within ``timeout`` seconds.
        """
        if self._thread is not None:
            return await asyncio.to_thread(self.wait_for, count, timeout)
        try:
            async with asyncio.timeout(timeout):
                await self._records.arrived(count)
        except TimeoutError:
            raise self._late(count, timeout) from None
        return self.requests

    def _late(self, count: int, timeout: float) -> TimeoutError:
        return TimeoutError(f"{self._records.answered} of {count} requests have been answered within {timeout:g} s")
