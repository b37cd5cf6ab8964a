"""OpenTelemetry: a span for each request, by the API of OpenTelemetry. Needs ``aiohttpd[opentelemetry]``.

Owns the names and attributes of spans, by the semantic conventions for HTTP servers. Where spans go is decided by the
SDK, which the program sets up; without one, the API does nothing.
"""

from typing import Any

from ..config.hosts import without_port
from ..engine.interfaces import App
from ..errors import ClientDisconnected, HTTPError, meant_by
from ..handlers.dispatch import KNOWN_METHODS
from ..wire.request import Request
from .layer import Layer

__all__ = ["OpenTelemetry"]


class OpenTelemetry(Layer):
    """Make a span of kind SERVER for each request; it is the current span while the App runs.

    Its parent is the one that the request names (``traceparent``). Its status is ERROR for 5xx. Exceptions that the
    App raises are recorded; those that a handler class answers itself are not seen.

    Args:
        tracer_provider: of the SDK; by default the global one.

    Raises:
        ModuleNotFoundError: ``opentelemetry-api`` is not installed.
    """

    def __init__(self, tracer_provider: Any = None) -> None:
        try:
            import opentelemetry.trace as trace
        except ModuleNotFoundError:
            raise ModuleNotFoundError(
                "OpenTelemetry needs the API of OpenTelemetry: pip install 'aiohttpd[opentelemetry]'"
            ) from None
        self._provider = tracer_provider
        self._tracer = trace.get_tracer("aiohttpd", tracer_provider=tracer_provider)

    def __reduce__(self) -> tuple[Any, ...]:
        return OpenTelemetry, (self._provider,)

    async def serve(self, app: App, request: Request, response: Any) -> None:
        import opentelemetry.propagate as propagate
        import opentelemetry.trace as trace

        method = request.method if request.method in KNOWN_METHODS else "_OTHER"
        with self._tracer.start_as_current_span(
            "HTTP" if method == "_OTHER" else method,
            context=propagate.extract(request.headers, getter=_GETTER),
            kind=trace.SpanKind.SERVER,
            attributes=_attributes(request, method),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            status, kind = 0, ""
            try:
                await app(request, response)
                status = response.status
            except BaseException as error:
                status = _status_of(error)
                if not isinstance(meant_by(error), (HTTPError, ClientDisconnected)):
                    span.record_exception(error)
                    kind = type(error).__qualname__
                raise
            finally:
                if status:
                    span.set_attribute("http.response.status_code", status)
                if status >= 500:
                    span.set_status(trace.StatusCode.ERROR)
                    kind = kind or str(status)
                if kind:
                    span.set_attribute("error.type", kind)


def _attributes(request: Request, method: str) -> dict[str, Any]:
    address = request.client_address
    found: dict[str, Any] = {
        "http.request.method": method,
        "url.path": request.path,
        "url.scheme": request.scheme,
        "network.protocol.version": request.version.rpartition("/")[2],
        "client.address": address if isinstance(address, str) else address[0],
    }
    if method == "_OTHER":
        found["http.request.method_original"] = request.method
    host, port = _host_and_port(request.host or "")
    optional = {
        "url.query": request.query_string,
        "server.address": host,
        "server.port": port,
        "user_agent.original": request.headers.get("User-Agent"),
    }
    return found | {name: value for name, value in optional.items() if value}


def _host_and_port(text: str) -> tuple[str, int | None]:
    """The parts of a Host field; an IPv6 address without its brackets."""
    host = without_port(text)
    port = text[len(host) + 1 :]
    return host.strip("[]"), int(port) if port.isdecimal() else None


def _status_of(error: BaseException) -> int:
    meant = meant_by(error)
    if isinstance(meant, HTTPError):
        return meant.status
    return 500 if isinstance(meant, Exception) and not isinstance(meant, ClientDisconnected) else 0


class _Getter:
    """Reads fields for propagators."""

    def get(self, carrier: Any, key: str) -> list[str] | None:
        """All values of a field."""
        found: list[str] | None = carrier.get_all(key)
        return found

    def keys(self, carrier: Any) -> list[str]:
        """All names."""
        names: list[str] = carrier.keys()
        return names


_GETTER: Any = _Getter()
