"""UploadHandler: a file server that takes files, too.

Owns what a request to upload is, and who may make one. What happens on the disk is `receive`'s.

============================  ==========================================================================
PUT /folder/name              the body is the file: ``curl -T file URL``
POST /folder/                 ``multipart/form-data``: every part with a file name, ``curl -F f=@file URL``
============================  ==========================================================================

A name is taken as it is, or refused. Of a form each file that is complete is kept, whatever becomes of
those after it; an error says which these are.
"""

import asyncio
import os
import re
import time
from collections.abc import Callable
from typing import ClassVar
from urllib.parse import quote, urlsplit

from ..errors import ContentTooLarge, HTTPError
from ..handlers.files.paths import decoded, folder_path, names_in, relative_folder
from ..handlers.files.store import Folder, Representation
from ..handlers.files.tree import OpenFile, open_inside
from ..handlers.reading import check_not_encoded
from ..middleware.auth import challenge, is_authorized
from ..wire.conditions import Outcome, Validators, evaluate
from ..wire.negotiation import accepts_html, prefers_json
from .handler import SimpleHTTPRequestHandler
from .receive import PartialFile, check_system, is_temporary
from .upload_form import upload_form

__all__ = ["UploadHandler"]

check_system()

_READ = 256 * 1024
_NAMED = 5  # files that an error names
_has_control = re.compile(r"[\x00-\x1f\x7f-\x9f]").search
# A page of theirs has an origin of its own then: it reads nothing here, and uploads nothing in the name of who looks.
_NOSNIFF = ("X-Content-Type-Options", "nosniff")
_SANDBOX = ("Content-Security-Policy", "sandbox")
_CONDITIONS = ("If-Match", "If-None-Match", "If-Unmodified-Since")


