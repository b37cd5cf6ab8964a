"""Sites: from what somebody wants of a folder to the App that serves it.

Owns what the options of the command mean in HTTP. It reads no command line.
"""

import re
from collections.abc import Iterable
from typing import Any

from ..engine.interfaces import App
from ..engine.response import StreamWriter
from ..errors import HTTPError
from ..handlers.app import copy_error_format, resolve_app
from ..wire.request import Request
from ..wire.response import ResponseFields
from .handler import SimpleHTTPRequestHandler

__all__ = ["folder_app"]

# As browsers write it, since they compare it by each character; an extension's has another scheme.
_is_origin = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://[a-z0-9._:\[\]-]+").fullmatch

# What an answer says about itself, and no option may say for it.
_OURS = (
    "content-length",
    "transfer-encoding",
    "connection",
    "content-range",
    "content-encoding",
    "etag",
    "last-modified",
)


def folder_app(
    directory: str,
    *,
    headers: Iterable[str] = (),
    content_type: str | None = None,
    cache: str | None = None,
    cors: str | None = None,
    spa: str | None = None,
    index: Iterable[str] = (),
    auth: str | None = None,
    upload: bool = False,
    overwrite: bool = False,
    upload_auth: str | None = None,
    max_upload: int | None = None,
    min_free: int | None = None,
    min_free_files: int | None = None,
    timeout_lock: float | None = None,
    trust_uploads: bool = False,
    compress: bool = False,
    listing: bool = True,
    hidden: bool = False,
    follow_symlinks: bool = False,
) -> App:
    """Make an App that serves a folder.

    Args:
        directory: the folder.
        headers: ``Name: value`` for each answer with a file or a listing.
        content_type: of files of which it cannot be guessed.
        cache: seconds for which files may be kept, or ``no-store``, or ``no-cache``.
        cors: the origin of pages that may read the answers, ``*`` for any.
        spa: the file that answers for every page that does not exist.
        index: names that stand for their folder, instead of index.html and index.htm.
        auth: ``name:password`` without which nobody passes.
        upload: take files, too.
        overwrite: let an upload take the place of a file.
        upload_auth: ``name:password`` without which nothing is taken.
        max_upload: bytes of one request that uploads.
        min_free: bytes of the disk that uploads leave free.
        min_free_files: files that the disk keeps room for.
        timeout_lock: seconds that an upload waits for another program which has locked the folder.
        trust_uploads: let what is uploaded be pages of the site.
        compress: compress what is text.
        listing: show folders without an index page.
        hidden: serve names that begin with a dot.
        follow_symlinks: follow links that lead out of the folder.

    Raises:
        ValueError: one of these is not what it should be; the text says which.
    """
    fields = [_field(text) for text in headers]
    attributes: dict[str, Any] = {
        "directory": directory,
        "extra_response_headers": tuple(fields),
        "list_directories": listing,
        "show_hidden": hidden,
        "follow_symlinks": follow_symlinks,
        "fallback_page": spa,
        "allow_origin": cors,
        "cache_control": None if cache is None else _cache_control(cache),
    }
    if content_type is not None:
        _check("--content-type", "Content-type", content_type)
        attributes["default_content_type"] = content_type
    if cors is not None and not _is_origin(cors):
        raise ValueError(f"--cors {cors!r}: an origin is '*', or as https://host:port, with nothing after it")
    if names := tuple(index):
        attributes["index_pages"] = names
    base: type[SimpleHTTPRequestHandler] = SimpleHTTPRequestHandler
    limits = {"min_free": min_free, "min_free_files": min_free_files, "timeout_lock": timeout_lock}
    given = {name: value for name, value in limits.items() if value is not None}
    if upload:
        base = _upload_handler()
        attributes |= {"overwrite": overwrite, "upload_credentials": upload_auth, "max_upload": max_upload, **given}
        attributes["trust_uploads"] = trust_uploads
    elif overwrite or trust_uploads or upload_auth is not None or max_upload is not None or given:
        raise ValueError(
            "--overwrite, --trust-uploads, --upload-auth, --max-upload, --min-free, --min-free-files and "
            "--timeout-lock are of no use without --upload"
        )
    else:
        attributes |= {"do_PUT": _take_nothing, "do_POST": _take_nothing}
    app: App = type("Folder", (base,), attributes)
    if compress:
        from ..compression import compress as compressed

        app = compressed(app)
    return app if auth is None else _guarded(app, auth, upload_auth, preflight=cors is not None)


def _upload_handler() -> type[SimpleHTTPRequestHandler]:
    """The handler that takes files, which needs more of the system than the one that does not."""
    try:
        from .uploads import UploadHandler
    except NotImplementedError as error:
        raise ValueError(f"--upload: {error}") from None
    return UploadHandler


def _guarded(app: App, credentials: str, upload_credentials: str | None, *, preflight: bool) -> App:
    """Let nobody pass without a password, or that for uploads."""
    from ..middleware.auth import basic_auth  # with hashlib and more

    guarded = basic_auth(app, credentials, preflight=preflight)
    return guarded if upload_credentials is None else _either(app, upload_credentials, guarded)


def _either(app: App, credentials: str, otherwise: App) -> App:
    """Let those who may upload read, too: a request has one name and password."""
    from ..middleware.auth import is_authorized

    inner = resolve_app(app)

    async def chosen(request: Request, response: StreamWriter) -> None:
        await (inner if is_authorized(request, credentials) else otherwise)(request, response)

    copy_error_format(app, chosen)
    return chosen


async def _take_nothing(handler: SimpleHTTPRequestHandler) -> None:
    """Say to who sends a file what is missing."""
    explain = "Files are taken where it was started with --upload"
    raise HTTPError(405, None, explain, headers=[("Allow", handler.allowed_methods)])


def _field(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise ValueError(f"--header {text!r}: write 'Name: value'")
    if name.lower() in _OURS:
        raise ValueError(f"--header {text!r}: {name} is different for each answer")
    _check("--header", name, value.strip())
    return name, value.strip()


def _check(option: str, name: str, value: str) -> None:
    try:
        ResponseFields.of([(name, value)])
    except (ValueError, UnicodeEncodeError) as error:
        raise ValueError(f"{option} {value!r}: {error}") from None


def _cache_control(cache: str) -> str:
    if cache in ("no-store", "no-cache"):
        return cache
    if not re.fullmatch("[0-9]{1,10}", cache):
        raise ValueError(f"--cache {cache!r}: a number of seconds, 'no-store' or 'no-cache'")
    return f"max-age={int(cache)}"
