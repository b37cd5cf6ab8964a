"""What the command's options are read as: a port, a size, seconds, a number of workers, a name and a password.

Owns the texts of the errors. The options of a server are read by `aiohttpd.config`.
"""

import math
import re
from typing import Any

import click

from ..config import read_size

__all__ = ["Port", "Seconds", "Size", "Workers", "check_credentials"]


class Port(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions only
    """A port. A protocol, which http.server takes for -p (``-p HTTP/1.1``), is accepted and ignored."""

    name = "port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """Read it."""
        if isinstance(value, str) and re.fullmatch(r"HTTP/[0-9.]+", value):
            return None
        if not (_is_number(value) and int(value) <= 65535):
            self.fail(f"{value!r} is not a port (0 to 65535)", param, ctx)
        return int(value)


class Size(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions only
    """A number of bytes, with or without a unit."""

    name = "bytes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it."""
        try:
            size = read_size(value)
        except ValueError:
            size = -1
        if size < 0:
            self.fail(f"{value!r} is not a size: write 1000000, 64k, 1M or 2G", param, ctx)
        return size


class Seconds(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions only
    """A time in seconds."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it."""
        try:
            seconds = float(value)
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds < math.inf:
            self.fail(f"{value!r} is not a number of seconds: write 5 or 0.5", param, ctx)
        return seconds


class Workers(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions only
    """A number of processes, or ``auto``."""

    name = "number|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Read it."""
        if value == "auto":
            return "auto"
        if not (_is_number(value) and int(value) > 0):
            self.fail(f"{value!r} is not a number of workers: write 1 or more, or 'auto'", param, ctx)
        return int(value)


def check_credentials(context: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Check ``name:password``, as a callback of an option."""
    if value is not None:
        from ..middleware.auth import check_credentials as check  # it imports hashlib

        try:
            check(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
    return value


def _is_number(value: Any) -> bool:
    return re.fullmatch("0*[0-9]{1,9}", str(value)) is not None  # int() refuses thousands of digits
