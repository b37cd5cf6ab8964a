"""SimpleHTTPRequestHandler: http.server's file server, with what HTTP has for files.

Owns the way from a request for a path to its answer, and the override points of http.server. What may be
opened is `tree`'s, what is known of a file `store`'s.

============================  ==========================================================================
name of http.server           here
============================  ==========================================================================
do_GET, do_HEAD, send_head,   ``async def``
list_directory, copyfile
translate_path, guess_type    plain functions as there; they do not touch the disk
index_pages, extensions_map   class attributes as there, read when the class serves its first request
directory=,                   keywords as there, ``functools.partial(Handler, directory=d)``
extra_response_headers=
default_content_type          as there
============================  ==========================================================================
"""

import os
from collections.abc import Iterable
from threading import get_ident
from typing import Any, ClassVar

from ..engine.answer import PreparedResponse
from ..engine.response import StreamWriter
from ..errors import ClientDisconnected
from ..handlers.base import BaseHTTPRequestHandler
from ..handlers.files.content import Content, FileChanged, Readable
from ..handlers.files.media_types import EXTENSIONS, guess_type
from ..handlers.files.paths import decoded, folder_path, names_in, normal_path, relative_folder
from ..handlers.files.response import send_file_head
from ..handlers.files.store import Folder, Policy, Representation, Store, Wishes, not_kept
from ..wire.negotiation import accepts_html, prefers_json
from ..wire.request import Request
from .folders import Listed, send_listing

__all__ = ["SimpleHTTPRequestHandler"]

_STORES = 64  # folders of one class whose files are remembered
_COPIED = 256 * 1024


