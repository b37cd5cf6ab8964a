"""ASGI, both ways: the specification row by row, lifespans, what becomes of applications; Apps exported."""
