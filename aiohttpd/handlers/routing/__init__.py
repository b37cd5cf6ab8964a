"""Routing: chooses the App for a request by its path and host.

``pattern`` parses the text of a route and compares two routes, ``tree`` finds the route for a path, ``functions``
makes handler classes of functions and of single methods, ``errors`` calls error handlers, and ``router`` has the App,
`Router`.
"""

from .errors import handle_errors
from .functions import route
from .pattern import Converter
from .router import Router

__all__ = ["Converter", "Router", "handle_errors", "route"]
