"""A supervisor as a program: its signals, and the service manager that is notified.

How workers are started, replaced and stopped is in `supervisor`.

=================  =====================================================================================
signal             effect
=================  =====================================================================================
SIGTERM, SIGINT    stop: finish the requests in flight, within timeout_grace; the second one stops at once
SIGHUP             replace all workers, one after the other; an old worker is stopped when the new one is ready
SIGTTIN, SIGTTOU   one worker more, one worker less
SIGUSR1            each worker writes on stderr its connections, and what their handlers wait for
=================  =====================================================================================
"""

import asyncio
import contextlib
import io
import os
import pickle
import signal
import sys
from collections.abc import Callable
from functools import partial
from multiprocessing import resource_tracker
from typing import Any

from ..config import Config
from ..net.sockets import ServerAddress
from ..net.systemd import Notifier, forget_descriptors
from ..server.status_server import metrics_server
from .announce import serving_on
from .job import Target
from .process import allow_open_files, say
from .shared_stream import shared_file
from .signals import handle_signals, stop_and_reload
from .stderr import own_stderr
from .supervisor import Supervisor, Watch

__all__ = ["Target", "supervise"]


def _handed_over(target: Target) -> bytes:
    """Pickle a target for the workers.

    Raises:
        TypeError: a part of it cannot be pickled; the text names it.
        RuntimeError: the program is not a file that workers could import.
    """
    for thing in (*getattr(target.make_app, "args", ()), target.lifespan):
        try:
            _ImportCheck(io.BytesIO(pickle.dumps(thing))).load()
        except RuntimeError:
            raise
        except Exception as error:
            what = getattr(thing, "__qualname__", None) or repr(thing)
            raise TypeError(
                f"{what} cannot be handed to other processes ({error}): define it at the top of a module, "
                "or give its name, 'module:name'"
            ) from None
    return pickle.dumps(target)


class _ImportCheck(pickle.Unpickler):
    """Checks that workers can import the program, if a pickle refers to it."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "__main__" and not _main_file():
            raise RuntimeError(_NO_FILE)
        return super().find_class(module, name)


_NO_FILE = (
    "workers import the program, but it is not a file (it comes from stdin, python -c or a prompt): save it to a file, "
    "or call run() without workers"
)


def _main_file() -> str | None:
    return getattr(sys.modules["__main__"], "__file__", None)


def _check_main() -> None:
    """Refuse a program that was read from stdin: each spawned process would look for its file in vain."""
    main = sys.modules["__main__"]
    file = _main_file()
    if getattr(main, "__spec__", None) is None and file is not None and not os.path.exists(file):
        raise RuntimeError(_NO_FILE)


def supervise(
    address: ServerAddress | list[ServerAddress],
    target: Target,
    config: Config,
    *,
    workers: int,
    watch: Watch | None = None,
    started: Callable[["Supervisor"], None],
) -> int:
    """Run workers until SIGINT or SIGTERM.

    Args:
        address: as for `HTTPServer`.
        target: what the workers serve.
        config: the options.
        workers: the number of workers.
        watch: a coroutine function; it calls its argument when code has changed. With it the program goes on when a
            worker cannot load the code.
        started: called once all workers accept connections.

    Returns:
        The exit status: 0, or that of a worker which could not start.

    Raises:
        BindError: it cannot listen on the address.
        TypeError: the target cannot be handed to other processes.
        RuntimeError: the program is not a file that workers could import.
    """
    _check_main()
    pickled = _handed_over(target)
    forget_descriptors(os.environ)
    allow_open_files()
    resource_tracker.ensure_running()  # later it would unblock signals that `WorkerHandle.begin` blocks
    with (
        shared_file() as shared,
        own_stderr(config.access_log_format, shared.fileno()),
        asyncio.Runner() as runner,
    ):
        supervisor = Supervisor(address, pickled, config, workers, shared.fileno(), tls=target.certificates is not None)
        return runner.run(_oversee(supervisor, watch, started))


async def _oversee(supervisor: Supervisor, watch: Watch | None, started: Callable[[Supervisor], None]) -> int:
    """Run a supervisor until a signal stops it; return the exit status."""
    loop = asyncio.get_running_loop()
    program = _Program(supervisor, started)
    try:
        async with metrics_server(supervisor) or contextlib.nullcontext():
            restore = handle_signals(loop, program.actions())
            try:
                return await supervisor.run(watch, program.serves)
            finally:
                restore()
    finally:
        program.close()


class _Program:
    """A supervisor, the signals that it gets, and the service manager that is notified."""

    def __init__(self, supervisor: Supervisor, started: Callable[[Supervisor], None]) -> None:
        self._supervisor = supervisor
        self._started = started
        self._manager = Notifier(os.environ)
        self._rolls: set[asyncio.Task[None]] = set()
        self._stops = False

    def actions(self) -> dict[str, Callable[[], None]]:
        """What is done for each signal, by name."""
        supervisor = self._supervisor
        return {
            **stop_and_reload(self.stop, self.reload),
            "SIGTTIN": partial(supervisor.resize, 1),
            "SIGTTOU": partial(supervisor.resize, -1),
            "SIGUSR1": partial(supervisor.signal, signal.SIGUSR1),
        }

    def serves(self, supervisor: Supervisor) -> None:
        """All workers accept connections."""
        self._started(supervisor)
        self._notify_ready()
        self._manager.watch(asyncio.get_running_loop())

    def stop(self) -> None:
        """SIGINT and SIGTERM: finish the requests in flight; the second time wait for nothing."""
        self._stops = True
        self._manager.stopping("Finishing what is in flight")
        self._supervisor.stop()

    def reload(self) -> None:
        """SIGHUP: replace the workers; after a signal to stop there is nothing to replace."""
        if self._stops:
            return
        task = asyncio.get_running_loop().create_task(self._roll())
        self._rolls.add(task)
        task.add_done_callback(self._rolls.discard)

    async def _roll(self) -> None:
        say("Replacing the workers")
        self._manager.reloading()
        await self._supervisor.roll()
        if self._supervisor.ready and len(self._rolls) == 1:  # not while it stops, nor before another roll
            self._notify_ready()

    def _notify_ready(self) -> None:
        self._manager.ready(serving_on(self._supervisor.urls))

    def close(self) -> None:
        """Close the connection to the service manager."""
        self._manager.close()
