"""What every process of a program does when it starts and ends: standard streams, descriptors, event loop.

One process alone, a supervisor and its workers share it. It knows no server.
"""

import asyncio
import contextlib
import gc
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import NoReturn

from ..errors import StartupFailed
from ..net.forking import end_child

__all__ = [
    "AFTERWARDS",
    "INTERRUPTED",
    "MOST_WORKERS",
    "STARTUP_STATUS",
    "allow_open_files",
    "fail",
    "freeze_objects",
    "loop_factory",
    "main_loop",
    "open_standard_streams",
    "refuse_import",
    "refuse_loop",
    "say",
    "startup_failed",
    "traceback_text",
]

AFTERWARDS = 1.0  # seconds from the end of a server to the end of its loop, or of its process

MOST_WORKERS = 1024  # processes that a supervisor starts; many more would only exhaust the memory of the machine

INTERRUPTED = 130  # exit status after Ctrl-C before a server handles it: 128 and SIGINT, as shells have it
STARTUP_STATUS = 3  # exit status of a program whose application has failed to start, the same as uvicorn's


def say(text: str) -> None:
    """Write a line for the user on stderr, if there is a stderr."""
    if sys.stderr is not None:  # else print() would write to stdout
        with contextlib.suppress(OSError):
            print(text, file=sys.stderr, flush=True)


def fail(reason: object, status: int) -> NoReturn:
    """Say why the program cannot go on, and end it."""
    say(f"aiohttpd: {reason}")
    sys.exit(status)


def traceback_text(error: BaseException) -> str:
    """The traceback of an exception, for `say`."""
    return "".join(traceback.format_exception(error)).rstrip("\n")


def startup_failed(error: StartupFailed) -> str:
    """The line that says why an application has failed to start."""
    return f"aiohttpd: the application has failed to start: {error}".rstrip()


def open_standard_streams() -> None:
    """Open the null device in place of stdin, stdout and stderr where these are closed.

    It has to be called before anything else is opened: a file or socket would get the free number, and then what is
    written to stdout or stderr, also by child processes. And libuv aborts when it should close such a descriptor.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        null: int | str = os.devnull
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # gets this number, the lowest that is free
            os.set_inheritable(null, True)
        if getattr(sys, name) is None:  # it was closed when Python started
            mode = "w" if number else "r"
            closefd = isinstance(null, str)
            setattr(sys, name, open(null, mode, errors="backslashreplace", closefd=closefd))  # noqa: SIM115


def refuse_import(*, as_target: bool) -> None:
    """Refuse to start a program while it is only imported: by processes of multiprocessing, or as a target.

    Args:
        as_target: it is imported as a target.

    Raises:
        RuntimeError: that is so.
    """
    processes = sys.modules.get("multiprocessing.process")
    if as_target or (processes is not None and getattr(processes.current_process(), "_inheriting", False)):
        raise RuntimeError("run() is called while the program is imported: put it below if __name__ == '__main__':")


def refuse_loop() -> None:
    """Refuse to start a program in a thread whose event loop is running.

    Raises:
        RuntimeError: a loop is running.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(
        "run() is called where an event loop runs already, as in a notebook or an async function: write "
        "'async with aiohttpd.HTTPServer((host, port), app) as server: await server.serve_forever()' there"
    )


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """A function that makes uvloop's event loop; None, which means asyncio's, if uvloop is not installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def allow_open_files() -> None:
    """Raise the limit of open descriptors to its maximum; the usual soft limit is for programs that use select()."""
    try:
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ImportError, OSError, ValueError):
        pass


def freeze_objects() -> None:
    """Exempt all objects that exist now from garbage collection: they live as long as the server."""
    gc.collect()
    gc.freeze()


@contextlib.contextmanager
def main_loop(is_loop: Callable[[asyncio.AbstractEventLoop], None]) -> Iterator[asyncio.Runner]:
    """Give a runner for the main coroutine of the process; close its loop at the end of the block.

    A task that ignores its cancellation, or a thread that never returns, would keep the loop from being closed. So the
    process is ended `AFTERWARDS` seconds after the end of the block if the loop has not been closed by then.

    Args:
        is_loop: what `net.forking.not_for_children` gives.
    """
    with _ended_within(AFTERWARDS) as end, asyncio.Runner(loop_factory=loop_factory()) as runner:
        is_loop(runner.get_loop())
        pid = os.getpid()
        try:
            yield runner
        except BaseException as error:
            end_child(error, pid)
            end(*_exit_of(error))
            raise
        else:
            end_child(None, pid)
            end()


def _exit_of(error: BaseException) -> tuple[int, BaseException | None]:
    """The exit status for an exception, and the exception if its traceback has to be shown."""
    if isinstance(error, SystemExit) and isinstance(error.code, int):
        return error.code, None
    return 1, error


@contextlib.contextmanager
def _ended_within(seconds: float) -> Iterator[Callable[..., None]]:
    """Give a function that starts a timer, which ends the process if the block has not been left by then.

    The arguments of the function are the exit status, and an exception whose traceback is shown before.
    """
    timers: list[threading.Timer] = []

    def end(status: int = 0, error: BaseException | None = None) -> None:
        timers.append(threading.Timer(seconds, _give_up, (status, error)))
        timers[0].daemon = True
        timers[0].start()

    try:
        yield end
    finally:
        for timer in timers:
            timer.cancel()


def _give_up(status: int, error: BaseException | None) -> None:
    if error is not None:
        say(traceback_text(error))
    say("Something does not end (a handler that ignores its cancellation, or a thread); the process ends without it")
    os._exit(status)
