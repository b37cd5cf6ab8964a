"""Targets: how an App is imported by the name ``module:Handler`` or ``path/to/file.py:Handler``.

Owns the errors when it is not found. If the imported code raises an exception, its traceback begins at the first frame
of that code.
"""

import asyncio
import contextlib
import functools
import importlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from types import ModuleType, TracebackType
from typing import Any, Literal, NamedTuple

from ..asgi.host import host
from ..asgi.lifespan import Mode
from ..config.fields import nearest
from ..engine.apps import LooksLikeFactory, LooksLikeWSGI, is_asgi
from ..engine.interfaces import App
from ..fileserver.folder import parse_header
from ..handlers.app import Lifespan, handlers_in, resolve_app

__all__ = [
    "Loading",
    "NamedLifespan",
    "TargetError",
    "TargetFailed",
    "frames_of_user",
    "is_importing",
    "load_target",
    "target_app",
]


class TargetError(Exception):
    """A module, file or attribute does not exist, or is not an App. The text says which, in one line."""


class TargetFailed(Exception):
    """The imported code has raised an exception.

    Attributes:
        error: that exception, with a traceback that begins at the first frame of the imported code.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error.with_traceback(frames_of_user(error.__traceback__))


_PACKAGE = os.path.dirname(os.path.dirname(__file__))
_MACHINERY = (
    *(os.path.join(os.path.dirname(str(module.__file__)), "") for module in (importlib, asyncio)),
    *(os.path.join(_PACKAGE, folder, "") for folder in ("asgi", "handlers", "runner", "server")),
    contextlib.__file__, "<frozen importlib", "uvloop",
)  # fmt: skip


def frames_of_user(traceback: TracebackType | None) -> TracebackType | None:
    """A traceback without its first frames: those of aiohttpd, of asyncio, and of Python's imports.

    Returns:
        What is left; None if no other code has run.
    """
    while traceback is not None and traceback.tb_frame.f_code.co_filename.startswith(_MACHINERY):
        traceback = traceback.tb_next
    return traceback


class Loading(NamedTuple):
    """How an App is made of what a target names.

    Attributes:
        interface: ``handler``, ``asgi`` or ``wsgi``; ``auto`` looks which of the first two it is.
        factory: it is called without arguments, and gives it.
        app_dir: the folder from which modules are imported first, by default the current one.
        lifespan: of an ASGI application, see `aiohttpd.asgi.host`.
    """

    interface: Literal["auto", "handler", "asgi", "wsgi"] = "auto"
    factory: bool = False
    app_dir: str = ""
    lifespan: Mode = "auto"


_USUAL = Loading()
_importing: ContextVar[bool] = ContextVar("_importing", default=False)

_servable = re.compile(
    r"^class (\w+)\(.*Handler|^(\w+) *(?::.*)?= *[\w.]*(?:Router|FastAPI|Starlette|Flask|layers)\(", re.MULTILINE
)


def is_importing() -> bool:
    """Whether this is called by a module while it is imported as a target."""
    return _importing.get()


def load_target(target: str, how: Loading = _USUAL) -> App:
    """Import an App.

    The current folder is added to ``sys.path``; for a file also its folder.

    Args:
        target: ``module:attribute`` or ``file.py:attribute``; the attribute may have dots.
        how: what the attribute is.

    Raises:
        TargetError: the target does not exist, or is not an App.
        TargetFailed: the imported code has raised an exception.
    """
    thing = _find(target, how.app_dir)
    if how.factory:
        thing = _call(target, thing)
    try:
        return _app_of(thing, how)
    except TypeError as error:
        text = str(error)
        raise TargetError(text if text.startswith(f"{target} is no ") else f"{target}: {text}") from None


def _app_of(thing: Any, how: Loading) -> App:
    """Make an App of what a target names.

    Raises:
        TypeError: it is none.
    """
    if how.interface == "wsgi":
        from ..handlers.wsgi import wsgi

        return wsgi(thing)
    if how.interface == "asgi" or (how.interface == "auto" and is_asgi(thing)):
        return host(thing, lifespan=how.lifespan)
    resolve_app(thing)
    return thing  # type: ignore[no-any-return]


def _call(target: str, factory: Any) -> Any:
    """Have a factory make the application."""
    if not callable(factory):
        raise TargetError(f"{target} is no factory: {factory!r} cannot be called")
    if not _takes(factory):
        raise TargetError(f"{target} is no factory: it has to be called without arguments")
    try:
        return factory()
    except SystemExit as end:
        raise TargetError(f"{target} has ended the program: {_exit_of(end)}") from None
    except Exception as error:
        raise TargetFailed(error) from error


class NamedLifespan:
    """A lifespan by its name; it can be handed to workers, which import it.

    Args:
        name: ``module:name`` or ``file.py:name``.
        app_dir: as `Loading` has it.
    """

    def __init__(self, name: str, app_dir: str = "") -> None:
        self._given = name, app_dir

    def load(self) -> Lifespan:
        """Import it.

        Raises:
            TargetError: there is no such thing, or it cannot be called with the server.
            TargetFailed: the module raises.
        """
        name = self._given[0]
        if not _is_named(name):
            raise TargetError(f"--lifespan {name!r}: write auto, on, off, module:name or path/to/file.py:name")
        found = _find(*self._given)
        if not callable(found):
            raise TargetError(f"{name} is no lifespan: {found!r} cannot be called")
        if not _takes(found, None):
            raise TargetError(f"{name} is no lifespan: it has to take the server as its only argument")
        return found  # type: ignore[no-any-return]

    def __call__(self, server: Any) -> AbstractAsyncContextManager[Any]:
        """Import it, and call it."""
        return self.load()(server)


def _takes(function: Callable[..., Any], *arguments: Any) -> bool:
    """Whether a function can be called with these arguments; True if it does not tell."""
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # some functions in C
        return True
    return True


def _is_named(target: str) -> bool:
    """Whether a text is ``module:name`` or ``file.py:name``."""
    place, _, attribute = target.rpartition(":")
    names = attribute.split(".") if place.endswith(".py") else [*place.split("."), *attribute.split(".")]
    return bool(place) and all(name.isidentifier() for name in names)


def _find(target: str, app_dir: str) -> Any:
    """Import a module, and take an attribute of it."""
    place, colon, attribute = target.rpartition(":")
    if colon and attribute.isdigit():
        raise TargetError(f"{target!r} is an address and not a handler: use host and port, or bind")
    if not _is_named(target):
        raise TargetError(_explained(target))
    token = _importing.set(True)
    try:
        module = _load_file(place) if place.endswith(".py") else _load_module(place, app_dir)
    finally:
        _importing.reset(token)
    found: Any = module
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise TargetError(f"{place} has no {attribute!r}{_hint(module, attribute)}") from None
    return found


def target_app(
    target: str,
    auth: str | None,
    how: Loading = _USUAL,
    *,
    headers: Iterable[str] = (),
    cors: str | None = None,
    compress: bool = False,
) -> App:
    """Import an App, and put the layers around it that the options of the command stand for.

    Args:
        target: as for `load_target`, whose exceptions are raised.
        auth: ``name:password``; None for no protection.
        how: as for `load_target`.
        headers: ``Name: value`` for each answer.
        cors: the origin of pages that may read the answers, ``*`` for any.
        compress: compress responses of text.

    Raises:
        ValueError: an option is malformed; the message names it as the command line does.
    """
    layers = list(_layers(headers, cors, auth, compress=compress))
    place, colon, port = target.rpartition(":")
    if colon and port.isdigit():
        option = f"--bind {target.rpartition('//')[2]}" if place else f"--port {port}"
        raise TargetError(f"{target!r} is an address and not a handler; to listen on it write {option}")
    try:
        app = load_target(target, how)
    except TargetError as error:
        if isinstance(error.__context__, LooksLikeWSGI):
            raise TargetError(f"{target} looks like a WSGI application (environ, start_response): add --wsgi") from None
        if isinstance(error.__context__, LooksLikeFactory) and not how.factory:
            raise TargetError(f"{error}; if it makes the application, add --factory") from None
        raise
    for layer in reversed(layers):
        app = layer(app)
    return app


def _layers(
    headers: Iterable[str], cors: str | None, auth: str | None, *, compress: bool
) -> Iterator[Callable[[App], App]]:
    """The layers of options, from the outermost. Each is imported where it is used."""
    if fields := tuple(map(parse_header, headers)):
        from ..middleware.security_headers import ResponseHeaders

        yield ResponseHeaders(fields)
    if cors is not None:
        from ..middleware.cors import CORS

        try:
            yield CORS(cors)
        except ValueError as error:
            raise ValueError(f"--cors {cors!r}: {error}") from None
    if auth is not None:
        from ..middleware.auth import basic_auth

        yield functools.partial(basic_auth, credentials=auth)
    if compress:
        from ..compression import compress as compressing

        yield compressing


def _load_module(name: str, app_dir: str) -> ModuleType:
    if app_dir:
        if not os.path.isdir(app_dir):
            raise TargetError(f"--app-dir {app_dir}: no such folder")
        if app_dir not in sys.path:
            sys.path.insert(0, app_dir)
    elif "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise TargetFailed(error) from error  # the target exists, but imports a module that does not
        raise TargetError(f"no module named {error.name!r}{_near_module(error.name, app_dir)}") from None
    except SystemExit as end:
        raise _ended(name, end) from None
    except Exception as error:
        raise TargetFailed(error) from error


def _load_file(path: str) -> ModuleType:
    if not os.path.isfile(path):
        raise TargetError(f"no such file: {path}{_near_path(path)}")
    folder, file = os.path.split(os.path.abspath(path))
    if folder not in sys.path:
        sys.path.insert(0, folder)
    name = file.removesuffix(".py")
    # The name may be that of another module (a handler in "http.py"), so it is not looked up in sys.modules.
    spec = importlib.util.spec_from_file_location(name, os.path.join(folder, file))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    if name not in sys.modules:
        sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except SystemExit as end:
        raise _ended(path, end) from None
    except Exception as error:
        raise TargetFailed(error) from error
    return module


def _ended(name: str, end: SystemExit) -> TargetError:
    """The error for a module that calls sys.exit() while it is imported."""
    return TargetError(f"{name} calls {_exit_of(end)} when it is imported: put that below if __name__ == '__main__':")


def _exit_of(end: SystemExit) -> str:
    return f"sys.exit({'' if end.code is None else repr(end.code)})"


def _explained(target: str) -> str:
    """The error for a target that is no folder and not written as ``module:name``."""
    place, colon, attribute = target.rpartition(":")
    module = place or target
    source = next((name for name in (module, f"{module}.py") if _is_python(name)), None)
    if source is not None:
        if attribute.endswith("()") and attribute[:-2].isidentifier():  # as gunicorn has it
            return f"{target!r} names no handler in a module: write '{target[:-2]}' --factory"
        name = attribute if place and attribute.isidentifier() else _handler_in(source)
        write = f"{source if '/' in source else module}:{name}"
        return f"{target!r} names no handler in a module: write {write!r}"
    before, _, name = target.rpartition(".")
    if name.isidentifier() and _is_python(f"{before.replace('.', '/')}.py"):
        return f"{target!r} names no handler in a module: write '{before}:{name}'"
    if os.path.isfile(target):
        folder = os.path.dirname(target) or "."
        return f"{target!r} is neither a folder nor a handler: it is a file, and is served with its folder: {folder}"
    if colon and "/" not in target:
        return f"{target!r} is no handler: write 'module:Handler' or 'path/to/file.py:Handler'"
    return (
        f"no such folder or handler: {target}{_near_path(target)} "
        "(a handler or an application is written as 'module:name' or 'path/to/file.py:name')"
    )


def _is_python(path: str) -> bool:
    return path.endswith(".py") and os.path.isfile(path)


def _handler_in(source: str) -> str:
    """The name of what a file probably wants to have served; it is not imported."""
    with open(source, errors="replace") as file:
        found = _servable.search(file.read())
    return "Handler" if found is None else found[1] or found[2]


def _hint(module: ModuleType, attribute: str) -> str:
    near = _nearest(attribute, (name for name in vars(module) if not name.startswith("_")))
    handlers = handlers_in(module)
    return near or (f"; it has {', '.join(handlers)}" if handlers else "")


def _near_module(name: str, app_dir: str) -> str:
    if os.path.isfile(f"{name}.py"):
        return f"; did you mean '{name}.py:...'?"
    package, _, last = name.rpartition(".")
    return _nearest(last, (entry.removesuffix(".py") for entry in _entries(os.path.join(app_dir, *package.split(".")))))


def _near_path(path: str) -> str:
    folder, name = os.path.split(path.rstrip("/"))
    return _nearest(name, _entries(folder))


def _entries(folder: str) -> list[str]:
    with contextlib.suppress(OSError):
        return os.listdir(folder or ".")
    return []


def _nearest(name: str, names: Iterable[str]) -> str:
    """A question whether another name was meant; empty if none is like it."""
    near = nearest(name, [other for other in names if other != name], 0.7)
    return f"; did you mean {near!r}?" if near else ""
