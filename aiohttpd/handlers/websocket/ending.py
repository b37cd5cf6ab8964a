"""Ending: code and reason of the end of a WebSocket, RFC 6455 sections 7.1.5 and 7.1.6."""

from websockets.frames import Close

from ...errors import ConnectionClosed

__all__ = ["Ending"]


class Ending:
    """How one WebSocket ends.

    Attributes:
        sent: code and reason of the Close frame that the server has sent; None if it has sent none.
        error: code and reason of the close; None while it is not closed.
    """

    __slots__ = ("error", "sent")

    def __init__(self) -> None:
        self.sent: tuple[int, str] | None = None
        self.error: ConnectionClosed | None = None

    def by_both(self, code: int, reason: str) -> ConnectionClosed:
        """Both sides have sent a Close frame: return code and reason of the first one.

        Args:
            code: that of the client's frame.
            reason: that of the client's frame.
        """
        if self.sent is not None:
            return ConnectionClosed(*self.sent, by_client=False)
        return ConnectionClosed(code, reason, by_client=True)

    def by_core(self, sent: Close | None) -> ConnectionClosed:
        """The library has found an error: return code and reason of the end.

        Args:
            sent: the Close frame that the library has made; None if it has made none.
        """
        if self.sent is not None or sent is None:
            return self.exception()
        return ConnectionClosed(sent.code, sent.reason, by_client=False)

    def exception(self) -> ConnectionClosed:
        """Return a new exception about the end. It is new each time since each raise adds a traceback."""
        error = self.error
        if error is not None:
            return ConnectionClosed(error.code, error.reason, by_client=error.by_client)
        if self.sent is not None:
            return ConnectionClosed(*self.sent, by_client=False)
        return ConnectionClosed(1006, by_client=True)
