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
    "BasicAuth",
    "BearerAuth",
    "BodyLimit",
    "CORS",
    "Compression",
    "ConcurrencyLimit",
    "Deadline",
    "ETag",
    "Layer",
    "OpenTelemetry",
    "ProblemDetails",
    "RateLimit",
    "RequestID",
    "ResponseHeaders",
    "SameOrigin",
    "SecurityHeaders",
    "ServerTiming",
    "Session",
    "Sessions",
    "TrustedHosts",
    "client_key",
    "current_request_id",
    "layers",
    "timing",
]

_MODULES = {
    "BasicAuth": "auth",
    "BearerAuth": "auth",
    "BodyLimit": "limits",
    "CORS": "cors",
    "Compression": "compressed",
    "ConcurrencyLimit": "limits",
    "Deadline": "limits",
    "ETag": "etag",
    "Layer": "layer",
    "OpenTelemetry": "opentelemetry",
    "ProblemDetails": "problem_details",
    "RateLimit": "limits",
    "RequestID": "request_id",
    "ResponseHeaders": "security_headers",
    "SameOrigin": "same_origin",
    "SecurityHeaders": "security_headers",
    "ServerTiming": "server_timing",
    "Session": "sessions",
    "Sessions": "sessions",
    "TrustedHosts": "trusted_hosts",
    "client_key": "limits",
    "current_request_id": "request_id",
    "layers": "layer",
    "timing": "server_timing",
}

if not TYPE_CHECKING:  # a type checker would take every name then

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
