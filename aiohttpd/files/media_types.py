"""Media types by suffix: what http.server knows better, what `mimetypes` knows, and what that does not know everywhere.

Owns the tables. From the registry of IANA, and what browsers want where that has none.
"""

import mimetypes
import posixpath
from collections.abc import Mapping

__all__ = ["EXTENSIONS", "guess_type"]

# An archive is served as such, never unpacked by the way.
EXTENSIONS = {
    ".gz": "application/gzip",
    ".svgz": "application/gzip",
    ".Z": "application/octet-stream",
    ".bz2": "application/x-bzip2",
    ".xz": "application/x-xz",
    ".br": "application/octet-stream",
    ".zst": "application/zstd",
}

# Missing in some versions of Python, and on some systems.
_MORE = {
    ".7z": "application/x-7z-compressed",
    ".apk": "application/vnd.android.package-archive",
    ".avif": "image/avif",
    ".cjs": "text/javascript",
    ".flac": "audio/flac",
    ".heic": "image/heic",
    ".ico": "image/vnd.microsoft.icon",
    ".jsonl": "application/jsonl",
    ".jxl": "image/jxl",
    ".log": "text/plain",
    ".m4a": "audio/mp4",
    ".m4v": "video/mp4",
    ".map": "application/json",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".mkv": "video/x-matroska",
    ".oga": "audio/ogg",
    ".ogg": "audio/ogg",
    ".ogv": "video/ogg",
    ".opus": "audio/ogg",
    ".otf": "font/otf",
    ".rst": "text/x-rst",
    ".toml": "application/toml",
    ".ttf": "font/ttf",
    ".wasm": "application/wasm",
    ".wav": "audio/wav",
    ".webm": "video/webm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}

_guess_file_type = getattr(mimetypes, "guess_file_type", mimetypes.guess_type)


def guess_type(path: str, extensions: Mapping[str, str] = EXTENSIONS) -> str | None:
    """Guess the media type of a file by its name.

    Args:
        path: the name; the file is not looked at.
        extensions: types by suffix that come before all others.
    """
    extension = posixpath.splitext(path)[1]
    for suffix in (extension, extension.lower()):
        if suffix in extensions:
            return extensions[suffix]
    return _guess_file_type(path)[0] or _MORE.get(extension.lower())
