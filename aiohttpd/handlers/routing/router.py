"""Router: an App that passes each request to another App, chosen by path and, if routes name hosts, by host.

Owns the table of routes, and the responses of the router itself: 404, redirects to normalized paths, ``OPTIONS *``.

Paths are normalized:

- GET and HEAD for a path with an empty segment, ``.`` or ``..``, encoded or not, are redirected (308) to the path
  without it (RFC 3986 section 5.2.4). Other methods get 404.
- If a path has no route, but has one with a slash added or removed at its end, it is redirected (308) to that path.
- Percent-encoding is decoded once, after the path was split at slashes, so ``%2F`` does not separate segments. Some
  Apps would decode it as a slash: mounted Apps, Apps with ``{rest...}``, file servers, and Apps that are not handler
  classes. There such a path gets 404, unless the path with a real slash has the same route.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple
from urllib.parse import quote

from ...config.hosts import host_name, patterns_of
from ...engine.answer import PreparedResponse
from ...engine.apps import unwrap_partial
from ...engine.error_body import error_body_of
from ...engine.interfaces import App, Instant
from ...engine.response import StreamWriter
from ...errors import HTTPError
from ...wire.request import Request
from ..app import Lifespan, enter_lifespans, innermost, instant_of, lifespan_of, resolve_app
from ..base import BaseHTTPRequestHandler
from ..dispatch import allowed_methods
from ..files.paths import IN_SEGMENT, relative_folder
from .errors import ErrorHandler, ErrorHandlers, answer_error, guarded
from .functions import F, add_function, function_class, marked_methods, methods_of
from .pattern import CONVERTERS, Converter, End, Param, Pattern, split_path
from .tree import Found, Tree

__all__ = ["Route", "Router"]

_DOT_SEGMENTS = {"", ".", ".."}
# A path that each part of a server reads in the same way: nothing is encoded, hidden or empty.
_is_clear = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*+)++/?+(?:\?.*)?", re.DOTALL).fullmatch
_words = re.compile("[A-Z]+(?=[A-Z][a-z])|[A-Z][a-z0-9]*|[a-z0-9]+|[A-Z]+").findall


class Route(NamedTuple):
    """A route of a `Router`.

    Attributes:
        pattern: the pattern of its paths.
        given: the App, as it was given to the router.
        app: the function that is called for a request.
        names: the names for `Router.url`; several if functions for several methods have the same path.
    """

    pattern: Pattern
    given: Any
    app: App
    names: list[str]

    @property
    def name(self) -> str:
        """The first of the names; empty if there is none."""
        return self.names[0] if self.names else ""

    @property
    def methods(self) -> list[str]:
        """The HTTP methods of a handler class; an empty list for another App."""
        cls = _handler_class(innermost(self.given))
        return [] if cls is None else allowed_methods(cls)

    @property
    def by_segments(self) -> bool:
        """Whether the App uses parameters, not the path itself: a handler class that is not a file server."""
        cls = _handler_class(self.given)
        return cls is not None and not hasattr(cls, "translate_path")


class Router:
    """An App that passes each request to the App of its route.

    ::

        site = aiohttpd.Router({
            "/": Home,
            "/notes": Notes,                # do_GET lists, do_POST adds
            "/notes/{id:int}": Note,        # self.params["id"] is an int
            "/files/": functools.partial(aiohttpd.SimpleHTTPRequestHandler, directory="files"),
            "/api/": another_router,
            "example.org/": Landing,
        })

        @site.get("/ping")
        async def ping(self: aiohttpd.BaseHTTPRequestHandler) -> None:
            self.send_text("pong")

    A route that ends with a slash, except ``/`` itself, is a mount: the App gets all paths below it. In its requests
    the prefix is removed from the path, and is in ``self.request.root_path``. A route for one page whose path ends with
    a slash is written with ``{$}`` (``/notes/{$}``). ``{rest...}`` at the end matches any path. The most specific route
    is chosen, in whatever order routes are added. The method is checked after that, by the App.

    Args:
        table: Apps by the text of their routes. Handler classes of ``http.server`` and `functools.partial` objects are
            Apps, too.
        handler: the base class of handlers for functions, and of those that send the errors of the router itself.
        error_handlers: functions ``async def page(self, error)`` by status code or exception class; see
            `handle_errors`.
        converters: converters by name, in addition to ``str``, ``int`` and ``uuid``.
        connect: the App for CONNECT, whose target is not a path; without it CONNECT gets 501.
        lifespan: ``lifespan(server)``, an async context manager; those of the Apps are entered within it.

    Raises:
        TypeError: the table is no mapping, or a value of it is not an App.
        ValueError: a key is not a valid route, or two routes conflict; the message names both.
    """

    def __init__(
        self,
        table: Mapping[str, Callable[..., Any]] | None = None,
        *,
        handler: type[BaseHTTPRequestHandler] = BaseHTTPRequestHandler,
        error_handlers: Mapping[Any, ErrorHandler] | None = None,
        converters: Mapping[str, Converter] | None = None,
        connect: App | None = None,
        lifespan: Lifespan | None = None,
    ) -> None:
        self._options = {
            "handler": handler, "error_handlers": error_handlers, "converters": converters, "connect": connect,
            "lifespan": lifespan,
        }  # fmt: skip
        self._handler = handler
        self._pages = ErrorHandlers(error_handlers) if error_handlers else None
        self._converters = {**CONVERTERS, **(converters or {})}
        self._connect = None if connect is None else self._short(connect)
        self._lifespan = lifespan
        self._routes: list[Route] = []
        self._any_host: Tree[Route] = Tree()
        self._hosts: dict[str, Tree[Route]] = {}
        self._known: dict[str, App] = {}  # routes without parameters, by path; empty if there are routes with hosts
        self._instants: dict[str, Instant] = {}  # of mounts, by their paths; see `instant`
        self._prefixes: tuple[str, ...] = ()  # these paths
        self._functions: dict[str, type[BaseHTTPRequestHandler]] = {}
        self._included: list[type] = []
        self._calls: list[tuple[str, tuple[Any, ...]]] = []  # the calls that have made the table, for pickle
        if (error_body := error_body_of(handler)) is not None:
            self.error_body = error_body
        if table is not None and not isinstance(table, Mapping):
            raise TypeError(f"the table of a Router is a dictionary, {{'/path': App}}, not {type(table).__name__}")
        for path, app in (table or {}).items():
            self.add(path, app)

    def __reduce__(self) -> tuple[Any, ...]:  # pickled for workers as the calls that have made it
        return _rebuild, (self._options, self._calls)

    # The table.

    def add(self, path: str, app: Callable[..., Any], name: str | None = None) -> None:
        """Add a route.

        Args:
            path: the text of the route, as in the table.
            app: a handler class, a `Router`, or another App.
            name: the name for `url`; by default the name of the class in lower case, with underscores between words.

        Raises:
            TypeError: ``app`` is not an App.
            ValueError: ``path`` is not a valid route, or conflicts with another one.
        """
        pattern = Pattern.of(path, self._converters)
        try:
            short = self._short(app)
        except TypeError as error:
            raise TypeError(f"the route {path!r}: {error}{_hint(app, path)}") from None
        self._check_marked(path, app)
        self._insert(Route(pattern, app, short, _names(_name_of(app) if name is None else name)))
        self._calls.append(("add", (path, app, name)))
        if isinstance(app, type) and issubclass(app, BaseHTTPRequestHandler):
            self.include(app)

    def _check_marked(self, path: str, app: Any) -> None:
        """Check that no method with the decorator `route` is left out, since its class is in a layer or a partial."""
        cls = _handler_class(innermost(app))
        if cls is not None and cls is not app and cls not in self._included and any(marked_methods(cls)):
            raise ValueError(
                f"the route {path!r} is for this path only, but {cls.__name__} has methods with @route for others: put "
                f"the layers around a Router that has the class, or call include({cls.__name__}) before, if these "
                "methods need no layers"
            )

    def include(self, cls: type[BaseHTTPRequestHandler]) -> None:
        """Add the methods of a handler class that have the decorator `route`. `add` does so for its class."""
        if cls in self._included:
            return
        self._included.append(cls)
        self._calls.append(("include", (cls,)))
        for marked in marked_methods(cls):
            pattern = Pattern.of(marked.path, self._converters)
            self._insert(Route(pattern, marked.cls, self._short(marked.cls), marked.names))

    def route(self, methods: str | Iterable[str], path: str, *, name: str | None = None) -> Callable[[F], F]:
        """Decorate a function: it handles requests for a path. It gets the handler, as a ``do_GET`` does.

        An ``async def`` runs in the event loop, a plain ``def`` in a worker thread. A function for GET also handles
        HEAD.

        Args:
            methods: one HTTP method, or several.
            path: the text of the route. Functions for other methods can be added with the same text.
            name: the name for `url`, by default that of the function.

        Raises:
            TypeError: the path is no text; or the function cannot be called with one argument, the handler.
            ValueError: as for `add`; or a method is not valid, or has a function for this path already.
        """
        names = methods_of(methods)
        if not isinstance(path, str):
            raise TypeError(f"a route begins with its path, @site.get('/path'): {path!r} is no text")

        def decorate(function: F) -> F:
            self.add_function(names, path, function, name)
            return function

        return decorate

    def get(self, path: str, *, name: str | None = None) -> Callable[[F], F]:
        """Decorate a function: it handles GET and HEAD; see `route`."""
        return self.route("GET", path, name=name)

    def post(self, path: str, *, name: str | None = None) -> Callable[[F], F]:
        """Decorate a function: it handles POST; see `route`."""
        return self.route("POST", path, name=name)

    def put(self, path: str, *, name: str | None = None) -> Callable[[F], F]:
        """Decorate a function: it handles PUT; see `route`."""
        return self.route("PUT", path, name=name)

    def patch(self, path: str, *, name: str | None = None) -> Callable[[F], F]:
        """Decorate a function: it handles PATCH; see `route`."""
        return self.route("PATCH", path, name=name)

    def delete(self, path: str, *, name: str | None = None) -> Callable[[F], F]:
        """Decorate a function: it handles DELETE; see `route`."""
        return self.route("DELETE", path, name=name)

    def routes(self) -> Iterator[tuple[str, Route]]:
        """Yield all routes, also those of mounted routers, each with its text from the root of this router."""
        for route in self._routes:
            yield route.pattern.text, route
            mounted = innermost(route.given)
            if isinstance(mounted, Router) and route.pattern.end is End.MOUNT:
                for text, inner in mounted.routes():
                    yield _below(route.pattern.text, text), inner

    def add_function(
        self, methods: str | Iterable[str], path: str, function: Callable[[Any], Any], name: str | None = None
    ) -> None:
        """Add a function as a route. The arguments and errors are those of `route`."""
        methods = methods_of(methods)
        cls = self._functions.get(path)
        made = cls or function_class(path, self._handler, getattr(function, "__module__", __name__))
        add_function(made, path, methods, function)
        named = _names(getattr(function, "__name__", "") if name is None else name)
        if cls is None:
            self._insert(Route(Pattern.of(path, self._converters), made, made.serve, named))
            self._functions[path] = made
        else:
            next(route for route in self._routes if route.given is made).names.extend(named)
        self._calls.append(("add_function", (methods, path, function, name)))

    def _insert(self, route: Route) -> None:
        pattern = route.pattern
        if not pattern.host:
            self._any_host.add(pattern, route)
        else:
            self._hosts.setdefault(pattern.host, Tree()).add(pattern, route)
        self._routes.append(route)
        if self._hosts:
            self._known = {}
        elif (path := pattern.literal) is not None:
            self._known[path] = route.app

    def _short(self, app: Any) -> App:
        return resolve_app(app) if self._pages is None else guarded(app, self._handler)

    # Names.

    def url(self, name: str | type, /, **params: Any) -> str:
        """Return the percent-encoded path of a route, from its name and the values of its parameters.

        ::

            site.url("note", id=3)      # "/notes/3"

        If no route of this router has the name, those of mounted routers are searched, and the path has the prefix of
        the mount. A router does not know where it is mounted itself: that prefix is ``self.request.root_path``.

        Args:
            name: the name of the route, or its handler class.
            params: the values of all parameters of the route, by name.

        Raises:
            LookupError: no route has this name, or several have.
            ValueError: a parameter is missing or unknown, or its converter does not accept the value.
        """
        found = self._named(name)
        if not found:
            raise LookupError(f"no route has the name {name!r}")
        if len(found) > 1:
            texts = ", ".join(repr(pattern.text) for *_, pattern in found)
            raise LookupError(f"several routes have the name {name!r}: {texts}; give them others by add(..., name=...)")
        patterns = found[0]
        names = [param for pattern in patterns for param in pattern.names]
        if wrong := set(names) ^ params.keys():
            raise ValueError(
                f"the route {name!r} has the parameters {names}: missing or unknown: {', '.join(sorted(wrong))}"
            )
        before = "".join(_written(pattern, params).removesuffix("/") for pattern in patterns[:-1])
        return before + _written(patterns[-1], params)

    def _named(self, name: str | type) -> list[tuple[Pattern, ...]]:
        """Find routes by name. Each is a tuple of patterns: those of its mounts, outermost first, then its own."""
        own: list[tuple[Pattern, ...]] = [
            (route.pattern,) for route in self._routes if name in route.names or innermost(route.given) is name
        ]
        return own or [
            (route.pattern, *patterns)
            for route in self._routes
            if isinstance(mounted := innermost(route.given), Router)
            for patterns in mounted._named(name)
        ]

    # A request.

    def __call__(self, request: Request, response: StreamWriter) -> Awaitable[None]:
        """Pass a request to the App of its route."""
        if self._pages is not None:
            request.error_pages = self._pages.within(request.error_pages)
        app = self._known.get(request.target)
        return self._choose(request, response) if app is None else app(request, response)

    def _choose(self, request: Request, response: StreamWriter) -> Awaitable[None]:
        if request.method == "CONNECT":
            error = HTTPError(501, None, "this server opens no tunnels")
            return self._refuse(request, response, error) if self._connect is None else self._connect(request, response)
        path = request.path
        if path in self._known:
            return self._known[path](request, response)
        if path == "*":
            return _answer(response, 204, ("Allow", ", ".join(self._all_methods())))
        segments = split_path(path)
        if not _DOT_SEGMENTS.isdisjoint(segments[:-1]) or segments[-1] in (".", ".."):
            return self._clean(request, response, segments)
        trees = self._trees(request)
        found = _first(trees, segments)
        if found is None:
            return self._other_slash(request, response, trees, segments)
        if "%" in path and not _is_unambiguous(found, trees, segments):
            return self._refuse(request, response, HTTPError(404))
        return self._dispatch(request, response, found, segments)

    def _trees(self, request: Request) -> list[Tree[Route]]:
        """The trees of the host and of its wildcards, the most specific first, then the tree for any host."""
        if not self._hosts:
            return [self._any_host]
        matching = patterns_of(host_name(request.host or ""))
        return [*(self._hosts[pattern] for pattern in matching if pattern in self._hosts), self._any_host]

    def _dispatch(
        self, request: Request, response: StreamWriter, found: Found[Route], segments: list[str]
    ) -> Awaitable[None]:
        pattern = found.pattern
        if found.values or pattern.rest:
            params = dict(zip(pattern.names, found.values, strict=False))
            if pattern.rest:
                params[pattern.rest] = "/".join(segments[found.used :])
            request.known_params = {**(request.known_params or {}), **params}
        if pattern.end is End.MOUNT:
            prefix = request.path.split("/", found.used + 1)[: found.used + 1]
            request = request.mounted("/".join(prefix))
        return found.route.app(request, response)

    # Prepared responses of Apps in it.

    @property
    def has_instant(self) -> bool:
        """Whether there are mounted Apps that have prepared responses, a file server say; looks for them."""
        mounts = {
            route.pattern.text: instant_of(route.given)
            for route in self._routes
            if route.pattern.end is End.MOUNT and _is_clear(route.pattern.text)
        }
        self._instants = {path: instant for path, instant in mounts.items() if instant is not None}
        self._prefixes = tuple(self._instants)
        return bool(self._instants) and not self._hosts

    def instant(self, request: Request) -> PreparedResponse | None:
        """The prepared response of a mounted App for a path whose spelling is clear; see `PreparedResponse`."""
        target = request.target
        if not target.startswith(self._prefixes) or self._hosts or not _is_clear(target):
            return None
        found = self._any_host.find(target.partition("?")[0].split("/")[1:])
        instant = None if found is None else self._instants.get(found.pattern.text)
        return None if found is None or instant is None else instant(request.mounted(found.pattern.text[:-1]))

    # Responses of the router itself.

    def _refuse(self, request: Request, response: StreamWriter, error: HTTPError) -> Awaitable[None]:
        return answer_error(self._handler, request, response, error)

    def _clean(self, request: Request, response: StreamWriter, segments: list[str]) -> Awaitable[None]:
        """Redirect to the path without empty segments and dots, RFC 3986 section 5.2.4."""
        if request.method not in ("GET", "HEAD"):
            return self._refuse(request, response, HTTPError(404, None, "a path has no empty segment, '.' or '..'"))
        names: list[str] = []
        for segment in segments:
            if segment == "..":
                del names[-1:]
            elif segment not in _DOT_SEGMENTS:
                names.append(segment)
        if segments[-1] in _DOT_SEGMENTS and names:
            names.append("")
        return _redirect(request, response, request.root_path + "/" + "/".join(map(_encoded, names)))

    def _other_slash(
        self, request: Request, response: StreamWriter, trees: list[Tree[Route]], segments: list[str]
    ) -> Awaitable[None]:
        """Redirect to the path with a slash added or removed at its end, if it has a route; else send 404."""
        with_slash = segments[-1] == ""
        other = segments[:-1] if with_slash else [*segments, ""]
        if not other or _first(trees, other) is None:
            return self._refuse(request, response, HTTPError(404))
        # The redirect is relative, since a proxy may have removed a prefix of the path.
        folder = relative_folder(request.path.removesuffix("/"))
        return _redirect(
            request, response, "../" + folder.removeprefix("./").removesuffix("/") if with_slash else folder
        )

    def _all_methods(self) -> list[str]:
        """The methods of any route, for ``OPTIONS *``."""
        names = dict.fromkeys(name for _, route in self.routes() for name in route.methods)
        return list(names | {"OPTIONS": None})

    # The lifespan.

    @property
    def has_lifespan(self) -> bool:
        """Whether there is anything to enter: a lifespan of its own, or of an App in it."""
        return next(self._lives(), None) is not None

    def lifespan(self, server: Any) -> AbstractAsyncContextManager[None]:
        """The lifespan of the router: its own, and within it those of the Apps of its routes, each once."""
        lifespans: list[Lifespan] = []
        for life in self._lives():
            if life not in lifespans:
                lifespans.append(life)
        return enter_lifespans(lifespans, server)

    def _lives(self) -> Iterator[Lifespan]:
        if self._lifespan is not None:
            yield self._lifespan
        for route in self._routes:
            if isinstance(route.given, Router):
                yield from route.given._lives()
            elif (life := lifespan_of(route.given)) is not None:
                yield life


def _handler_class(given: Any) -> type[BaseHTTPRequestHandler] | None:
    cls = unwrap_partial(given)
    return cls if isinstance(cls, type) and issubclass(cls, BaseHTTPRequestHandler) else None


def _rebuild(options: dict[str, Any], steps: list[tuple[str, tuple[Any, ...]]]) -> Router:
    router = Router(**options)
    for name, arguments in steps:
        getattr(router, name)(*arguments)
    return router


def _first(trees: Iterable[Tree[Route]], segments: list[str]) -> Found[Route] | None:
    for tree in trees:
        found = tree.find(segments)
        if found is not None:
            return found
    return None


def _is_unambiguous(found: Found[Route], trees: list[Tree[Route]], segments: list[str]) -> bool:
    """Whether the route stays the same if the App decodes ``%2F`` as a slash. If not, the request gets 404."""
    start = found.used if found.pattern.end.is_open else len(segments) if found.route.by_segments else 0
    rest = segments[start:]
    if not any("/" in segment for segment in rest):
        return found.pattern.rest == "" or all(map(_is_text, rest))
    if isinstance(found.route.given, Router):
        return True  # a router splits the path before it decodes, too
    flat = [*segments[:start], *"/".join(rest).split("/")]
    if not _DOT_SEGMENTS.isdisjoint(flat[:-1]) or flat[-1] in (".", ".."):
        return False
    other = _first(trees, flat)
    return other is not None and other.route is found.route


def _is_text(segment: str) -> bool:
    return segment.isascii() or segment.encode("utf-8", "ignore").decode() == segment


async def _answer(response: StreamWriter, status: int, *fields: tuple[str, str]) -> None:
    response.head_mirrors_get = True
    response.send_head(status, fields)


def _redirect(request: Request, response: StreamWriter, location: str) -> Awaitable[None]:
    query = request.query_string
    return _answer(response, 308, ("Location", f"{location}?{query}" if query else location))


def _encoded(segment: str) -> str:
    return quote(segment.encode("utf-8", "surrogateescape"), safe=IN_SEGMENT)


def _written(pattern: Pattern, params: Mapping[str, Any]) -> str:
    """Return the path of a pattern with values for its parameters."""
    texts = [part if isinstance(part, str) else _value(part, params[part.name]) for part in pattern.segments]
    if pattern.rest:
        rest = str(params[pattern.rest])
        parts = rest.split("/")
        if not _DOT_SEGMENTS.isdisjoint(parts[:-1]) or parts[-1] in (".", "..") or not _is_text(rest):
            raise ValueError(f"the parameter {pattern.rest!r}: {rest!r} is no path without '.', '..' and '//'")
        texts += parts
    elif pattern.end is not End.NOTHING:
        texts.append("")
    return "/" + "/".join(map(_encoded, texts)) if pattern.segments or pattern.rest else "/"


def _value(part: Param, value: Any) -> str:
    try:
        text = part.converter.write(value)
    except ValueError as error:
        raise ValueError(f"the parameter {part.name!r} ({part.kind}): {error}") from None
    if text in _DOT_SEGMENTS:
        raise ValueError(f"the parameter {part.name!r}: {text!r} is no segment of a path")
    return text


def _below(prefix: str, text: str) -> str:
    """Return the text of a route of a mounted router, with the prefix of the mount."""
    host, _, path = text.partition("/")
    return f"{prefix}{path}" if not prefix.startswith("/") else f"{host}{prefix}{path}"


def _names(name: str) -> list[str]:
    return [name] if name else []


def _name_of(app: Any) -> str:
    """Return the name of a class in lower case, with underscores between words; else that of the function."""
    given = unwrap_partial(innermost(app))
    if isinstance(given, type):
        return "_".join(_words(given.__name__)).lower()
    return getattr(given, "__name__", "")


def _hint(app: Any, path: str) -> str:
    """Return a hint for the error message if the value is a function of one argument; else an empty text."""
    code = getattr(app, "__code__", None)
    if code is None or code.co_argcount != 1:
        return ""
    return f". A function that takes the handler is a route by router.get({path!r})"
