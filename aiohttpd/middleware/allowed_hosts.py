"""Protection against DNS rebinding: a server on loopback refuses requests for host names of other people.

An attacker can have a DNS name lead to 127.0.0.1. Pages of that name are then same-origin with a server on loopback,
and could read what it serves. Owns the layer around an App that answers such requests with 421 (RFC 9110 section
15.5.20). Which names are allowed is decided by `aiohttpd.config.hosts`.
"""

from collections.abc import Awaitable
from typing import Any

from ..config import Config
from ..config.hosts import AllowedHosts, KnownHosts, is_loopback, without_port
from ..config.trust import TrustedProxies
from ..engine.answer import PreparedResponse
from ..engine.interfaces import App, Instant
from ..engine.response import StreamWriter
from ..errors import HTTPError
from ..wire.request import Request

__all__ = ["check_hosts"]


def check_hosts(app: App, instant: Instant | None, config: Config, addresses: list[Any]) -> tuple[App, Instant | None]:
    """Put the check of Host in front of an App. If nothing has to be checked, the arguments are returned.

    Args:
        app: the App.
        instant: its prepared responses; see `ServedApp`.
        config: the options ``hosts`` and ``trusted_proxies``.
        addresses: the names of the listening sockets.
    """
    hosts, sources = AllowedHosts(config.hosts), _LoopbackSources(config, addresses)
    if not config.hosts or hosts.any or sources.none:
        return app, instant
    check = _HostCheck(app, instant, hosts, sources)
    return check.serve, None if instant is None else check.instant


class _HostCheck:
    """An App with prepared responses around another one; both ways check Host."""

    def __init__(self, app: App, instant: Instant | None, hosts: AllowedHosts, sources: "_LoopbackSources") -> None:
        self._app = app
        self._inner_instant = instant
        self._hosts = hosts
        self._sources = sources
        self._known = KnownHosts()

    # A plain function: a coroutine for each request would cost more than the check.
    def serve(self, request: Request, response: StreamWriter) -> Awaitable[None]:
        """Call the App, or refuse the request."""
        if request.framing.host in self._known and request.target[0] == "/":
            return self._app(request, response)
        if self._is_allowed(request) or not self._sources.includes(response):
            return self._app(request, response)
        host = request.host if self._hosts.includes(request.framing.host) else request.framing.host
        return _refuse(without_port(host or ""), response)

    def instant(self, request: Request) -> PreparedResponse | None:
        """The prepared response, if the request is allowed."""
        assert self._inner_instant is not None
        if (request.framing.host in self._known and request.target[0] == "/") or self._is_allowed(request):
            return self._inner_instant(request)
        return None

    def _is_allowed(self, request: Request) -> bool:
        """Check Host, and the host of a target in absolute form: a handler may use either."""
        host = request.framing.host
        if not self._hosts.includes(host) or not (request.target.startswith("/") or self._hosts.includes(request.host)):
            return False
        self._known.add(host)
        return True


class _LoopbackSources:
    """Connections that are checked: to a listening socket on loopback, and not from a trusted proxy.

    Args:
        config: the options.
        addresses: the names of the listening sockets.
    """

    def __init__(self, config: Config, addresses: list[Any]) -> None:
        self._local = {name[:2] for name in addresses if is_loopback(name)}
        self._proxies = TrustedProxies(config.trusted_proxies) if config.trusted_proxies else None

    @property
    def none(self) -> bool:
        """Whether there can be no such connection: no socket is on loopback, or loopback is a trusted proxy."""
        return not any(self._proxies is None or not self._proxies.includes(host) for host, _ in self._local)

    def includes(self, response: StreamWriter) -> bool:
        """Whether the connection of a response is one of them."""
        name, peer = response.get_extra_info("sockname"), response.get_extra_info("peername")
        # A socket that listens on all addresses is meant for the network: it is not checked.
        if not isinstance(name, tuple) or name[:2] not in self._local:
            return False
        return self._proxies is None or not isinstance(peer, tuple) or not self._proxies.includes(peer[0])


async def _refuse(name: str, response: StreamWriter) -> None:
    response.head_mirrors_get = True
    explain = f"this server is on loopback, and {name} is no name of it: --host {name} allows it, --host '*' any"
    raise HTTPError(421, None, explain)
