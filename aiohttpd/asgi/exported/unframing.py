"""Unframer: the answer of a handler of ``http.server``, taken apart again.

Owns the step back from bytes of HTTP/1.1 to status, fields and content. `threads.relay` has checked these bytes: a head
comes in one piece, its lines match the grammar, and chunks are chunks.
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
        self._fields: list[bytes] | None = None  # of a head that nobody has taken
        self._chunks: ChunkChecker | None = None
        self.status = 0

    def take(self, parts: list[bytes]) -> bytes:
        """Take what has been passed on; return the content in it."""
        if not self.status:
            head, *parts = parts
            line, *fields = head.split(b"\r\n")[:-2]
            status = int(line.split(b" ", 2)[1])
            if 100 <= status < 200 and status != 101:
                return b""  # the answer is still to come
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
