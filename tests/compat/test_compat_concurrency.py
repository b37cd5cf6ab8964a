"""aiohttpd.compat: hooks that make threads of their own, handle_request beside silent clients, timeouts, flags."""

import contextlib
import functools
import gc
import http.client
import queue
import select
import selectors
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

import pytest

from aiohttpd.compat import HTTPServer, ThreadingHTTPServer, ThreadingMixIn

from ..support.old_servers import HERE, Call, Handler, handler, serving, set_timeout, text_at
from ..support.waiting import BOUND

pytestmark = pytest.mark.usefixtures("no_thread_left")
BOTH = pytest.mark.parametrize("kind", [HTTPServer, ThreadingHTTPServer])
MANY = 4
REQUEST = b"GET /1 HTTP/1.1\r\nHost: test\r\n\r\n"


class Pooled(HTTPServer):
    """The idiom of those who want a bound."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.pool = ThreadPoolExecutor(MANY, thread_name_prefix="own")

    def process_request(self, request: Any, client_address: Any) -> None:
        self.pool.submit(self.work, request, client_address)

    def work(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except Exception:
            self.handle_error(request, client_address)
        finally:
            self.shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        self.pool.shutdown()


class OneThreadEach(HTTPServer):
    def process_request(self, request: Any, client_address: Any) -> None:
        threading.Thread(target=self.work, args=(request, client_address), name="own").start()

    def work(self, request: Any, client_address: Any) -> None:
        self.finish_request(request, client_address)
        self.shutdown_request(request)


class NeverClosed(OneThreadEach):
    """The socket goes with its last reference, there."""

    def work(self, request: Any, client_address: Any) -> None:
        self.finish_request(request, client_address)


class ByMixIn(ThreadingHTTPServer):
    """Calls what it overrides."""

    def process_request(self, request: Any, client_address: Any) -> None:
        self.asked = threading.current_thread()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        threading.current_thread().name = "own"
        super().process_request_thread(request, client_address)


class ByThread(ThreadingMixIn, HTTPServer):
    """Does something around each request, in its thread."""

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        threading.current_thread().name = "own"
        super().process_request_thread(request, client_address)


OWN = pytest.mark.parametrize("kind", [Pooled, OneThreadEach, NeverClosed, ByMixIn, ByThread])


@OWN
class TestThreadsOfOnesOwn:
    def test_at_the_same_time(self, kind: Any) -> None:
        all_of_them = threading.Barrier(MANY, timeout=BOUND)

        def text(self: Handler) -> str:
            all_of_them.wait()
            return threading.current_thread().name

        server = kind(HERE, handler(text))
        with serving(server):
            calls = [Call(text_at, server.server_address) for _ in range(MANY)]
            assert all(call.result().startswith("own") for call in calls)

    def test_hook_runs_in_the_calling_thread(self, kind: Any) -> None:
        if kind is ByThread:
            pytest.skip("has no process_request")
        seen = []

        class Server(kind):  # type: ignore[misc]
            def process_request(self, request: Any, client_address: Any) -> None:
                seen.append(threading.current_thread())
                super().process_request(request, client_address)

        server = Server(HERE, Handler)
        with serving(server) as call:
            assert text_at(server.server_address) == "/"
        assert seen == [call]

    def test_keeps_connections(self, kind: Any) -> None:
        server = kind(HERE, Handler)
        with serving(server):
            connection = http.client.HTTPConnection(*server.server_address, timeout=BOUND)
            with contextlib.closing(connection):
                for path in ("/1", "/2", "/3"):
                    connection.request("GET", path)
                    assert connection.getresponse().read() == path.encode()

    def test_handler_shuts_down(self, kind: Any) -> None:
        """And waits for it, which deadlocks nobody: its answer is whole."""

        def text(self: Handler) -> str:
            self.server.shutdown()
            return "the last one"

        with kind(HERE, handler(text)) as server:
            call = Call(server.serve_forever)
            assert text_at(server.server_address) == "the last one"
            call.result()

    def test_error_is_reported_once(self, kind: Any) -> None:
        if kind in (OneThreadEach, NeverClosed):
            pytest.skip("a thread of somebody's own prints what it raises")
        seen: queue.SimpleQueue[Any] = queue.SimpleQueue()

        class Server(kind):  # type: ignore[misc]
            def handle_error(self, request: Any, client_address: Any) -> None:
                seen.put(request)

        def text(self: Handler) -> str:
            raise LookupError("nothing there")

        server = Server(HERE, handler(text))
        with serving(server):
            assert text_at(server.server_address).startswith("500")
            seen.get(timeout=BOUND)
        assert seen.empty()

    def test_handle_request(self, kind: Any) -> None:
        """It returns when the request is with the thread, as there."""
        go = threading.Event()

        def text(self: Handler) -> str:
            go.wait(BOUND)
            return "whole"

        with kind(HERE, handler(text)) as server:
            answers = []
            for _ in range(MANY):
                answers.append(Call(text_at, server.server_address))
                Call(server.handle_request).result()
            go.set()
            assert {answer.result() for answer in answers} == {"whole"}

    def test_handler_goes_on_after_shutdown(self, kind: Any) -> None:
        begun, go = threading.Event(), threading.Event()

        def text(self: Handler) -> str:
            begun.set()
            go.wait(BOUND)
            return "whole"

        with kind(HERE, handler(text)) as server:
            call = Call(server.serve_forever)
            answer = Call(text_at, server.server_address)
            assert begun.wait(BOUND)
            server.shutdown()
            call.result()
            go.set()
            assert answer.result() == "whole"


class TestProcessRequest:
    def test_raises(self, capfd: pytest.CaptureFixture[str]) -> None:
        class Server(HTTPServer):
            def process_request(self, request: Any, client_address: Any) -> None:
                raise LookupError("no room")

        server = Server(HERE, Handler)
        with serving(server):
            assert text_at(server.server_address).startswith("500")
            assert text_at(server.server_address).startswith("500")
        assert capfd.readouterr().err.count("LookupError: no room") == 2

    def test_exits(self) -> None:
        class Server(HTTPServer):
            def process_request(self, request: Any, client_address: Any) -> None:
                raise SystemExit(3)

        with Server(HERE, Handler) as server:
            call = Call(server.serve_forever)
            with contextlib.suppress(ConnectionError, http.client.HTTPException):
                text_at(server.server_address)
            with pytest.raises(SystemExit, match="3"):
                call.result()

    def test_refuses(self, caplog: pytest.LogCaptureFixture) -> None:
        """By closing: nobody's handler has failed, so nothing is reported."""

        class Server(HTTPServer):
            def process_request(self, request: Any, client_address: Any) -> None:
                self.shutdown_request(request)

        server = Server(HERE, Handler)
        with serving(server):
            assert text_at(server.server_address).startswith("503")
        assert caplog.records == []

    def test_counts_and_goes_on(self) -> None:
        """Not everybody who overrides it wants threads: one after the other, as there."""
        inside: list[Any] = []

        class Server(HTTPServer):
            def process_request(self, request: Any, client_address: Any) -> None:
                inside.append(request)
                super().process_request(request, client_address)
                inside.remove(request)

        server = Server(HERE, handler(lambda self: str(len(inside))))
        with serving(server):
            calls = [Call(text_at, server.server_address) for _ in range(10)]
            assert {call.result() for call in calls} == {"1"}


