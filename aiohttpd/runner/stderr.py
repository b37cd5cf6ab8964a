"""stderr of a program: nobody waits for its reader, and all of it is JSON if the access log is JSON.

Owns what is redirected: messages, handlers of `logging`, and the tracebacks of uncaught exceptions.
"""

import contextlib
import io
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from ..server.log_format import LineFormat

__all__ = ["own_stderr"]

_STDERR = 2


@contextlib.contextmanager
def own_stderr(format: str, lock: int | None = None) -> Iterator[None]:
    """Have everything that is written to stderr in this block go through a `SharedStream`.

    If the program has replaced ``sys.stderr``, nothing is changed; but workers and their supervisor, which share a
    lock, always have a stream of their own. On Windows nothing is changed.

    Args:
        format: the format of the access log; with ``json`` each message becomes a line of JSON.
        lock: as for `SharedStream.share`.
    """
    before = sys.stderr
    if os.name != "posix":
        yield
        return
    from .shared_stream import SharedStream

    if isinstance(before, SharedStream):
        with before.shared(lock) if lock is not None else contextlib.nullcontext():
            yield
    elif type(before) is io.TextIOWrapper or lock is not None:
        with _replaced(before, format, lock):
            yield
    else:
        yield


@contextlib.contextmanager
def _replaced(before: Any, format: str, lock: int | None) -> Iterator[None]:
    """Replace stderr, and what handlers of `logging` and hooks of Python write to it."""
    from .shared_stream import SharedStream

    plain = type(before) is io.TextIOWrapper
    message = LineFormat(format).message if format == "json" else None
    stream = SharedStream(
        before.fileno() if plain else _STDERR, lock, encoding=before.encoding if plain else "utf-8", message=message
    )
    with contextlib.suppress(OSError, ValueError):
        before.flush()
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stderr(stream))
        stack.callback(stream.finish)
        _redirect_handlers(before, stream)
        stack.callback(_redirect_handlers, stream, before)
        if message is not None:
            stack.enter_context(_errors_as(message))
        yield


def _redirect_handlers(old: Any, new: Any) -> None:
    """Have handlers of `logging` that write to one stream write to another."""
    loggers = [logging.root, *list(logging.root.manager.loggerDict.values())]
    for logger in loggers:
        for handler in getattr(logger, "handlers", ()):  # placeholders have none
            if isinstance(handler, logging.StreamHandler) and handler.stream is old:
                handler.setStream(new)


@contextlib.contextmanager
def _errors_as(message: Callable[[str], str]) -> Iterator[None]:
    """Write the traceback of an uncaught exception as one message.

    An exception that ends the block included: Python calls ``sys.excepthook`` after the block.
    """

    def write(kind: Any, error: Any, frames: Any, title: str = "") -> None:
        if sys.stderr is not None:
            sys.stderr.write(message(title + "".join(traceback.format_exception(kind, error, frames))))

    def of_thread(args: Any) -> None:
        if args.exc_type is not SystemExit:
            name = args.thread.name if args.thread is not None else threading.get_ident()
            write(args.exc_type, args.exc_value, args.exc_traceback, f"Exception in thread {name}:\n")

    def unraisable(args: Any) -> None:
        title = f"{args.err_msg or 'Exception ignored in'}: {args.object!r}\n"
        write(args.exc_type, args.exc_value, args.exc_traceback, title)

    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = write
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = of_thread
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = unraisable
    try:
        yield
    finally:
        _, threading.excepthook, sys.unraisablehook = hooks
    sys.excepthook = hooks[0]
