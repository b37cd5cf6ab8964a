"""Checks whether an object can be an App, with errors that say what it looks like instead.

They are made once, when a server is made. An object passes if it cannot be known for certain that it is no App. Nothing
of the object is called.
"""

import functools
import inspect
import sys
from collections.abc import Mapping
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

from ..errors import shortened

__all__ = [
    "LooksLikeFactory",
    "LooksLikeWSGI",
    "check_asgi",
    "check_callable",
    "check_factory",
    "check_init",
    "check_wsgi",
    "describe",
    "explain_class",
    "explain_value",
    "is_asgi",
    "unwrap_partial",
]

_APP = "a handler class, or 'async def app(request, response)'"
_ASGI_NAMES = ["scope", "receive", "send"]
_ASGI2 = (
    "it looks like an ASGI 2 application (scope), and those are not served: "
    "asgiref.compatibility.guarantee_single_callable(it) makes one of ASGI 3 of it"
)
_SHOWN = 60  # characters of a value in a message
_PLAIN = ("RETURN_CONST", "LOAD_CONST", "LOAD_COMMON_CONSTANT", "LOAD_SMALL_INT", "BUILD_")  # prefixes of opcodes


class LooksLikeWSGI(TypeError):
    """The object is no App, but a WSGI application (PEP 3333)."""


class LooksLikeFactory(TypeError):
    """The object is a function without parameters. Perhaps it makes an application."""


class _Call(NamedTuple):
    """The function that runs when an object is called.

    Attributes:
        function: the function.
        args: arguments before those of the caller: an instance, and those of a ``functools.partial``.
        keywords: keyword arguments of a ``functools.partial``.
    """

    function: FunctionType
    args: tuple[Any, ...]
    keywords: Mapping[str, Any]

    @property
    def names(self) -> list[str]:
        """The parameters that are left for the caller."""
        code = self.function.__code__
        names = code.co_varnames[len(self.args) : code.co_argcount]
        return [name for name in names if name not in self.keywords]

    @property
    def asynchronous(self) -> bool:
        return inspect.iscoroutinefunction(self.function)

    @property
    def is_plain(self) -> bool:
        """Whether it certainly returns nothing that can be awaited."""
        return not self.asynchronous and _returns_plain(self.function.__code__)

    def takes(self, count: int) -> bool:
        """Whether it can be called with a number of arguments."""
        return not self.why_not(count)

    def why_not(self, count: int) -> str:
        """Why it cannot be called with a number of arguments; empty if it can."""
        # A copy, since inspect prefers __wrapped__ and __signature__, which a decorator may have set.
        it: Any = self.function
        copy = FunctionType(it.__code__, it.__globals__, it.__name__, it.__defaults__, it.__closure__)
        copy.__kwdefaults__ = it.__kwdefaults__
        try:
            inspect.signature(copy).bind(*self.args, *[None] * count, **self.keywords)
        except TypeError as error:
            return str(error)
        return ""


def check_callable(app: Any) -> None:
    """Refuse a callable object that cannot be an App.

    Raises:
        TypeError: it is none; the text says what it looks like, and what to do.
    """
    call = _call_of(app)
    if call is None:
        return
    what, names = describe(app), call.names
    if names == ["scope"]:
        raise TypeError(f"{what} is no App: {_ASGI2}")
    if _is_asgi(call):
        raise TypeError(
            f"{what} is no App: it looks like an ASGI application (scope, receive, send): give aiohttpd.asgi.host(it)"
        )
    if not call.asynchronous and _is_wsgi(names):
        raise LooksLikeWSGI(
            f"{what} is no App: it looks like a WSGI application (environ, start_response): give aiohttpd.wsgi(it)"
        )
    if not call.takes(2):
        if call.takes(3):
            raise TypeError(
                f"{what} is no App: it takes three arguments, as what makes a handler of http.server: "
                "give aiohttpd.blocking(it)"
            )
        error = LooksLikeFactory if _is_factory(app, call) else TypeError
        raise error(f"{what} is no App: it cannot be called with (request, response). An App is {_APP}")
    if inspect.isgeneratorfunction(call.function) or inspect.isasyncgenfunction(call.function):
        raise TypeError(f"{what} is no App: it yields, which nobody waits for; write to the response. An App is {_APP}")
    if call.is_plain:
        raise TypeError(
            f"{what} is no App: it is a plain function. Write 'async def', or, for code that blocks, "
            "a handler class with 'def do_GET(self)', which runs in a thread"
        )


