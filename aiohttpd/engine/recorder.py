"""Recorder: tells the access log and the metrics what has been answered, refused and closed."""

import logging

from ..errors import WireError
from ..wire.request import Address, Request
from .error_log import ErrorReporter
from .interfaces import AccessLogger, Answer, AnswerRecorder, Meter, ResponseWriter

__all__ = ["Recorder"]


class Recorder:
    """What happens on the connections of one server goes through here.

    Args:
        access_log: takes a record for each answer, if somebody wants them.
        metrics: counts, if somebody wants that.
        handlers_log: whether handlers that log their answers themselves may.
        report: takes what an access log of somebody else's raises.

    Attributes:
        answered: takes the record of an answer that is complete; None if nobody wants to know.
        timed: whether ``answered`` needs to know when a request began, for which a clock is read before each handler.
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
        self.answered = self._shortest_way()
        self.timed = self.answered is not None and (metrics is not None or getattr(access_log, "timed", True))

    def _shortest_way(self) -> AnswerRecorder | None:
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
        """Log an answer; an access log of somebody else's may raise."""
        assert self.access_log is not None
        try:
            self.access_log.answered(request, answer, started)
        except Exception as error:
            self._report(error, request)

    def record(self, request: Request, response: ResponseWriter, started: float) -> None:
        """Take the record of an answer, whoever logs it and whether its end has left or not."""
        if response.aborted:
            self._aborted(request, response, started)
        elif response.log is not None:
            self.logged_by_handler(request, response, started)
        elif self.answered is not None:
            self.answered(request, response, started)

    def logged_by_handler(self, request: Request, response: ResponseWriter, started: float) -> None:
        """Take the record of an answer that its handler logs itself, by ``response.log``."""
        if self.metrics is not None:
            self.metrics.answered(request, response, started)
        if self._handlers_log and response.log is not None:
            try:
                response.log(response.status, response.size)
            except Exception as error:
                self._report(error, request)

    def _aborted(self, request: Request, response: ResponseWriter, started: float) -> None:
        """Take the record of an answer whose end has not left."""
        if self.metrics is not None:
            self.metrics.aborted()
        if response.log is not None:
            self.logged_by_handler(request, response, started)
            return
        if self.metrics is not None:
            self.metrics.answered(request, response, started)
        if self.access_log is not None:
            try:
                # An access log without a method for it can ask the answer.
                getattr(self.access_log, "aborted", self.access_log.answered)(request, response, started)
            except Exception as error:
                self._report(error, request)

    def refused(self, client_address: Address, line: bytes, error: WireError) -> None:
        """Log and count the refusal of what is no request, but began with ``line``."""
        if self.metrics is not None:
            self.metrics.refused(error.status)
        if self.access_log is not None:
            self.access_log.refused(client_address, str(line, "latin-1"), error.status)

    def turned_away(self, limit: str) -> None:
        """Count a connection or a request over the limit of this name."""
        if self.metrics is not None:
            self.metrics.turned_away(limit)

    def closed(self, sent: int) -> None:
        """Count a connection that has been closed, and the bytes that it was sent."""
        if self.metrics is not None:
            self.metrics.closed(sent)

    def message(self, line: str) -> None:
        """Write a line of a handler's own where the access log goes; without one, to ``aiohttpd.access``."""
        if self.access_log is not None:
            self.access_log.message(line)
        else:
            logging.getLogger("aiohttpd.access").info("%s", line.rstrip("\n"))
