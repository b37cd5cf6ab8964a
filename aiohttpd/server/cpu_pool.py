"""Processes for work that burns CPU: what is behind ``await self.run_in_process(function, *args)``.

Owns the pool: when it begins, how large it becomes, and that no process of it outlives its server. Each process has
one job at a time and a socket of its own, over which only bytes go, so what goes wrong with a job is told to its caller
and to nobody else. What is computed in it is the handlers'.
"""

import asyncio
import contextlib
import inspect
import multiprocessing
import multiprocessing.util
import os
import pickle
import queue
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.reduction import ForkingPickler
from typing import Any, Literal, NamedTuple, TypeVar, cast

from .cores import cores

__all__ = ["ProcessPool"]

T = TypeVar("T")

_HEAD = 8  # bytes that tell how long a message is


class ProcessPool:
    """Spawned processes, made when they are first needed.

    Args:
        size: how many at most; 0 for as many as there are cores.
    """

    def __init__(self, size: int) -> None:
        self._free = asyncio.Semaphore(size or cores())
        self._idle: list[_Process] = []
        self._processes: set[_Process] = set()
        # Each job, and whether its caller still waits; asyncio itself holds tasks only weakly.
        self._jobs: dict[asyncio.Task[Any], bool] = {}
        self._closed = False
        # Who forgets to close it must not wait for them: multiprocessing joins what still lives when a program ends.
        multiprocessing.util.Finalize(self, _kill, (self._processes,), exitpriority=0)

    async def run(self, function: Callable[..., T], *args: object) -> T:
        """Call a function in one of the processes, and wait for what it returns.

        The function and what it takes can be pickled: it is defined at the top of a module. Who is cancelled takes
        back what has not begun; what has, runs to its end, or to that of the server.

        Raises:
            BrokenProcessPool: the process has died over this work; that of others goes on, and the next call has a
                new process.
            RuntimeError: the server has stopped; or the function has raised what cannot be handed over, or what is no
                error of its caller: ``SystemExit``, ``StopIteration``.
            TypeError: the function, what it takes or what it returns cannot be handed over.
            Exception: what the function raises.
        """
        name = _name_of(function)
        job = _job(name, function, args)
        await self._free.acquire()
        if self._closed:
            self._free.release()
            raise RuntimeError("run_in_process() after the server has stopped")
        task = asyncio.get_running_loop().create_task(self._give(job))
        self._jobs[task] = True
        task.add_done_callback(self._done)
        try:
            answer = await asyncio.shield(task)
        except asyncio.CancelledError:
            if task in self._jobs:
                self._jobs[task] = False
            raise
        if isinstance(answer, _Died):
            raise BrokenProcessPool(f"the process for {name} {answer}")
        value: T = _outcome(name, answer)
        return value

    def close(self) -> None:
        """End the processes, whatever they are at."""
        self._closed = True
        _kill(self._processes)

    async def _give(self, job: bytes) -> "_Answer | _Died":
        try:
            return await self._do(job)
        except _Died as death:
            return death  # and not raised: asyncio reports that for callers who have been cancelled

    async def _do(self, job: bytes) -> "_Answer":
        while True:
            process = self._idle.pop() if self._idle else None
            known = process is not None
            if process is None:
                process = _Process(asyncio.get_running_loop(), self._processes)
                await process.start()
            try:
                answer = await process.call(job)
            except _DiedBefore:
                if not known or self._closed or not self._jobs.get(cast("asyncio.Task[Any]", asyncio.current_task())):
                    raise
                continue  # it had died while it was idle
            self._idle.append(process)
            return answer

    def _done(self, task: "asyncio.Task[Any]") -> None:
        del self._jobs[task]
        self._free.release()
        if not task.cancelled():
            task.exception()  # its caller may have been cancelled, and then nobody else asks


def _kill(processes: "set[_Process]") -> None:
    for process in tuple(processes):
        process.kill()


class _Died(Exception):
    """A process is no more; the text says how it ended."""


