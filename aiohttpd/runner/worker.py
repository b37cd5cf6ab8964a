"""A worker: one process of many that serve the same sockets.

Owns the life of the process, from what its supervisor has given it to its end. Which process lives how
long is for `supervisor` to say, over the `Channel`; without a supervisor a worker drains and ends.
"""

import asyncio
import gc
import multiprocessing
import multiprocessing.process
import os
import pickle
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from functools import partial
from ssl import SSLContext
from typing import Any

from ..config import Config
from ..engine.interfaces import App
from ..engine.response import StreamWriter
from ..errors import TLSError
from ..handlers.app import resolve_app
from ..net.forking import end_child, not_for_children
from ..server.access_log import AccessLog
from ..server.loader import TargetError, TargetFailed
from ..server.server import HTTPServer, Lifespan
from ..server.stacks import report
from ..wire.request import Request
from .balance import Balance, Table
from .channel import Channel, Message, encode
from .job import BEAT, HANDED, Job, Target
from .process import allow_open_files, ended_within, loop_factory, open_standard_streams, say
from .stderr import own_stderr

__all__ = ["work"]

_AFTERWARDS = 1.0  # seconds from the end of the server to that of the process
_ANSWER = 2.0  # seconds for the supervisor to answer a question


class _CannotStart(Exception):
    """The text is for the terminal, the status is what the program ends with."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.text, self.status = text, status


def work(job: Job) -> None:
    """Be a worker: the main function of the process."""
    open_standard_streams()
    with not_for_children() as is_loop:
        _begin(job, is_loop)


def _begin(job: Job, is_loop: Callable[[asyncio.AbstractEventLoop], None]) -> None:
    for number in HANDED:
        signal.signal(number, _ignore)  # not SIG_IGN, which the programs that an App starts would inherit
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDED)
    threading.Thread(target=_end_with_parent, args=(job.config,), daemon=True).start()
    job.channel.set_inheritable(False)
    with own_stderr(job.config.access_log_format, job.shared.number):
        _work(job, is_loop)


def _work(job: Job, is_loop: Callable[[asyncio.AbstractEventLoop], None]) -> None:
    job.channel.sendall(encode("begun"))
    allow_open_files()
    try:
        app, lifespan, context = _load(job.target)
        with ended_within(_AFTERWARDS) as end, asyncio.Runner(loop_factory=loop_factory()) as runner:
            is_loop(runner.get_loop())
            pid = os.getpid()
            try:
                runner.run(_serve(job, app, lifespan, context))
            except _CannotStart as error:
                _tell(job, error)  # now, since closing the loop may take for ever
                end(error.status)
                sys.exit(error.status)
            except BaseException as error:
                end_child(error, pid)
                end(1, error)
                raise
            else:
                end_child(None, pid)
                end()
    except _CannotStart as error:
        _tell(job, error)
        sys.exit(error.status)
    except Exception as error:
        say(_formatted(error))
        sys.exit(1)


def _tell(job: Job, error: "_CannotStart") -> None:
    job.channel.setblocking(True)
    job.channel.sendall(encode("failed", text=error.text, status=error.status))


def _ignore(number: int, frame: object) -> None:
    """What is for the supervisor alone."""


def _end_with_parent(config: Config) -> None:
    """See that no worker stays behind, not even one that hangs: without a parent it has the grace to end."""
    parent = multiprocessing.process.parent_process()
    assert parent is not None
    parent.join()
    time.sleep(config.timeout_grace + _AFTERWARDS)
    os._exit(1)


def _load(pickled: bytes) -> tuple[App, Lifespan | None, SSLContext | None]:
    try:
        target: Target = pickle.loads(pickled)
    except AttributeError as error:
        raise _CannotStart(f"aiohttpd: {error}: a worker imports it, so it belongs to the top of its module", 2)
    except Exception as error:
        raise _CannotStart(_formatted(error), 1)
    files = target.certificates
    try:
        return target.make_app(), target.lifespan, None if files is None else files.context()
    except (TargetError, TLSError, ValueError) as error:
        raise _CannotStart(f"aiohttpd: {error}", 2)
    except TargetFailed as failed:
        raise _CannotStart(_formatted(failed.error), 1)
    except Exception as error:
        raise _CannotStart(_formatted(error), 1)


def _formatted(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)).rstrip("\n")


class _Worker:
    """A server that tells its supervisor of itself, and does what that says."""

    def __init__(self, job: Job, app: App, lifespan: Lifespan | None, context: SSLContext | None) -> None:
        self._loop = loop = asyncio.get_running_loop()
        self._job = job
        self._counted = _Counted(app) if job.config.recycle_requests else None
        self._log = None
        if job.config.access_log and job.config.access_log_format != "none":
            self._log = AccessLog(sys.stderr, loop, job.config.access_log_format)
        self._server = HTTPServer(
            [socket.socket(fileno=sock.number) for sock in job.sockets],
            self._counted or app,
            config=job.config,
            lifespan=lifespan,
            ssl=context,
            access_log=self._log,
        )
        self._channel = Channel(self._received, partial(self._stop, delay=0))
        self._starting: asyncio.Task[None] | None = None
        self._stops: set[asyncio.Task[None]] = set()
        self._questions: dict[int, asyncio.Future[list[Any]]] = {}
        self._balance: Balance | None = None

    async def serve(self) -> None:
        """Live."""
        loop, server = self._loop, self._server
        await loop.create_unix_connection(lambda: self._channel, sock=self._job.channel.dup())
        loop.add_signal_handler(signal.SIGTERM, self._stop)
        self._starting = loop.create_task(server.start())
        try:
            await self._starting
        except asyncio.CancelledError:
            return
        except Exception as error:
            raise _CannotStart(_formatted(error), 1)
        finally:
            self._starting = None
        server.snapshots = self._ask
        loop.add_signal_handler(signal.SIGUSR1, lambda: say(report(server)))
        assert server.acceptors is not None
        gc.collect()
        gc.freeze()  # what is there now stays; no collection needs to look at it again
        if self._job.balanced:
            self._balance = Balance(Table(self._job.shared.number), self._job.slot, server.acceptors)
            server.acceptors.accepted = self._balance.accepted
        self._channel.send("ready")
        self._beat()
        try:
            await server.serve_forever()
            await asyncio.gather(*self._stops)
        finally:
            if self._log is not None:
                self._log.flush()
            self._tell()  # what it has counted since
            await self._channel.end()

    def _received(self, message: Message) -> None:
        if message["tell"] == "stop":
            self._server.replaced, self._server.last = message["replaced"], message["last"]
            self._stop(message["grace"], message["idle"], message["delay"])
        elif message["tell"] == "metrics":
            question = self._questions.pop(message["number"], None)
            if question is not None and not question.done():
                question.set_result(message["snapshots"])

    def _stop(self, grace: float | None = None, idle: float | None = None, delay: float | None = None) -> None:
        """Drain and end; so do we if the supervisor is gone."""
        if self._starting is not None:
            self._starting.cancel()
        else:
            if self._balance is not None:
                self._balance.end()
            self._stops.add(self._loop.create_task(self._server.shutdown(grace, idle=idle, delay=delay)))

    def _beat(self) -> None:
        self._loop.call_later(min(BEAT, self._job.config.timeout_heartbeat / 4 or BEAT), self._beat)
        if self._balance is not None and not self._stops:
            self._balance.update()
        self._tell()

    def _tell(self) -> None:
        requests = self._counted.count if self._counted is not None else 0
        self._channel.send("beat", requests=requests, rss=resident(), metrics=self._snapshot())

    def _snapshot(self) -> Any:
        return self._server.snapshot() if self._job.config.metrics else None

    async def _ask(self) -> list[Any]:
        """The snapshots of all workers; our own alone, if the supervisor does not answer."""
        number = max(self._questions, default=0) + 1
        question = self._questions[number] = self._loop.create_future()
        self._channel.send("metrics", number=number, metrics=self._snapshot())
        try:
            return await asyncio.wait_for(question, _ANSWER)
        except TimeoutError:
            return [self._snapshot()]
        finally:
            self._questions.pop(number, None)


async def _serve(job: Job, app: App, lifespan: Lifespan | None, context: SSLContext | None) -> None:
    await _Worker(job, app, lifespan, context).serve()


class _Counted:
    """An App that counts its requests."""

    def __init__(self, app: App) -> None:
        self._app = resolve_app(app)
        self.count = 0

    def __call__(self, request: Request, response: StreamWriter) -> Awaitable[None]:
        self.count += 1
        return self._app(request, response)


def resident() -> int:
    """Bytes of memory that this process takes now; where the system does not tell, the most that it took."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
