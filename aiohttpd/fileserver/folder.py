"""The App that serves a folder, made from the options of the command ``aiohttpd serve``.

Owns what these options mean in HTTP. It does not read the command line.
"""

import re
from dataclasses import dataclass, fields
from typing import Any

from ..engine.interfaces import App
from ..engine.response import StreamWriter
from ..errors import HTTPError
from ..handlers.app import forward_attributes, resolve_app
from ..handlers.origins import is_origin, is_preflight
from ..wire.headers import is_token
from ..wire.request import Request
from ..wire.response import ResponseFields
from .handler import SimpleHTTPRequestHandler

__all__ = ["FolderOptions", "folder_app", "parse_header"]

# Fields that differ from response to response, so --header cannot set them.
_SET_BY_SERVER = (
    "content-length",
    "transfer-encoding",
    "connection",
    "content-range",
    "content-encoding",
    "etag",
    "last-modified",
)


@dataclass(frozen=True, kw_only=True)
class FolderOptions:
    """How a folder is served: one field for each option of the command that concerns files.

    Attributes:
        headers: ``Name: value`` for each response with a file or a listing.
        content_type: media type of files whose type cannot be guessed; None for ``application/octet-stream``.
        cache: seconds that clients may cache files, as text; or ``no-store``, or ``no-cache``.
        cors: the origin of pages that may read the responses, ``*`` for any.
        spa: the file that is sent, with 200, for pages that do not exist.
        index: names of index pages; empty for index.html and index.htm.
        listing: list folders that have no index page.
        hidden: serve names that begin with a dot.
        follow_symlinks: follow symbolic links that lead out of the folder.
        compress: compress responses of text.
        auth: ``name:password`` that every request needs.
        upload: accept files.
        overwrite: let an upload replace a file.
        upload_auth: ``name:password`` that uploads need.
        max_upload: bytes of one upload request.
        min_free: bytes that uploads leave free on the disk.
        min_free_files: number of files that uploads leave room for on the disk.
        timeout_lock: seconds that an upload waits while another program has locked the folder.
        trust_uploads: let uploaded files run scripts as pages of the site, and be index pages.
    """

    headers: tuple[str, ...] = ()
    content_type: str | None = None
    cache: str | None = None
    cors: str | None = None
    spa: str | None = None
    index: tuple[str, ...] = ()
    listing: bool = True
    hidden: bool = False
    follow_symlinks: bool = False
    compress: bool = False
    auth: str | None = None
    upload: bool = False
    overwrite: bool = False
    upload_auth: str | None = None
    max_upload: int | None = None
    min_free: int | None = None
    min_free_files: int | None = None
    timeout_lock: float | None = None
    trust_uploads: bool = False


_UPLOAD_OPTIONS = (
    "overwrite", "trust_uploads", "upload_auth", "max_upload", "min_free", "min_free_files", "timeout_lock",
)  # fmt: skip
_DEFAULTS = {field.name: field.default for field in fields(FolderOptions)}


def folder_app(directory: str, options: FolderOptions | None = None) -> App:
    """Make an App that serves a folder.

    Args:
        directory: path of the folder.
        options: how it is served.

    Raises:
        ValueError: an option is malformed or useless; the message names it as the command line does.
    """
    options = options or FolderOptions()
    base = _upload_handler() if options.upload else SimpleHTTPRequestHandler
    uploads = _upload_attributes(options) if options.upload else _no_uploads(options)
    app: App = type("Folder", (base,), {"directory": directory, **_file_attributes(options), **uploads})
    if options.compress:
        from ..compression import compress

        app = compress(app)
    return app if options.auth is None else _with_auth(app, options.auth, options)


