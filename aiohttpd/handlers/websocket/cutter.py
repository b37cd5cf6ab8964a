"""FrameCutter: finds the ends of frames in a stream of bytes (RFC 6455 section 5.2).

So one callback can be given a bounded number of frames. Whether frames are valid, the parser of ``websockets`` checks.
"""

__all__ = ["FrameCutter", "frame_work", "whole_frame"]

# So many bytes of content (as a power of two) count as one more frame: 16 compressed bytes may become 16 KiB.
_PLAIN, _COMPRESSED = 12, 4
_MASK = 4  # bytes
_LENGTHS = {126: 2, 127: 8}  # bytes of the extended payload length, by the value of the 7-bit length


def frame_work(length: int) -> int:
    """Return the work for a frame whose content has so many bytes and is not compressed."""
    return 1 + (length >> _PLAIN)


def whole_frame(data: bytes | bytearray | memoryview) -> int:
    """Return where the content begins if the bytes are exactly one masked frame, else 0."""
    size = len(data)
    if size < 6:
        return 0
    length = data[1] - 0x80  # negative if the frame is not masked, which is an error
    if length + 6 == size:
        return 6 if length < 126 else 0
    if length == 126:
        return 8 if size == int.from_bytes(data[2:4]) + 8 else 0
    return 14 if length == 127 and size == int.from_bytes(data[2:10]) + 14 else 0


class FrameCutter:
    """Tracks the frames in all bytes that a client sends.

    Args:
        compressed: content may be compressed, and so take more work for each byte.

    Attributes:
        between: whether all frames so far are complete.
    """

    __slots__ = ("_head", "_shift", "_tail", "between")

    def __init__(self, *, compressed: bool) -> None:
        self.between = True
        self._head = b""  # the incomplete header of a frame
        self._tail = 0  # bytes of the current frame that have not arrived
        self._shift = _COMPRESSED if compressed else _PLAIN

    def cut(self, data: bytes | bytearray, work: int) -> int:
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
                self.between = False
                return len(data)
            length = (head[1] & 0x7F) if size == 2 else int.from_bytes(head[2:size])
            at += size - len(self._head)
            self._head = b""
            work -= 1 + (length >> self._shift)
            step = min(length + _MASK, len(data) - at)
            self._tail = length + _MASK - step
            at += step
        self.between = not self._tail
        return at
