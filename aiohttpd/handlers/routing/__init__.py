"""Routing: which App serves which path.

``pattern`` reads the text of a route and says which of two is more specific, ``tree`` finds the route for a path,
``functions`` makes handler classes of functions and single methods, ``errors`` answers for errors in one place, and
``router`` is the App that puts them together.
"""

from .errors import handle_errors
from .functions import route
from .pattern import Converter
from .router import Router

__all__ = ["Converter", "Router", "handle_errors", "route"]
