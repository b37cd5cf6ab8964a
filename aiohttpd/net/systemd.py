"""systemd: socket activation (sd_listen_fds(3)) and notifications (sd_notify(3))."""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Mapping, MutableMapping

__all__ = ["Notifier", "forget_descriptors", "inherited_socket", "passed_descriptors"]

_FIRST = 3  # descriptor of the first socket, SD_LISTEN_FDS_START
_PATIENCE = 1.0  # seconds for the manager to receive a message


def passed_descriptors(environment: Mapping[str, str]) -> list[tuple[str, int]]:
    """The sockets that the service manager has opened for this process.

    Args:
        environment: environment variables, with ``LISTEN_PID``, ``LISTEN_FDS`` and ``LISTEN_FDNAMES``.

    Returns:
        Pairs of ``FileDescriptorName`` and descriptor; none if the variables are for another process.

    Raises:
        ValueError: a variable is malformed.
    """
    if environment.get("LISTEN_PID") != str(os.getpid()):
        return []
    count, names = environment.get("LISTEN_FDS", "0"), environment.get("LISTEN_FDNAMES", "").split(":")
    if not (_is_number(count) and len(count) < 7):
        raise ValueError(f"LISTEN_FDS: {count!r} is not a number of descriptors")
    return [(names[number] if number < len(names) else "", _FIRST + number) for number in range(int(count))]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20


def forget_descriptors(environment: MutableMapping[str, str]) -> None:
    """Remove the variables of socket activation, so that child processes do not inherit them."""
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"):
        environment.pop(name, None)


def inherited_socket(descriptor: int) -> socket.socket:
    """Make a socket object of an inherited descriptor.

    Raises:
        ValueError: the descriptor is not open, or not a stream socket with an address.
    """
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError as error:
        raise ValueError(f"fd:{descriptor} is not a socket: {error.strerror}") from None
    families = [socket.AF_INET, socket.AF_INET6, getattr(socket, "AF_UNIX", None)]
    name = sock.getsockname() if sock.family in families and sock.type == socket.SOCK_STREAM else None
    if not name or (isinstance(name, tuple) and not name[1]):  # port 0: not bound; listen() would take any port
        sock.detach()  # without closing the descriptor, which belongs to another part of the program
        raise ValueError(f"fd:{descriptor} is not a stream socket with an address")
    sock.set_inheritable(False)
    return sock


class Notifier:
    """Sends the state of the service to the service manager; does nothing if there is none.

    Args:
        environment: environment variables; ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` are read and
            removed.

    Attributes:
        watchdog: seconds after which the manager kills a service without a sign of life; None without watchdog.
    """

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        self._socket: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        address = environment.pop("NOTIFY_SOCKET", "")
        microseconds, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        meant = pid in ("", str(os.getpid())) and _is_number(microseconds)
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
        """Notify that the server serves, at its start or after `reloading`.

        Args:
            status: a line for ``systemctl status``.
        """
        self._send(f"READY=1\nMAINPID={os.getpid()}\nSTATUS={status}")

    def reloading(self) -> None:
        """Notify that the server reloads, until `ready`."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, status: str) -> None:
        """Notify that the server stops.

        Args:
            status: a line for ``systemctl status``.
        """
        self._send(f"STOPPING=1\nSTATUS={status}")

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Send a sign of life from the loop, twice in each period of the watchdog."""
        if self._socket is not None and self.watchdog is not None:
            self._send("WATCHDOG=1")
            self._timer = loop.call_later(self.watchdog / 2, self.watch, loop)

    def close(self) -> None:
        """Stop the signs of life, and close the socket."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: str) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # an error of the manager must not stop the server
                self._socket.send(message.encode())