def explain_class(cls: type) -> str:
    """The error for a class that is not a handler class."""
    what = cls.__qualname__
    servers: Any = sys.modules.get("socketserver")
    if servers is not None and issubclass(cls, servers.BaseServer):
        return f"{what} is no handler class but a server class: give the handler class that it is made with"
    init = vars(cls).get("__init__")
    if isinstance(init, FunctionType) and _is_wsgi(list(init.__code__.co_varnames[1:3])):
        return f"{what} is no handler class: it looks like a WSGI application: give aiohttpd.wsgi({what})"
    if isinstance(vars(cls).get("__call__"), FunctionType):
        return f"{what} is no handler class: its instances can be called, so give one of them: {what}(...)"
    return f"{what} is no handler class: derive it from aiohttpd.BaseHTTPRequestHandler"


def explain_value(app: Any, *, handlers: list[str], makes_handlers: bool) -> str:
    """The error for an object that cannot be called.

    Args:
        app: the object.
        handlers: the names of handler classes in it, if it is a module.
        makes_handlers: whether its class is a handler class.
    """
    if isinstance(app, ModuleType):
        more = f": give what is in it, {app.__name__}.{handlers[0]}" if handlers else ", and has no handler class in it"
        return f"{app.__name__} is no App: it is a module{more}"
    if inspect.isawaitable(app) and (makes_handlers or inspect.iscoroutine(app)):
        if inspect.iscoroutine(app):
            app.close()  # else there would be a warning that it was never awaited
            return f"{app.__qualname__}() is no App: it has been called already; give the function itself"
        name = type(app).__qualname__
        return f"an instance of {name} is no App: give the class, {name}"
    text = f"{_short(app)} is no App: {_APP}"
    return f"{text}; run() and the command import what a text names, 'module:name'" if isinstance(app, str) else text


def is_asgi(app: Any) -> bool:
    """Whether something is an ASGI 3 application, as far as can be told: what it is called with has the names for it.

    A coroutine function of three arguments is one by any names, and so is a class that is awaited once it is made.
    """
    call = _call_of(app)
    if call is None and isinstance(app, type):
        init = vars(app).get("__init__")
        return hasattr(app, "__await__") and isinstance(init, FunctionType) and _names(init)[1:4] == _ASGI_NAMES
    if call is None and isinstance(own := getattr(app, "__call__", None), MethodType):  # noqa: B004
        call = _call_of(own)  # one that each instance has for itself
    return call is not None and _is_asgi(call)


def check_asgi(application: Any, *, makes_handlers: bool) -> None:
    """Refuse what is certainly no ASGI 3 application.

    Args:
        application: what has been given for one.
        makes_handlers: whether it is a handler class.

    Raises:
        TypeError: that is so.
    """
    if not callable(application):
        raise TypeError(f"{_short(application)} is no ASGI application: it takes (scope, receive, send)")
    if makes_handlers:
        raise TypeError(f"{describe(application)} is no ASGI application but a handler class: it is an App as it is")
    call = _call_of(application)
    if call is None:
        return
    what = describe(application)
    if call.names == ["scope"]:
        raise TypeError(f"{what} is no ASGI 3 application: {_ASGI2}")
    if _is_wsgi(call.names) and not call.asynchronous:
        raise LooksLikeWSGI(f"{what} is no ASGI application: it looks like one of WSGI: give aiohttpd.wsgi(it)")
    if not call.takes(3):
        error = LooksLikeFactory if _is_factory(application, call) else TypeError
        raise error(f"{what} is no ASGI application: it cannot be called with (scope, receive, send)")


def check_wsgi(application: Any, *, makes_handlers: bool) -> None:
    """Refuse an object that is certainly not a WSGI application.

    Raises:
        TypeError: it is none; the text says why.
    """
    if not callable(application):
        raise TypeError(f"{_short(application)} is no WSGI application: it takes (environ, start_response)")
    if makes_handlers:
        raise TypeError(f"{describe(application)} is no WSGI application but a handler class: it is an App as it is")
    call = _call_of(application)
    if call is not None and call.asynchronous:
        raise TypeError(f"{describe(application)} is no WSGI application: it is asynchronous")
    if call is not None and not call.takes(2):
        error = LooksLikeFactory if _is_factory(application, call) else TypeError
        raise error(
            f"{describe(application)} is no WSGI application: it cannot be called with (environ, start_response)"
        )


def check_factory(factory: Any, *, makes_handlers: bool) -> None:
    """Refuse an object that certainly makes no handlers of http.server.

    Raises:
        TypeError: it makes none.
    """
    call = _call_of(factory)
    if not callable(factory) or makes_handlers or (call is not None and (call.asynchronous or not call.takes(3))):
        raise TypeError(
            f"{describe(factory)} makes no handlers of http.server: it is called with (request, client_address, server)"
        )


