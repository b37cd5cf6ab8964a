"""Delivery: whether a response has reached a client that had closed its side before the response was complete.

Such a client has either disconnected, or waits for the response (half-close). Both look alike until TCP acknowledges
the response or resets the connection. The access log entry waits until then.
"""

from ..net.outgoing import Outgoing
from ..wire.request import Request
from .recorder import Recorder
from .response import StreamWriter

__all__ = ["Delivery"]


class Delivery:
    """Logs the responses on a connection whose client has closed its side.

    Args:
        out: the output, which knows what the client has acknowledged.
        recorder: logs the responses.
    """

    __slots__ = ("_answer", "_out", "_recorder")

    def __init__(self, out: Outgoing, recorder: Recorder) -> None:
        self._out = out
        self._recorder = recorder
        self._answer: tuple[Request, StreamWriter, float] | None = None  # the last one, until it is logged

    @property
    def is_open(self) -> bool:
        """Whether the delivery of the last response is unknown."""
        return self._answer is not None

    def record(self, request: Request, response: StreamWriter, started: float) -> None:
        """Log a response, now or when its delivery is known."""
        self.settle()
        if response.aborted:
            self._recorder.record(request, response, started)
        else:
            self._answer = request, response, started
            self.settle_early()

    def settle_early(self) -> bool:
        """Log the last response if all of it has been acknowledged, or refused by RST; return whether it was logged."""
        if self._answer is None or not (self._out.refused or not self._out.undelivered):
            return False
        self.settle()
        return True

    def settle(self) -> None:
        """Log the last response, if it is not logged yet, by what is known now."""
        answer, self._answer = self._answer, None
        if answer is not None:
            if self._out.refused:
                answer[1].lose()
            self._recorder.record(*answer)
