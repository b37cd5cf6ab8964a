"""Uploads under test: handlers, requests with a form or a file, and what is in the folder."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aiohttpd.fileserver.uploads import UploadHandler

from .clients import head

CONTENT = b"content\r\n\0\xff"
App = type[UploadHandler]


def uploader(folder: Path, **attributes: Any) -> App:
    return type("Uploads", (UploadHandler,), {"directory": str(folder), "min_free": 0, **attributes})


def put(path: str, content: bytes = CONTENT, *fields: str) -> bytes:
    return head("PUT", path, f"Content-Length: {len(content)}", *fields) + content


def file_part(name: str | bytes, content: bytes) -> bytes:
    name = name.encode() if isinstance(name, str) else name
    return b'--b\r\nContent-Disposition: form-data; name="f"; filename="%b"\r\n\r\n%b\r\n' % (name, content)


def post_body(path: str, body: bytes, *fields: str) -> bytes:
    kind = "Content-Type: multipart/form-data; boundary=b"
    return head("POST", path, kind, f"Content-Length: {len(body)}", *fields) + body


def form_of_files(*files: tuple[str | bytes, bytes], path: str = "/", fields: tuple[str, ...] = ()) -> bytes:
    return post_body(path, b"".join(file_part(*file) for file in files) + b"--b--\r\n", *fields)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


OLD = {"old": b"old"}


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder as a worker does that is about to give a file its name."""
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
