"""SimpleHTTPRequestHandler: the file server of http.server, with conditional requests, ranges and content codings.

Owns the steps from the path of a request to its response, and the methods of http.server that a class can override.
Which files may be opened is decided in `handlers.files.tree`; files in memory are in `handlers.files.store`.

============================  ==========================================================================
name of http.server           here
============================  ==========================================================================
do_GET, do_HEAD, send_head,   ``async def``
list_directory, copyfile
translate_path, guess_type    plain functions as there; they must not read the disk
index_pages, extensions_map   class attributes as there, read when the class serves its first request
directory=,                   keyword arguments as there, ``functools.partial(Handler, directory=d)``
extra_response_headers=
default_content_type          as there
============================  ==========================================================================
"""

from __future__ import annotations

import functools
import os
from collections.abc import Coroutine, Iterable
from threading import get_ident
from typing import TYPE_CHECKING, Any, ClassVar

from ..engine.answer import PreparedResponse
from ..engine.error_log import error_logger
from ..engine.response import StreamWriter
from ..errors import ClientDisconnected
from ..handlers.answers import send_fields
from ..handlers.base import BaseHTTPRequestHandler, allows_prepared_responses, open_head
from ..handlers.checks import check_async, check_plain, inherits
from ..handlers.files.content import Content, FileChanged, Readable
from ..handlers.files.media_types import EXTENSIONS, guess_type
from ..handlers.files.paths import decoded, folder_path, names_in, normal_path, relative_folder
from ..handlers.files.response import send_file_head
from ..handlers.files.store import FileRequest, Folder, Policy, Representation, Store, Verified, uncached
from ..handlers.files.tree import OpenFile
from ..wire.negotiation import accepts_html, prefers_json
from ..wire.request import Request
from ..wire.response import ResponseFields
from .send_listing import ListedFolder, send_listing

if TYPE_CHECKING:
    from .listing import ListingFormat

__all__ = ["SimpleHTTPRequestHandler"]

_MOST_STORES = 64  # stores of one class: one for each folder and loop
_COPY_SIZE = 256 * 1024  # bytes that copyfile() reads at once


