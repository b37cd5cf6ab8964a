"""Where frames end in a stream of bytes (RFC 6455 section 5.2), so that one callback parses a bounded number of them.

Owns no rule about what may stand in a frame: that is the parser's.
"""

__all__ = ["FrameCutter"]

_MASK = 4  # bytes
_LENGTHS = {126: 2, 127: 8}  # bytes of a length that does not stand in the second byte


class FrameCutter:
    """Follows the frames of a client through all bytes that it sends.

    Args:
        compressed: content may be; it takes more work than its bytes tell.
    """

    __slots__ = ("_head", "_shift", "_tail")

    def __init__(self, *, compressed: bool) -> None:
        self._head = b""  # of a frame, the part that has come, while its length is not known
        self._tail = 0  # bytes that are still to come of a frame
        # So many bytes of content count as a frame more: 16 bytes of a compressed message may be 16 KiB.
        self._shift = 4 if compressed else 12

    def whole_frame(self, data: bytes) -> int:
        """Where the content begins if these bytes are one whole frame, as most are; they are followed then. Else 0."""
        size = len(data)
        if size < 6 or self._tail or self._head:
            return 0
        length = data[1] - 0x80  # without a mask it is negative, and nothing that a client may send
        if length + 6 == size:
            return 6 if length < 126 else 0
        if length == 126:
            return 8 if size == int.from_bytes(data[2:4]) + 8 else 0
        return 14 if length == 127 and size == int.from_bytes(data[2:10]) + 14 else 0

    def cut(self, data: bytes, work: int) -> int:
        """Follow the bytes for as long as they are not more work than one callback may have.

        Args:
            data: not empty.
            work: frames; each counts as one, and its content more if it is large.

        Returns:
            How many of the bytes have been followed: all, or up to the end of a frame.
        """
        at = min(self._tail, len(data))
        self._tail -= at
        while at < len(data) and work > 0:
            head = self._head + data[at : at + 10]
            size = 2 + _LENGTHS.get(head[1] & 0x7F, 0) if len(head) > 1 else 2
            if len(head) < size:
                self._head = head
                return len(data)
            length = (head[1] & 0x7F) if size == 2 else int.from_bytes(head[2:size])
            at += size - len(self._head)
            self._head = b""
            work -= 1 + (length >> self._shift)
            step = min(length + _MASK, len(data) - at)
            self._tail = length + _MASK - step
            at += step
        return at
