"""Jobs for ``run_in_process``. Each process imports this module, so it imports little: pytest and httpx take longer."""

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any


class TwoArguments(Exception):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


class NotPickled(Exception):
    def __reduce__(self) -> Any:
        raise ValueError("I stay here")


class NoException(Exception):
    """What it becomes when it is unpickled cannot be raised."""

    def __reduce__(self) -> Any:
        return str, ("a text",)


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)

    def __reduce__(self) -> Any:
        raise SystemExit(3)


class OnlyThere:
    """Can be pickled, and unpickled in the process, but not here."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def __reduce__(self) -> Any:
        return _only_in, (self.pid,)


def _only_in(pid: int) -> OnlyThere:
    if os.getpid() != pid:
        raise SystemExit("not here")
    return OnlyThere(pid)


class NotThere:
    """Can be pickled here, and not unpickled in the process."""

    def __reduce__(self) -> Any:
        return _not_in, (os.getpid(),)


def _not_in(pid: int) -> int:
    if os.getpid() != pid:
        raise ZeroDivisionError("not there")
    return pid


def identity(value: Any) -> Any:
    return value


def pid() -> int:
    return os.getpid()


def throws(kind: type[BaseException], *args: object) -> None:
    raise kind(*args)


def gives(what: str) -> Any:
    return {
        "lambda": lambda: None,
        "generator": (number for number in range(3)),
        "coroutine": asyncio.sleep(0) if what == "coroutine" else None,
        "only there": OnlyThere(os.getpid()),
    }[what]


def leaves(status: int) -> None:
    os._exit(status)


def kills(number: int) -> None:
    os.kill(os.getpid(), number)


def forks_and_dies() -> None:
    """Leave a child behind that has all descriptors, and be killed."""
    if not os.fork():
        time.sleep(60)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)


def closes_everything() -> None:
    os.closerange(3, 256)


def waits_for(path: str) -> int:
    while not os.path.exists(path):
        time.sleep(0.01)
    return os.getpid()


def begins_and_waits(begun: str, path: str) -> None:
    Path(begun).touch()
    waits_for(path)


def answers_in_two_megabytes(byte: int) -> bytes:
    return bytes([byte]) * 2_000_000
