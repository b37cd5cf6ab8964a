"""Delivery: whether an answer has reached a client that had closed its side before the answer was complete.

Such a client may be gone, or wait for the end of the answer. The record of the answer waits until that is known.
"""

from ..net.outgoing import Outgoing
from ..wire.request import Request
from .recorder import Recorder
from .response import StreamWriter

__all__ = ["Delivery"]


class Delivery:
    """Makes the records of answers on a connection whose client has closed its side.

    Args:
        out: tells what the client has acknowledged.
        recorder: takes the records.
    """

    __slots__ = ("_answer", "_out", "_recorder")

    def __init__(self, out: Outgoing, recorder: Recorder) -> None:
        self._out = out
        self._recorder = recorder
        self._answer: tuple[Request, StreamWriter, float] | None = None  # the last one, if its record waits

    @property
    def is_open(self) -> bool:
        """Whether it is not known yet if the last answer has been delivered."""
        return self._answer is not None

    def record(self, request: Request, response: StreamWriter, started: float) -> None:
        """Make the record of an answer, now or later."""
        self.settle()
        if response.aborted:
            self._recorder.record(request, response, started)
        else:
            self._answer = request, response, started
            self.settle_early()

    def settle_early(self) -> bool:
        """Make the record that waits if all has been acknowledged, or refused by RST; say whether it was made."""
        if self._answer is None or not (self._out.refused or not self._out.undelivered):
            return False
        self.settle()
        return True

    def settle(self) -> None:
        """Make the record that waits by what is known now."""
        answer, self._answer = self._answer, None
        if answer is not None:
            if self._out.refused:
                answer[1].lose()
            self._recorder.record(*answer)
