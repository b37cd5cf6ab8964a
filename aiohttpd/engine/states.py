"""The states of a connection.

::

    NEW ──► HEAD ──► SERVING ──► (DISCARDING) ──► IDLE ──► READY ──► HEAD …
      │       │      │  └► UPGRADED ──┐            │
      └───────┴──────┴────────────────┴────────────┴──► LINGERING ──► CLOSED
"""

import enum

__all__ = [
    "CLOSED",
    "DISCARDING",
    "HEAD",
    "IDLE",
    "LINGERING",
    "NEW",
    "READY",
    "SERVING",
    "UPGRADED",
    "ConnectionState",
]


class ConnectionState(enum.Enum):
    """The state of a connection: what it waits for, and the timeout of the wait."""

    NEW = "the first byte; timeout_head"
    HEAD = "the rest of a head; timeout_head"
    SERVING = "a handler; timeout_body while it waits for content"
    UPGRADED = "a handler; the connection has switched protocols, and the new one has its own timeouts (RFC 9110 7.8)"
    DISCARDING = "the rest of a body that the handler has not read; timeout_linger"
    IDLE = "the next request; timeout_idle"
    READY = "the end of this turn of the loop, at which the bytes that have arrived are served"
    LINGERING = "the peer to close its side, so that no reset destroys the last response; timeout_linger"
    CLOSED = "nothing"


NEW, HEAD, SERVING, UPGRADED, DISCARDING, IDLE, READY, LINGERING, CLOSED = ConnectionState
