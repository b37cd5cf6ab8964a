"""The path of a URL, and the file names in it.

Owns percent-encoding (RFC 3986 section 2.1), and which parts of a path are file names. It does not read the disk.
"""

import os
import posixpath
import re
from collections.abc import Iterable
from urllib.parse import quote, unquote_to_bytes

__all__ = [
    "IN_SEGMENT", "base_name", "decoded", "folder_path", "is_device", "names_in", "normal_path", "relative_folder",
    "requote",
]  # fmt: skip

_lone_percent = re.compile(r"%(?![0-9A-Fa-f]{2})")
_DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9\xb9\xb2\xb3])[ ]*+(?:\..*)?", re.I | re.S)
IN_SEGMENT = "!$&'()*+,;=:@~-._"  # what a segment of a path has beside letters and digits, RFC 3986 section 3.3


def decoded(path: str) -> str:
    """Percent-decode a path to a file system path; bytes that are not UTF-8 are kept as surrogates."""
    return os.fsdecode(unquote_to_bytes(path))


def names_in(path: str) -> list[str]:
    """The file names in the path of a URL, decoded once.

    ``..`` removes the name before it, and never leads above the root. Parts that are no file name are left out.

    Args:
        path: as it was sent, with or without the query.
    """
    path = posixpath.normpath(decoded(path.partition("?")[0]))
    return [name for name in path.split("/") if _is_name(name)]


def base_name(filename: str) -> str:
    """The last part of a file name of a client, which may be a path of its system (RFC 7578 section 4.2)."""
    return filename.replace("\\", "/").rpartition("/")[2]


def is_device(name: str) -> bool:
    """Whether a file name stands for a device on Windows, also with a suffix."""
    return _DEVICE.fullmatch(name) is not None


def folder_path(names: Iterable[str]) -> str:
    """The path of a URL for the names of a folder.

    It never begins with two slashes, or with characters that browsers treat as slashes: that would name another host.
    """
    return "".join(f"/{quote(os.fsencode(name), safe=IN_SEGMENT)}" for name in names) + "/"


def normal_path(path: str) -> str:
    """The normal form of a path: all spellings of a path have the same.

    Args:
        path: as it was sent, without the query.
    """
    normal = folder_path(names_in(path))
    return normal if decoded(path).endswith("/") else normal[:-1]


def requote(text: str, safe: str) -> str:
    """Percent-encode what a URL cannot hold, in a text that may be percent-encoded already."""
    return quote(_lone_percent.sub("%25", text).encode("utf-8", "surrogateescape"), safe=safe + "%")


def relative_folder(path: str) -> str:
    """A relative reference (RFC 3986 section 4.2) from the path ``/a/folder`` to ``/a/folder/``.

    It is relative, since a proxy may have removed a prefix from the client's path. It never leads to another host: it
    has no scheme, and no characters that browsers treat as slashes.

    Args:
        path: as it was sent, without the query.
    """
    last = requote(path.rpartition("/")[2], IN_SEGMENT)
    if not last:
        return "./"  # the path ends with a slash
    return ("./" if ":" in last else "") + last + "/"


def _is_name(name: str) -> bool:
    return name not in ("", os.curdir, os.pardir) and (os.name != "nt" or _is_name_on_windows(name))


def _is_name_on_windows(name: str) -> bool:
    """Neither a device nor another spelling of a name: short names (~1), drives and streams (:), backslashes."""
    if name[-1] in ". " or any(sign in name for sign in '\\:*?"<>|') or re.search("~[0-9]", name):
        return False
    return not is_device(name)
