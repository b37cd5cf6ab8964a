"""Logging of exceptions that handlers raise and do not catch."""

import logging
import os
from types import TracebackType
from typing import Any

from ..errors import ContractError
from ..net.forking import end_child
from ..wire.request import Request

__all__ = ["ErrorReporter", "error_logger", "log_error"]

error_logger = logging.getLogger("aiohttpd.error")


class ErrorReporter:
    """Reports unhandled exceptions: to ``server.handle_error(error, request)`` if there is one, else to the log."""

    def __init__(self, server: Any = None) -> None:
        self._server = server
        self._pid = os.getpid()

    def __call__(self, error: BaseException, request: Request) -> None:
        """Report an exception; if the handler has forked and this is the child, end the process."""
        end_child(error, self._pid)
        handle = getattr(self._server, "handle_error", None) or log_error
        try:
            handle(error, request)
        except Exception as second:
            log_error(error, request)
            log_error(second, request)


def log_error(error: BaseException, request: Request) -> None:
    """Log an unhandled exception with its traceback and the request line on the logger ``aiohttpd.error``."""
    shown = type(error), error, _useful_traceback(error)
    error_logger.error("unhandled exception in '%s'", request.requestline, exc_info=shown)


_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")


def _useful_traceback(error: BaseException) -> TracebackType | None:
    """The traceback; None for a `ContractError` after the code of the program has returned: its text says all."""
    traceback = error.__traceback__
    if isinstance(error, ContractError):
        while traceback is not None and traceback.tb_frame.f_code.co_filename.startswith(_PACKAGE):
            traceback = traceback.tb_next
    return error.__traceback__ if traceback is not None else None
