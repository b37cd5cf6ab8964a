"""ASGI, both ways: applications of the interface hosted here, and Apps of ours given to servers of it.

Owns the messages and scopes of ASGI 3.0 (https://asgi.readthedocs.io): `host` makes an App of an application, `export`
an application of an App.
"""

from .export import export
from .host import host

__all__ = ["export", "host"]
