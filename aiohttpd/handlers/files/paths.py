"""Paths: between the path of a URL and the names in it.

Owns decoding and encoding, RFC 3986 section 2.1, and what is no name. It does not look at the disk.
"""

import os
import posixpath
import re
from collections.abc import Iterable
from urllib.parse import quote, unquote_to_bytes

__all__ = ["decoded", "folder_path", "names_in", "normal_path", "relative_folder"]

_lone_percent = re.compile(r"%(?![0-9A-Fa-f]{2})")
_IN_PATH = "!$&'()*+,;=:@~-._"  # RFC 3986 section 3.3


def decoded(path: str) -> str:
    """The text of a path, as the file system has it: bytes that are no UTF-8 survive."""
    return os.fsdecode(unquote_to_bytes(path))


def names_in(path: str) -> list[str]:
    """The names in the path of a URL, decoded once, without what is no name; ``..`` leads nowhere above the first.

    Args:
        path: as it was sent, with its query or without.
    """
    path = posixpath.normpath(decoded(path.partition("?")[0]))
    return [name for name in path.split("/") if _is_name(name)]


def folder_path(names: Iterable[str]) -> str:
    """The path of a URL for the names of a folder.

    It never begins with two slashes, or with what browsers take for one, which would be another host.
    """
    return "".join(f"/{quote(os.fsencode(name), safe=_IN_PATH)}" for name in names) + "/"


def normal_path(path: str) -> str:
    """The one spelling of the path of a URL that stands for all of them, as browsers write it.

    Args:
        path: as it was sent, without its query.
    """
    normal = folder_path(names_in(path))
    return normal if decoded(path).endswith("/") else normal[:-1]


def relative_folder(path: str) -> str:
    """The reference that leads from the path of a URL to the folder that it names, RFC 3986 section 4.2.

    It is relative, since a proxy may have taken a prefix away from what the client has asked for; and it never leads to
    another host: nothing in it is a scheme, two slashes, or what browsers take for slashes.

    Args:
        path: as it was sent, without its query.
    """
    last = quote(_lone_percent.sub("%25", path.rpartition("/")[2]), safe=_IN_PATH + "%")
    if not last:
        return "./"  # it ends with a slash
    return ("./" if ":" in last else "") + last + "/"


_is_device = re.compile(r"(?:CON|PRN|AUX|NUL|COM[0-9]|LPT[0-9]|CONIN\$|CONOUT\$)(?:\..*)?", re.IGNORECASE).fullmatch


def _is_name(name: str) -> bool:
    return name not in ("", os.curdir, os.pardir) and (os.name != "nt" or _is_name_on_windows(name))


def _is_name_on_windows(name: str) -> bool:
    """Not a device, and not another spelling: a backslash separates, a colon begins a drive or a stream."""
    if name[-1] in ". " or any(sign in name for sign in '\\:*?"<>|') or re.search("~[0-9]", name):
        return False
    return not _is_device(name)