class SimpleHTTPRequestHandler(BaseHTTPRequestHandler):
    """Serves the files below a folder: GET and HEAD, conditional and range requests, listings.

    Derive from it and set attributes, or pass keyword arguments with ``functools.partial``::

        aiohttpd.run(functools.partial(SimpleHTTPRequestHandler, directory="site"))

    Args:
        directory: the folder, by default the current one.
        extra_response_headers: ``(name, value)`` pairs for each response with status 200, 206 or 304. They replace
            fields of the server with the same names.

    Attributes:
        index_pages: file names; the first that exists is sent for a folder.
        extensions_map: media types by suffix; they take precedence over those of the package and of `mimetypes`.
        default_content_type: media type of files whose type cannot be guessed.
        follow_symlinks: follow symbolic links that lead out of the folder.
        show_hidden: serve and list names that begin with a dot.
        list_directories: list folders that have no index page; otherwise 404.
        precompressed: send ``name.br``, ``name.zst`` or ``name.gz`` for ``name`` if the client accepts the coding.
        fallback_page: a file that is sent, with 200, in place of a page that does not exist; for single-page
            applications, whose routes exist in the browser only.
        allow_origin: value of Access-Control-Allow-Origin, for every response.
        cache_control: value of Cache-Control for files. Listings and the fallback page have ``no-cache`` then.
        cache_size: bytes of memory for small files.
        cache_file_size: bytes of the largest file that is kept in memory.
        max_ranges: ranges of one request; if there are more, the whole file is sent.
        max_listed: entries of one listing.
        allowed_methods: value of Allow in the response to OPTIONS.
        listing_form: HTML above the entries of a listing; `UploadHandler` sets it.
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

    refusal_fields: ClassVar[tuple[tuple[str, str], ...]] = ()  # see `ServedApp`
    _stores: ClassVar[dict[Any, Store]] = {}
    _is_stock: ClassVar[bool] = True  # no method is overridden that could change a response with a file

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._stores = {}
        cls.refusal_fields = _cross_origin(cls.allow_origin)
        cls.extra_response_headers = _pairs(cls.extra_response_headers)
        _check_methods(cls)
        cls._is_stock = inherits(cls, SimpleHTTPRequestHandler, *_METHODS_OF_FILES) and allows_prepared_responses(cls)

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
        # One for each thread: a store belongs to one event loop, and a thread runs one.
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
        if len(self._stores) >= _MOST_STORES:
            self._stores.pop(next(iter(self._stores))).forget()
        directory = os.fspath(self.directory or "")
        if not os.path.isdir(directory or "."):  # not refused: it may come later
            error_logger.warning("there is no folder %s: what is asked of it gets 404", os.path.abspath(directory))
        store = self._stores[key] = Store(directory, policy)
        return store

    def _clear_stores(self) -> None:
        """Drop the files that are in memory or open: one of them may have been replaced."""
        own = get_ident()
        for key in tuple(self._stores):
            store = self._stores.pop(key, None)
            if store is not None and key[0] == own:  # its loop drops what another thread has, after some seconds
                store.forget()

    @classmethod
    def instant(cls, request: Request) -> PreparedResponse | None:
        """The prepared response for a file that is in memory; see `PreparedResponse`.

        None if there is none, or if the class overrides a method that could change it.
        """
        known = cls._known_file(request)
        return None if known is None else known.instant

    @classmethod
    def serve(cls, request: Request, response: StreamWriter) -> Coroutine[Any, Any, None]:
        """See `BaseHTTPRequestHandler.serve`. A large file that is known is sent without an instance of the class."""
        if request.framing.ordinary and isinstance(response, StreamWriter):
            known = cls._known_file(request)
            if known is not None and known.head is not None and known.file is not None:
                return cls._send_known_file(request, response, known.head, known.file)
        return super().serve(request, response)

    @classmethod
    def _known_file(cls, request: Request) -> Representation | None:
        """The file for a GET without conditions and ranges, if the store has it and no method is overridden."""
        if not cls._is_stock or request.method != "GET":
            return None
        path = request.target
        if "?" in path:
            path = path.partition("?")[0]
        headers = request.headers
        verified: Verified | None = headers.memo.get(cls)  # set by an earlier request with the same fields
        if verified is not None and path in verified:
            return verified[path]
        store = cls._stores.get((get_ident(), cls.directory, cls.extra_response_headers))
        return None if store is None else store.prepared(path, headers, cls)

    @classmethod
    async def _send_known_file(
        cls, request: Request, response: StreamWriter, head: ResponseFields, file: OpenFile
    ) -> None:
        try:
            response.send_head(200, head.copy())  # an encoder may change its fields
            await response.sendfile(file, 0, file.size, check=file.unchanged)
        except EOFError:
            cls(request, response)._abort_changed()

    @classmethod
    def derived(cls, **options: Any) -> type[SimpleHTTPRequestHandler] | None:
        """A class with arguments of ``__init__`` as attributes, whose files can be sent by prepared responses.

        ``functools.partial(SimpleHTTPRequestHandler, directory="site")`` is served as this class.

        Returns:
            The same class for the same arguments; None if the class or its arguments are not those of
            `SimpleHTTPRequestHandler`.
        """
        base = SimpleHTTPRequestHandler
        is_usual = cls.__init__ is base.__init__ and type(cls) is type(base)
        is_usual = is_usual and cls.__init_subclass__.__func__ is base.__init_subclass__.__func__  # type: ignore[attr-defined]
        if not is_usual or not options.keys() <= {"directory", "extra_response_headers"}:
            return None
        directory, fields = options.get("directory"), options.get("extra_response_headers")
        folder = None if directory is None else os.fspath(directory)
        return _derived(cls, folder, None if fields is None else _pairs(fields))  # type: ignore[arg-type]  # mypy: type

    # Requests.

    async def do_GET(self) -> None:
        """Send a file or a listing."""
        content = await self.send_head()
        if content is None:
            return
        try:
            await self.copyfile(content, self.wfile)
        except FileChanged:
            self._abort_changed()
        finally:
            content.close()

    def _abort_changed(self) -> None:
        self.log_error("%s has changed while it was sent: the response is aborted", self.path)
        self.wfile.abort()

    async def do_HEAD(self) -> None:
        """Send the head of the response to GET."""
        content = await self.send_head()
        if content is not None:
            content.close()

    async def do_OPTIONS(self) -> None:
        """Send Allow, and the fields of a CORS preflight response if ``allow_origin`` is set."""
        self.send_response(204)
        self.send_header("Allow", self.allowed_methods)
        if self.allow_origin is not None:
            self.send_header("Access-Control-Allow-Methods", self.allowed_methods)
            self.send_header("Access-Control-Allow-Headers", self.headers["Access-Control-Request-Headers"] or "Range")
            self.send_header("Access-Control-Max-Age", "600")
        self.end_headers()

    async def send_head(self) -> Readable | None:
        """Find the file or folder and send the head of the response.

        Returns:
            The content that `copyfile` has to send; None if the response is complete.
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
        store, codings = self._store, FileRequest.of(self.request.headers).codings
        if type(self).translate_path is not SimpleHTTPRequestHandler.translate_path:
            name = path = self.translate_path(self.path)
        else:
            name = self.path.partition("?")[0]
            if (file := store.fresh(name, codings)) is not None:
                return file
            name = normal_path(name)  # one entry of the store for all spellings of a path
            path = self.translate_path(name)
        return await store.find(name, path, codings, self.guess_type)

    async def copyfile(self, source: Readable, outputfile: StreamWriter) -> None:
        """Send the content that `send_head` has returned.

        Args:
            source: a `Content`, which uses ``sendfile`` where it can; or another file, which is read and written.
            outputfile: the response.
        """
        if isinstance(source, Content):
            await source.send(outputfile)
            return
        while data := source.read(_COPY_SIZE):
            outputfile.write(data)
            await outputfile.drain()

    # Responses without a file.

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
        found = await self._store.find(name, path, FileRequest.of(self.request.headers).codings, self.guess_type)
        return found if isinstance(found, Representation) else None

    def _redirect_to_folder(self) -> None:
        path, _, query = self.path.partition("?")
        location = relative_folder(path)
        send_fields(self, 301, [("Location", f"{location}?{query}" if query else location)], length=0)

    async def list_directory(self, path: str) -> Readable | None:
        """Send a listing: an HTML page, or JSON if the client prefers it.

        Args:
            path: path of the folder in the file system.
        """
        listing, fields = self._listing_format()
        root = os.fspath(self.directory or "")
        folder = ListedFolder(root, path, self._is_listed, self.follow_symlinks, self.max_listed)

        fields += [("Vary", "Accept"), ("X-Content-Type-Options", "nosniff")]
        send_head = functools.partial(send_fields, self, 200, fields)
        try:
            if not await send_listing(folder, listing, self.wfile, send_head):
                self.send_error(404, "No permission to list directory")
        except ClientDisconnected:
            raise
        except OSError as error:
            self.log_error("the listing of %s is aborted: %s", self.path, error)
            self.wfile.abort()
        return None

    def _listing_format(self) -> tuple[ListingFormat, list[tuple[str, str]]]:
        """The format that the client accepts, and the header fields of it."""
        from . import listing  # imported with the first listing

        order = listing.Order.of(self.path.partition("?")[2])
        path = "".join(f"/{name}" for name in names_in(self.path)) + "/"
        accepted = self._accepted()
        made: ListingFormat
        if prefers_json(accepted):
            made, fields = listing.JsonListing(path, order), [("Content-type", "application/json")]
        else:
            made = listing.HtmlListing(path, order, form=self.listing_form, sortable=accepts_html(accepted))
            policy = listing.content_security_policy(script=bool(self.listing_form))
            fields = [("Content-type", "text/html; charset=utf-8"), ("Content-Security-Policy", policy)]
        if self.cache_control is not None:
            fields.append(("Cache-Control", uncached(self.cache_control)))
        return made, fields

    def _is_listed(self, name: str) -> bool:
        """Whether a listing shows a name. Called in threads."""
        return self.show_hidden or not name.startswith(".")

    # Further methods that a class can override.

    def translate_path(self, path: str) -> str:
        """The path in the file system for the path of a URL. It ends with a slash if that of the URL does.

        A path outside of ``directory`` is served only if ``follow_symlinks`` is set.
        """
        path = path.partition("#")[0].partition("?")[0]
        slash = "/" if decoded(path).endswith("/") else ""
        return os.path.join(os.fspath(self.directory or ""), *names_in(path)) + slash

    def guess_type(self, path: str | os.PathLike[str]) -> str:
        """The media type for a file name."""
        return guess_type(os.fspath(path), self.extensions_map) or self.default_content_type

    def end_headers(self) -> None:
        """Add the fields of ``extra_response_headers`` and ``allow_origin``, and end the head."""
        head = open_head(self)
        if head is not None and head[0] >= 200:
            status, fields = head
            if status in (200, 206, 304):
                for name, value in self.extra_response_headers:
                    fields.drop(name)
                    self.send_header(name, value)
            for name, value in _cross_origin(self.allow_origin):
                self.send_header(name, value)
        super().end_headers()

    def _content_fields(self) -> list[tuple[str, str]]:
        """Fields of responses with a file; ``extra_response_headers`` can replace them."""
        return []

    def _added_to_files(self) -> list[tuple[str, str]]:
        theirs = {name.lower() for name, _ in self.extra_response_headers}
        own = [field for field in self._content_fields() if field[0].lower() not in theirs]
        return [*own, *self.extra_response_headers]

    def _accepted(self) -> str:
        return ", ".join(self.headers.get_all("Accept") or ())


