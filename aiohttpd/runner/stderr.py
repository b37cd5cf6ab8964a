"""stderr of a program of ours: nobody waits for who reads it, and all of it is JSON where the access log is.

Owns who writes to it: messages, `logging`, and what Python says of errors that nobody has caught.
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
    """Have what is written to stderr in this block leave by a `SharedStream`.

    A stderr that somebody has replaced stays what it is; workers and their supervisor have one of their own.

    Args:
        format: of the access log.
        lock: as for `SharedStream`.
    """
    before = sys.stderr
    if os.name != "posix":
        yield
        return
    from .shared_stream import SharedStream

    if isinstance(before, SharedStream):
        if lock is None:
            yield
            return
        before.share(lock)
        try:
            yield
        finally:
            before.share(None)
        return
    plain = type(before) is io.TextIOWrapper
    if not plain and lock is None:
        yield
        return
    message = LineFormat(format).message if format == "json" else None
    stream = SharedStream(
        before.fileno() if plain else _STDERR, lock, encoding=before.encoding if plain else "utf-8", message=message
    )
    with contextlib.suppress(OSError, ValueError):
        before.flush()
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stderr(stream))
        stack.callback(stream.finish)
        _hand_loggers(before, stream)
        stack.callback(_hand_loggers, stream, before)
        if message is not None:
            stack.enter_context(_errors_as(message))
        yield


def _hand_loggers(old: Any, new: Any) -> None:
    """Have what `logging` writes to one stream written to another."""
    loggers = [logging.root, *list(logging.root.manager.loggerDict.values())]
    for logger in loggers:
        for handler in getattr(logger, "handlers", ()):  # some are placeholders
            if isinstance(handler, logging.StreamHandler) and handler.stream is old:
                handler.setStream(new)


@contextlib.contextmanager
def _errors_as(message: Callable[[str], str]) -> Iterator[None]:
    """Write what nobody has caught as one message; what ends the block, too, when Python comes to tell it."""

    def told(kind: Any, error: Any, frames: Any, title: str = "") -> None:
        if sys.stderr is not None:
            sys.stderr.write(message(title + "".join(traceback.format_exception(kind, error, frames))))

    def of_thread(args: Any) -> None:
        if args.exc_type is not SystemExit:
            name = args.thread.name if args.thread is not None else threading.get_ident()
            told(args.exc_type, args.exc_value, args.exc_traceback, f"Exception in thread {name}:\n")

    def unraisable(args: Any) -> None:
        title = f"{args.err_msg or 'Exception ignored in'}: {args.object!r}\n"
        told(args.exc_type, args.exc_value, args.exc_traceback, title)

    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = told
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = of_thread
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = unraisable
    try:
        yield
    finally:
        _, threading.excepthook, sys.unraisablehook = hooks
    sys.excepthook = hooks[0]
