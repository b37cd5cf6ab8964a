"""The process pool for CPU-bound work, used by ``await self.run_in_process(function, *args)``.

Processes are spawned when they are needed, and none lives longer than its server. Each process has one job at a time,
and a socket of its own to the server, on which pickled bytes are sent. So an error in one job does not affect others.
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

_HEAD = 8  # bytes before a message that hold its length


class ProcessPool:
    """A pool of spawned processes.

    Args:
        size: the maximum number of processes; 0 for the number of cores.
    """

    def __init__(self, size: int) -> None:
        self._free = asyncio.Semaphore(size or cores())
        self._idle: list[_Process] = []
        self._processes: set[_Process] = set()
        # Keeps the tasks of jobs alive (asyncio has weak references only), also those whose callers are gone.
        self._jobs: dict[asyncio.Task[Any], bool] = {}
        self._closed = False
        # For a pool that is never closed: multiprocessing would wait for its processes at the end of the program.
        multiprocessing.util.Finalize(self, _kill, (self._processes,), exitpriority=0)

    async def run(self, function: Callable[..., T], *args: object) -> T:
        """Call a function in one of the processes.

        If the caller is cancelled, a call that has not begun is dropped. One that has begun runs to its end, or to the
        end of the server.

        Args:
            function: a function at the top of a module, so that it can be pickled.
            args: its arguments; they must be picklable.

        Returns:
            What the function returns; it must be picklable.

        Raises:
            BrokenProcessPool: the process has died during this call. Other calls are not affected.
            RuntimeError: the server has stopped; or the function has raised ``SystemExit``, ``StopIteration`` or an
                exception that cannot be pickled.
            TypeError: the function, an argument or the result cannot be pickled.
            Exception: the function has raised it.
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
        """Kill the processes, also those that have a job."""
        self._closed = True
        _kill(self._processes)

    async def _give(self, job: bytes) -> "_Answer | _Died":
        try:
            return await self._do(job)
        except _Died as death:
            return death  # not raised: asyncio would report it if the caller has been cancelled

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
            task.exception()  # retrieves it, since the caller may have been cancelled


def _kill(processes: "set[_Process]") -> None:
    for process in tuple(processes):
        process.kill()


class _Died(Exception):
    """A process has ended. The text says how."""


class _DiedBefore(_Died):
    """A process has ended before it began the job."""


class _Process:
    """One process of the pool; it does one job after the other.

    Args:
        loop: the loop of the server.
        living: the set of processes that have not ended; this one is added and removed.
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
            await asyncio.to_thread(self._process.start)  # in a thread, since it reads and writes files
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
            await self._greeted()
        except asyncio.CancelledError:  # as in `call`
            self._abandon()
            raise

    async def _greeted(self) -> None:
        try:
            await self._receive()
        except OSError:
            fate = await self._fate()
            raise _Died(f"{fate} before it could begin; see stderr for the reason") from None

    async def call(self, job: bytes) -> "_Answer":
        """Send it a job, and wait for the answer."""
        self._busy = True
        try:
            return await self._exchange(job)
        except asyncio.CancelledError:  # the loop ends first, so `_gone` will not be called
            self._abandon()
            raise

    async def _exchange(self, job: bytes) -> "_Answer":
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
        """Kill it."""
        self._killed = True
        if self._started:
            self._process.kill()
        if not self._busy:  # nobody uses its socket; the loop may end before `_gone` is called
            self._socket.close()

    def _abandon(self) -> None:
        self.kill()
        self._socket.close()

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
            self._process.kill()  # it may still run, if the job has closed the socket
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
        """Wait for its end in a thread; its child processes may keep descriptors open, so these show no end."""
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
    """The answer to a job. It can always be unpickled, since result and exception are pickled separately.

    Attributes:
        outcome: what has happened.
        data: the pickled result or exception; None if it cannot be pickled.
        what: the same as text.
        trace: the traceback of the exception.
    """

    outcome: Literal["not begun", "returned", "raised"]
    data: bytes | None
    what: str
    trace: str = ""


class _Remote(Exception):
    """Shows the traceback of another process, as the cause of an exception."""

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
    """The result of a job, or its exception, which is raised.

    Raises:
        TypeError: the job could not be unpickled, or its result could not be pickled.
        RuntimeError: its exception could not be pickled, or must not be raised here.
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
    """The last line of a traceback; if the exception fails when it is formatted, only its type."""
    try:
        return traceback.format_exception_only(error)[-1].strip()
    except BaseException:
        return type(error).__qualname__


# In the process.


def _work(sock: socket.socket) -> None:
    """The main function of a process: do jobs until the server ends."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # a terminal sends them to the whole process group
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _ignore)  # child processes would inherit SIG_IGN
    sock.setblocking(True)
    jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_receive_jobs, args=(sock, jobs), daemon=True).start()
    _send(sock, b"")  # ready for jobs
    while True:
        job = jobs.get()
        _send(sock, b"")  # the job begins; if the process dies before, another one can do it
        answer = _do(job)
        with contextlib.suppress(Exception):
            sys.stdout.flush()  # since the process will be killed
        _send(sock, pickle.dumps(answer))


def _ignore(number: int, frame: object) -> None:
    pass


def _receive_jobs(sock: socket.socket, jobs: "queue.SimpleQueue[bytes]") -> None:
    """Receive jobs in a thread; end the process when the server has closed the socket, also during a job."""
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
