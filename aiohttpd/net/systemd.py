"""systemd: the sockets that it has opened for us, and what it wants to be told.

Owns the two protocols, which are a few variables and datagrams: sd_listen_fds(3) and sd_notify(3). No server is
known here.
"""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Mapping, MutableMapping

__all__ = ["Notifier", "forget_descriptors", "inherited_socket", "passed_descriptors"]

_FIRST = 3  # descriptor of the first socket, SD_LISTEN_FDS_START
_PATIENCE = 1.0  # seconds for the manager to take a message


def passed_descriptors(environment: Mapping[str, str]) -> list[tuple[str, int]]:
    """Find the sockets that the service manager has opened, each with its ``FileDescriptorName``.

    Args:
        environment: where ``LISTEN_PID``, ``LISTEN_FDS`` and ``LISTEN_FDNAMES`` are.

    Returns:
        nothing if there are none, or they are for another process: a child takes nothing for its own.

    Raises:
        ValueError: the variables are not what they should be.
    """
    if environment.get("LISTEN_PID") != str(os.getpid()):
        return []
    count, names = environment.get("LISTEN_FDS", "0"), environment.get("LISTEN_FDNAMES", "").split(":")
    if not (count.isascii() and count.isdigit()):
        raise ValueError(f"LISTEN_FDS: {count!r} is no number")
    return [(names[number] if number < len(names) else "", _FIRST + number) for number in range(int(count))]


def forget_descriptors(environment: MutableMapping[str, str]) -> None:
    """Remove what is said of the sockets, once they have been taken: it is not for programs that we start."""
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"):
        environment.pop(name, None)


def inherited_socket(descriptor: int) -> socket.socket:
    """A socket that was opened before this program began.

    Raises:
        ValueError: the descriptor is none, or nothing that connections come from.
    """
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError as error:
        raise ValueError(f"fd:{descriptor} is no socket: {error.strerror}") from None
    families = [socket.AF_INET, socket.AF_INET6, getattr(socket, "AF_UNIX", None)]
    if sock.family not in families or sock.type != socket.SOCK_STREAM or not sock.getsockname():
        sock.detach()  # it is not ours to close
        raise ValueError(f"fd:{descriptor} is no stream socket with an address")
    sock.set_inheritable(False)
    return sock


class Notifier:
    """Tells the service manager how things are; says nothing where there is none.

    Args:
        environment: where ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` are; they are removed.

    Attributes:
        watchdog: seconds in which it wants to hear from us; None if it does not.
    """

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        self._socket: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        address = environment.pop("NOTIFY_SOCKET", "")
        microseconds, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        meant = pid in ("", str(os.getpid())) and microseconds.isascii() and microseconds.isdigit()
        self.watchdog = int(microseconds) / 1e6 if meant and int(microseconds) else None
        if address.startswith(("/", "@")):
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            sock.settimeout(_PATIENCE)
            try:
                sock.connect("\0" + address[1:] if address.startswith("@") else address)
            except OSError:
                sock.close()
                return
            self._socket = sock

    def ready(self, status: str) -> None:
        """The server serves, for the first time or after `reloading`."""
        self._send(f"READY=1\nMAINPID={os.getpid()}\nSTATUS={status}")

    def reloading(self) -> None:
        """It reads its configuration anew; `ready` ends that."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, status: str) -> None:
        """It finishes what is in flight, and ends."""
        self._send(f"STOPPING=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        """A line for ``systemctl status``."""
        self._send(f"STATUS={status}")

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Show twice in the time of the watchdog that the loop turns; nothing if there is none."""
        if self._socket is not None and self.watchdog is not None:
            self._send("WATCHDOG=1")
            self._timer = loop.call_later(self.watchdog / 2, self.watch, loop)

    def close(self) -> None:
        """End the watch, and say nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: str) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # a manager that does not listen must not stop the server
                self._socket.send(message.encode())
