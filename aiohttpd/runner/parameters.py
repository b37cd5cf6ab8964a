"""What the command's options are read as: a port, a size, seconds, a number of workers, a name and a password.

Owns the texts of the errors. The options of a server are read by `aiohttpd.config`.
"""

import re
import sys
from typing import Any, TypeVar

import click

from ..config import read_size
from .process import MOST_WORKERS

__all__ = ["Port", "Seconds", "Size", "Workers", "check_credentials"]

_Number = TypeVar("_Number", int, float)


class _Parameter(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions only
    """Reads a value from a text.

    Attributes:
        what: what the value has to be, for the message of an error.
    """

    what: str

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it."""
        try:
            return self.read(str(value))
        except ValueError:
            self.fail(f"{value!r} is not {self.what}", param, ctx)

    def read(self, text: str) -> Any:
        """Return the value.

        Raises:
            ValueError: it is none.
        """
        raise NotImplementedError


class Port(_Parameter):
    """A port. A protocol, which http.server takes for -p (``-p HTTP/1.1``), is accepted and ignored."""

    name = "port"
    what = "a port (0 to 65535)"

    def read(self, text: str) -> int | None:
        """Return the port; None for a protocol."""
        return None if re.fullmatch(r"HTTP/[0-9.]+", text) else _whole(text, 0, 65535)


class Size(_Parameter):
    """A number of bytes, with or without a unit."""

    name = "bytes"
    what = "a size: write 1000000, 64k, 1M or 2G"

    def read(self, text: str) -> int:
        """Return the number of bytes."""
        return _within(read_size(text), 0, sys.maxsize)


class Seconds(_Parameter):
    """A time in seconds."""

    name = "seconds"
    what = "a number of seconds: write 5 or 0.5"

    def read(self, text: str) -> float:
        """Return the seconds."""
        return _within(float(text), 0, sys.float_info.max)


class Workers(_Parameter):
    """A number of processes, or ``auto``."""

    name = "number|auto"
    what = f"a number of workers: write 1 to {MOST_WORKERS}, or 'auto'"

    def read(self, text: str) -> int | str:
        """Return the number, or ``auto``."""
        return text if text == "auto" else _whole(text, 1, MOST_WORKERS)


def check_credentials(context: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Check ``name:password``, as a callback of an option."""
    if value is not None:
        from ..middleware.auth import check_credentials as check  # it imports hashlib

        try:
            check(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
    return value


def _whole(text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit()):  # int() takes other signs, too
        raise ValueError
    return _within(int(text), least, most)


def _within(number: _Number, least: float, most: float) -> _Number:
    if not least <= number <= most:
        raise ValueError
    return number