class _DiedBefore(_Died):
    """It has not begun what it was to do."""


class _Process:
    """One process, which does one job after the other.

    Args:
        loop: of the server.
        living: the processes that live; this one is among them until it has ended.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, living: "set[_Process]") -> None:
        self._loop = loop
        self._living = living
        self._ended = asyncio.Event()
        self._busy = True
        self._started = self._killed = False
        self._socket, self._theirs = socket.socketpair()
        self._socket.setblocking(False)
        self._process = multiprocessing.get_context("spawn").Process(target=_work, args=(self._theirs,))
        living.add(self)

    async def start(self) -> None:
        """Start it, and wait until it can work."""
        try:
            await asyncio.to_thread(self._process.start)  # which reads and writes files
        except BaseException:
            self._living.discard(self)
            self._socket.close()
            raise
        finally:
            self._theirs.close()
        self._started = True
        if self._killed:
            self._process.kill()
        threading.Thread(target=self._watch, daemon=True).start()
        try:
            await self._receive()
        except OSError:
            fate = await self._fate()
            raise _Died(f"{fate} before it could begin; why stands on stderr") from None

    async def call(self, job: bytes) -> "_Answer":
        """Have it do a job."""
        self._busy = True
        try:
            await self._loop.sock_sendall(self._socket, len(job).to_bytes(_HEAD, "big"))
            await self._loop.sock_sendall(self._socket, job)
            await self._receive()  # it begins
        except OSError:
            raise _DiedBefore(await self._fate()) from None
        try:
            answer: _Answer = pickle.loads(await self._receive())
        except OSError:
            raise _Died(await self._fate()) from None
        self._busy = False
        if self._ended.is_set():
            self._socket.close()
        return answer

    def kill(self) -> None:
        """End it at once."""
        self._killed = True
        if self._started:
            self._process.kill()

    async def _receive(self) -> memoryview:
        return await self._receive_exactly(int.from_bytes(await self._receive_exactly(_HEAD), "big"))

    async def _receive_exactly(self, count: int) -> memoryview:
        view = memoryview(bytearray(count))
        got = 0
        while got < count:
            size = await self._loop.sock_recv_into(self._socket, view[got:])
            if not size:
                raise ConnectionResetError("the process has ended")
            got += size
        return view

    async def _fate(self) -> str:
        """How it has ended."""
        killed = self._killed
        if not self._ended.is_set():
            self._process.kill()  # it may live on without its socket, if a job has closed what is not its own
        await self._ended.wait()
        self._socket.close()
        status = self._process.exitcode
        if killed:
            return "was ended with the server"
        if status is not None and status < 0:
            with contextlib.suppress(ValueError):
                return f"was killed ({signal.Signals(-status).name})"
        return f"has ended (exit status {status})"

    def _watch(self) -> None:
        """Wait for its end in a thread: descriptors would not tell, as programs that it has started may have them."""
        self._process.join()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # what it has sent before can still be read
        try:
            self._loop.call_soon_threadsafe(self._gone)
        except RuntimeError:  # the loop is closed, and nobody asks any more
            self._socket.close()

    def _gone(self) -> None:
        self._living.discard(self)
        self._ended.set()
        if not self._busy:
            self._socket.close()


class _Answer(NamedTuple):
    """What a process says of a job: it can be unpickled whatever the job has returned or raised.

    Attributes:
        outcome: how far it has come.
        data: what it has returned or raised, pickled; None if that is not to be handed over.
        what: the same in words.
        trace: the traceback of what was raised.
    """

    outcome: Literal["not begun", "returned", "raised"]
    data: bytes | None
    what: str
    trace: str = ""


class _Remote(Exception):
    """The traceback of another process, to be shown as a cause."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


def _name_of(function: object) -> str:
    name = getattr(function, "__qualname__", None)
    return f"{name}()" if isinstance(name, str) else f"an instance of {type(function).__qualname__}"


