"""The access log: http.server's line, written when an answer is complete.

Owns what the lines look like and when they are written: together, a tenth of a second after the first
at the latest, since a write for each would cost more than the answers do.
"""

import asyncio
from typing import TextIO

from .clock import Clock
from .wire.request import Address, Request

__all__ = ["AccessLog", "escape"]

_DELAY = 0.1  # seconds that a line may wait
_PENDING = 64 * 1024  # characters that may

# Whatever could end a line, drive a terminal or end the quotes.
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
_ESCAPES |= {ord("\\"): "\\\\", ord('"'): '\\"'}


def escape(text: str) -> str:
    """Make text of a client's safe for a line of the log and for a terminal."""
    return text.translate(_ESCAPES)


class AccessLog:
    """Writes records in http.server's format.

    ``127.0.0.1 - - [23/Nov/2026 17:12:48] "GET / HTTP/1.1" 200 13``

    Args:
        stream: where to; text.
        loop: its timer is used, only while lines wait.
    """

    def __init__(self, stream: TextIO, loop: asyncio.AbstractEventLoop) -> None:
        self._stream = stream
        self._loop = loop
        self._clock = Clock()
        self._lines: list[str] = []
        self._pending = 0
        self._timer: asyncio.TimerHandle | None = None

    def answered(self, request: Request, status: int, size: int, seconds: float) -> None:
        """Write that a request has been answered."""
        line = request.requestline
        if '"' in line or "\\" in line:  # no other character that needs it can be in a request line
            line = escape(line)
        self._clock.tick()
        self.message(f'{request.client_address[0]} - - [{self._clock.log}] "{line}" {status} {size}\n')

    def refused(self, client_address: Address, line: str, status: int) -> None:
        """Write that something has been refused that is no request."""
        self._clock.tick()
        self.message(f'{client_address[0]} - - [{self._clock.log}] "{escape(line)}" {status} -\n')

    def message(self, text: str) -> None:
        """Write a line that is formatted already."""
        self._lines.append(text)
        self._pending += len(text)
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
