"""UploadHandler: a file server that takes files, too.

Owns what a request to upload is, and who may make one. What happens on the disk is `receiving`'s.

============================  ==========================================================================
PUT /folder/name              the body is the file: ``curl -T file URL``
POST /folder/                 ``multipart/form-data``: every part with a file name, ``curl -F f=@file URL``
============================  ==========================================================================
"""

import asyncio
import os
from typing import ClassVar
from urllib.parse import quote, urlsplit

from ..auth import challenge, is_authorized
from ..errors import HTTPError
from ..forms import UploadedFile
from .handler import SimpleHTTPRequestHandler
from .negotiation import accepts_html, prefers_json
from .paths import folder_path, names_in
from .receiving import Incoming
from .tree import OpenFile, open_inside
from .upload_form import upload_form

__all__ = ["UploadHandler"]

_READ = 256 * 1024


class UploadHandler(SimpleHTTPRequestHandler):
    """Serves the files below a folder, and takes new ones.

    Attributes:
        overwrite: let a file take the place of another; 409 otherwise.
        min_free: bytes of the disk that stay free (507).
        max_upload: bytes of one request (413); None for any number.
        upload_credentials: ``name:password`` without which nothing is taken.
    """

    max_form_parts = 10_000
    overwrite: ClassVar[bool] = False
    min_free: ClassVar[int] = 256 * 1024 * 1024
    max_upload: ClassVar[int | None] = None
    upload_credentials: ClassVar[str | None] = None
    allowed_methods = "GET, HEAD, OPTIONS, POST, PUT"

    @property
    def listing_form(self) -> str:  # type: ignore[override]
        """The form for uploads."""
        return upload_form(overwrite=self.overwrite)

    async def do_PUT(self) -> None:
        """Take the body as a file."""
        self._check_allowed()
        *folder, name = names_in(self.path) or [""]
        if not name or self.path.partition("?")[0].endswith("/"):
            raise HTTPError(409, None, "a file has a name, and a folder has none: 'PUT /folder/name'")
        if "Content-Range" in self.headers:
            raise HTTPError(400, None, "a part of a file cannot be put")  # RFC 9110 section 14.4
        async with self._incoming(await self._open_folder(folder), name) as file:
            while data := await self.rfile.read(_READ):
                await file.write(data)
        self.send_response(204 if file.replaced else 201)
        if not file.replaced:
            self.send_header("Location", folder_path(folder) + quote(os.fsencode(name), safe=""))
            self.send_header("Content-Length", 0)
        self.end_headers()

    async def do_POST(self) -> None:
        """Take the files of a form."""
        self._check_allowed()
        names = names_in(self.path)
        folder = await self._open_folder(names)
        saved = []
        async for part in self.parts():
            if not part.filename:
                continue
            name = UploadedFile(part.filename, "", {}).safe_filename
            async with self._incoming(folder, name) as file:
                async for data in part:
                    await file.write(data)
            saved.append((name, file.size))
        if not saved:
            raise HTTPError(400, None, "no file has been chosen")
        self._answer_saved(names, saved)

    def _answer_saved(self, names: list[str], saved: list[tuple[str, int]]) -> None:
        accepted = self._accepted()
        if prefers_json(accepted):
            self.send_json({"saved": [{"name": name, "size": size} for name, size in saved]}, 201)
        elif accepts_html(accepted):
            self.redirect(folder_path(names), 303)
        else:
            self.send_text("".join(f"saved {name} ({size} bytes)\n" for name, size in saved), 201)

    def _incoming(self, folder: OpenFile, name: str) -> Incoming:
        if name.startswith(".") and not self.show_hidden:
            raise HTTPError(403, None, "names that begin with a dot are hidden here")
        return Incoming(folder, name, overwrite=self.overwrite, min_free=self.min_free)

    async def _open_folder(self, names: list[str]) -> OpenFile:
        root = os.fspath(self.directory or "")
        if any(name.startswith(".") for name in names) and not self.show_hidden:
            raise HTTPError(404, "File not found")
        path = os.path.join(root, *names)

        def look() -> OpenFile | None:
            return open_inside(root, path, follow_symlinks=self.follow_symlinks)

        folder = await asyncio.get_running_loop().run_in_executor(None, look)
        if folder is None or not folder.is_directory:
            raise HTTPError(404, "File not found", "there is no such folder")
        return folder

    def _check_allowed(self) -> None:
        """See who asks, and whether it is a page of somebody else's that asks in their name."""
        if self.upload_credentials is not None and not is_authorized(self.request, self.upload_credentials):
            raise challenge()
        origin = self.headers["Origin"]
        if origin is not None and origin != self.allow_origin and urlsplit(origin).netloc != self.request.host:
            raise HTTPError(403, None, "a page of another origin may not upload")
        self.rfile.limit = self.max_upload
