"""TrustedHosts: requests for other names than those of the site are refused.

A program that makes links from Host, or decides by it, can be led astray by a name that a client has chosen. The
option ``hosts`` is for servers on loopback only, and protects from DNS rebinding; see `allowed_hosts`.
"""

import re
from collections.abc import Awaitable, Iterable
from typing import Any

from ..config.hosts import IPV6, NAME, KnownHosts, host_name, patterns_of
from ..engine.interfaces import App
from ..errors import HTTPError
from ..wire.request import Request
from .layer import Layer

__all__ = ["TrustedHosts"]

_is_name = re.compile(rf"(?:\*\.)?{NAME}|{IPV6}").fullmatch


class TrustedHosts(Layer):
    """Answer 421 (RFC 9110 section 15.5.20) to requests whose Host is none of some names.

    The port does not count, nor the case, nor a dot at the end. A request without Host, which HTTP/1.0 allows, is
    refused. If the target has a host too (``GET http://a.example/``), both have to be among the names. Behind a trusted
    proxy that sets it, the name is that of X-Forwarded-Host.

    Args:
        names: ``example.com``; ``*.example.com`` for all names below it, not for itself; addresses as they stand in
            URLs, ``127.0.0.1`` or ``[::1]``. None is allowed by itself.

    Raises:
        ValueError: there are none, or one is malformed; ``*`` among them.
    """

    def __init__(self, names: Iterable[str]) -> None:
        given = [names] if isinstance(names, str) else list(names)
        for name in given:
            if not _is_name(name.lower().removesuffix(".")):
                raise ValueError(f"TrustedHosts: {name!r} is no name: write it as example.com, without scheme and port")
        if not given:
            raise ValueError("TrustedHosts: name at least one host")
        self._names = frozenset(name.lower().removesuffix(".") for name in given)
        self._known = KnownHosts()

    def serve(self, app: App, request: Request, response: Any) -> Awaitable[None]:
        # Of a target in absolute form, `Request.host` is the name in it, and a program may look at the field.
        is_path = request.target[0] == "/"
        host = request.host
        if is_path and host in self._known:
            return app(request, response)
        if not self._includes(host) or not (is_path or self._includes(request.framing.host)):
            response.head_mirrors_get = True
            raise HTTPError(421, None, "this server has other names")
        self._known.add(host)
        return app(request, response)

    def _includes(self, host: str | None) -> bool:
        return host is not None and not self._names.isdisjoint(patterns_of(host_name(host)))