class TestHooksThatRaise:
    """Out of serve_forever, as there; before, nobody was told, and nobody served."""

    @BOTH
    @pytest.mark.parametrize("name", ["get_request", "verify_request"])
    @pytest.mark.parametrize("serve", ["serve_forever", "handle_request"])
    @pytest.mark.filterwarnings("ignore::ResourceWarning")  # of the accepted socket, as there
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_hook(self, kind: Any, name: str, serve: str) -> None:
        def hook(self: Any, *args: Any) -> Any:
            raise LookupError(name)

        with type("Server", (kind,), {name: hook})(HERE, Handler) as server:
            call = Call(getattr(server, serve))
            with socket.create_connection(server.server_address, BOUND):
                with pytest.raises(LookupError, match=name):
                    call.result()
            Call(server.shutdown).result()
            del call
        gc.collect()


class TestHandleRequest:
    @BOTH
    def test_in_a_loop_beside_silent_clients(self, kind: Any) -> None:
        stopped = threading.Event()

        def loop(server: Any) -> None:
            while not stopped.is_set():
                server.handle_request()

        with kind(HERE, Handler) as server, contextlib.ExitStack() as stack:
            silent = [stack.enter_context(socket.create_connection(server.server_address, BOUND)) for _ in range(MANY)]
            silent[1].sendall(REQUEST[:10])
            call = Call(loop, server)
            assert [text_at(server.server_address, path) for path in ("/1", "/2", "/3")] == ["/1", "/2", "/3"]
            silent[1].sendall(REQUEST[10:])  # nobody has been dropped
            assert silent[1].recv(12) == b"HTTP/1.1 200"
            stopped.set()
            get_quietly(server.server_address)  # for the call that is waiting, if one is
            call.result()

    def test_beside_a_kept_connection(self) -> None:
        with HTTPServer(HERE, Handler) as server, socket.create_connection(server.server_address, BOUND) as kept:
            kept.sendall(REQUEST)
            call = Call(server.handle_request)
            assert kept.recv(12) == b"HTTP/1.1 200"
            assert text_at(server.server_address, "/2") == "/2"
            call.result()

    def test_a_kept_connection_ends_the_call_that_serves_it_last(self) -> None:
        """FAULT: it ended only calls of the time of its first request; a later one waited for another client."""

        class Lasting(Handler):
            protocol_version = "HTTP/1.1"

        with HTTPServer(HERE, Lasting) as server:
            kept = http.client.HTTPConnection(*server.server_address, timeout=BOUND)
            first = Call(server.handle_request)
            kept.request("GET", "/1")
            assert kept.getresponse().read() == b"/1"
            assert text_at(server.server_address, "/2") == "/2"
            first.result()
            second = Call(server.handle_request)
            kept.request("GET", "/3")
            assert kept.getresponse().read() == b"/3"
            assert second.is_alive()
            kept.close()
            second.result()

    @pytest.mark.parametrize("where", ["server", "socket"])
    def test_timeout_beside_silent_clients(self, where: str) -> None:
        calls = []

        class Server(HTTPServer):
            def handle_timeout(self) -> None:
                calls.append(self)

        with Server(HERE, Handler) as server:
            set_timeout(server, where, 0.05)
            with socket.create_connection(server.server_address, BOUND) as silent:
                for _ in range(3):
                    Call(server.handle_request).result()
                assert calls == [server] * 3
                silent.sendall(REQUEST)
                while len(calls) < 100:
                    before = len(calls)
                    Call(server.handle_request).result()
                    if len(calls) == before:
                        break
                assert silent.recv(12) == b"HTTP/1.1 200"

    @pytest.mark.parametrize("where", ["server", "socket"])
    @BOTH
    def test_timeout_of_zero_looks_once(self, kind: Any, where: str) -> None:
        """A program that calls handle_request in a loop of its own, beside other work."""
        calls = []

        class Server(kind):  # type: ignore[misc]
            def handle_timeout(self) -> None:
                calls.append(self)

        with Server(HERE, Handler) as server:
            set_timeout(server, where, 0)
            server.handle_request()
            assert calls == [server]
            asking = Call(text_at, server.server_address, "/1")
            until = monotonic() + BOUND
            while asking.is_alive() and monotonic() < until:
                server.handle_request()
            assert asking.result() == "/1"

    def test_timeout_does_not_cut_a_request(self) -> None:
        """Whoever has begun is served: the timeout is for silence."""
        with HTTPServer(HERE, Handler) as server:
            server.timeout = 0.3
            with socket.create_connection(server.server_address, BOUND) as slow:
                slow.sendall(REQUEST[:10])
                call = Call(server.handle_request)
                call.join(1.0)
                assert call.is_alive()
                slow.sendall(REQUEST[10:])
                assert slow.recv(12) == b"HTTP/1.1 200"
                slow.close()
                call.result()

    def test_of_several_threads(self) -> None:
        """A poor man's pool."""
        all_of_them = threading.Barrier(MANY, timeout=BOUND)

        def text(self: Handler) -> str:
            all_of_them.wait()
            return "all"

        with HTTPServer(HERE, handler(text)) as server:
            serve = [Call(server.handle_request) for _ in range(MANY)]
            calls = [Call(text_at, server.server_address) for _ in range(MANY)]
            assert [call.result() for call in calls] == ["all"] * MANY
            for call in serve:
                call.result()

    @pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
    def test_each_connection_ends_one_call(self, version: str) -> None:
        """FAULT: the end of a connection ended the call that had accepted it and the one that had served it.

        So there were fewer calls than connections, and a client got no answer.
        """

        class Brief(Handler):
            protocol_version = version

        with HTTPServer(HERE, Brief) as server:
            for _ in range(3):
                serve = [Call(server.handle_request) for _ in range(2 * MANY)]
                calls = [Call(text_at, server.server_address) for _ in range(2 * MANY)]
                assert [call.result() for call in calls] == ["/"] * len(calls)
                for call in serve:
                    call.result()

    def test_clients_that_send_nothing_end_calls_too(self) -> None:
        begun = threading.Semaphore(0)

        class Begun(HTTPServer):
            def fileno(self) -> int:  # asked by the selector of each call
                begun.release()
                return super().fileno()

        with Begun(HERE, Handler) as server:
            serve = [Call(server.handle_request) for _ in range(2 * MANY)]
            for _ in serve:
                assert begun.acquire(timeout=BOUND)
            silent = [socket.create_connection(server.server_address, BOUND) for _ in range(MANY)]
            calls = [Call(text_at, server.server_address) for _ in range(MANY)]
            assert [call.result() for call in calls] == ["/"] * MANY
            for one in silent:
                one.close()
            for call in serve:
                call.result()

    def test_a_client_that_sends_nothing_ends_a_call_that_has_begun_later(self) -> None:
        """FAULT: it ended only calls that had begun before it was accepted, so one of two went on."""
        asked: queue.SimpleQueue[Any] = queue.SimpleQueue()

        class Lasting(Handler):
            protocol_version = "HTTP/1.1"

        class Server(HTTPServer):
            def fileno(self) -> int:
                asked.put(threading.current_thread())
                return super().fileno()

        with Server(HERE, Lasting) as server:
            first = Call(server.handle_request)
            silent = socket.create_connection(server.server_address, BOUND)
            kept = http.client.HTTPConnection(*server.server_address, timeout=BOUND)
            kept.request("GET", "/1")
            assert kept.getresponse().read() == b"/1"  # so both have been accepted
            second = Call(server.handle_request)
            while asked.get(timeout=BOUND) is not second:
                pass
            kept.close()
            first.result()
            assert second.is_alive()
            silent.close()
            second.result()

    def test_by_somebodys_selector(self) -> None:
        with HTTPServer(HERE, Handler) as server, selectors.DefaultSelector() as selector:
            selector.register(server, selectors.EVENT_READ)
            answer = Call(text_at, server.server_address)
            assert selector.select(BOUND)
            server.handle_request()
            assert answer.result() == "/"
            answer = Call(text_at, server.server_address)
            assert select.select([server], [], [], BOUND)[0] == [server]
            server._handle_request_noblock()
            assert answer.result() == "/"


