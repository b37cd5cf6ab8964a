"""What layers are made of: `layers` puts them around an App, `Layer` is their base, `on_head` adds fields to answers.

Owns what all layers have in common: an App with a layer can be handed to workers, passes the ``lifespan`` of the App
in it on, and lets the errors of the connection look like those of the App.
"""

import functools
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from ..asgi.host import hosted
from ..engine.encoder import ChangedHead, EncoderWrapper
from ..engine.error_body import ErrorBody
from ..engine.interfaces import App, Encoder, ResponseHead, ResponseWriter
from ..handlers.app import forward_attributes, resolve_app
from ..wire.headers import list_elements
from ..wire.request import Request
from ..wire.response import ResponseFields

__all__ = ["HeadHook", "Layer", "NamedLines", "add_vary", "layers", "missing", "named_lines", "on_head"]

# Called with the head of an answer and a copy of its fields, which it may change. Fields of framing are not its to set.
HeadHook = Callable[[ResponseHead, ResponseFields], None]

NamedLines = tuple[tuple[bytes, bytes], ...]  # field lines, each with b"\nname:" in lower case before it


def layers(app: App, *layers: Callable[[App], App]) -> App:
    """Put layers around an App, in the order in which a request meets them: the first one is the outermost.

    ::

        site = aiohttpd.layers(
            router,
            middleware.RequestID(),
            middleware.CORS(["https://example.com"]),
            middleware.RateLimit(100, per=60),
        )

    Args:
        app: a handler class, a `Router`, another App, or an ASGI application.
        layers: callables ``App -> App``; those of `aiohttpd.middleware`, `aiohttpd.compression.compress`, or your own.

    Returns:
        The App with all layers around it; ``app`` itself if there are none.

    Raises:
        TypeError: ``app`` is no App, or something among ``layers`` is no layer; the message says what to write.
    """
    app = hosted(app)
    resolve_app(app)
    layer: Any
    for layer in reversed(layers):
        if isinstance(layer, type) and issubclass(layer, Layer):
            raise TypeError(f"{layer.__name__} is a class of layers: write {layer.__name__}(...)")
        if not callable(layer):
            raise TypeError(f"{layer!r} is no layer: a layer is called with an App, and returns an App")
        around = layer(app)
        if not callable(around):
            raise TypeError(f"{layer!r} is no layer: called with an App, it returned {around!r}")
        app = around
    return app


class Layer:
    """Base class of layers. Derive from it, and override `serve`.

    ::

        class Quiet(Layer):
            async def serve(self, app, request, response):
                response.log = lambda status, size: None
                await app(request, response)

    An instance holds options. It is called with an App, and returns an App, which can be pickled if the layer and the
    App in it can; so workers can have it.

    Attributes:
        refusal_fields: header fields of the answers that the connection gives without the App: 400, 408, 431, 503.
        error_body: makes the content of these answers; None for that of the App.
    """

    refusal_fields: tuple[tuple[str, str], ...] = ()
    error_body: ErrorBody | None = None

    def __call__(self, app: App) -> App:
        return _LayeredApp(self, app)

    def prepare(self, app: App) -> App:
        """The callable that `serve` gets for an App; called once for each App that the layer is put around."""
        return resolve_app(app)

    def serve(self, app: App, request: Request, response: Any) -> Awaitable[None]:
        """Serve a request. A plain function that returns what ``app`` returns costs less than a coroutine function.

        Args:
            app: the App in the layer.
            request: the request.
            response: the response, a `StreamWriter`.
        """
        raise NotImplementedError(f"{type(self).__name__} does not override serve()")


class _LayeredApp:
    """An App with a layer around it."""

    def __init__(self, layer: Layer, app: App) -> None:
        app = hosted(app)
        self._given = layer, app
        self._serve = layer.serve
        self._inner = layer.prepare(app)
        forward_attributes(app, self)
        if layer.refusal_fields:
            inner: tuple[tuple[str, str], ...] = vars(self).get("refusal_fields", ())
            names = {name.lower() for name, _ in inner}
            self.refusal_fields = (*inner, *(field for field in layer.refusal_fields if field[0].lower() not in names))
        if layer.error_body is not None:
            self.error_body = layer.error_body

    def __reduce__(self) -> tuple[Any, ...]:
        return _LayeredApp, self._given

    def __call__(self, request: Request, response: Any) -> Awaitable[None]:
        return self._serve(self._inner, request, response)


