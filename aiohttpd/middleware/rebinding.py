"""Rebinding: a server on loopback answers only to names that nobody else can lead to this machine.

Owns the layer around an App that refuses the others, with 421 (RFC 9110 section 15.5.20). What a name is, is `hosts`'.
"""

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from ..config import Config
from ..config.hosts import AllowedHosts, is_loopback, without_port
from ..config.trust import TrustedProxies
from ..engine.context import ServerContext
from ..engine.response import StreamWriter
from ..errors import HTTPError
from ..wire.request import Request

if TYPE_CHECKING:
    from ..engine.answer import PreparedResponse

__all__ = ["check_hosts"]

_KNOWN = 256  # spellings of names that are remembered
_SHORT = 64  # characters of one of them


class _Checked:
    """Which requests come by a loopback socket from somebody who is no trusted proxy.

    Args:
        config: the options.
        names: those of the sockets that listen.
    """

    def __init__(self, config: Config, names: list[Any]) -> None:
        self._local = {name[:2] for name in names if is_loopback(name)}
        self._proxies = TrustedProxies(config.trusted_proxies) if config.trusted_proxies else None

    def any(self) -> bool:
        """Whether there may be one; on loopback each end is."""
        return any(self._proxies is None or not self._proxies.includes(host) for host, _ in self._local)

    def includes(self, response: StreamWriter) -> bool:
        """Whether a request is one of these."""
        name, peer = response.get_extra_info("sockname"), response.get_extra_info("peername")
        # A socket that listens on all addresses has been shared with the network, and is not looked at.
        if not isinstance(name, tuple) or name[:2] not in self._local:
            return False
        return self._proxies is None or not isinstance(peer, tuple) or not self._proxies.includes(peer[0])


def check_hosts(service: ServerContext, names: list[Any]) -> None:
    """Put the check before the App of a service, whichever way it answers; if there is something to check.

    Args:
        service: of the server.
        names: those of the sockets that listen.
    """
    hosts, checked = AllowedHosts(service.config.hosts), _Checked(service.config, names)
    if not service.config.hosts or hosts.any or not checked.any():
        return
    app, instant = service.app, service.instant
    known: set[str | None] = set()  # what clients ask for again and again, so that it costs next to nothing

    def is_allowed(request: Request) -> bool:
        # The target of a proxy's kind names a host, too, and either may be the one that counts for somebody.
        host = request.framing.host
        if not hosts.includes(host) or not (request.target.startswith("/") or hosts.includes(request.host)):
            return False
        if len(known) < _KNOWN and len(host or "") < _SHORT:
            known.add(host)
        return True

    # A plain function, since one more coroutine for each request would cost more than all that is done here.
    def choose(request: Request, response: StreamWriter) -> Awaitable[None]:
        if request.framing.host in known and request.target[0] == "/":
            return app(request, response)
        if is_allowed(request) or not checked.includes(response):
            return app(request, response)
        named = request.host if hosts.includes(request.framing.host) else request.framing.host
        return _refuse(without_port(named or ""), response)

    service.app = choose
    if instant is not None:
        at_once = instant

        def choose_instant(request: Request) -> "PreparedResponse | None":
            if (request.framing.host in known and request.target[0] == "/") or is_allowed(request):
                return at_once(request)
            return None

        service.instant = choose_instant


async def _refuse(name: str, response: StreamWriter) -> None:
    response.head_mirrors_get = True
    explain = f"this server is on loopback, and {name} is no name of it: --host {name} allows it, --host '*' any"
    raise HTTPError(421, None, explain)