class SimpleHTTPRequestHandler(BaseHTTPRequestHandler):
    """Serves the files below a folder: GET and HEAD, conditions, ranges, listings.

    Derive from it and set attributes, or make one with ``functools.partial``::

        aiohttpd.run(functools.partial(SimpleHTTPRequestHandler, directory="site"))

    Args:
        directory: the folder, by default the current one.
        extra_response_headers: ``(name, value)`` pairs for each answer with a file, a part of one, a
            listing, or 304.

    Attributes:
        index_pages: names that stand for their folder.
        extensions_map: media types by suffix, before what `mimetypes` knows.
        default_content_type: of files of which the type cannot be guessed.
        follow_symlinks: follow links that lead out of the folder.
        show_hidden: serve and list names that begin with a dot.
        list_directories: show folders without an index page; 404 otherwise.
        precompressed: serve ``name.br``, ``name.zst`` or ``name.gz`` for ``name`` to who accepts it.
        fallback_page: a file that answers, with 200, what is not found if a page is wanted; for programs
            in the browser that have routes of their own.
        allow_origin: value of Access-Control-Allow-Origin, for every answer.
        cache_control: value of Cache-Control for files; listings and the fallback page have ``no-cache`` then.
        cache_size: bytes of small files that are kept in memory.
        cache_file_size: bytes of the largest of these.
        max_ranges: ranges in one request; with more, the whole is sent.
        max_listed: entries in one listing.
        allowed_methods: what OPTIONS tells.
        listing_form: HTML above the entries of a listing; `UploadHandler` has one.
    """

    index_pages: ClassVar[Iterable[str]] = ("index.html", "index.htm")
    extensions_map: ClassVar[dict[str, str]] = EXTENSIONS
    default_content_type = "application/octet-stream"
    follow_symlinks = False
    show_hidden = False
    list_directories = True
    precompressed = True
    fallback_page: str | None = None
    allow_origin: str | None = None
    cache_control: str | None = None
    cache_size = 32 * 1024 * 1024
    cache_file_size = 256 * 1024
    max_ranges = 32
    max_listed = 100_000
    directory: str | os.PathLike[str] | None = None
    extra_response_headers: Iterable[tuple[str, str]] = ()
    allowed_methods: ClassVar[str] = "GET, HEAD, OPTIONS"
    listing_form = ""

    refusal_fields: ClassVar[tuple[tuple[str, str], ...]] = ()  # for `ServerContext`
    _stores: ClassVar[dict[Any, Store]] = {}
    _is_stock: ClassVar[bool] = True  # nothing is overridden that decides about an answer with a file

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        base = SimpleHTTPRequestHandler
        cls._stores = {}
        cls.refusal_fields = _cross_origin(cls.allow_origin)
        cls.extra_response_headers = _pairs(cls.extra_response_headers)
        stock = cls._is_plain and not cls._own_prelude
        cls._is_stock = stock and all(getattr(cls, name) is getattr(base, name) for name in _DECIDING)

    def __init__(
        self,
        request: Request,
        wfile: StreamWriter,
        *,
        directory: str | os.PathLike[str] | None = None,
        extra_response_headers: Iterable[tuple[str, str]] | None = None,
    ) -> None:
        super().__init__(request, wfile)
        if directory is not None:
            self.directory = os.fspath(directory)
        elif self.directory is None:
            self.directory = os.getcwd()
        if extra_response_headers is not None:
            self.extra_response_headers = _pairs(extra_response_headers)

    @property
    def _store(self) -> Store:
        # One for each thread, since each thread has a loop of its own.
        key = (get_ident(), self.directory, self.extra_response_headers)
        return self._stores.get(key) or self._new_store(key)

    def _new_store(self, key: Any) -> Store:
        policy = Policy(
            index_pages=tuple(self.index_pages),
            follow_symlinks=self.follow_symlinks,
            hidden=self.show_hidden,
            precompressed=self.precompressed,
            cache_size=self.cache_size,
            cache_file_size=min(self.cache_file_size, self.cache_size // 4),
            fields=(*_cross_origin(self.allow_origin), *self._added_to_files()),
            cache_control=self.cache_control,
        )
        if len(self._stores) >= _STORES:
            del self._stores[next(iter(self._stores))]
        store = self._stores[key] = Store(os.fspath(self.directory or ""), policy)
        return store

    @classmethod
    def instant(cls, request: Request) -> PreparedResponse | None:
        """Answer at once, without an instance, what is in memory; if the class leaves that as it is."""
        if not cls._is_stock or request.method != "GET":
            return None
        store = cls._stores.get((get_ident(), cls.directory, cls.extra_response_headers))
        path = request.target
        if "?" in path:
            path = path.partition("?")[0]
        return None if store is None else store.instant(path, request.headers)

    # What is asked for.

    async def do_GET(self) -> None:
        """Answer with a file or a listing."""
        content = await self.send_head()
        if content is None:
            return
        try:
            await self.copyfile(content, self.wfile)
        except FileChanged:
            self.log_error("%s has changed while it was sent: the answer is cut", self.path)
            self.wfile.abort()
        finally:
            content.close()

    async def do_HEAD(self) -> None:
        """Answer as to GET, without the content."""
        content = await self.send_head()
        if content is not None:
            content.close()

    async def do_OPTIONS(self) -> None:
        """Say what is allowed, and let pages of other origins ask, if ``allow_origin`` is set."""
        self.send_response(204)
        self.send_header("Allow", self.allowed_methods)
        if self.allow_origin is not None:
            self.send_header("Access-Control-Allow-Methods", self.allowed_methods)
            self.send_header("Access-Control-Allow-Headers", self.headers["Access-Control-Request-Headers"] or "Range")
            self.send_header("Access-Control-Max-Age", "600")
        self.end_headers()

    async def send_head(self) -> Readable | None:
        """Send the head of the answer.

        Returns:
            The content of a file that is still to be sent, by `copyfile`; None if the answer is complete.
        """
        found = await self._find()
        if isinstance(found, Representation):
            return send_file_head(self, found, max_ranges=self.max_ranges, more=self._content_fields())
        if found is None:
            return await self._send_missing()
        if not found.path.endswith("/"):
            self._redirect_to_folder()
            return None
        if not self.list_directories:
            return await self._send_missing()
        return await self.list_directory(found.path)

    async def _find(self) -> Representation | Folder | None:
        store, codings = self._store, Wishes.of(self.request.headers).codings
        if type(self).translate_path is not SimpleHTTPRequestHandler.translate_path:
            name = path = self.translate_path(self.path)
        else:
            name = self.path.partition("?")[0]
            if (file := store.fresh(name, codings)) is not None:
                return file
            name = normal_path(name)  # one entry for all spellings
            path = self.translate_path(name)
        return await store.find(name, path, codings, self.guess_type)

    # A file.

    async def copyfile(self, source: Readable, outputfile: StreamWriter) -> None:
        """Send what `send_head` has returned.

        Args:
            source: `Content`, which knows how to leave, or something else that can be read.
            outputfile: the answer.
        """
        if isinstance(source, Content):
            await source.send(outputfile)
            return
        while data := source.read(_COPIED):
            outputfile.write(data)
            await outputfile.drain()

    # No file.

    async def _send_missing(self) -> Content | None:
        if self.fallback_page is not None:
            found = await self._find_fallback() if accepts_html(self._accepted()) else None
            if found is not None:
                page, more = found.as_fallback(), self._content_fields()
                return send_file_head(self, page, max_ranges=self.max_ranges, more=more)
            self.add_header("Vary", "Accept")
        self.send_error(404, "File not found")
        return None

    async def _find_fallback(self) -> Representation | None:
        page = str(self.fallback_page).lstrip("/")
        name, path = folder_path(page.split("/"))[:-1], os.path.join(os.fspath(self.directory or ""), page)
        found = await self._store.find(name, path, Wishes.of(self.request.headers).codings, self.guess_type)
        return found if isinstance(found, Representation) else None

    def _redirect_to_folder(self) -> None:
        path, _, query = self.path.partition("?")
        location = relative_folder(path)
        self.send_response(301)
        self.send_header("Location", f"{location}?{query}" if query else location)
        self.send_header("Content-Length", 0)
        self.end_headers()

    async def list_directory(self, path: str) -> Readable | None:
        """Answer with a listing: a page, or JSON to who prefers it.

        Args:
            path: the folder in the file system.
        """
        from . import listing  # not every server lists

        order = listing.Order.of(self.path.partition("?")[2])
        shown = "".join(f"/{name}" for name in names_in(self.path)) + "/"
        accepted = self._accepted()
        form: listing.Form
        if prefers_json(accepted):
            form, fields = listing.JsonForm(shown, order), [("Content-type", "application/json")]
        else:
            form = listing.Page(shown, order, form=self.listing_form, sortable=accepts_html(accepted))
            policy = listing.content_security_policy(script=bool(self.listing_form))
            fields = [("Content-type", "text/html; charset=utf-8"), ("Content-Security-Policy", policy)]

        if self.cache_control is not None:
            fields.append(("Cache-Control", not_kept(self.cache_control)))

        def send_head() -> None:
            self.send_response(200)
            for name, value in (*fields, ("Vary", "Accept"), ("X-Content-Type-Options", "nosniff")):
                self.send_header(name, value)
            self.end_headers()

        root = os.fspath(self.directory or "")
        listed = Listed(root, path, self._is_listed, self.follow_symlinks, self.max_listed)
        try:
            if not await send_listing(listed, form, self.wfile, send_head):
                self.send_error(404, "No permission to list directory")
        except ClientDisconnected:
            raise
        except OSError as error:
            self.log_error("the listing of %s is cut: %s", self.path, error)
            self.wfile.abort()
        return None

    def _is_listed(self, name: str) -> bool:
        """Whether a name is one for listings; called in threads."""
        return self.show_hidden or not name.startswith(".")

    # What can be overridden besides.

    def translate_path(self, path: str) -> str:
        """The path in the file system for the path of a URL; it ends with a slash if that does.

        What an override returns may lie anywhere as far as links are concerned only with
        ``follow_symlinks``; by default it has to lie in ``directory``.
        """
        path = path.partition("#")[0].partition("?")[0]
        slash = "/" if decoded(path).endswith("/") else ""
        return os.path.join(os.fspath(self.directory or ""), *names_in(path)) + slash

    def guess_type(self, path: str | os.PathLike[str]) -> str:
        """The media type for the name of a file."""
        return guess_type(os.fspath(path), self.extensions_map) or self.default_content_type

    def end_headers(self) -> None:
        """End the head, with what ``extra_response_headers`` and ``allow_origin`` add to it."""
        if self._fields is not None and self._status >= 200:
            if self._status in (200, 206, 304):
                for name, value in self.extra_response_headers:
                    self._fields.drop(name)  # it takes the place of ours
                    self.send_header(name, value)
            for name, value in _cross_origin(self.allow_origin):
                self.send_header(name, value)
        super().end_headers()

    def _content_fields(self) -> list[tuple[str, str]]:
        """Fields of answers with a file, if ``extra_response_headers`` does not have others of their names."""
        return []

    def _added_to_files(self) -> list[tuple[str, str]]:
        theirs = {name.lower() for name, _ in self.extra_response_headers}
        own = [field for field in self._content_fields() if field[0].lower() not in theirs]
        return [*own, *self.extra_response_headers]

    def _accepted(self) -> str:
        return ", ".join(self.headers.get_all("Accept") or ())


def _cross_origin(origin: str | None) -> tuple[tuple[str, str], ...]:
    """The fields that let pages of an origin read an answer."""
    if origin is None:
        return ()
    exposed = ("Access-Control-Expose-Headers", "Accept-Ranges, Content-Encoding, Content-Range, ETag")
    return (("Access-Control-Allow-Origin", origin), exposed)


def _pairs(fields: Iterable[Iterable[str]]) -> tuple[tuple[str, str], ...]:
    """Fields as a key of a dict, however they have been given."""
    return tuple((name, value) for name, value in fields)


_DECIDING = (
    "__init__",
    "copyfile",
    "do_GET",
    "end_headers",
    "flush_headers",
    "send_head",
    "send_header",
    "send_response",
    "translate_path",
)
