"""Worker threads: the pool, the way of bytes to and from a thread, plain methods of handlers, slow peers, WSGI."""

import asyncio
import contextvars
import hashlib
import io
import json
import logging
import os
import random
import shutil
import sys
import threading
import time
import warnings
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast
from wsgiref.validate import validator

import httpx
import pytest

from aiohttpd import BaseHTTPRequestHandler, ClientDisconnected, Config, ContractError, HTTPError, wsgi
from aiohttpd.testing import exchange, running
from aiohttpd.threads import incoming, outbox, pool
from aiohttpd.threads.outbox import Outbox
from aiohttpd.threads.pool import PoolFull, WorkerPool
from aiohttpd.threads.running import _SWEEP, Threads

from .test_connection_life import (
    BOUND,
    LAST_CHUNK,
    MIB,
    Client,
    chunk,
    connected,
    expect_logged,
    framed,
    get,
    head,
    post,
)
from .test_serve_folder import program
from .waiting import until
from .wire import finals

Start = Callable[..., threading.Thread]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start threads that have to come to an end."""
    threads: list[threading.Thread] = []

    def begin(target: Callable[..., object], *arguments: Any) -> threading.Thread:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        threads.append(thread)
        thread.start()
        return thread

    yield begin
    for thread in threads:
        thread.join(BOUND)
    assert not any(thread.is_alive() for thread in threads)


def wait(event: threading.Event | threading.Semaphore) -> None:
    """Wait in a thread for what has to come."""
    if isinstance(event, threading.Event):
        assert event.wait(BOUND)
    else:
        assert event.acquire(timeout=BOUND)


def until_in_thread(condition: Callable[[], object]) -> None:
    """Wait for what tells nobody that it has happened."""
    end = time.monotonic() + BOUND
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def busy(workers: WorkerPool) -> int:
    return len(workers) - len(workers._idle)


def threads_of(server: Any) -> Threads:
    return cast(Threads, server._service.shared(Threads))


# The pool.


class Blocking:
    """Calls that wait, and how many of them there are at a time."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.gate = threading.Event()
        self._lock = threading.Lock()
        self.now = self.most = self.ended = 0

    def __call__(self) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.begun.release()
        wait(self.gate)
        with self._lock:
            self.now -= 1
            self.ended += 1