# Fields of answers.


def on_head(response: ResponseWriter, hook: HeadHook) -> None:
    """Have a function change the fields of an answer, whoever gives it: the App, a layer in it, or the connection.

    Hooks of several layers share one encoder; those of inner layers are called first.
    """
    encoder = response.encoder
    if type(encoder) is _HeadEncoder:
        encoder.hooks.append(hook)
    else:
        response.encode_with(_HeadEncoder(encoder, hook))


def named_lines(pairs: Iterable[tuple[str, str]]) -> NamedLines:
    """The field lines of names and values, for `missing`."""
    return tuple((f"\n{name.lower()}:".encode(), ResponseFields.of([(name, value)])[0]) for name, value in pairs)


def missing(fields: ResponseFields, lines: NamedLines) -> tuple[bytes, ...]:
    """Those of some field lines whose names are not among the fields of an answer."""
    text = b"\n" + b"".join(fields)
    return (_missing if len(text) <= _LONGEST_KNOWN else _missing.__wrapped__)(text, lines)


_LONGEST_KNOWN = 512  # bytes of fields that are remembered, since many answers have the same


@functools.lru_cache(256)
def _missing(text: bytes, lines: NamedLines) -> tuple[bytes, ...]:
    text = text.lower()
    return tuple(line for name, line in lines if name not in text)


def add_vary(fields: ResponseFields, *names: str) -> None:
    """Add names to Vary (RFC 9110 section 12.5.5), unless they or ``*`` are in it."""
    lines = [line for line in fields if line[:5].lower() == b"vary:"]
    whole = _vary_line(tuple(lines), names)
    if whole is not None:
        for line in lines:
            fields.remove(line)
        fields.append(whole)


@functools.lru_cache(256)
def _vary_line(lines: tuple[bytes, ...], names: tuple[str, ...]) -> bytes | None:
    """The line that takes the place of all of Vary; None if they stay."""
    values = [value for line in lines if (value := str(line[5:], "latin-1").strip())]
    known = {element.lower() for value in values for element in list_elements(value)}
    more = [name for name in names if name.lower() not in known]
    return f"Vary: {', '.join([*values, *more])}\r\n".encode("latin-1") if more and "*" not in known else None


class _HeadEncoder(EncoderWrapper):
    """Has functions change the fields of an answer. See `Encoder`."""

    def __init__(self, inner: Encoder, hook: HeadHook) -> None:
        super().__init__(inner)
        self.hooks = [hook]
        self._given: ResponseHead | None = None
        self._changed: ChangedHead
        self._has_framed = False

    def _change(self, head: ResponseHead) -> ChangedHead:
        fields = head.fields.copy()  # those of a handler may be shared
        changed = ChangedHead(head, fields, length=head.length, mirrors_get=head.head_mirrors_get)
        for hook in reversed(self.hooks):
            hook(changed, fields)
        self._given, self._changed = head, changed
        return changed

    def takes_early(self, head: ResponseHead) -> bool:
        return self.inner.takes_early(self._change(head))

    def whole(self, head: ResponseHead, parts: list[bytes], size: int) -> int:
        return self.inner.whole(self._changed if head is self._given else self._change(head), parts, size)

    def begin(self, head: ResponseHead, parts: list[bytes], size: int, *, push: bool) -> int:
        changed = self._changed if head is self._given else self._change(head)
        return self.inner.begin(changed, parts, size, push=push)

    def upgrade(self, head: ResponseHead) -> None:
        self.inner.upgrade(self._change(head))

    def framed(self, parts: list[bytes]) -> None:
        """Change the head that a handler of ``http.server`` has written itself."""
        if not self._has_framed and parts and parts[0].startswith(b"HTTP/1."):
            line, *fields = parts[0].splitlines(keepends=True)
            status = int(line[9:12])
            if status >= 200 or status == 101:
                self._has_framed = True
                lines = ResponseFields(fields[:-1])
                for hook in reversed(self.hooks):
                    hook(_FramedHead(status, lines), lines)  # type: ignore[arg-type]
                parts = [b"".join([line, *lines, b"\r\n"]), *parts[1:]]
        self.inner.framed(parts)


class _FramedHead:
    """What hooks are told of a head that is framed already."""

    def __init__(self, status: int, fields: ResponseFields) -> None:
        self.status = status
        self.fields = fields
