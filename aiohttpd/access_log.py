"""The access log: one record for each answer that is complete, on a stream, and on `logging` for who configures it.

Owns when lines are written: together, a tenth of a second after the first at the latest, since a write for
each would cost more than the answers do. What they look like is `log_format`'s.
"""

import asyncio
import logging
from typing import TYPE_CHECKING, TextIO

from .log_format import LineFormat, escape, record_of
from .wire.request import Address, Request

if TYPE_CHECKING:
    from .service import AccessLogger

__all__ = ["AccessLog", "LoggingAccessLog", "access_logger", "escape", "is_configured"]

_DELAY = 0.1  # seconds that a line may wait
_PENDING = 64 * 1024  # characters that may

access_logger = logging.getLogger("aiohttpd.access")


class AccessLog:
    """Writes records as lines.

    ``127.0.0.1 - - [23/Nov/2026 17:12:48] "GET / HTTP/1.1" 200 13``

    Args:
        stream: where to; text.
        loop: its timer is used, only while lines wait.
        format: as for `LineFormat`.

    Raises:
        ValueError: there is no such format.
    """

    def __init__(self, stream: TextIO, loop: asyncio.AbstractEventLoop, format: str = "http.server") -> None:
        self._stream = stream
        self._loop = loop
        self._format = LineFormat(format)
        self._line = self._format.answered
        self._lines: list[str] = []
        self._pending = 0
        self._timer: asyncio.TimerHandle | None = None

    def answered(self, request: Request, status: int, size: int, seconds: float) -> None:
        """Write that a request has been answered."""
        line = self._line(request, status, size, seconds)
        self._lines.append(line)  # as `_append` does, without another call: this is for every request
        self._pending += len(line)
        if self._timer is None or self._pending > _PENDING:
            self._write_soon()

    def refused(self, client_address: Address, line: str, status: int) -> None:
        """Write that something has been refused that is no request."""
        self._append(self._format.refused(client_address, line, status))

    def message(self, text: str) -> None:
        """Write a line that a handler has made, its end included."""
        self._append(self._format.message(text))

    def _append(self, line: str) -> None:
        self._lines.append(line)
        self._pending += len(line)
        self._write_soon()

    def _write_soon(self) -> None:
        if self._pending > _PENDING:
            self.flush()
        elif self._timer is None:
            self._timer = self._loop.call_later(_DELAY, self.flush)

    def flush(self) -> None:
        """Write all lines that wait."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        text = "".join(self._lines)
        self._lines.clear()
        self._pending = 0
        if not text:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            pass  # a log that is gone (a closed pipe, a full disk) must not stop the server


def is_configured(logger: logging.Logger) -> bool:
    """Whether somebody has given a logger a handler or a level of its own, and lets INFO pass."""
    return bool(logger.handlers or logger.level) and logger.isEnabledFor(logging.INFO)


class LoggingAccessLog:
    """Makes a log record on ``aiohttpd.access`` for each answer: the line, and its fields as attributes.

    Args:
        format: of the line, as for `LineFormat`; ``none`` is that of http.server.
        beside: what takes the records besides, if there is something.

    Raises:
        ValueError: there is no such format.
    """

    def __init__(self, format: str, beside: "AccessLogger | None" = None) -> None:
        self._format = LineFormat("http.server" if format == "none" else format)
        self._beside = beside

    def answered(self, request: Request, status: int, size: int, seconds: float) -> None:
        """Log that a request has been answered."""
        if self._beside is not None:
            self._beside.answered(request, status, size, seconds)
        line = self._format.answered(request, status, size, seconds)
        access_logger.info(line[:-1], extra=record_of(request, status, size, seconds))

    def refused(self, client_address: Address, line: str, status: int) -> None:
        """Log that something has been refused that is no request."""
        if self._beside is not None:
            self._beside.refused(client_address, line, status)
        text = self._format.refused(client_address, line, status)
        access_logger.info(text[:-1], extra={"client": client_address[0], "request": line, "status": status})

    def message(self, text: str) -> None:
        """Log a line that a handler has made."""
        if self._beside is not None:
            self._beside.message(text)
        access_logger.info("%s", text.rstrip("\n"))