class TestPool:
    def test_it_grows_on_demand_within_its_bound(self) -> None:
        workers, calls = WorkerPool(5, 100), Blocking()
        assert len(workers) == 0
        for _ in range(9):
            workers.submit(calls)
        assert (len(workers), workers.waiting) == (1, 8)
        sizes = []
        for _ in range(5):
            workers.grow()
            sizes.append((len(workers), workers.waiting))
        assert sizes == [(2, 7), (4, 5), (5, 4), (5, 4), (5, 4)]
        for _ in range(5):
            wait(calls.begun)
        calls.gate.set()
        until_in_thread(lambda: calls.ended == 9)
        assert calls.most == 5
        workers.close()
        workers.join(BOUND)

    def test_threads_are_used_again(self) -> None:
        workers, calls = WorkerPool(5, 100), Blocking()
        calls.gate.set()
        for number in range(20):
            workers.submit(calls)
            until_in_thread(lambda number=number: calls.ended == number + 1 and not busy(workers))
        assert len(workers) == 1
        workers.close()
        workers.join(BOUND)

    def test_calls_that_compute_get_no_more_threads(self) -> None:
        workers, quick, slow = WorkerPool(5, 100), Blocking(), Blocking()
        quick.gate.set()
        for number in range(6):
            workers.submit(quick)
            until_in_thread(lambda number=number: quick.ended == number + 1 and not busy(workers))
        for _ in range(3):
            workers.submit(slow)
        workers.grow()
        # The one that is busy has ended six calls since the last look.
        assert (busy(workers), workers.waiting) == (1, 2)
        workers.grow()
        assert (busy(workers), workers.waiting) == (2, 1)
        slow.gate.set()
        workers.close()
        workers.join(BOUND)

    def test_the_queue_is_bounded(self) -> None:
        workers, calls = WorkerPool(1, 2), Blocking()
        for _ in range(3):
            workers.submit(calls)
        with pytest.raises(PoolFull) as caught:
            workers.submit(calls)
        assert (caught.value.status, dict(caught.value.headers)) == (503, {"Retry-After": "1"})
        calls.gate.set()
        until_in_thread(lambda: calls.ended == 3)
        workers.submit(calls)
        until_in_thread(lambda: calls.ended == 4)
        workers.close()
        workers.join(BOUND)

    def test_idle_threads_leave(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pool, "_IDLE", 0.01)
        workers, calls = WorkerPool(8, 100), Blocking()
        for _ in range(6):
            workers.submit(calls)
        while workers.waiting:
            workers.grow()
        assert len(workers) == 6
        threads = tuple(workers._workers)
        calls.gate.set()
        until_in_thread(lambda: len(workers) == 0)
        for thread in threads:
            thread.join(BOUND)
        assert not any(thread.is_alive() for thread in threads)
        workers.submit(calls)
        until_in_thread(lambda: calls.ended == 7)
        workers.close()

    def test_closing(self) -> None:
        workers, calls = WorkerPool(1, 10), Blocking()
        for _ in range(3):
            workers.submit(calls)
        [thread] = workers._workers
        workers.close()
        assert thread.is_alive()
        calls.gate.set()
        workers.join(BOUND)
        assert not thread.is_alive()
        assert (calls.ended, len(workers)) == (3, 0)

    def test_closing_wakes_those_that_are_idle(self) -> None:
        workers, calls = WorkerPool(1, 10), Blocking()
        calls.gate.set()
        workers.submit(calls)
        [thread] = workers._workers
        until_in_thread(lambda: not busy(workers))
        workers.close()
        thread.join(BOUND)
        assert not thread.is_alive()

    def test_the_system_has_no_threads(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        workers, calls = WorkerPool(4, 10), Blocking()
        with monkeypatch.context() as patch:
            patch.setattr(pool._Worker, "start", fail)
            with pytest.raises(PoolFull):
                workers.submit(calls)
        workers.submit(calls)
        with monkeypatch.context() as patch:
            patch.setattr(pool._Worker, "start", fail)
            workers.submit(calls)
            assert (len(workers), workers.waiting) == (1, 1)
            workers.grow()
            assert (len(workers), workers.waiting) == (1, 1)
        calls.gate.set()
        until_in_thread(lambda: calls.ended == 2)
        workers.close()
        workers.join(BOUND)

    def test_no_call_is_lost(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pool, "_IDLE", 0.0002)  # they leave all the time
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        chance = random.Random(1)
        done: list[int] = []
        workers = WorkerPool(4, 10_000)
        try:
            for number in range(5000):
                workers.submit(lambda number=number: done.append(number))
                if chance.random() < 0.05:
                    workers.grow()
                if chance.random() < 0.02:
                    time.sleep(0.0004)
            until_in_thread(lambda: len(done) == 5000)
        finally:
            sys.setswitchinterval(interval)
        assert sorted(done) == list(range(5000))
        workers.close()
        workers.join(BOUND)

    def test_a_server_without_threads_is_no_server(self) -> None:
        # FAULT: with worker_threads=0 every request waits for ever.
        with pytest.raises(ValueError, match="worker_threads must be positive"):
            Config(worker_threads=0)


# From a thread to the loop.


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is 1 MiB, 64 MiB or 256 KiB is a thousand times smaller."""
    for module in (outbox, incoming):
        monkeypatch.setattr(module, "_MEMORY", 1000)
        monkeypatch.setattr(module, "_SPOOLED", 4000)
        monkeypatch.setattr(module, "_PIECE", 700)


class Waker:
    """Learns that an outbox wants to be emptied."""

    def __init__(self) -> None:
        self.called = threading.Semaphore(0)

    def __call__(self, box: Outbox) -> None:
        self.called.release()


def new_outbox(wake: Callable[[Outbox], None]) -> Outbox:
    return Outbox(cast(Any, None), wake)


def emptied(box: Outbox) -> bytes:
    return b"".join(b"".join(parts) for parts in iter(box.take, []))


@pytest.mark.usefixtures("small")
class TestOutbox:
    def test_in_memory_then_in_a_file_then_waiting(self, start: Start) -> None:
        waker = Waker()
        box = new_outbox(waker)
        box.put(b"a" * 1000)
        assert box._file is None
        box.put(b"b" * 4000)
        assert (box._file is not None, box.waiting) == (True, 5000)
        thread = start(box.put, b"c" * 10)
        wait(waker.called)  # the thread has no other way left than to wait
        assert thread.is_alive()
        found = emptied(box)  # with or without what the thread adds meanwhile
        thread.join(BOUND)
        assert not thread.is_alive()
        assert found + emptied(box) == b"a" * 1000 + b"b" * 4000 + b"c" * 10
        box.close()

    def test_order(self, start: Start) -> None:
        box = new_outbox(Waker())
        pieces = [bytes([number % 251]) * (number * 37 % 900) for number in range(200)]

        def write() -> None:
            for piece in pieces:
                box.put(piece)
            box.end()

        start(write)
        found = b""
        while not box.ended or box.waiting:
            found += emptied(box)
            time.sleep(0)
        assert found == b"".join(pieces)
        box.close()

    def test_a_piece_larger_than_all(self, start: Start) -> None:
        box = new_outbox(Waker())
        data = random.Random(2).randbytes(30_000)
        thread = start(box.put, data)
        found = b""
        while thread.is_alive() or box.waiting:
            found += emptied(box)
            time.sleep(0)
        assert found == data
        box.close()

    def test_the_file_is_bounded(self, start: Start) -> None:
        """FAULT: it grows for as long as the thread stays ahead, since only an empty one begins anew."""
        box = new_outbox(Waker())
        box.put(bytes(1000))
        box.put(bytes(4000))
        thread = start(lambda: [box.put(bytes(500)) for _ in range(100)])
        largest = 0
        while thread.is_alive():
            if box.waiting > 2000:  # a client that is slower than the thread
                box.take()
            if (file := box._file) is not None:
                largest = max(largest, os.fstat(file.fileno()).st_size)
            time.sleep(0)
            if box.waiting <= 2500 and not thread.is_alive():
                break
        box.close()
        assert largest <= 4000

    def test_a_closed_one_raises(self) -> None:
        box = new_outbox(Waker())
        box.put(b"a" * 3000)
        box.close()
        assert (box.waiting, box.take(), box._file) == (0, [], None)
        with pytest.raises(ClientDisconnected):
            box.put(b"b")

    def test_a_closed_one_raises_where_threads_wait(self, start: Start) -> None:
        """FAULT: close() notifies one of two; the other one waits for ever. notify_all() would do."""
        waker = Waker()
        box = new_outbox(waker)
        box.put(bytes(1000))
        box.put(bytes(4000))
        raised: list[BaseException] = []

        def write() -> None:
            try:
                box.put(b"more")
            except ClientDisconnected as error:
                raised.append(error)

        threads = [start(write) for _ in range(2)]
        until_in_thread(lambda: len(box._room._waiters) == 2)  # type: ignore[attr-defined]
        box.close()
        for thread in threads:
            thread.join(1)
        left, box._room = len(raised), box._room
        with box._lock:
            box._room.notify_all()
        assert left == 2

    def test_the_loop_has_been_closed(self, start: Start) -> None:
        """FAULT: Threads._wake closes the outbox then, but a thread that waits for room holds its lock already."""
        box = new_outbox(lambda box: box.close())
        box.put(bytes(1000))
        box._woken = False

        def write() -> None:
            with pytest.raises(ClientDisconnected):
                box.put(bytes(10_000))

        thread = start(write)
        thread.join(2)
        stuck = thread.is_alive()
        if stuck:
            box._lock.release()  # so that it ends
        assert not stuck

    async def test_through_a_loop(self) -> None:
        threads = Threads(Config(), asyncio.get_running_loop())
        chance = random.Random(3)
        pieces = [chance.randbytes(chance.randrange(3000)) for _ in range(300)]
        found: list[bytes] = []

        def call(box: Outbox) -> str:
            for piece in pieces:
                box.put(piece)
            return "result"

        async def writable() -> None:
            await asyncio.sleep(0)

        assert await threads.run(call, found.extend, writable, name="test") == "result"
        assert b"".join(found) == b"".join(pieces)
        threads.close()
        threads.pool.join(BOUND)


# From the loop to a thread.


class Reads(BaseHTTPRequestHandler):
    """Uses ``rfile`` and ``wfile`` as what they are said to be."""

    max_body_size = None

    def do_POST(self) -> None:
        assert isinstance(self.rfile, io.BufferedIOBase)
        assert isinstance(self.wfile, io.BufferedIOBase)
        self.send_response(200)
        self.end_headers()
        getattr(self, self.path[1:])()

    def copy(self) -> None:
        shutil.copyfileobj(self.rfile, self.wfile)

    def digest(self) -> None:
        content = self.rfile.read()
        more = (self.rfile.read(), self.rfile.read(10), self.rfile.readline(), list(self.rfile))
        self.wfile.write(f"{len(content)} {hashlib.sha256(content).hexdigest()} {more}".encode())

    def json(self) -> None:
        self.wfile.write(json.dumps(json.load(self.rfile)).encode())

    def text(self) -> None:
        with io.TextIOWrapper(self.rfile, "utf-8") as file, io.TextIOWrapper(self.wfile, "utf-8") as out:
            out.writelines(line[::-1] for line in file)

    def lines(self) -> None:
        first = [self.rfile.readline(), self.rfile.readline(2), self.rfile.read(3)]
        self.wfile.write(repr([*first, len(list(self.rfile))]).encode())

    def buffers(self) -> None:
        buffer = bytearray(10)
        size = self.rfile.readinto(buffer)
        for data in (buffer[:size], memoryview(b"-"), bytes(buffer)):
            assert self.wfile.write(data) == len(data)
        self.wfile.writelines([b"-", b"end"])

    def trailers(self) -> None:
        content = self.rfile.read()
        self.wfile.write(b"%d %r" % (len(content), str(self.request.trailers["Sum"]).encode()))


async def upload(client: Client, path: str, content: bytes, *, chunked: bool = False) -> bytes:
    begin, body = framed(content, chunked)
    await client.send(begin.replace(b"POST / ", f"POST {path} ".encode()), body)
    answer = await client.answer()
    assert answer.status == 200
    return answer.body


def digest_of(content: bytes) -> bytes:
    return f"{len(content)} {hashlib.sha256(content).hexdigest()} {(b'', b'', b'', [])}".encode()


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("size", [0, 1, 65_536, MIB, MIB + 1, 3 * MIB])
async def test_bodies(size: int, chunked: bool) -> None:
    content = random.Random(size).randbytes(size)
    async with running(Reads) as server, connected(server) as client:
        assert await upload(client, "/digest", content, chunked=chunked) == digest_of(content)
        assert await upload(client, "/copy", content, chunked=chunked) == content
        assert await upload(client, "/digest", b"next") == digest_of(b"next")


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("size", [999, 1000, 1001, 4999, 5000, 5001, 50_000, 2 * MIB])
async def test_bodies_in_memory_a_file_and_on_their_way(size: int, chunked: bool) -> None:
    content = random.Random(size).randbytes(size)
    async with running(Reads) as server, connected(server) as client:
        assert await upload(client, "/digest", content, chunked=chunked) == digest_of(content)
        if size <= 50_000:
            assert await upload(client, "/copy", content, chunked=chunked) == content


TEXT = "Grüße\nzweite Zeile\n" + "".join(f"line {number}\n" for number in range(500)) + "the end"


@pytest.mark.parametrize("scale", ["usual", "small"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_files_of_io(scale: str, chunked: bool, request: pytest.FixtureRequest) -> None:
    if scale == "small":
        request.getfixturevalue("small")
    value = {"numbers": list(range(2000)), "text": "ü" * 100}
    data = TEXT.encode()
    async with running(Reads) as server, connected(server) as client:
        assert json.loads(await upload(client, "/json", json.dumps(value).encode(), chunked=chunked)) == value
        turned = "".join(line[::-1] for line in io.StringIO(TEXT))
        assert (await upload(client, "/text", data, chunked=chunked)).decode() == turned
        rest = len(list(io.BytesIO(data[len("Grüße\n".encode()) + 5 :])))
        expected = repr(["Grüße\n".encode(), b"zw", b"eit", rest])
        assert (await upload(client, "/lines", data, chunked=chunked)).decode() == expected
        assert await upload(client, "/buffers", b"0123456789rest", chunked=chunked) == b"0123456789-0123456789-end"


@pytest.mark.parametrize("size", [10, 20_000])
@pytest.mark.usefixtures("small")
async def test_trailers(size: int) -> None:
    async with running(Reads) as server, connected(server) as client:
        begin = head("POST", "/trailers", "Transfer-Encoding: chunked")
        await client.send(begin, chunk(bytes(size)), b"0\r\nSum: 42\r\n\r\n")
        assert (await client.answer()).body == f"{size} b'42'".encode()


@pytest.mark.usefixtures("small")
async def test_a_thread_waits_for_what_is_on_its_way() -> None:
    reading = asyncio.Event()
    loop = asyncio.get_running_loop()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            parts = [self.rfile.read(6000)]
            loop.call_soon_threadsafe(reading.set)
            parts.append(self.rfile.read())
            self.send_text(f"{[len(part) for part in parts]}")

    async with running(Handler) as server, connected(server) as client:
        await client.send(post(10_000), bytes(6000))
        await reading.wait()
        await client.send(bytes(4000))
        assert (await client.answer()).body == b"[6000, 4000]"


@pytest.mark.parametrize(("scale", "called"), [("usual", False), ("small", True)])
async def test_a_client_that_goes_within_its_body(scale: str, called: bool, request: pytest.FixtureRequest) -> None:
    """FAULT: uncaught in the thread, it is reported as an error of the handler, and 500. It is the client's: 400."""
    if scale == "small":
        request.getfixturevalue("small")
    seen: list[object] = []
    reading = asyncio.Event()
    loop = asyncio.get_running_loop()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append(self.rfile.read(6000))
            loop.call_soon_threadsafe(reading.set)
            try:
                self.rfile.read()
            except ConnectionError as error:
                seen.append(isinstance(error, ConnectionResetError))
                raise

    async with running(Handler) as server, connected(server) as client:
        await client.send(post(10_000), bytes(6000))
        if called:
            await reading.wait()
        client.send_eof()
        assert (await client.answer()).status == 400
        assert await client.rest() == b""
        await until(lambda: not server.connections, BOUND)
    assert seen == ([bytes(6000), True] if called else [])


@pytest.mark.usefixtures("small")
async def test_a_client_that_does_not_go_on_with_its_body() -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(6000)
            try:
                self.rfile.read()
            except TimeoutError:
                self.send_text("too slow", 408)

    async with running(Handler, timeout_body=0.2) as server, connected(server) as client:
        await client.send(post(10_000), bytes(6000))
        assert (await client.answer()).body == b"too slow"


async def test_a_body_that_is_no_chunks() -> None:
    async with running(Reads) as server, connected(server) as client:
        await client.send(head("POST", "/copy", "Transfer-Encoding: chunked"), b"5\r\nhello\r\nx\r\n")
        assert (await client.answer()).status == 400
        assert await client.rest() == b""


# Plain methods.


class Helpers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        getattr(self, "get_" + self.request.path[1:])()

    def get_text(self) -> None:
        self.send_text(f"text {threading.current_thread() is threading.main_thread()}")

    def get_html(self) -> None:
        self.send_html("<p>ü")

    def get_json(self) -> None:
        self.set_cookie("a", "b")
        self.add_header("X-More", "1")
        self.send_json({"query": self.query.get("q"), "cookies": self.cookies})

    def get_redirect(self) -> None:
        self.redirect("/elsewhere?ä")

    def get_head(self) -> None:
        self.send_response_only(103)
        self.send_header("Link", "</a>; rel=preload")
        self.end_headers()
        self.send_response(201, "Made")
        self.send_header("Content-Length", 4)
        self.end_headers()
        self.flush_headers()
        self.wfile.write(b"made")

    def get_close(self) -> None:
        self.close_connection = True
        self.send_text("bye")

    def get_error(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"not sent")
        self.send_error(409, "No", "Not so")

    def get_raises(self) -> None:
        self.send_response(200)
        raise HTTPError(418, None, "short", headers=[("X-Pot", "tea")])

    def get_late(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"sent")
        self.wfile.flush()
        with pytest.raises(ContractError):
            self.send_error(500)

    def get_wrong(self) -> None:
        self.send_response(200)
        with pytest.raises(ContractError, match="twice"):
            self.send_response(200)
        with pytest.raises(ContractError, match="before the head"):
            self.wfile.write(b"early")
        with pytest.raises(ValueError, match="X-Bad"):
            self.send_header("X-Bad", "a\r\nb: c")
        self.end_headers()
        with pytest.raises(TypeError, match="encode"):
            self.wfile.write("text")  # type: ignore[arg-type]
        self.wfile.write(b"right")


async def test_helpers() -> None:
    paths = ["text", "html", "json?q=1", "redirect", "head", "error", "raises", "late", "wrong", "close"]
    data = await exchange(Helpers, b"".join(get("/" + path, "Cookie: c=d") for path in paths))
    answers = dict(zip(paths, finals(data), strict=True))
    assert [answer.status for answer in answers.values()] == [200, 200, 200, 302, 201, 409, 418, 200, 200, 200]
    assert answers["text"].body == b"text False"
    assert (answers["html"].body, answers["html"]["Content-Type"]) == ("<p>ü".encode(), "text/html; charset=utf-8")
    assert json.loads(answers["json?q=1"].body) == {"query": "1", "cookies": {"c": "d"}}
    assert answers["json?q=1"]["Set-Cookie"] == "a=b; Path=/; HttpOnly; SameSite=Lax"
    assert answers["json?q=1"]["X-More"] == "1"
    assert answers["redirect"]["Location"] == "/elsewhere?%C3%A4"
    assert b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\nHTTP/1.1 201 Made\r\n" in data
    assert answers["head"].body == b"made"
    assert b"Not so" in answers["error"].body
    assert b"not sent" not in data
    assert (answers["raises"]["X-Pot"], b"short" in answers["raises"].body) == ("tea", True)
    assert (answers["late"].body, answers["wrong"].body) == (b"sent", b"right")
    assert (answers["close"].body, answers["close"]["Connection"]) == (b"bye", "close")


async def test_head_by_get() -> None:
    [to_get] = finals(await exchange(Helpers, get("/text")))
    data = await exchange(Helpers, head("HEAD", "/text") + get("/html"))
    to_head, following = finals(data, ["HEAD", "GET"])
    assert (to_head.status, to_head.body) == (200, b"")
    assert to_head["Content-Length"] == to_get["Content-Length"] == "10"
    assert following.status == 200


async def test_an_error_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            raise LookupError("oh")

        def do_PUT(self) -> None:
            raise SystemExit(3)

        def do_DELETE(self) -> None:
            raise StopIteration("oh")

    for method, text in (("GET", "oh"), ("PUT", "3"), ("DELETE", "StopIteration")):
        first, second = finals(await exchange(Handler, head(method) + head("OTHER")))
        assert (first.status, second.status) == (500, 501)
        expect_logged(caplog, text)


async def test_a_hidden_coroutine(caplog: pytest.LogCaptureFixture) -> None:
    def decorated(method: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
        return lambda self: method(self)

    class Handler(BaseHTTPRequestHandler):
        @decorated
        async def do_GET(self) -> None:
            self.send_text("never")

    [answer] = finals(await exchange(Handler, get()))
    assert answer.status == 500
    assert b"never" not in answer.body
    [record] = caplog.records
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ContractError)
    expect_logged(caplog, "do_GET is a plain function that returns an awaitable: write 'async def'")


async def test_asynchronous_and_plain_methods_together() -> None:
    main = threading.get_ident()

    class Handler(BaseHTTPRequestHandler):
        async def setup(self) -> None:
            self.events = ["setup", threading.get_ident() == main]

        def do_GET(self) -> None:
            self.send_text(f"{[*self.events, 'plain', threading.get_ident() == main]}")

        async def do_POST(self) -> None:
            content = await self.rfile.read()
            self.send_text(f"{[*self.events, content, threading.get_ident() == main]}")

        def __getattr__(self, name: str) -> Any:
            if name == "do_OTHER":
                return lambda: self.send_text("by __getattr__")
            raise AttributeError(name)

    requests = get() + post(2) + b"ab" + get() + head("OTHER")
    bodies = [answer.body.decode() for answer in finals(await exchange(Handler, requests))]
    plain, coroutine = "['setup', True, 'plain', False]", "['setup', True, b'ab', True]"
    assert bodies == [plain, coroutine, plain, "by __getattr__"]


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")


async def test_context_variables() -> None:
    class Handler(BaseHTTPRequestHandler):
        async def setup(self) -> None:
            self.found = variable.get()
            variable.set(self.path)

        def do_GET(self) -> None:
            self.found += " " + variable.get()
            variable.set("in the thread")
            self.send_text(self.found)

    bodies = [answer.body for answer in finals(await exchange(Handler, get("/a") + get("/b")))]
    assert bodies == [b"none /a", b"none /b"]


async def test_server_and_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aiohttpd.access")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.log_message("said by %s", "a thread")
            self.send_text(f"{self.server.greeting} {self.client_address[0]} {self.connection.getsockname()[1]}")

    async with running(Handler) as server, connected(server) as client:
        server.greeting = "hello"  # type: ignore[attr-defined]
        assert (await client.ask()).body.decode() == f"hello 127.0.0.1 {server.server_port}"
        await until(lambda: "said by a thread" in caplog.text, BOUND)


class Streams(BaseHTTPRequestHandler):
    """Writes without flush(), and goes on when it is told to."""

    gate: threading.Event

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        for part in (b"one", b"two"):
            self.wfile.write(part)
            wait(self.server.gate)
            self.server.gate.clear()


async def test_what_is_not_flushed_arrives() -> None:
    async with running(Streams) as server, connected(server) as client:
        server.gate = threading.Event()  # type: ignore[attr-defined]
        await client.send(get())
        for part in (b"one", b"two"):
            assert (await client.reader.readuntil(part)).endswith(b"3\r\n" + part)
            server.gate.set()  # type: ignore[attr-defined]
        assert await client.reader.readuntil(LAST_CHUNK) == b"\r\n" + LAST_CHUNK


async def test_what_is_not_flushed_arrives_after_somebody_has_gone() -> None:
    """FAULT: a nudge raises in Threads._sweep once its client has gone, which ends the sweeps for all others."""
    gate, written = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    class Handler(Streams):
        def do_PUT(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(bytes(20 * MIB))
            self.wfile.write(b"more")
            loop.call_soon_threadsafe(written.set)
            wait(gate)

    async with running(Handler) as server, connected(server) as client, connected(server, small=True) as other:
        server.gate = threading.Event()  # type: ignore[attr-defined]
        await client.send(get())
        await client.reader.readuntil(b"one")
        await other.send(head("PUT"))
        await written.wait()
        other.reset()
        await until(lambda: len(server.connections) == 1, BOUND)
        await until(lambda: not any(box.waiting for box in threads_of(server)._outboxes), BOUND)
        await asyncio.sleep(10 * _SWEEP)  # several of what leaves no trace
        server.gate.set()  # type: ignore[attr-defined]
        try:
            async with asyncio.timeout(3):
                await client.reader.readuntil(b"two")
        finally:
            server.gate.set()  # type: ignore[attr-defined]
            gate.set()


async def test_content_that_is_replaced_before_it_leaves() -> None:
    """FAULT: a nudge between restart() and send_head() raises in Threads._sweep: flush() before the head."""
    gate = threading.Event()

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/other":
            start_response("200 OK", [])(b"other")
            wait(gate)
            return []
        write = start_response("200 OK", [])
        write(b"forgotten")
        start_response("500 Oh", [], exc_info=(LookupError, LookupError(), None))
        try:
            wait(gate)  # it takes a while to make the page
        finally:
            gate.clear()
        return [b"page"]

    async with running(wsgi(application)) as server, connected(server) as client, connected(server) as other:
        await client.send(get())
        await other.send(get("/other"))
        try:
            async with asyncio.timeout(3):
                await other.reader.readuntil(b"other")
        finally:
            gate.set()
        answer = await client.answer()
        assert (answer.status, answer.reason, answer.body) == (500, "Oh", b"page")
        gate.set()


async def test_limits_of_bodies() -> None:
    called: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        max_body_size = 10

        def do_POST(self) -> None:
            called.append(self.path)
            self.send_text(str(len(self.rfile.read())))

    async with running(Handler) as server:
        for chunked in (False, True):
            async with connected(server) as client:
                assert await upload(client, "/", bytes(10), chunked=chunked) == b"10"
                await client.send(*framed(bytes(11), chunked))
                assert (await client.answer()).status == 413
    assert called == ["/", "/"]


async def test_expect_100() -> None:
    class Handler(BaseHTTPRequestHandler):
        def handle_expect_100(self) -> bool:
            if self.path == "/refused":
                self.send_error(417)
            return self.path != "/refused"

        def do_POST(self) -> None:
            self.send_text(str(len(self.rfile.read())))

    async with running(Handler) as server, connected(server) as client:
        await client.send(post(3, "Expect: 100-continue"))
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"abc")
        assert (await client.answer()).body == b"3"
        await client.send(head("POST", "/refused", "Content-Length: 3", "Expect: 100-continue"))
        answer = await client.answer()
        assert (answer.status, answer["Connection"]) == (417, "close")


async def test_more_requests_than_threads() -> None:
    gate = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wait(gate)
            self.send_text(self.path)

        async def do_PUT(self) -> None:
            self.send_text("asynchronous")

    async with running(Handler, worker_threads=2, limit_queue=2) as server, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(server)) for _ in range(5)]
        for number, client in enumerate(clients[:4], 1):
            await client.send(get(f"/{number}"))
            await until(lambda number=number: server.in_flight == number, BOUND)
        refused = await clients[4].ask("/5")
        assert (refused.status, refused["Retry-After"]) == (503, "1")
        await clients[4].send(head("PUT"))
        assert (await clients[4].answer()).body == b"asynchronous"
        gate.set()
        assert [(await client.answer()).body for client in clients[:4]] == [b"/1", b"/2", b"/3", b"/4"]
        assert (await clients[4].ask("/5")).body == b"/5"


