"""UploadHandler: a file server that also accepts uploads.

Owns which requests upload files, and which of them are allowed. What happens on the disk is in `receive`.

============================  ==========================================================================
PUT /folder/name              the body is the file: ``curl -T file URL``
POST /folder/                 ``multipart/form-data``: every part with a file name, ``curl -F f=@file URL``
============================  ==========================================================================

A file name is used unchanged, or refused. Each file of a form is kept as soon as it is complete, also if a later one
fails; the error response names the files that were saved.
"""

import asyncio
import os
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote

from ..errors import ContentTooLarge, HTTPError
from ..handlers.answers import send_fields
from ..handlers.files.paths import base_name, decoded, folder_path, names_in, relative_folder
from ..handlers.files.store import Folder, Representation
from ..handlers.files.tree import OpenFile, open_inside
from ..handlers.origins import comes_from
from ..handlers.reading import check_not_encoded
from ..middleware.auth import challenge, is_authorized
from ..wire.conditions import CONDITIONAL_FIELDS, Outcome, Validators, evaluate
from ..wire.negotiation import accepts_html, prefers_json
from .handler import SimpleHTTPRequestHandler
from .receive import PartialFile, UploadLimits, check_system, is_temporary
from .upload_form import upload_form

if TYPE_CHECKING:
    from ..handlers.forms import Part

__all__ = ["UploadHandler"]

check_system()

_READ_SIZE = 256 * 1024
_NAMED = 5  # the most files that an error message names
_has_control = re.compile(r"[\x00-\x1f\x7f-\x9f]").search
# A sandboxed page has an origin of its own: its scripts cannot read this site, or upload with a visitor's credentials.
_NOSNIFF = ("X-Content-Type-Options", "nosniff")
_SANDBOX = ("Content-Security-Policy", "sandbox")


