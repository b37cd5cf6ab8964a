"""RequestID: a name for each request, in the answer, in the access log, and in the logs of the program.

Owns where the id comes from, and what an id of a client may look like.
"""

import re
from collections.abc import Awaitable
from contextvars import ContextVar
from random import getrandbits
from typing import Any

from ..engine.interfaces import App, ResponseHead
from ..wire.headers import is_token
from ..wire.request import Request
from ..wire.response import ResponseFields
from .layer import Layer, on_head

__all__ = ["RequestID", "current_request_id"]

current_request_id: ContextVar[str] = ContextVar("current_request_id", default="")

_is_id = re.compile(r"[A-Za-z0-9._~+/=:@-]{1,128}").fullmatch


class RequestID(Layer):
    """Give each request an id of 32 hexadecimal digits.

    It is ``request.log_fields["request_id"]``, so the JSON log has it as ``request_id``, and other formats where they
    have ``{log_fields[request_id]}``. In the program it is ``middleware.current_request_id.get()``, in threads too. A
    layer within another one, of a mounted `Router` say, takes the id of that one. A field that the App has set itself
    stays as it is.

    Args:
        header: the field that the answer has it in.
        trust: take the id from the request, if it has one of at most 128 letters, digits and ``._~+/=:@-``. Only for
            servers behind a proxy that sets the field: a client could give its requests the ids of others.

    Raises:
        ValueError: ``header`` is no name of a field.
    """

    def __init__(self, header: str = "X-Request-ID", *, trust: bool = False) -> None:
        if not is_token(header):
            raise ValueError(f"{header!r} is no name of a header field")
        self._header = header
        self._trust = trust

    def serve(self, app: App, request: Request, response: Any) -> Awaitable[None]:
        name = _outer(request) or (self._trusted(request) if self._trust else None)
        if name is None:
            name = f"{getrandbits(128):032x}"  # no secret; seeded anew in each process
        current_request_id.set(name)  # each request has a context of its own
        request.log_fields["request_id"] = name
        line = f"{self._header}: {name}\r\n".encode("latin-1")
        begin = line[: len(self._header) + 1].lower()

        def add(head: ResponseHead, fields: ResponseFields) -> None:
            if not any(each[: len(begin)].lower() == begin for each in fields):
                fields.append(line)

        on_head(response, add)
        return app(request, response)

    def _trusted(self, request: Request) -> str | None:
        values = request.headers.get_all(self._header) or []
        return values[0] if len(values) == 1 and _is_id(values[0]) else None


def _outer(request: Request) -> str | None:
    """The id that a layer around this one has given to the request."""
    name = current_request_id.get()
    return name if name and request.log_fields.get("request_id") == name else None
