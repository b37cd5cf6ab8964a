"""The states of a WebSocket, RFC 6455 section 7."""

import enum

__all__ = ["CLOSED", "CLOSING", "OPEN", "WebSocketState"]


class WebSocketState(enum.Enum):
    """The state of a WebSocket."""

    OPEN = "messages can be sent and received"
    CLOSING = "the server has sent a Close frame, and waits for that of the client"
    CLOSED = "nothing more is received or sent"


OPEN, CLOSING, CLOSED = WebSocketState
