"""A server as a group of processes on one core, and its CPU time."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

SERVER_CORE = {0}
LOAD_CORE = {1} if (os.cpu_count() or 1) > 1 else {0}
START = 20  # seconds that a server may take to start


def free_port() -> int:
    """A port that is free now."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as sock:
        return int(sock.getsockname()[1])


def pin(process: int, cores: set[int]) -> None:
    """Let a process run on these cores only, where the system can do that."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(process, cores)


def members(group: int) -> Iterator[tuple[str, list[str]]]:
    """The processes of a group: the folder in /proc, and the fields of its ``stat`` from the state on."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()
                if int(fields[2]) == group:
                    yield f"/proc/{entry}", fields


def cpu_seconds(group: int) -> float:
    """User and system time of a process group so far, ended children included."""
    ticks = sum(int(time) for _, fields in members(group) for time in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def suspend(group: int) -> None:
    """Stop a process group, until it is `awake`: an idle server may use its core (fastpysgi polls all the time)."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGSTOP)


@contextlib.contextmanager
def awake(group: int) -> Iterator[None]:
    """Let a process group that is suspended run in a block."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGCONT)
    try:
        yield
    finally:
        suspend(group)


class DidNotStart(Exception):
    """The server has ended, or accepts no connections; the text has its last output."""


@contextlib.contextmanager
def started(
    name: str, arguments: list[str], cores: set[int] = SERVER_CORE, *, folder: Path | None = None
) -> Iterator[tuple[int, int]]:
    """Run a server on some cores.

    Args:
        name: for messages.
        arguments: the command; {port} stands for the port.
        cores: the numbers of the cores.
        folder: where it runs.

    Yields:
        Its process group, and its port.

    Raises:
        DidNotStart: it has ended, or accepts no connections.
    """
    port = free_port()
    process = subprocess.Popen(
        [part.replace("{port}", str(port)) for part in arguments],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: pin(0, cores),
    )
    try:
        wait_for(port, process, name)
        yield process.pid, port
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(port: int, process: subprocess.Popen[bytes], name: str) -> None:
    """Wait until a server accepts connections."""
    deadline = time.monotonic() + START
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if process.poll() is not None:
                raise DidNotStart(f"{name} has ended with status {process.returncode}: {arguments(process)}") from None
            if time.monotonic() > deadline:
                raise DidNotStart(f"{name} accepts no connections after {START} s: {arguments(process)}") from None
            time.sleep(0.02)


def arguments(process: subprocess.Popen[bytes]) -> str:
    """The command of a process, for messages."""
    return " ".join(map(str, process.args)) if isinstance(process.args, list) else str(process.args)
