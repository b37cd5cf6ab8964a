"""What every process of ours begins and ends with: its loop, its descriptors, its word to the terminal.

Owns what belongs to a program and not to a server, so that one process alone, a supervisor and its
workers do it alike. It knows no server.
"""

import asyncio
import contextlib
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator

__all__ = [
    "allow_open_files",
    "ended_within",
    "loop_factory",
    "open_standard_streams",
    "refuse_import",
    "refuse_loop",
    "say",
]


def say(text: str) -> None:
    """Tell the person at the terminal, if there still is one."""
    if sys.stderr is not None:  # else print() would take stdout
        with contextlib.suppress(OSError):
            print(text, file=sys.stderr, flush=True)


def open_standard_streams() -> None:
    """Open the null device on what is closed of stdin, stdout and stderr, before anything else is opened there.

    Whatever took such a number would get what is meant for stdout and stderr, in programs that we start too, and
    libuv ends the process rather than close it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        null: int | str = os.devnull
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # this number, since it is the lowest that is free
            os.set_inheritable(null, True)
        if getattr(sys, name) is None:  # it was closed when Python began
            mode = "w" if number else "r"
            closefd = isinstance(null, str)
            setattr(sys, name, open(null, mode, errors="backslashreplace", closefd=closefd))  # noqa: SIM115


def refuse_import() -> None:
    """Refuse to begin a program in a process that only imports it, as spawned processes do.

    Raises:
        RuntimeError: that is so.
    """
    processes = sys.modules.get("multiprocessing.process")
    if processes is not None and getattr(processes.current_process(), "_inheriting", False):
        raise RuntimeError(
            "run() is called while a process imports the program: put it below if __name__ == '__main__':"
        )


def refuse_loop() -> None:
    """Refuse to begin a program where an event loop runs already.

    Raises:
        RuntimeError: that is so.
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
    """What makes the loop: uvloop's where it is installed, None for asyncio's."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def allow_open_files() -> None:
    """Use as many descriptors as the system lets us have; the usual limit is for programs that use select()."""
    try:
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ImportError, OSError, ValueError):
        pass


@contextlib.contextmanager
def ended_within(seconds: float) -> Iterator[Callable[..., None]]:
    """End the process if the block does not end soon after what it gives has been called.

    A task that ignores its cancellation, or a thread that never returns, would keep a loop from being
    closed for ever, long after the server has given up on it. What is given takes the status to end with, and the
    error that nobody would be told of then.
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
        say("".join(traceback.format_exception(error)).rstrip("\n"))
    say("Something does not end (a handler that ignores its cancellation, a thread): ended without it")
    os._exit(status)
