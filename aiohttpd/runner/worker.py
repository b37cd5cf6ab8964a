"""A worker: one of several processes that serve the same sockets.

Owns the process from its start to its end. The supervisor decides when it ends, by messages on the `Channel`; when the
supervisor is gone, the worker drains and ends.
"""

import asyncio
import contextlib
import faulthandler
import multiprocessing
import multiprocessing.process
import os
import pickle
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from ssl import SSLContext
from typing import Any

from ..config import Config
from ..engine.interfaces import App
from ..engine.response import StreamWriter
from ..errors import StartupFailed, TLSError
from ..handlers.app import Lifespan, NoLifespan, forward_attributes, resolve_app
from ..net.forking import not_for_children
from ..server.access_log import stderr_log
from ..server.metrics import Snapshot
from ..server.server import HTTPServer
from ..server.stacks import report
from ..wire.request import Request
from .balance import Balance, ConnectionTable
from .channel import Channel, Message, encode
from .job import BEAT, HANDED, Job, Target
from .loader import NamedLifespan, TargetError, TargetFailed, frames_of_user
from .process import (
    AFTERWARDS,
    STARTUP_STATUS,
    allow_open_files,
    freeze_objects,
    main_loop,
    open_standard_streams,
    say,
    startup_failed,
    traceback_text,
)
from .stderr import own_stderr

__all__ = ["CountedApp", "work"]

_STDERR = 2
_ANSWER = 2.0  # seconds for the supervisor to answer a question


class _CannotStart(Exception):
    """The worker cannot start.

    Attributes:
        text: what the supervisor writes on stderr.
        status: the exit status of the program, if no worker can start.
    """

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.text, self.status = text, status


def work(job: Job) -> None:
    """The main function of the worker process."""
    open_standard_streams()
    with contextlib.suppress(OSError, RuntimeError, ValueError):  # stderr cannot be used
        faulthandler.enable(_STDERR)  # SIGABRT writes the stacks of all threads; see `WorkerHandle.check`
    with not_for_children() as is_loop:
        for number in HANDED:
            signal.signal(number, _ignore)  # child processes of the App would inherit SIG_IGN
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDED)
        threading.Thread(target=_end_with_parent, args=(job.config,), daemon=True).start()
        job.channel.set_inheritable(False)
        with own_stderr(job.config.access_log_format, job.shared.number):
            _work(job, is_loop)


def _work(job: Job, is_loop: Callable[[asyncio.AbstractEventLoop], None]) -> None:
    _tell(job, "begun")
    allow_open_files()
    try:
        app, lifespan, context = _load(job.target)
        with main_loop(is_loop) as runner:
            try:
                runner.run(_serve(job, app, lifespan, context))
            except _CannotStart as error:
                _exit(job, error)  # here, since closing the loop may take long
    except _CannotStart as error:
        _exit(job, error)
    except Exception as error:
        say(_traceback_of_user(error))
        sys.exit(1)


def _exit(job: Job, error: _CannotStart) -> None:
    """Tell the supervisor why the worker cannot start, and end."""
    job.channel.setblocking(True)
    _tell(job, "failed", text=error.text, status=error.status)
    sys.exit(error.status)


def _tell(job: Job, tell: str, **more: Any) -> None:
    """Send a message while no loop runs. If the supervisor is gone, end the process, without a message to anybody."""
    try:
        job.channel.sendall(encode(tell, **more))
    except (BrokenPipeError, ConnectionResetError):
        sys.exit(1)


def _ignore(number: int, frame: object) -> None:
    """The handler of signals that the supervisor handles for all processes."""


def _end_with_parent(config: Config) -> None:
    """End the process after the grace when its parent has died, even if its loop hangs."""
    parent = multiprocessing.process.parent_process()
    assert parent is not None
    parent.join()
    time.sleep(config.timeout_grace + AFTERWARDS)
    os._exit(1)


def _load(pickled: bytes) -> tuple[App, Lifespan | None, SSLContext | None]:
    try:
        target: Target = pickle.loads(pickled)
    except AttributeError as error:
        raise _CannotStart(f"aiohttpd: {error}: workers import it, so define it at the top of its module", 2)
    except Exception as error:
        raise _CannotStart(_traceback_of_user(error), 1)
    files, lifespan = target.certificates, target.lifespan
    try:
        if isinstance(lifespan, NamedLifespan):
            lifespan = lifespan.load()
        return target.make_app(), lifespan, None if files is None else files.context()
    except (TargetError, TLSError, ValueError) as error:
        raise _CannotStart(f"aiohttpd: {error}", 2)
    except TargetFailed as failed:
        raise _CannotStart(traceback_text(failed.error), 1)
    except Exception as error:
        raise _CannotStart(_traceback_of_user(error), 1)


def _traceback_of_user(error: BaseException) -> str:
    """The traceback of an exception; of one of the application, from its first frame there."""
    frames = frames_of_user(error.__traceback__)
    return traceback_text(error if frames is None else error.with_traceback(frames))


