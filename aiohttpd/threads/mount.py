"""MountEncoder: the field Location of a handler of ``http.server`` that is mounted below a prefix.

Such a handler gets paths without the prefix (`Request.mounted`), does not know of it, and makes Location of its paths:
a redirect from ``/sub`` to ``/sub/``. It owns the correction, which a proxy does in the same way (ProxyPassReverse).
"""

import re

from ..engine.encoder import EncoderWrapper
from ..engine.interfaces import Encoder
from ..wire.request import Request

__all__ = ["MountEncoder"]

# A path, and not another authority (``//host``), RFC 9110 section 10.2.2.
_find_location = re.compile(rb"\nlocation:[\t ]*+(?=/(?!/))", re.IGNORECASE).search


class MountEncoder(EncoderWrapper):
    """Puts the prefix of a mount before the path in Location. See `Encoder`.

    A path that begins with the prefix already is that of a handler which knows it; unless it is made of the path of the
    request, which may begin in the same way.

    Args:
        inner: the encoder that gets the bytes.
        request: the request; its ``root_path`` is the prefix.
    """

    def __init__(self, inner: Encoder, request: Request) -> None:
        super().__init__(inner)
        # The prefix is as the client has sent it, if it has a parameter; a backslash is a slash for browsers.
        self._root = request.root_path.replace("\\", "%5C").encode("latin-1")
        self._asked = request.path.rstrip("/").encode("latin-1")
        self._has_head = False  # the final head has been passed on

    def framed(self, parts: list[bytes]) -> None:
        if parts and not self._has_head:  # a head is always the first part, and whole
            status = parts[0][9:12]
            self._has_head = status == b"101" or not status.startswith(b"1")
            parts = [self._corrected(parts[0]), *parts[1:]]
        self.inner.framed(parts)

    def _corrected(self, head: bytes) -> bytes:
        found = _find_location(head)
        if found is None:
            return head
        value = head[found.end() :]
        is_of_request = bool(self._asked) and value.startswith(self._asked)
        knows = value.startswith(self._root) and value[len(self._root) : len(self._root) + 1] in b"/?#\r\n"
        return head if knows and not is_of_request else head[: found.end()] + self._root + value
