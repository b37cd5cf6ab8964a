"""The table that ``aiohttpd routes`` prints.

Owns how it looks. What is in it is the `Router`'s.
"""

from collections.abc import Sequence

from ..engine.apps import describe
from ..handlers.routing import Router

__all__ = ["route_table"]

_HEADINGS = ("METHODS", "PATH", "NAME", "LEADS TO")


def route_table(router: Router) -> str:
    """The routes of a router in aligned columns, in the order in which they were added; of routers in it, too.

    The methods are ``any`` where only the App itself knows them.
    """
    rows = [
        (" ".join(route.methods) or "any", text, route.name, describe(route.given)) for text, route in router.routes()
    ]
    return _aligned([_HEADINGS, *rows])


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)
