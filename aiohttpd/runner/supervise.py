"""Supervising: a supervisor as a program of its own, with its signals and those who watch over it.

Owns what is done when. How workers come and go is `supervisor`'s.

=================  =====================================================================================
signal             what it does
=================  =====================================================================================
SIGTERM, SIGINT    stop: finish what is in flight, within timeout_grace; a second one, a moment later, stops at once
SIGHUP             roll: a new worker for each, one after the other; the old one ends when the new is ready
SIGTTIN, SIGTTOU   one worker more, one less
SIGUSR1            each worker writes its connections, and what their handlers wait for
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
from multiprocessing import resource_tracker
from typing import Any

from ..config import Config
from ..net.sockets import ServerAddress, root_of
from ..net.systemd import Notifier, forget_descriptors
from ..server.status_server import metrics_server
from .job import Target
from .process import allow_open_files, say
from .shared_stream import shared_file
from .signals import Repeated, ends_with_terminal, has_terminal
from .stderr import own_stderr
from .supervisor import Supervisor, Watch

__all__ = ["Target", "handed_over", "supervise"]


def handed_over(target: Target) -> bytes:
    """Pickle what the workers get.

    Raises:
        TypeError: something of it cannot be handed to another process; the text names it.
    """
    for thing in (*getattr(target.make_app, "args", ()), target.lifespan):
        try:
            _Looking(io.BytesIO(pickle.dumps(thing))).load()
        except RuntimeError:
            raise
        except Exception as error:
            what = getattr(thing, "__qualname__", None) or repr(thing)
            raise TypeError(
                f"{what} cannot be handed to other processes ({error}): define it at the top of a module, "
                "or name it as 'module:name'"
            ) from None
    return pickle.dumps(target)


class _Looking(pickle.Unpickler):
    """Looks whether workers can import what they are given from the program."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "__main__" and not _main_file():
            raise RuntimeError(_NO_FILE)
        return super().find_class(module, name)


_NO_FILE = (
    "workers import the program, and this one is no file (it comes from stdin, python -c or a prompt): save it to one, "
    "or run() without workers"
)


def _main_file() -> str | None:
    return getattr(sys.modules["__main__"], "__file__", None)


def _check_main() -> None:
    """Refuse a program that was read from stdin: each spawned process would look for the file."""
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
        address: what `HTTPServer` takes.
        target: what the workers serve.
        config: the options.
        workers: how many.
        watch: calls what it is given when code has changed; then errors in the code do not end the program.
        started: called once all of them accept connections.

    Returns:
        The exit status: 0, or that of a worker which could not start.

    Raises:
        BindError: the address cannot be listened on.
        TypeError: the target cannot be handed to other processes.
        RuntimeError: the program is no file that they could import.
    """
    _check_main()
    pickled = handed_over(target)
    forget_descriptors(os.environ)
    allow_open_files()
    resource_tracker.ensure_running()  # multiprocessing wants it, and it would undo what we do to signals
    with (
        shared_file() as shared,
        own_stderr(config.access_log_format, shared.fileno()),
        asyncio.Runner() as runner,
    ):
        supervisor = Supervisor(address, pickled, config, workers, shared.fileno(), tls=target.certificates is not None)
        return runner.run(_oversee(supervisor, watch, started))


async def _oversee(supervisor: Supervisor, watch: Watch | None, started: Callable[[Supervisor], None]) -> int:
    """Run a supervisor, and pass on to it what it is told from outside."""
    loop = asyncio.get_running_loop()
    manager = Notifier(os.environ)
    terminal = ends_with_terminal()
    rolls: set[asyncio.Task[None]] = set()
    repeated = Repeated()

    def begun(_: Supervisor) -> None:
        started(supervisor)
        manager.ready(status())
        manager.watch(loop)

    def status() -> str:
        return f"Serving on {', '.join(map(root_of, supervisor.urls))}"

    def stop() -> None:
        if repeated.is_same():
            return
        manager.stopping("Finishing what is in flight")
        supervisor.stop()

    def hang_up() -> None:
        if terminal and not has_terminal():
            stop()
        else:
            task = loop.create_task(roll())
            rolls.add(task)
            task.add_done_callback(rolls.discard)

    async def roll() -> None:
        say("Replacing the workers")
        manager.reloading()
        await supervisor.roll()
        if supervisor.ready and len(rolls) == 1:  # it neither stops, nor is it to roll again
            manager.ready(status())

    try:
        async with metrics_server(supervisor) or contextlib.nullcontext():
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, stop)
            loop.add_signal_handler(signal.SIGHUP, hang_up)
            loop.add_signal_handler(signal.SIGTTIN, supervisor.resize, 1)
            loop.add_signal_handler(signal.SIGTTOU, supervisor.resize, -1)
            loop.add_signal_handler(signal.SIGUSR1, supervisor.signal, signal.SIGUSR1)
            return await supervisor.run(watch, begun)
    finally:
        manager.close()