async def test_a_thread_that_is_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    begun, gate, errors = asyncio.Event(), threading.Event(), []
    loop = asyncio.get_running_loop()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            loop.call_soon_threadsafe(begun.set)
            wait(gate)
            try:
                self.send_text("late")
            except ClientDisconnected as error:
                errors.append(error)

    async with running(Handler, timeout_grace=0.1) as server, connected(server) as client:
        workers = threads_of(server).pool
        await client.send(get("/for/ever"))
        await begun.wait()
        async with asyncio.timeout(BOUND):
            await server.shutdown()
        [record] = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert record.getMessage() == "'GET /for/ever HTTP/1.1' is cancelled: it has not ended within 0.1 s"
        caplog.clear()
        assert b"late" not in await client.rest()
    gate.set()
    await asyncio.to_thread(workers.join, BOUND)
    assert len(errors) == 1


async def test_a_client_that_has_gone() -> None:
    """The thread learns of it when it writes, and nobody is told anything."""
    begun, gate, errors = asyncio.Event(), threading.Event(), []
    loop = asyncio.get_running_loop()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            loop.call_soon_threadsafe(begun.set)
            wait(gate)
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(bytes(1000))
            except ConnectionError as error:
                errors.append(type(error))
                raise

    async with running(Handler) as server, connected(server) as client:
        await client.send(get())
        await begun.wait()
        client.reset()
        await until(lambda: not server.connections, BOUND)
        gate.set()
        await until(lambda: not server.in_flight, BOUND)
    assert errors == [ClientDisconnected]