def get_quietly(address: Any) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        socket.create_connection(address, BOUND).close()


class TestSilence:
    """The timeout of a socket, wherever it is set: who says nothing for so long is let go."""

    SECONDS = 0.3

    @staticmethod
    def by_class(kind: Any, cls: Any, seconds: float) -> Any:
        return kind(HERE, type("Timed", (cls,), {"timeout": seconds}))

    @staticmethod
    def by_partial(kind: Any, cls: Any, seconds: float) -> Any:
        return kind(HERE, functools.partial(type("Timed", (cls,), {"timeout": seconds})))

    @staticmethod
    def by_get_request(kind: Any, cls: Any, seconds: float) -> Any:
        class Server(kind):  # type: ignore[misc]
            def get_request(self) -> Any:
                request, address = super().get_request()
                request.settimeout(seconds)
                return request, address

        return Server(HERE, cls)

    @staticmethod
    def by_default(kind: Any, cls: Any, seconds: float) -> Any:
        socket.setdefaulttimeout(seconds)
        return kind(HERE, cls)

    @pytest.fixture(autouse=True)
    def no_default(self) -> Iterator[None]:
        yield
        socket.setdefaulttimeout(None)

    @BOTH
    @pytest.mark.parametrize("sent", ["nothing", "half of a head", "a request", "half of a body"])
    @pytest.mark.parametrize("where", ["by_class", "by_partial", "by_get_request", "by_default"])
    def test_ends_it(self, kind: Any, where: str, sent: str) -> None:
        class Posted(Handler):
            def do_POST(self) -> None:
                self.rfile.read(10)
                self.answer("whole")

        server = getattr(self, where)(kind, Posted, self.SECONDS)
        socket.setdefaulttimeout(None) if where != "by_default" else None
        data = {
            "nothing": b"",
            "half of a head": REQUEST[:20],
            "a request": REQUEST,
            "half of a body": b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nab",
        }[sent]
        with serving(server, 0.05), socket.create_connection(server.server_address) as client:
            client.settimeout(8.0)  # less than timeout_head, timeout_body and timeout_idle are
            client.sendall(data)
            with contextlib.suppress(ConnectionResetError):
                while client.recv(1024):
                    pass

    def test_set_by_the_handler(self) -> None:
        """For what follows on the connection."""

        def text(self: Handler) -> str:
            self.connection.settimeout(0.3)
            return str(self.connection.gettimeout())

        server = HTTPServer(HERE, handler(text))
        with serving(server), socket.create_connection(server.server_address) as client:
            client.settimeout(8.0)
            client.sendall(REQUEST)
            answer = b""
            while data := client.recv(1024):
                answer += data
            assert answer.endswith(b"0.3")

    @pytest.mark.parametrize("overrides", [False, True], ids=["a request", "a connection"])
    def test_class_decides_after_finish_request(self, *, overrides: bool) -> None:
        """``setup`` of the handler sets the timeout of its class, after what ``finish_request`` has set."""

        class Patient(HTTPServer):
            def finish_request(self, request: Any, client_address: Any) -> None:
                request.settimeout(60)
                super().finish_request(request, client_address)

        class Timed(Handler):
            timeout = 0.3

        class Connected(Timed):
            def setup(self) -> None:
                super().setup()

        server = Patient(HERE, Connected if overrides else Timed)
        with serving(server), socket.create_connection(server.server_address) as client:
            client.settimeout(8.0)
            client.sendall(REQUEST)
            while client.recv(1024):
                pass

    def test_head_that_goes_on_is_no_silence(self) -> None:
        server = self.by_class(HTTPServer, Handler, 0.5)
        pieces = [REQUEST[at : at + 2] for at in range(0, len(REQUEST), 2)]
        with serving(server), socket.create_connection(server.server_address, BOUND) as client:
            begun = monotonic()
            for piece in pieces:
                client.sendall(piece)
                threading.Event().wait(0.1)
            assert monotonic() - begun > 0.5
            assert client.recv(12) == b"HTTP/1.1 200"

    def test_handler_is_no_silence(self) -> None:
        """It is the client who has to say something."""

        def text(self: Handler) -> str:
            threading.Event().wait(0.5)
            return "whole"

        server = self.by_class(HTTPServer, handler(text), 0.1)
        with serving(server):
            assert text_at(server.server_address) == "whole"

    def test_longer_than_ours(self) -> None:
        """What a program says holds for idle connections, be it more or less than the option."""
        seen = []

        def text(self: Handler) -> str:
            seen.append(self.connection.gettimeout())
            return "seen"

        server = self.by_class(HTTPServer, handler(text), 300)
        with serving(server):
            assert text_at(server.server_address) == "seen"
        assert seen == [300]


