"""What a handler gives in one call: text, JSON, redirects, files, cookies, streams of events; and work, to processes.

Owns the methods, which stand on ``send_response``, ``send_header`` and ``end_headers``, so that what a
class overrides of these counts here, too.
"""

import os
import re
import time
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import quote

from ..errors import ContractError
from ..wire.dates import http_date
from ..wire.headers import is_token
from ..wire.request import Request
from ..wire.response import ResponseFields
from .checks import json_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engine.interfaces import Responder
    from ..engine.response import StreamWriter
    from .events import EventStream

__all__ = ["Output"]

T = TypeVar("T")

# What may stand in a reference, RFC 3986, and a percent sign, since it may be encoded already.
_IN_REFERENCE = "!#$%&'()*+,/:;=?@[]~-._"
_lone_percent = re.compile(r"%(?![0-9A-Fa-f]{2})")
_is_attribute = re.compile(r"[ -:<-~]*+").fullmatch  # RFC 6265 section 4.1.1: but controls and the semicolon
_is_cookie_value = re.compile(r"[!#-+\--:<-\[\]-~]*+").fullmatch
_LATEST = 253402300799  # the last second that a date can tell


class Output:
    """The part of a handler that writes whole answers."""

    command: str
    request: Request
    wfile: "StreamWriter"
    _more: list[tuple[str, str]] | None = None  # fields for the head that is to come

    def add_header(self, keyword: str, value: str) -> None:
        """Add a field to the head of the answer, before it is begun or ended.

        It holds for whatever the answer becomes: a file, a redirect, an error page in place of a head that has
        not left.

        Raises:
            ValueError: what `send_header` refuses; or the field decides how the answer is framed.
            ContractError: the head has been ended.
        """
        if self.wfile.status:
            raise ContractError(
                f"the head has been ended: {keyword} comes before end_headers(), send_text() and the like"
            )
        fields = ResponseFields()
        fields.add(keyword, value)  # refused here, and not where the head ends
        if fields.deciding is not None:
            raise ValueError(f"{keyword} belongs to one head: give it by send_header()")
        if self._more is None:
            self._more = []
        self._more.append((keyword, value))

    def send_text(self, text: str, status: int = 200) -> None:
        """Answer with text; what UTF-8 has not, a lone surrogate, becomes a question mark."""
        self._send(status, "text/plain; charset=utf-8", text.encode("utf-8", "replace"))

    def send_html(self, text: str, status: int = 200) -> None:
        """Answer with a page."""
        self._send(status, "text/html; charset=utf-8", text.encode("utf-8", "replace"))

    def send_json(self, value: Any, status: int = 200) -> None:
        """Answer with JSON.

        Raises:
            TypeError: JSON has nothing for a part of the value.
            ValueError: it holds NaN or an infinity, or itself.
        """
        self._send(status, "application/json", json_text().dumps(value))

    def redirect(self, location: str, status: int | None = None) -> None:
        """Send the client elsewhere.

        Args:
            location: a URL or a part of one; what may not stand in one is encoded. Where it comes from a
                client, it is yours to see that it leads to no other host.
            status: by default 302 (Found) to GET and HEAD, 303 (See Other) to what else has done its work.
        """
        handler = cast("Responder", self)
        status = (302 if self.command in ("GET", "HEAD") else 303) if status is None else status
        target = _lone_percent.sub("%25", location).encode("utf-8", "surrogateescape")
        handler.send_response(status)
        handler.send_header("Location", quote(target, safe=_IN_REFERENCE))
        handler.send_header("Content-Length", 0)
        handler.end_headers()

    async def send_file(
        self, path: str | os.PathLike[str], *, download_as: str | None = None, content_type: str | None = None
    ) -> None:
        """Answer with a file: its type, conditions, ranges and validators as the file server has them.

        Args:
            path: of the file. Where it comes from a client, it is yours to check. It is looked at each time, so
                what you have just written is what is sent.
            download_as: have the browser save it under this name instead of showing it.
            content_type: by default guessed by the name.

        Raises:
            HTTPError: 404: there is no such file; 403: it may not be read.
        """
        from .files.response import attachment, send_path

        fields = [] if download_as is None else [("Content-Disposition", attachment(download_as))]
        handler = cast("Responder", self)
        await send_path(handler, os.fsdecode(path), content_type=content_type, fields=fields)

    def set_cookie(
        self,
        name: str,
        value: str,
        *,
        max_age: int | None = None,
        path: str = "/",
        domain: str | None = None,
        secure: bool | None = None,
        httponly: bool = True,
        samesite: str | None = "Lax",
    ) -> None:
        """Have the client keep a cookie, RFC 6265; before the head of the answer is ended.

        An error page has it, too.

        Args:
            name: a token.
            value: letters, digits and signs but white space, quotes, comma, semicolon and backslash.
            max_age: seconds to keep it; by default until the browser ends.
            path: where it is sent, with all that is below.
            domain: where it is sent, with all that is below; by default this host and no other.
            secure: sent over TLS only; by default if it is set over TLS, or its name begins with ``__Host-`` or
                ``__Secure-``.
            httponly: scripts of the page do not see it.
            samesite: ``Strict``, ``Lax`` or ``None``, which wants ``secure``; None leaves it to the browser.

        Raises:
            ValueError: one of these may not stand in a cookie.
            ContractError: the head has been ended.
        """
        if not is_token(name):
            raise ValueError(f"{name!r} is no name of a cookie")
        if not _is_cookie_value(value):
            raise ValueError(f"the cookie {name} holds what may not stand in one: encode it, by urllib.parse.quote say")
        if secure is None:
            secure = self.request.scheme == "https" or name.lower().startswith(("__host-", "__secure-"))
        if samesite is not None and samesite not in ("Strict", "Lax", "None"):
            raise ValueError(f"samesite is 'Strict', 'Lax' or 'None', not {samesite!r}")
        if samesite == "None" and not secure:
            raise ValueError("browsers refuse a cookie with samesite 'None' that is not secure")
        parts = [f"{name}={value}"]
        if max_age is not None:
            # Expires for browsers that do not know Max-Age.
            expires = min(time.time() + max_age, _LATEST) if max_age > 0 else 0
            parts += [f"Max-Age={int(max_age)}", f"Expires={http_date(expires)}"]
        for attribute, text in (("Path", path), ("Domain", domain)):
            if text is not None:
                if not _is_attribute(text):
                    raise ValueError(f"the {attribute.lower()} {text!r} holds what may not stand in a cookie")
                parts.append(f"{attribute}={text}")
        parts += ["Secure"] * secure + ["HttpOnly"] * httponly
        if samesite is not None:
            parts.append(f"SameSite={samesite}")
        self.add_header("Set-Cookie", "; ".join(parts))

    def delete_cookie(self, name: str, *, path: str = "/", domain: str | None = None) -> None:
        """Have the client forget a cookie; path and domain are those with which it was set."""
        self.set_cookie(name, "", max_age=0, path=path, domain=domain)

    def event_stream(self, *, ping: float = 15.0) -> "EventStream":
        """Answer with server-sent events, for as long as the block runs.

        ::

            async with self.event_stream() as events:
                while True:
                    await events.send(str(time.time()))
                    await asyncio.sleep(1)

        The block is left by itself when the client goes, or when the server stops.

        Args:
            ping: seconds after which a line is sent that means nothing, so that both ends learn of a
                connection that is dead; 0 for never.
        """
        from .events import EventStream

        return EventStream(cast("Responder", self), ping)

    async def run_in_process(self, function: "Callable[..., T]", *args: object) -> T:
        """Call a function in a process of the server's: see `HTTPServer.run_in_process`."""
        result: T = await self.request.server.run_in_process(function, *args)
        return result

    def _send(self, status: int, content_type: str, content: bytes) -> None:
        handler = cast("Responder", self)
        handler.send_response(status)
        handler.send_header("Content-Type", content_type)
        self.wfile.head_mirrors_get = True  # a do_HEAD need not tell the length, but we know
        handler.end_headers()  # Content-Length is worked out
        self.wfile.write(content)
