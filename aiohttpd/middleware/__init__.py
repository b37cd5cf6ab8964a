"""Layers: Apps around Apps, put together by `aiohttpd.layers`.

Each layer is a class whose instance is called with an App and returns an App: `RequestID`, `CORS`, `SecurityHeaders`
and so on. docs/layers.md has an example of each. A module is imported when one of its names is used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .auth import BasicAuth, BearerAuth
    from .compressed import Compression
    from .cors import CORS
    from .etag import ETag
    from .layer import Layer, layers
    from .limits import BodyLimit, ConcurrencyLimit, Deadline, RateLimit, client_key
    from .opentelemetry import OpenTelemetry
    from .problem_details import ProblemDetails
    from .request_id import RequestID, current_request_id
    from .same_origin import SameOrigin
    from .security_headers import ResponseHeaders, SecurityHeaders
    from .server_timing import ServerTiming, timing
    from .sessions import Session, Sessions
    from .trusted_hosts import TrustedHosts

__all__ = [
    "BasicAuth", "BearerAuth", "BodyLimit", "CORS", "Compression", "ConcurrencyLimit", "Deadline", "ETag", "Layer",
    "OpenTelemetry", "ProblemDetails", "RateLimit", "RequestID", "ResponseHeaders", "SameOrigin", "SecurityHeaders",
    "ServerTiming", "Session", "Sessions", "TrustedHosts", "client_key", "current_request_id", "layers", "timing",
]  # fmt: skip

_LATER = {  # names by their modules, which are imported when a name is asked for
    "auth": "BasicAuth BearerAuth",
    "compressed": "Compression",
    "cors": "CORS",
    "etag": "ETag",
    "layer": "Layer layers",
    "limits": "BodyLimit ConcurrencyLimit Deadline RateLimit client_key",
    "opentelemetry": "OpenTelemetry",
    "problem_details": "ProblemDetails",
    "request_id": "RequestID current_request_id",
    "same_origin": "SameOrigin",
    "security_headers": "ResponseHeaders SecurityHeaders",
    "server_timing": "ServerTiming timing",
    "sessions": "Session Sessions",
    "trusted_hosts": "TrustedHosts",
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
