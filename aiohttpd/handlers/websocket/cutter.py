"""FrameCutter: finds the ends of frames in a stream of bytes (RFC 6455 section 5.2).

So one callback can be given a bounded number of frames. Whether frames are valid, the parser of ``websockets`` checks.
"""

__all__ = ["FrameCutter"]

_MASK = 4  # bytes
_LENGTHS = {126: 2, 127: 8}  # bytes of the extended payload length, by the value of the 7-bit length


class FrameCutter:
    """Tracks the frames in all bytes that a client sends.

    Args:
        compressed: content may be compressed, and so take more work for each byte.
    """

    __slots__ = ("_head", "_shift", "_tail")

    def __init__(self, *, compressed: bool) -> None:
        self._head = b""  # the incomplete header of a frame
        self._tail = 0  # bytes of the current frame that have not arrived
        # 2 ** shift bytes of content count as one more frame: 16 compressed bytes may become 16 KiB.
        self._shift = 4 if compressed else 12

    def whole_frame(self, data: bytes) -> int:
        """Return where the content begins if the bytes are exactly one frame, else 0.

        If they are, `cut` need not be called for them.
        """
        size = len(data)
        if size < 6 or self._tail or self._head:
            return 0
        length = data[1] - 0x80  # negative if the frame is not masked, which is an error
        if length + 6 == size:
            return 6 if length < 126 else 0
        if length == 126:
            return 8 if size == int.from_bytes(data[2:4]) + 8 else 0
        return 14 if length == 127 and size == int.from_bytes(data[2:10]) + 14 else 0

    def cut(self, data: bytes, work: int) -> int:
        """Take bytes, up to a bounded amount of work.

        Args:
            data: the bytes; not empty.
            work: the number of frames; a frame with large content counts as several.

        Returns:
            How many bytes were taken: all, or those up to the end of a frame.
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