def unwrap_partial(app: Any) -> Any:
    """What a ``functools.partial`` calls in the end; anything else as it is."""
    while isinstance(app, functools.partial):
        app = app.func
    return app


def check_init(factory: Any, *arguments: str) -> None:
    """Refuse a handler class, or a ``functools.partial`` of one, that cannot be made with the arguments it will get.

    Args:
        factory: anything else passes.
        arguments: their names.

    Raises:
        TypeError: that is so; the text says why, and how further arguments are given.
    """
    init = _init_of(factory)
    if init is not None and (why := init.why_not(len(arguments))):
        name = init.function.__qualname__
        raise TypeError(
            f"{name}() cannot be called with ({', '.join(arguments)}): {why}. Write 'def __init__(self, *args, "
            "**kwargs)' and 'super().__init__(*args, **kwargs)'; arguments of your own are given by "
            f"functools.partial({name.split('.')[-2]}, name=value)"
        )


def describe(thing: Any) -> str:
    """The name of an object in a message."""
    name = getattr(thing, "__qualname__", None)
    if isinstance(thing, type) or (isinstance(name, str) and not isinstance(thing, (FunctionType, MethodType))):
        return str(name)
    if isinstance(name, str):
        return f"{name}()"
    if isinstance(thing, functools.partial):
        return f"a partial of {describe(thing.func)}"
    return f"an instance of {type(thing).__qualname__}"


def _call_of(thing: Any) -> _Call | None:
    """The function that runs when an object is called; None if that is not known: classes, code in C, mock objects."""
    args: tuple[Any, ...] = ()
    keywords: dict[str, Any] = {}
    while True:
        kind = type(thing)  # not what __class__ pretends
        if kind is FunctionType:
            return _Call(thing, args, keywords)
        if kind is functools.partial:
            if any(type(value).__name__ == "_PlaceholderType" for value in thing.args):  # from Python 3.14 on
                return None
            args, keywords, thing = (*thing.args, *args), {**thing.keywords, **keywords}, thing.func
        elif kind is MethodType:
            args, thing = (thing.__self__, *args), thing.__func__
        elif (
            not isinstance(thing, type) and type(call := inspect.getattr_static(kind, "__call__", None)) is FunctionType
        ):
            args, thing = (thing, *args), call
        else:
            return None


def _init_of(thing: Any) -> _Call | None:
    """``__init__`` of a class, or of a ``functools.partial`` of one; None if it is not known."""
    args: tuple[Any, ...] = ()
    keywords: dict[str, Any] = {}
    cls = thing
    while type(cls) is functools.partial:
        args, keywords, cls = (*cls.args, *args), {**cls.keywords, **keywords}, cls.func
    usual = type(cls) is type and inspect.getattr_static(cls, "__new__") is inspect.getattr_static(object, "__new__")
    return _Call(cls.__init__, (None, *args), keywords) if usual and type(cls.__init__) is FunctionType else None


def _is_asgi(call: _Call) -> bool:
    return call.names[:3] == _ASGI_NAMES or (call.asynchronous and not call.takes(2) and call.takes(3))


def _is_factory(thing: Any, call: _Call) -> bool:
    """Whether it may be a function that makes an application; not an object of another framework that can be called."""
    return type(thing) in (FunctionType, MethodType, functools.partial) and call.takes(0)


def _names(function: FunctionType) -> list[str]:
    return list(function.__code__.co_varnames[: function.__code__.co_argcount])


def _is_wsgi(names: list[str]) -> bool:
    return len(names) == 2 and (names[1] == "start_response" or names[0] in ("environ", "env"))


def _returns_plain(code: CodeType) -> bool:
    """Whether a function always returns a constant, or a container that is built in the return statement."""
    import dis  # needed for plain functions only, which are rare here

    returns = False
    before: dis.Instruction | None = None
    for instruction in dis.get_instructions(code):
        if instruction.opname.startswith("RETURN_") and instruction.opname != "RETURN_GENERATOR":
            # The constant is part of the instruction in Python 3.12 and 3.13, and loaded by the one before in others.
            source = instruction if instruction.opname == "RETURN_CONST" else before
            if source is None or not source.opname.startswith(_PLAIN):
                return False
            returns = True
        before = instruction
    return returns


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        text = f"an instance of {type(value).__qualname__}"
    return shortened(text, _SHOWN)