def _cross_origin(origin: str | None) -> tuple[tuple[str, str], ...]:
    """The CORS fields that let pages of an origin read a response."""
    if origin is None:
        return ()
    exposed = ("Access-Control-Expose-Headers", "Accept-Ranges, Content-Encoding, Content-Range, ETag")
    return (("Access-Control-Allow-Origin", origin), exposed)


@functools.lru_cache(64)
def _derived(
    cls: type[SimpleHTTPRequestHandler], directory: str | None, fields: tuple[tuple[str, str], ...] | None
) -> type[SimpleHTTPRequestHandler]:
    given = {"directory": directory, "extra_response_headers": fields}
    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    attributes = {name: value for name, value in given.items() if value is not None}
    made: type[SimpleHTTPRequestHandler] = type(cls.__name__, (cls,), {**names, **attributes})
    made._stores = cls._stores  # so their number is bounded for all of them
    return made


def _pairs(fields: Iterable[Iterable[str]]) -> tuple[tuple[str, str], ...]:
    """Fields as a tuple, which can be a part of a dict's key."""
    return tuple((name, value) for name, value in fields)


def _check_methods(cls: type) -> None:
    """Refuse overrides that were written for http.server, and are awaited here; and the other way round.

    Raises:
        TypeError: the message says what to write.
    """
    for name, method in vars(cls).items():
        if name in ("send_head", "list_directory", "copyfile"):
            check_async(f"{cls.__qualname__}.{name}", method)
        elif name in ("translate_path", "guess_type"):
            check_plain(f"{cls.__qualname__}.{name}", method)


# The methods whose overrides can change a response with a file.
_METHODS_OF_FILES = (
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
