"""The table of routes that the command ``aiohttpd routes`` prints."""

from collections.abc import Sequence

from ..engine.apps import describe
from ..handlers.app import innermost
from ..handlers.routing import Router

__all__ = ["route_table"]

_HEADINGS = ("METHODS", "PATH", "NAME", "LEADS TO")


def route_table(router: Router) -> str:
    """Format the routes of a router, and of routers mounted in it, in the order in which they were added.

    The column of methods is ``any`` for an App that is not a handler class.
    """
    rows = [
        (" ".join(route.methods) or "any", text, ", ".join(route.names), describe(innermost(route.given)))
        for text, route in router.routes()
    ]
    return _aligned([_HEADINGS, *rows])


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)
