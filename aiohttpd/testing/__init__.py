"""Servers for tests: of handlers, and of HTTP clients.

`TestServer` listens on a free port, for synchronous and for asynchronous tests, records what is asked, answers what is
expected, and misbehaves where a test wants it to. `client` and `exchange` serve an App in memory. The plugin for
pytest has all of it as fixtures. Nothing here is imported before it is used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .expectations import Expectation
    from .faults import Faults
    from .httpx_client import client
    from .memory import MemoryTransport, exchange, running
    from .ports import closed_port
    from .recording import Connection, RecordedRequest
    from .server import TestServer
    from .websocket_faults import WebSocketFaults

__all__ = [
    "Connection", "Expectation", "Faults", "MemoryTransport", "RecordedRequest", "TestServer", "WebSocketFaults",
    "client", "closed_port", "exchange", "running",
]  # fmt: skip

_LATER = {  # names by their modules, which are imported when a name is asked for
    "expectations": "Expectation",
    "faults": "Faults",
    "httpx_client": "client",
    "memory": "MemoryTransport exchange running",
    "ports": "closed_port",
    "recording": "Connection RecordedRequest",
    "server": "TestServer",
    "websocket_faults": "WebSocketFaults",
}
_MODULE_OF = {name: module for module, names in _LATER.items() for name in names.split()}

if not TYPE_CHECKING:  # a type checker would take every name then

    def __getattr__(name: str) -> Any:
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
