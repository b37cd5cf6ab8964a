"""Unframer: status, fields and content of an answer that a handler of ``http.server`` has written.

Owns the conversion from bytes of HTTP/1.1. `threads.relay` has checked these bytes: a head comes in one piece, its
lines match the grammar, and chunks are chunks.
"""

from ...config import Config
from ...engine.answer import ChunkChecker

__all__ = ["Unframer"]


class Unframer:
    """One answer.

    Args:
        config: the options of the server.

    Attributes:
        status: the final status; 0 before it.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._fields: list[bytes] | None = None  # of the head, until `new_fields` has returned them
        self._chunks: ChunkChecker | None = None
        self.status = 0

    def take(self, parts: list[bytes]) -> bytes:
        """Take bytes of the answer; return the content in them."""
        if not self.status:
            head, *parts = parts
            line, *fields = head.split(b"\r\n")[:-2]
            status = int(line.split(b" ", 2)[1])
            if 100 <= status < 200 and status != 101:
                return b""  # an interim answer; the final one follows
            self.status = status
            self._fields = fields
            if any(field[:18].lower() == b"transfer-encoding:" for field in fields):
                self._chunks = ChunkChecker(self._config)
        content = b"".join(parts)
        if self._chunks is not None and content:
            return self._chunks.check(content, keep=False)
        return content

    def new_fields(self) -> list[bytes] | None:
        """The fields of the head, once; None if there is no new one."""
        fields, self._fields = self._fields, None
        return fields
