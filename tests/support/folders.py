"""Handlers of the files in a folder."""

from pathlib import Path
from typing import Any

from aiohttpd import SimpleHTTPRequestHandler


def files_of(folder: Path, **attributes: Any) -> type[SimpleHTTPRequestHandler]:
    """A handler class that serves a folder."""
    return type("Files", (SimpleHTTPRequestHandler,), {"directory": str(folder), **attributes})
