"""The states of a connection.

::

    NEW ──► HEAD ──► SERVING ──► (DISCARDING) ──► IDLE ──► HEAD …
      │       │      │  └► UPGRADED ──┐            │
      └───────┴──────┴────────────────┴────────────┴──► LINGERING ──► CLOSED
"""

import enum

__all__ = ["CLOSED", "DISCARDING", "HEAD", "IDLE", "LINGERING", "NEW", "SERVING", "UPGRADED", "ConnectionState"]


class ConnectionState(enum.Enum):
    """What a connection waits for, and what ends the wait."""

    NEW = "the first byte; timeout_head"
    HEAD = "the rest of a head; timeout_head"
    SERVING = "a handler; timeout_body while it waits for content"
    UPGRADED = "a handler; another protocol is spoken, and waits for what it likes (RFC 9110 section 7.8)"
    DISCARDING = "the rest of a body that nobody read; timeout_linger"
    IDLE = "the next request; timeout_idle"
    LINGERING = "the peer to close, so that the last answer is not lost; timeout_linger"
    CLOSED = "nothing"


NEW, HEAD, SERVING, UPGRADED, DISCARDING, IDLE, LINGERING, CLOSED = ConnectionState