async def test_a_request_that_has_not_begun_when_the_server_stops(caplog: pytest.LogCaptureFixture) -> None:
    """FAULT: it begins once a thread is free, after it has been answered by 503 and called one that does not end."""
    called: list[str] = []
    begun, gate = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            called.append(self.path)
            loop.call_soon_threadsafe(begun.set)
            wait(gate)

    async with (
        running(Handler, timeout_grace=0.1, worker_threads=1) as server,
        connected(server) as client,
        connected(server) as other,
    ):
        workers = threads_of(server).pool
        await client.send(get("/first"))
        await begun.wait()
        await other.send(get("/second"))
        await until(lambda: server.in_flight == 2, BOUND)
        async with asyncio.timeout(BOUND):
            await server.shutdown()
        assert (await other.answer()).status == 503
    gate.set()
    await asyncio.to_thread(workers.join, BOUND)
    left = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    caplog.clear()
    assert called == ["/first"]
    end = "is cancelled: it has not ended within 0.1 s"
    assert sorted(left) == [f"'GET /first HTTP/1.1' {end}", f"'GET /second HTTP/1.1' {end}"]


# Slow peers cost no threads.


class Large(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_text("hello" if self.path == "/" else "x" * int(self.path[1:]))

    def do_POST(self) -> None:
        self.send_text(str(len(self.rfile.read())))


async def test_readers_that_are_slow() -> None:
    size = 8 * MIB
    async with (
        running(Large, worker_threads=8) as server,
        AsyncExitStack() as stack,
        connected(server) as client,
    ):
        slow = [await stack.enter_async_context(connected(server, small=True)) for _ in range(20)]
        for other in slow:
            await other.send(get(f"/{size}"))
        heads = [await other.reader.readuntil(b"\r\n\r\n") for other in slow]
        assert all(b" 200 " in head for head in heads)
        workers = threads_of(server).pool
        await until(lambda: not busy(workers), BOUND)
        assert sum(connection.out.unsent > 0 for connection in server.connections) == 20
        assert (await client.ask()).body == b"hello"
        for other in slow[:2]:
            assert len(await other.reader.readexactly(size)) == size


async def test_a_hundred_readers_that_are_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "_MEMORY", 64 * 1024)
    size = 5 * MIB  # more than the buffers of a socket

    class Handler(Large):
        def do_PUT(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", size)
            self.end_headers()
            for _ in range(size // 65_536):
                self.wfile.write(bytes(65_536))

    async with (
        running(Handler, worker_threads=16) as server,
        AsyncExitStack() as stack,
        connected(server) as client,
    ):
        slow = [await stack.enter_async_context(connected(server, small=True)) for _ in range(100)]
        for other in slow:
            await other.send(head("PUT"))
        for other in slow:
            assert await other.reader.read(100)
        workers = threads_of(server).pool
        await until(lambda: not busy(workers) and not workers.waiting, BOUND)
        assert (await client.ask()).body == b"hello"
        assert server.in_flight > 90
        await until(lambda: not busy(workers), BOUND)


async def test_senders_that_are_slow() -> None:
    async with (
        running(Large, worker_threads=2, limit_queue=1) as server,
        AsyncExitStack() as stack,
        connected(server) as client,
    ):
        slow = [await stack.enter_async_context(connected(server)) for _ in range(300)]
        for number, other in enumerate(slow):
            if number % 3 == 0:
                await other.send(get()[:-2])
            elif number % 3 == 1:
                await other.send(post(1000), bytes(999))
            else:
                assert (await other.ask()).body == b"hello"
        await until(lambda: server.in_flight == 100, BOUND)
        workers = threads_of(server).pool
        await until(lambda: not busy(workers), BOUND)
        assert (await client.ask()).body == b"hello"
        for number, other in enumerate(slow[:30]):
            if number % 3 == 0:
                await other.send(b"\r\n")
                assert (await other.answer()).body == b"hello"
            elif number % 3 == 1:
                await other.send(b"x")
                assert (await other.answer()).body == b"1000"
        assert len(workers) <= 2


# WSGI.


class Content:
    """What an application returns, with a ``close``."""

    def __init__(self, parts: Iterable[Any], closed: list[str]) -> None:
        self._parts = iter(parts)
        self._closed = closed

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        part = next(self._parts)
        if isinstance(part, BaseException):
            raise part
        return part

    def close(self) -> None:
        self._closed.append("closed")


def checked(application: Any) -> Any:
    """An App of an application that is watched by the library's validator."""
    watched = validator(application)

    def call(environ: dict[str, Any], start_response: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return watched(environ, start_response)

    return wsgi(call)


PLAIN = [("Content-Type", "text/plain")]


class TestWSGI:
    async def test_what_an_application_is_given(self) -> None:
        found: dict[str, Any] = {}

        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            found.update(environ, body=environ["wsgi.input"].read(100))
            start_response("200 Fine", PLAIN)
            return [b"a", b"", b"bc"]

        fields = ("Content-Length: 3", "Content-Type: text/x", "Cookie: a=1", "Cookie: b=2", "X-Two: 1", "X-Two: 2",
                  "Proxy: evil", "X_Two: 3", "Authorization: secret")  # fmt: skip
        async with running(checked(application)) as server, connected(server) as client:
            await client.send(head("POST", "/a%20b/%C3%BC?q=%20", *fields), b"abc")
            answer = await client.answer()
            assert (answer.status, answer.reason, answer.body) == (200, "Fine", b"abc")
            port = server.server_port
        expected = {
            "REQUEST_METHOD": "POST",
            "SCRIPT_NAME": "",
            "PATH_INFO": "/a b/Ã¼",
            "QUERY_STRING": "q=%20",
            "CONTENT_LENGTH": "3",
            "CONTENT_TYPE": "text/x",
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": str(port),
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_HOST": "localhost",
            "HTTP_COOKIE": "a=1; b=2",
            "HTTP_X_TWO": "1,2",
            "HTTP_AUTHORIZATION": "secret",
            "wsgi.url_scheme": "http",
            "wsgi.multithread": True,
            "body": b"abc",
        }
        assert {name: found.get(name) for name in expected} == expected
        assert not {"HTTP_PROXY", "HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"} & set(found)

    async def test_streaming(self) -> None:
        gate, closed = threading.Event(), []

        def application(environ: dict[str, Any], start_response: Any) -> Content:
            start_response("200 OK", PLAIN)

            def parts() -> Iterator[bytes]:
                yield b"first"
                wait(gate)
                yield b"second"

            return Content(parts(), closed)

        async with running(checked(application)) as server, connected(server) as client:
            await client.send(get())
            await client.reader.readuntil(b"5\r\nfirst")
            assert closed == []
            gate.set()
            assert (await client.reader.readuntil(LAST_CHUNK)).endswith(b"6\r\nsecond\r\n" + LAST_CHUNK)
            assert closed == ["closed"]

    async def test_write(self) -> None:
        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            write = start_response("200 OK", PLAIN)
            write(b"written, ")
            return [b"returned"]

        [answer] = finals(await exchange(checked(application), get()))
        assert (answer.body, answer["Content-Length"]) == (b"written, returned", "17")

    async def test_lengths_and_methods(self) -> None:
        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            start_response("200 OK", [*PLAIN, ("Content-Length", "5")])
            return [b"hello"] if environ["REQUEST_METHOD"] != "HEAD" else []

        data = await exchange(checked(application), head("HEAD") + get())
        first, second = finals(data, ["HEAD", "GET"])
        assert (first["Content-Length"], second["Content-Length"], second.body) == ("5", "5", b"hello")

    async def test_an_error_page_in_place_of_the_answer(self) -> None:
        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            start_response("200 OK", PLAIN)
            try:
                raise LookupError("oh")
            except LookupError:
                start_response("500 Oh", PLAIN, sys.exc_info())
            return [b"sorry"]

        [answer] = finals(await exchange(checked(application), get()))
        assert (answer.status, answer.reason, answer.body) == (500, "Oh", b"sorry")

    async def test_an_error_after_content_has_left(self, caplog: pytest.LogCaptureFixture) -> None:
        closed: list[str] = []

        def application(environ: dict[str, Any], start_response: Any) -> Content:
            start_response("200 OK", PLAIN)

            def parts() -> Iterator[bytes]:
                yield bytes(100_000)
                yield bytes(100_000)  # which has the first one leave
                try:
                    raise LookupError("in the middle")
                except LookupError:
                    start_response("500 Oh", PLAIN, sys.exc_info())

            return Content(parts(), closed)

        async with running(wsgi(application)) as server, connected(server) as client:
            await client.send(get())
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await client.answer()
        assert closed == ["closed"]
        expect_logged(caplog, "in the middle")

    @pytest.mark.parametrize("where", ["call", "iteration", "no start_response", "twice", "status", "hop by hop"])
    async def test_errors(self, where: str, caplog: pytest.LogCaptureFixture) -> None:
        closed: list[str] = []

        def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            if environ["PATH_INFO"] == "/next":
                start_response("200 OK", PLAIN)
                return [b"next"]
            if where == "call":
                raise LookupError("oh")
            if where != "no start_response":
                fields = [("Connection", "close")] if where == "hop by hop" else PLAIN
                start_response("fine" if where == "status" else "200 OK", fields)
            if where == "twice":
                start_response("200 OK", PLAIN)
            return Content([LookupError("oh")] if where == "iteration" else [b"a"], closed)

        first, second = finals(await exchange(wsgi(application), get() + get("/next")))
        assert (first.status, second.body) == (500, b"next")
        text = {
            "call": "oh",
            "iteration": "oh",
            "no start_response": "has not called start_response()",
            "twice": "start_response() was called twice",
            "status": "'fine' is no status",
            "hop by hop": "Connection is for the server to send",
        }
        expect_logged(caplog, text[where])
        assert closed == (["closed"] if where in ("iteration", "no start_response") else [])

    async def test_files(self, tmp_path: Path) -> None:
        content = random.Random(4).randbytes(200_000)
        (tmp_path / "file").write_bytes(content)

        def application(environ: dict[str, Any], start_response: Any) -> Any:
            start_response("200 OK", PLAIN)
            return environ["wsgi.file_wrapper"](open(tmp_path / "file", "rb"), 10_000)

        [answer] = finals(await exchange(wsgi(application), get()))
        assert answer.body == content

    def test_what_is_no_application(self) -> None:
        with pytest.raises(TypeError, match="is no WSGI application"):
            wsgi(cast(Any, 3))


APPLICATION = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode(), environ["wsgi.input"].read()]
"""

OLD = """
from http.server import BaseHTTPRequestHandler

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{self.path} {type(self.server).__name__}".encode())
"""


class TestCommand:
    def test_wsgi(self, tmp_path: Path) -> None:
        (tmp_path / "site.py").write_text(APPLICATION)
        with program(tmp_path, "serve", "site.py:app", "--wsgi", "-p", "0") as served:
            [url] = [word for word in served.first.split() if word.startswith("http")]
            assert httpx.post(url + "a", content=b"body").text == "/abody"
            assert '"POST /a HTTP/1.1" 200 6\n' in served.stop()

    def test_a_handler_of_http_server(self, tmp_path: Path) -> None:
        (tmp_path / "old.py").write_text(OLD)
        with program(tmp_path, "serve", "old.py:Handler", "-p", "0") as served:
            [url] = [word for word in served.first.split() if word.startswith("http")]
            assert httpx.get(url + "a").text == "/a HTTPServer"
            assert '"GET /a HTTP/1.1" 200 ' in served.stop()
