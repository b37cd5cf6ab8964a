"""Recorder: passes responses, refusals and closed connections on to the access log and the metrics."""

import logging
from collections.abc import Callable
from typing import Any

from ..errors import WireError
from ..wire.request import Address, Request
from .error_log import ErrorReporter, error_logger
from .interfaces import AccessLogger, Answer, AnswerRecorder, Meter, ResponseWriter

__all__ = ["Recorder"]


class Recorder:
    """The access log and the metrics of one server, as its connections use them.

    Args:
        access_log: the access log; None if there is none.
        metrics: the metrics; None if there are none.
        handlers_log: whether handlers may log their responses themselves (``log_request``).
        report: logs exceptions that the access log of a program raises.

    Attributes:
        answered: called with each complete response; None if there is neither an access log nor metrics.
        timed: whether ``answered`` needs the start of the request; then a clock is read before each handler.
    """

    def __init__(
        self,
        access_log: AccessLogger | None = None,
        metrics: Meter | None = None,
        *,
        handlers_log: bool = True,
        report: ErrorReporter | None = None,
    ) -> None:
        self.access_log = access_log
        self.metrics = metrics
        self._handlers_log = handlers_log
        self._report = report or ErrorReporter()
        self.answered = self._choose_function()
        self.timed = self.answered is not None and (metrics is not None or getattr(access_log, "timed", True))

    def _choose_function(self) -> AnswerRecorder | None:
        if self.access_log is None:
            return None if self.metrics is None else self.metrics.answered
        if self.metrics is not None:
            return self._count_and_log
        return self.access_log.answered if getattr(self.access_log, "direct", False) else self._log

    def _count_and_log(self, request: Request, answer: Answer, started: float) -> None:
        assert self.metrics is not None
        self.metrics.answered(request, answer, started)
        self._log(request, answer, started)

    def _log(self, request: Request, answer: Answer, started: float) -> None:
        assert self.access_log is not None
        self._try(request, self.access_log.answered, request, answer, started)

    def _try(self, request: Request, log: Callable[..., None], *arguments: Any) -> None:
        """Call a function of the program that logs a response; report an exception that it raises."""
        try:
            log(*arguments)
        except Exception as error:
            self._report(error, request)

    def record(self, request: Request, response: ResponseWriter, started: float) -> None:
        """Log and count a response, complete or aborted."""
        if response.aborted:
            self._aborted(request, response, started)
        elif response.log is not None:
            self.logged_by_handler(request, response, started)
        elif self.answered is not None:
            self.answered(request, response, started)

    def logged_by_handler(self, request: Request, response: ResponseWriter, started: float) -> None:
        """Count a response, and have its handler log it by ``response.log``."""
        if self.metrics is not None:
            self.metrics.answered(request, response, started)
        if self._handlers_log and response.log is not None:
            self._try(request, response.log, response.status, response.size)

    def _aborted(self, request: Request, response: ResponseWriter, started: float) -> None:
        """Log and count a response that is incomplete."""
        if self.metrics is not None:
            self.metrics.aborted()
        if response.log is not None:
            self.logged_by_handler(request, response, started)
            return
        if self.metrics is not None:
            self.metrics.answered(request, response, started)
        if self.access_log is not None:
            # An access log without this method can read ``answer.aborted``.
            log = getattr(self.access_log, "aborted", self.access_log.answered)
            self._try(request, log, request, response, started)

    def refused(self, client_address: Address, line: bytes, error: WireError) -> None:
        """Log and count a malformed request; ``line`` is its first line."""
        if self.metrics is not None:
            self.metrics.refused(error.status)
        if self.access_log is not None:
            text = str(line, "latin-1")
            try:
                self.access_log.refused(client_address, text, error.status)
            except Exception as raised:  # there is no request that `ErrorReporter` could be told
                error_logger.error("unhandled exception in '%s'", text, exc_info=raised)

    def turned_away(self, limit: str) -> None:
        """Count a connection or a request over a limit; ``limit`` is the name of the option."""
        if self.metrics is not None:
            self.metrics.turned_away(limit)

    def closed(self, sent: int) -> None:
        """Count a closed connection, and the bytes that were sent on it."""
        if self.metrics is not None:
            self.metrics.closed(sent)

    def message(self, line: str) -> None:
        """Write a line of a handler to the access log; without one, to the logger ``aiohttpd.access``."""
        if self.access_log is not None:
            self.access_log.message(line)
        else:
            logging.getLogger("aiohttpd.access").info("%s", line.rstrip("\n"))