def _file_attributes(options: FolderOptions) -> dict[str, Any]:
    """The class attributes of `SimpleHTTPRequestHandler` for these options."""
    if options.cors not in (None, "*", "null") and not is_origin(options.cors):
        raise ValueError(f"--cors {options.cors!r}: an origin is '*', or as https://host:port, with nothing after it")
    attributes: dict[str, Any] = {
        "extra_response_headers": tuple(parse_header(text) for text in options.headers),
        "list_directories": options.listing,
        "show_hidden": options.hidden,
        "follow_symlinks": options.follow_symlinks,
        "fallback_page": options.spa,
        "allow_origin": options.cors,
        "cache_control": None if options.cache is None else _cache_control(options.cache),
    }
    if options.spa is not None and (not options.spa.strip("/") or ".." in options.spa.split("/")):
        raise ValueError(f"--spa {options.spa!r}: write the path of a file in the folder")
    if options.content_type is not None:
        _check_media_type(options.content_type)
        attributes["default_content_type"] = options.content_type
    for name in options.index:
        if name in ("", ".", "..") or "/" in name:
            raise ValueError(f"--index {name!r}: write the name of a file, without a slash")
    if options.index:
        attributes["index_pages"] = options.index
    return attributes


def _upload_attributes(options: FolderOptions) -> dict[str, Any]:
    """The class attributes of `UploadHandler` for these options."""
    optional = {name: getattr(options, name) for name in ("min_free", "min_free_files", "timeout_lock")}
    return {
        "overwrite": options.overwrite,
        "trust_uploads": options.trust_uploads,
        "upload_credentials": options.upload_auth,
        "max_upload": options.max_upload,
        **{name: value for name, value in optional.items() if value is not None},
    }


def _no_uploads(options: FolderOptions) -> dict[str, Any]:
    """Methods that refuse uploads with a hint at the option."""
    for name in _UPLOAD_OPTIONS:
        if getattr(options, name) != _DEFAULTS[name]:
            raise ValueError(f"--{name.replace('_', '-')} is of no use without --upload")
    return {"do_PUT": _refuse_upload, "do_POST": _refuse_upload}


async def _refuse_upload(handler: SimpleHTTPRequestHandler) -> None:
    explain = "Files are taken where it was started with --upload"
    raise HTTPError(405, None, explain, headers=[("Allow", handler.allowed_methods)])


def _upload_handler() -> type[SimpleHTTPRequestHandler]:
    """`UploadHandler`; not every system has the functions that it needs."""
    try:
        from .uploads import UploadHandler
    except NotImplementedError as error:
        raise ValueError(f"--upload: {error}") from None
    return UploadHandler


def _with_auth(app: App, credentials: str, options: FolderOptions) -> App:
    """Require the credentials of ``auth`` or, since a request has one pair only, those of ``upload_auth``.

    CORS preflight requests need none, since browsers send none with them.
    """
    from ..middleware.auth import basic_auth, is_authorized  # imports hashlib and hmac

    inner, guarded = resolve_app(app), basic_auth(app, credentials)
    if options.cors is None and options.upload_auth is None:
        return guarded

    async def choose(request: Request, response: StreamWriter) -> None:
        passes = (options.cors is not None and is_preflight(request)) or (
            options.upload_auth is not None and is_authorized(request, options.upload_auth)
        )
        await (inner if passes else guarded)(request, response)

    forward_attributes(app, choose)
    return choose


def parse_header(text: str) -> tuple[str, str]:
    """Name and value of an option ``--header``.

    Raises:
        ValueError: it is malformed, or the field is different for each answer.
    """
    name, colon, value = text.partition(":")
    if not colon:
        raise ValueError(f"--header {text!r}: write 'Name: value'")
    if name.lower() in _SET_BY_SERVER:
        raise ValueError(f"--header {text!r}: {name} is different for each answer")
    _check_field(f"--header {text!r}", name, value.strip())
    return name, value.strip()


def _check_media_type(text: str) -> None:
    kind, _, rest = text.partition("/")
    if not (is_token(kind) and is_token(rest.partition(";")[0].rstrip())):
        raise ValueError(f"--content-type {text!r}: write a media type, text/plain for example")
    _check_field(f"--content-type {text!r}", "Content-type", text)


def _check_field(option: str, name: str, value: str) -> None:
    try:
        ResponseFields.of([(name, value)])
    except (ValueError, UnicodeEncodeError) as error:
        raise ValueError(f"{option}: {error}") from None


def _cache_control(cache: str) -> str:
    if cache in ("no-store", "no-cache"):
        return cache
    if not re.fullmatch("[0-9]{1,10}", cache):
        raise ValueError(f"--cache {cache!r}: a number of seconds, 'no-store' or 'no-cache'")
    return f"max-age={int(cache)}"