class UploadHandler(SimpleHTTPRequestHandler):
    """Serves the files below a folder, and takes new ones.

    ``name.gz`` does not stand for ``name`` here, or who may upload could change what others get for it.

    Attributes:
        overwrite: let a file take the place of another; 409 otherwise.
        min_free: bytes of the disk that stay free (507).
        min_free_files: files for which there stays room (507), where the disk has room for a number of them.
        timeout_lock: seconds for which another program may keep a folder locked in which a file is replaced (503).
        trust_uploads: let what is uploaded be pages of the site: run scripts there, and be the page of a folder.
        max_upload: bytes of one request (413); None for any number.
        upload_credentials: ``name:password`` without which nothing is taken.
    """

    max_form_parts = 10_000
    precompressed = False
    overwrite: ClassVar[bool] = False
    min_free: ClassVar[int] = 256 * 1024 * 1024
    min_free_files: ClassVar[int] = 1000
    timeout_lock: ClassVar[float] = 5.0
    trust_uploads: ClassVar[bool] = False
    max_upload: ClassVar[int | None] = None
    upload_credentials: ClassVar[str | None] = None
    allowed_methods = "GET, HEAD, OPTIONS, POST, PUT"

    @property
    def listing_form(self) -> str:  # type: ignore[override]
        """The form for uploads."""
        guarded = self.upload_credentials is not None
        return upload_form(overwrite=self.overwrite, guarded=guarded, limit=self.max_upload)

    async def do_PUT(self) -> None:
        """Take the body as a file."""
        self._check_allowed()
        *names, name = self._names() or [""]
        if decoded(self.path.partition("?")[0]).rpartition("/")[2] in ("", "."):
            raise HTTPError(409, None, "a file has a name, and a folder has none: 'PUT /folder/name'")
        self._check_name(name)
        self._check_body()
        expected = self.request.content_length or 0
        check = self._check_of(names, name)
        async with self._incoming(await self._open_folder(names), name, expected, check) as file:
            while data := await self.rfile.read(_READ):
                await file.write(data)
        self._forget()
        self.send_response(204 if file.replaced else 201)
        if not file.replaced:
            place = self.request.root_path + folder_path(names)
            self.send_header("Location", place + quote(os.fsencode(name), safe=""))
            self.send_header("Content-Length", 0)
        self.end_headers()

    async def do_POST(self) -> None:
        """Take the files of a form."""
        self._check_allowed()
        hint = "a form with files is posted to a folder, and a file is sent to its name by PUT: curl -T FILE URL"
        folder = await self._open_folder(self._names(), hint)
        if self.headers.get_content_type() != "multipart/form-data":
            raise HTTPError(415, None, hint)
        expected = self.request.content_length or 0
        saved: list[tuple[str, int]] = []
        try:
            async for part in self.parts():
                if not part.filename:
                    continue
                # A path is none of ours, RFC 7578 section 4.2.
                name = part.filename.replace("\\", "/").rpartition("/")[2]
                self._check_name(name)
                async with self._incoming(folder, name, expected) as file:
                    async for data in part:
                        await file.write(data)
                self._forget()
                saved.append((name, file.size))
                expected = 0
        except HTTPError as error:
            if saved:
                error.explain = f"{error.explain or error}; {_saved_before(saved)}"
            raise
        if not saved:
            raise HTTPError(400, None, "no file has been chosen")
        self._answer_saved(saved)

    def _answer_saved(self, saved: list[tuple[str, int]]) -> None:
        accepted = self._accepted()
        if prefers_json(accepted):
            self.send_json({"saved": [{"name": name, "size": size} for name, size in saved]}, 201)
        elif accepts_html(accepted):
            self.redirect(relative_folder(self.path.partition("?")[0]), 303)
        else:
            self.send_text("".join(f"saved {name} ({size} bytes)\n" for name, size in saved), 201)

    def _incoming(
        self, folder: OpenFile, name: str, expected: int, check: Callable[[], None] | None = None
    ) -> PartialFile:
        return PartialFile(
            folder, name, overwrite=self.overwrite, min_free=self.min_free, min_free_files=self.min_free_files,
            patience=self.timeout_lock, expected=expected, check=check,
        )  # fmt: skip

    async def _open_folder(self, names: list[str], hint: str = "") -> OpenFile:
        root = os.fspath(self.directory or "")
        if any(name.startswith(".") for name in names) and not self.show_hidden:
            raise HTTPError(404, "File not found")
        path = os.path.join(root, *names)

        def look() -> OpenFile | None:
            return open_inside(root, path, follow_symlinks=self.follow_symlinks)

        folder = await asyncio.get_running_loop().run_in_executor(None, look)
        if folder is None or not folder.is_directory:
            raise HTTPError(404, "File not found", "; ".join(filter(None, ("there is no such folder", hint))))
        return folder

    def _forget(self) -> None:
        """What is in memory may be another file now."""
        self._stores.clear()

    # What is refused.

    def _check_allowed(self) -> None:
        """See who asks, and whether it is a page of somebody else's that asks in their name."""
        if self.upload_credentials is not None and not is_authorized(self.request, self.upload_credentials):
            raise challenge()
        for origin in self.headers.get_all("Origin") or ():
            if origin != self.allow_origin and not self._is_own(origin):
                raise HTTPError(403, None, "a page of another origin may not upload")
        limit = self.rfile.limit = self.max_upload
        if limit is not None and (self.request.content_length or 0) > limit:
            raise ContentTooLarge(limit)

    def _is_own(self, origin: str) -> bool:
        """Whether a page is one of ours; a proxy may speak https for us."""
        if self.headers["Sec-Fetch-Site"] == "same-origin":  # which no page can say of itself
            return True
        try:
            theirs, ours = urlsplit(origin), urlsplit(f"//{self.request.host}")
            usual = {"http": 80, "https": 443}[theirs.scheme]
            same = theirs.hostname == ours.hostname and (theirs.port or usual) == (ours.port or usual)
        except (KeyError, ValueError):  # "null" has no scheme
            return False
        return same and bool(self.request.host) and self.request.scheme in ("http", theirs.scheme)

    def _names(self) -> list[str]:
        """The names in the path; unlike for reading, one that does not count is refused."""
        names = names_in(self.path)
        if [part for part in decoded(self.path.partition("?")[0]).split("/") if part not in ("", ".")] != names:
            raise HTTPError(400, None, "a part of the path can be no name")
        return names

    def _check_name(self, name: str) -> None:
        try:
            can_be = names_in(quote(os.fsencode(name), safe="")) == [name] and not _has_control(name)
        except UnicodeEncodeError:  # the file system is not in UTF-8
            can_be = False
        if not can_be:
            raise HTTPError(400, None, f"no file can be called {name!r}")
        if name.startswith(".") and not self.show_hidden:
            raise HTTPError(403, None, "names that begin with a dot are hidden here")
        if is_temporary(name):
            raise HTTPError(403, None, "such names are for files that are not complete")
        if not self.trust_uploads and name.casefold() in self._pages():
            raise HTTPError(
                403, None, f"{name!r} is the name of a page of the site: --trust-uploads lets uploads be that"
            )

    def _pages(self) -> set[str]:
        """Names under which a file is shown to who asks for something else; file systems may ignore their case."""
        pages = (*self.index_pages, *([self.fallback_page] if self.fallback_page else ()))
        return {page.rpartition("/")[2].casefold() for page in pages}

    def _check_body(self) -> None:
        if "Content-Range" in self.headers:
            raise HTTPError(400, None, "a part of a file cannot be put")  # RFC 9110 section 14.4
        check_not_encoded(self.headers)
        if self.request.content_length is None and not self.request.framing.chunked:
            raise HTTPError(411)  # of HTTP/1.0, say: it would be an empty file

    def _check_of(self, names: list[str], name: str) -> Callable[[], None] | None:
        """The conditions of a PUT, RFC 9110 section 13, if it has some: a function to call in threads."""
        headers = self.headers
        if not any(field in headers for field in _CONDITIONS):
            return None
        root = os.fspath(self.directory or "")
        path = os.path.join(root, *names, name)

        def check() -> None:
            file = open_inside(root, path, follow_symlinks=self.follow_symlinks)
            if file is None:
                failed = "If-Match" in headers
            else:
                validators = Validators(file.etag, file.modified // 1_000_000_000)
                failed = evaluate(headers, validators, now=time.time(), method="PUT") is Outcome.FAILED
            if failed:
                raise HTTPError(412)

        return check

    # What is uploaded is somebody else's.

    def _content_fields(self) -> list[tuple[str, str]]:
        return [_NOSNIFF] if self.trust_uploads else [_NOSNIFF, _SANDBOX]

    # What is not complete is not there, even where hidden names are shown.

    async def _find(self) -> Representation | Folder | None:
        if self.show_hidden and any(map(is_temporary, names_in(self.path))):
            return None
        return await super()._find()

    def _is_listed(self, name: str) -> bool:
        return super()._is_listed(name) and not is_temporary(name)


def _saved_before(saved: list[tuple[str, int]]) -> str:
    names = ", ".join(repr(name) for name, _ in saved[:_NAMED])
    return f"saved before it: {names}" + (f" and {len(saved) - _NAMED} more" if len(saved) > _NAMED else "")