class TestFlag:
    """``_BaseServer__shutdown_request``: what handlers of signals set, since shutdown() would wait for their thread."""

    @BOTH
    @pytest.mark.parametrize("hooks", [False, True])
    def test_ends_serve_forever(self, kind: Any, hooks: bool) -> None:
        class Server(kind):  # type: ignore[misc]
            if hooks:

                def verify_request(self, request: Any, client_address: Any) -> bool:
                    return True

        with Server(HERE, Handler) as server:
            for _ in range(2):
                call = Call(server.serve_forever, 0.05)
                assert text_at(server.server_address) == "/"
                server._BaseServer__shutdown_request = True
                call.result()
                assert server._BaseServer__shutdown_request is False
                assert server._BaseServer__is_shut_down.is_set()

    def test_is_set_by_shutdown(self) -> None:
        """A loop of somebody's own looks at it."""

        class Server(HTTPServer):
            timeout = 0.05

            def serve_forever(self, poll_interval: float = 0.5) -> None:
                while not vars(self)["_BaseServer__shutdown_request"]:
                    self.handle_request()

        server = Server(HERE, Handler)
        with serving(server):
            assert text_at(server.server_address) == "/"

    @BOTH
    def test_shutdown_in_the_calling_thread(self, kind: Any) -> None:
        """There it waits for itself; in a handler of signals that is a trap."""

        class Server(kind):  # type: ignore[misc]
            def service_actions(self) -> None:
                self.shutdown()

        with Server(HERE, Handler) as server:
            Call(server.serve_forever, 0.01).result()
