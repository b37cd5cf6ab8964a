"""Logging of exceptions that handlers raise and do not catch."""

import logging
import os
from typing import Any

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
    error_logger.error("unhandled exception in '%s'", request.requestline, exc_info=error)