class _Worker:
    """A server that sends heartbeats to its supervisor, and obeys its messages."""

    def __init__(self, job: Job, app: App, lifespan: Lifespan | None, context: SSLContext | None) -> None:
        self._loop = loop = asyncio.get_running_loop()
        self._job = job
        self._counted = CountedApp(app) if job.config.recycle_requests else None
        self._log = stderr_log(job.config, loop)
        self._server = HTTPServer(
            [socket.socket(fileno=sock.number) for sock in job.sockets],
            self._counted or app,
            config=job.config,
            lifespan=lifespan,
            ssl=context,
            access_log=self._log,
            snapshots=self._ask_for_snapshots,
        )
        self._channel = Channel(self._received, partial(self._stop, delay=0))
        self._starting: asyncio.Task[None] | None = None
        self._stops: set[asyncio.Task[None]] = set()
        self._questions: dict[int, asyncio.Future[list[Snapshot]]] = {}
        self._balance: Balance | None = None

    async def serve(self) -> None:
        """Start the server, and serve until the supervisor says stop.

        Raises:
            _CannotStart: the server cannot be started.
        """
        loop, server = self._loop, self._server
        await loop.create_unix_connection(lambda: self._channel, sock=self._job.channel.dup())
        loop.add_signal_handler(signal.SIGTERM, self._stop)
        if not await self._start():
            return
        loop.add_signal_handler(signal.SIGUSR1, lambda: say(report(server)))
        freeze_objects()
        if self._job.balanced:
            self._share_connections()
        self._channel.send("ready")
        self._beat()
        try:
            await server.serve_forever()
            await asyncio.gather(*self._stops)
        finally:
            if self._log is not None:
                self._log.flush()
            self._send_beat()  # with the last counts
            await self._channel.end()

    async def _start(self) -> bool:
        """Start the server; return False if it has been told to stop meanwhile."""
        self._starting = self._loop.create_task(self._server.start())
        try:
            await self._starting
        except asyncio.CancelledError:
            return False
        except StartupFailed as error:
            raise _CannotStart(startup_failed(error), STARTUP_STATUS)
        except NoLifespan as error:
            raise _CannotStart(f"aiohttpd: {error}", 2)
        except Exception as error:
            raise _CannotStart(_traceback_of_user(error), 1)
        finally:
            self._starting = None
        return True

    def _share_connections(self) -> None:
        acceptor = self._server.acceptor
        assert acceptor is not None
        self._balance = Balance(ConnectionTable(self._job.shared.number), self._job.slot, acceptor)
        acceptor.on_accept(self._balance.accepted)

    def _received(self, message: Message) -> None:
        if message["tell"] == "stop":
            self._stop(
                message["grace"], message["idle"], message["delay"], replaced=message["replaced"], last=message["last"]
            )
        elif message["tell"] == "metrics":
            question = self._questions.pop(message["number"], None)
            if question is not None and not question.done():
                question.set_result(message["snapshots"])

    def _stop(
        self,
        grace: float | None = None,
        idle: float | None = None,
        delay: float | None = None,
        *,
        replaced: bool = False,
        last: bool = True,
    ) -> None:
        """Drain and end: by message, by SIGTERM, or since the supervisor is gone."""
        if self._starting is not None and self._starting.cancel():
            return  # else the start has ended in this turn
        if self._balance is not None:
            self._balance.end()
        stop = self._server.shutdown(grace, idle=idle, delay=delay, replaced=replaced, last=last)
        self._stops.add(self._loop.create_task(stop))

    def _beat(self) -> None:
        self._loop.call_later(min(BEAT, self._job.config.timeout_heartbeat / 4 or BEAT), self._beat)
        if self._balance is not None and not self._stops:
            self._balance.update()
        self._send_beat()

    def _send_beat(self) -> None:
        requests = self._counted.count if self._counted is not None else 0
        self._channel.send("beat", requests=requests, rss=_resident(), metrics=self._snapshot())

    def _snapshot(self) -> Snapshot | None:
        return self._server.snapshot() if self._job.config.metrics else None

    async def _ask_for_snapshots(self) -> list[Snapshot]:
        """Ask the supervisor for the metrics of all workers; only its own if there is no answer in time."""
        number = max(self._questions, default=0) + 1
        question = self._questions[number] = self._loop.create_future()
        self._channel.send("metrics", number=number, metrics=self._snapshot())
        try:
            return await asyncio.wait_for(question, _ANSWER)
        except TimeoutError:
            return [self._server.snapshot()]
        finally:
            self._questions.pop(number, None)


async def _serve(job: Job, app: App, lifespan: Lifespan | None, context: SSLContext | None) -> None:
    await _Worker(job, app, lifespan, context).serve()


class CountedApp:
    """An App that counts its requests."""

    def __init__(self, app: App) -> None:
        self._app = resolve_app(app)
        self.count = 0
        forward_attributes(app, self)

    def __call__(self, request: Request, response: StreamWriter) -> Awaitable[None]:
        self.count += 1
        return self._app(request, response)


def _resident() -> int:
    """The resident memory of this process in bytes; where the system does not show it, its peak."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