class UploadHandler(SimpleHTTPRequestHandler):
    """Serves the files below a folder, and accepts new ones by PUT and POST.

    ``precompressed`` is off: with it, an uploaded ``name.gz`` would change what clients get for ``name``.

    Attributes:
        overwrite: let an upload replace a file; otherwise 409.
        min_free: bytes that stay free on the disk (507).
        min_free_files: number of files that the disk keeps room for, where the file system counts them (507).
        timeout_lock: seconds to wait while another program has locked the folder in which a file is replaced (503).
        trust_uploads: let uploaded files run scripts as pages of the site, and be index pages.
        max_upload: bytes of one request (413); None for no limit.
        upload_credentials: ``name:password`` that uploads need (401); None for none.
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
        """Save the body as a file."""
        self._check_allowed()
        *names, name = self._names() or [""]
        if decoded(self.path.partition("?")[0]).rpartition("/")[2] in ("", "."):
            raise HTTPError(409, None, "a file has a name, and a folder has none: 'PUT /folder/name'")
        self._check_name(name)
        self._check_body()
        expected = self.request.content_length or 0
        check = self._precondition(names, name)
        async with self._partial_file(await self._open_folder(names), name, expected, check) as file:
            while data := await self.rfile.read(_READ_SIZE):
                await file.write(data)
        self._clear_stores()
        if file.replaced:
            send_fields(self, 204, ())
            return
        place = self.request.root_path + folder_path(names) + quote(os.fsencode(name), safe="")
        send_fields(self, 201, [("Location", place)], length=0)

    async def do_POST(self) -> None:
        """Save the files of a form."""
        self._check_allowed()
        hint = "a form with files is posted to a folder, and a file is sent to its name by PUT: curl -T FILE URL"
        folder = await self._open_folder(self._names(), hint)
        if self.headers.get_content_type() != "multipart/form-data":
            raise HTTPError(415, None, hint)
        saved: list[tuple[str, int]] = []
        try:
            async for part in self.parts():
                if part.filename:
                    expected = 0 if saved else self.request.content_length or 0
                    saved.append(await self._save_part(folder, part, part.filename, expected))
        except HTTPError as error:
            if saved:
                error.explain = f"{error.explain or error}; {_saved_before(saved)}"
            raise
        if not saved:
            raise HTTPError(400, None, "no file has been chosen")
        self._answer_saved(saved)

    async def _save_part(self, folder: OpenFile, part: "Part", filename: str, expected: int) -> tuple[str, int]:
        """Save one file of a form. Returns its name and size."""
        name = base_name(filename)
        self._check_name(name)
        async with self._partial_file(folder, name, expected) as file:
            async for data in part:
                await file.write(data)
        self._clear_stores()
        return name, file.size

    def _answer_saved(self, saved: list[tuple[str, int]]) -> None:
        accepted = self._accepted()
        if prefers_json(accepted):
            self.send_json({"saved": [{"name": name, "size": size} for name, size in saved]}, 201)
        elif accepts_html(accepted):
            self.redirect(relative_folder(self.path.partition("?")[0]), 303)
        else:
            self.send_text("".join(f"saved {name} ({size} bytes)\n" for name, size in saved), 201)

    def _partial_file(
        self, folder: OpenFile, name: str, expected: int, check: Callable[[], None] | None = None
    ) -> PartialFile:
        limits = UploadLimits(self.overwrite, self.min_free, self.min_free_files, self.timeout_lock)
        return PartialFile(folder, name, limits, expected=expected, check=check)

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

    # Checks.

    def _check_allowed(self) -> None:
        """Check the credentials, the origin (against cross-site request forgery) and the length.

        Raises:
            HTTPError: 401, 403 or 413.
        """
        if self.upload_credentials is not None and not is_authorized(self.request, self.upload_credentials):
            raise challenge()
        origin = self.allow_origin
        allowed = () if origin is None or origin == "*" else (origin,)  # "*" lets any page read, not upload
        if not comes_from(self.request, allowed):
            raise HTTPError(403, None, "a page of another origin may not upload")
        limit = self.rfile.limit = self.max_upload
        if limit is not None and (self.request.content_length or 0) > limit:
            raise ContentTooLarge(limit)

    def _names(self) -> list[str]:
        """The names in the path.

        Raises:
            HTTPError: 400: a part of the path cannot be a name. Requests that read ignore such parts.
        """
        names = names_in(self.path)
        if [part for part in decoded(self.path.partition("?")[0]).split("/") if part not in ("", ".")] != names:
            raise HTTPError(400, None, "a part of the path can be no name")
        return names

    def _check_name(self, name: str) -> None:
        """Check the name of a file that is to be saved.

        Raises:
            HTTPError: 400: the file system, or a URL, cannot express it; 403: it is not allowed here.
        """
        try:
            is_valid = names_in(quote(os.fsencode(name), safe="")) == [name] and not _has_control(name)
        except UnicodeEncodeError:  # the file system is not in UTF-8
            is_valid = False
        if not is_valid:
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
        """The names of pages that are sent for other paths, in lower case, since file systems may ignore case."""
        pages = (*self.index_pages, *([self.fallback_page] if self.fallback_page else ()))
        return {page.rpartition("/")[2].casefold() for page in pages}

    def _check_body(self) -> None:
        """Check that the body is a whole file, RFC 9110 section 14.4."""
        if "Content-Range" in self.headers:
            raise HTTPError(400, None, "a part of a file cannot be put")
        check_not_encoded(self.headers)
        if self.request.content_length is None and not self.request.framing.chunked:
            raise HTTPError(411)  # a request without a body, as HTTP/1.0 allows it: it would make an empty file

    def _precondition(self, names: list[str], name: str) -> Callable[[], None] | None:
        """A function that checks the conditions of a PUT (RFC 9110 section 13); None if there are none.

        It is called in a thread.
        """
        headers = self.headers
        if not any(field in headers for field in CONDITIONAL_FIELDS):
            return None
        root = os.fspath(self.directory or "")
        path = os.path.join(root, *names, name)

        def check() -> None:
            file = open_inside(root, path, follow_symlinks=self.follow_symlinks)
            current = None if file is None else Validators(file.etag, file.modified // 1_000_000_000)
            if evaluate(headers, current, now=time.time(), method="PUT") is Outcome.FAILED:
                raise HTTPError(412)

        return check

    # Methods of the base class.

    def _content_fields(self) -> list[tuple[str, str]]:
        return [_NOSNIFF] if self.trust_uploads else [_NOSNIFF, _SANDBOX]

    # Incomplete files are not served or listed, also if hidden names are shown.

    async def _find(self) -> Representation | Folder | None:
        if self.show_hidden and any(map(is_temporary, names_in(self.path))):
            return None
        return await super()._find()

    def _is_listed(self, name: str) -> bool:
        return super()._is_listed(name) and not is_temporary(name)


def _saved_before(saved: list[tuple[str, int]]) -> str:
    names = ", ".join(repr(name) for name, _ in saved[:_NAMED])
    return f"saved before it: {names}" + (f" and {len(saved) - _NAMED} more" if len(saved) > _NAMED else "")
