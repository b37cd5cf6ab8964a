"""The access log: a line for each answer on a stream, and a record in `logging` if the program has configured that.

Owns when lines are formatted and written: in batches, each at most a tenth of a second after its first record. One
write for each answer would cost more than the answer. Formatting a line between two answers would cost twice as much as
in a batch, where code and data are in the processor's cache. How lines look is in `log_format`.
"""

import asyncio
import logging
import sys
from time import perf_counter
from typing import TextIO

from ..config import Config
from ..engine.interfaces import AccessLogger, Answer
from ..wire.request import Address, Request
from .log_format import LineFormat, Record, members

__all__ = ["AccessLog", "LoggingAccessLog", "access_logger", "is_configured", "stderr_log"]

_DELAY = 0.1  # seconds that a record may wait
_MOST = 128  # records that may wait; each keeps its request in memory

access_logger = logging.getLogger("aiohttpd.access")


class AccessLog:
    """Writes records as lines.

    ``127.0.0.1 - - [23/Nov/2026 17:12:48] "GET / HTTP/1.1" 200 13``

    Args:
        stream: a text stream; lines are written to it.
        loop: the event loop; it has a timer only while records wait.
        format: as for `LineFormat`.

    Raises:
        ValueError: there is no such format.

    Attributes:
        timed: whether lines show how long an answer took; only then connections have to measure it.
        direct: True says that no method raises, so connections can call them without a guard.
    """

    direct = True

    def __init__(self, stream: TextIO, loop: asyncio.AbstractEventLoop, format: str = "http.server") -> None:
        self._stream = stream
        self._write = getattr(stream, "log", stream.write)  # SharedStream.log() does not wait
        self._loop = loop
        self._format = LineFormat(format)
        self.timed = self._format.timed
        self._records: list[Record] = []
        self._texts: list[str] = []
        self._timer: asyncio.TimerHandle | None = None

    def answered(self, request: Request, answer: Answer, started: float) -> None:
        """Write that a request has been answered."""
        records = self._records
        records.append((request, answer.status, answer.size, started, perf_counter()))
        if self._timer is None or len(records) >= _MOST:
            self._write_soon()

    def aborted(self, request: Request, answer: Answer, started: float) -> None:
        """Write that the client left before it had the whole answer, or any answer."""
        record = (request, answer.status, answer.size, started if self.timed else 0.0, perf_counter())
        self._append(self._format.aborted(record))

    def refused(self, client_address: Address, line: str, status: int) -> None:
        """Write that bytes which are not a valid request have been refused.

        Args:
            client_address: the address of the client.
            line: the first line of what it sent.
            status: the status code of the answer.
        """
        self._append(self._format.refused(client_address, line, status))

    def message(self, text: str) -> None:
        """Write a line that a handler has formatted, with its newline."""
        self._append(self._format.message(text))

    def _append(self, text: str) -> None:
        self._make_lines()  # of the answers before it
        self._texts.append(text)
        self._write_soon()

    def _make_lines(self) -> None:
        if self._records:
            self._texts += self._format.lines(self._records)
            self._records.clear()

    def _write_soon(self) -> None:
        if len(self._records) + len(self._texts) >= _MOST:
            self.flush()
        elif self._timer is None:
            self._timer = self._loop.call_later(_DELAY, self.flush)

    def flush(self) -> None:
        """Write all lines that wait."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._make_lines()
        text = "".join(self._texts)
        self._texts.clear()
        if not text:
            return
        try:
            self._write(text)
            self._stream.flush()
        except (OSError, ValueError):
            pass  # a log that cannot be written (a closed pipe, a full disk) must not stop the server


def stderr_log(config: Config, loop: asyncio.AbstractEventLoop) -> AccessLog | None:
    """The access log of a program on stderr; None if the options turn it off."""
    if not config.access_log or config.access_log_format == "none":
        return None
    return AccessLog(sys.stderr, loop, config.access_log_format)


def is_configured(logger: logging.Logger) -> bool:
    """Whether the program has given a logger a handler or a level of its own, and level INFO is enabled."""
    return bool(logger.handlers or logger.level) and logger.isEnabledFor(logging.INFO)


class LoggingAccessLog:
    """Makes a log record on ``aiohttpd.access`` for each answer: the line, and its fields as attributes.

    Args:
        format: the format of the message, as for `LineFormat`; ``none`` is the format of http.server.
        beside: another access log that gets the same records.

    Raises:
        ValueError: there is no such format.
    """

    def __init__(self, format: str, beside: AccessLogger | None = None) -> None:
        self._format = LineFormat("http.server" if format == "none" else format)
        self._beside = beside

    def answered(self, request: Request, answer: Answer, started: float) -> None:
        """Log that a request has been answered."""
        if self._beside is not None:
            self._beside.answered(request, answer, started)
        record = (request, answer.status, answer.size, started, perf_counter())
        [line] = self._format.lines([record])
        access_logger.info(line[:-1], extra=members(record) | {"aborted": False})

    def aborted(self, request: Request, answer: Answer, started: float) -> None:
        """Log that the client left before it had the whole answer, or any answer."""
        if self._beside is not None:
            getattr(self._beside, "aborted", self._beside.answered)(request, answer, started)
        record = (request, answer.status, answer.size, started, perf_counter())
        access_logger.info(self._format.aborted(record)[:-1], extra=members(record) | {"aborted": True})

    def refused(self, client_address: Address, line: str, status: int) -> None:
        """Log that bytes which are not a valid request have been refused."""
        if self._beside is not None:
            self._beside.refused(client_address, line, status)
        text = self._format.refused(client_address, line, status)
        access_logger.info(text[:-1], extra={"client": client_address[0], "request": line, "status": status})

    def message(self, text: str) -> None:
        """Log a line that a handler has formatted."""
        if self._beside is not None:
            self._beside.message(text)
        access_logger.info("%s", text.rstrip("\n"))