def _job(name: str, function: object, args: tuple[object, ...]) -> bytes:
    if not callable(function) or inspect.iscoroutinefunction(function):
        raise TypeError(f"run_in_process() takes a plain function that it can call, not {name}")
    try:
        return _dumps((function, args))
    except Exception as error:
        raise TypeError(
            f"run_in_process() cannot hand {name} and what it takes to another process ({_summary(error)}): define it "
            "at the top of a module, and give it plain data"
        ) from error


def _outcome(name: str, answer: _Answer) -> Any:
    """What a job has returned; raises what it has raised.

    Raises:
        TypeError: it has not been begun, or what it has returned is not to be had.
        RuntimeError: what it has raised is not to be had, or nothing to be raised here.
    """
    what = answer.what
    if answer.data is not None:
        try:
            value = pickle.loads(answer.data)
        except BaseException as error:
            what = f"{what} (which cannot be unpickled: {_summary(error)})"
        else:
            if answer.outcome == "returned":
                return value
            if isinstance(value, Exception) and not isinstance(value, StopIteration):
                raise value from _Remote(answer.trace)
    kind = RuntimeError if answer.outcome == "raised" else TypeError
    verb = "was" if answer.outcome == "not begun" else "has"
    raise kind(f"{name} {verb} {answer.outcome}: {what}") from (_Remote(answer.trace) if answer.trace else None)


def _dumps(value: object) -> bytes:
    return bytes(ForkingPickler.dumps(value))


def _summary(error: BaseException) -> str:
    """The last line of a traceback; nothing that an exception does when it is looked at gets through."""
    try:
        return traceback.format_exception_only(error)[-1].strip()
    except BaseException:
        return type(error).__qualname__


# In the process.


def _work(sock: socket.socket) -> None:
    """Be a process of the pool: do what comes, until the server ends."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # what a group is sent is not for it
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _ignore)  # not SIG_IGN, which programs that a job starts would inherit
    sock.setblocking(True)
    jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_receive_jobs, args=(sock, jobs), daemon=True).start()
    _send(sock, b"")  # it can work
    while True:
        job = jobs.get()
        _send(sock, b"")  # it begins: who dies before has done nothing of it
        answer = _do(job)
        with contextlib.suppress(Exception):
            sys.stdout.flush()  # since the end comes without a warning
        _send(sock, pickle.dumps(answer))


def _ignore(number: int, frame: object) -> None:
    pass


def _receive_jobs(sock: socket.socket, jobs: "queue.SimpleQueue[bytes]") -> None:
    """Take in what comes; when nothing can come any more the process ends, whatever it is at."""
    with contextlib.suppress(OSError), sock.makefile("rb") as file:
        while len(head := file.read(_HEAD)) == _HEAD:
            size = int.from_bytes(head, "big")
            job = file.read(size)
            if len(job) < size:
                break
            jobs.put(job)
    os._exit(1)


def _send(sock: socket.socket, message: bytes) -> None:
    sock.sendall(len(message).to_bytes(_HEAD, "big"))
    sock.sendall(message)


def _do(job: bytes) -> _Answer:
    try:
        function, args = pickle.loads(job)
    except BaseException as error:
        return _Answer("not begun", None, f"{_summary(error)}: it is not found in another process", _trace(error))
    try:
        result = function(*args)
    except BaseException as error:
        return _raised(error)
    try:
        return _Answer("returned", _dumps(result), f"a {type(result).__qualname__}")
    except BaseException as error:
        return _Answer("returned", None, f"a {type(result).__qualname__}, which cannot be pickled: {_summary(error)}")


def _raised(error: BaseException) -> _Answer:
    summary, trace = _summary(error), _trace(error)
    if not isinstance(error, Exception) or isinstance(error, StopIteration):
        return _Answer("raised", None, summary, trace)
    try:
        return _Answer("raised", _dumps(error), summary, trace)
    except BaseException as second:
        return _Answer("raised", None, f"{summary} (which cannot be pickled: {_summary(second)})", trace)


def _trace(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except BaseException:
        return _summary(error)
