"""The access log: one record for each answer that is complete, on a stream, and on `logging` for who configures it.

Owns when lines are made and written: together, a tenth of a second after the first at the latest. A write for each
would cost more than the answers do, and to make one between two answers costs twice what it does among its like, where
the processor has all of it at hand. What they look like is `log_format`'s.
"""

import asyncio
import logging
from time import perf_counter
from typing import TextIO

from ..engine.interfaces import AccessLogger, Answer
from ..wire.request import Address, Request
from .log_format import LineFormat, Record, escape, members

__all__ = ["AccessLog", "LoggingAccessLog", "access_logger", "escape", "is_configured"]

_DELAY = 0.1  # seconds that a record may wait
_MOST = 128  # records that may: each keeps its request

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

    Attributes:
        timed: whether lines say how long an answer took, so that ``started`` counts.
        direct: it never raises, so that connections need no guard around it.
    """

    direct = True

    def __init__(self, stream: TextIO, loop: asyncio.AbstractEventLoop, format: str = "http.server") -> None:
        self._stream = stream
        self._write = getattr(stream, "log", stream.write)  # of a `SharedStream`: it waits for nothing
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
        """Write that a request has been answered in part, or not at all, since the client has gone."""
        record = (request, answer.status, answer.size, started if self.timed else 0.0, perf_counter())
        self._append(self._format.aborted(record))

    def refused(self, client_address: Address, line: str, status: int) -> None:
        """Write that something has been refused that is no request."""
        self._append(self._format.refused(client_address, line, status))

    def message(self, text: str) -> None:
        """Write a line that a handler has made, its end included."""
        self._append(self._format.message(text))

    def _append(self, text: str) -> None:
        self._make_lines()  # those of the answers before
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
        """Log that a request has been answered in part, or not at all."""
        if self._beside is not None:
            getattr(self._beside, "aborted", self._beside.answered)(request, answer, started)
        record = (request, answer.status, answer.size, started, perf_counter())
        access_logger.info(self._format.aborted(record)[:-1], extra=members(record) | {"aborted": True})

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
