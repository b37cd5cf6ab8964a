"""The store: the files below one folder as representations (RFC 9110 section 8), and a cache of them.

Owns what is known of a file (validators, media type, content coding), when that is checked again, and how much is kept
in memory. It does not see handlers and sends nothing.

A cached representation is compared with its file, by ``os.stat``, once in each iteration of the event loop in which it
is requested. So the check is made after the request has arrived; it costs less than a look-up of the path, and a busy
loop serves many requests in one iteration. Once a second the path is looked up again, since there may be a new index
page or a new precompressed file.
"""

import asyncio
import copy
import os
import sys
import time
from asyncio import get_running_loop
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from ...engine.answer import PreparedResponse
from ...errors import HTTPError
from ...net.sendfile import read_from
from ...wire.conditions import CONDITIONAL_FIELDS, Validators
from ...wire.dates import http_date
from ...wire.headers import Headers
from ...wire.negotiation import CODINGS, IDENTITY, accepted_codings
from ...wire.response import ResponseFields
from .media_types import own_coding
from .precompressed import Usability, check_precompressed, is_gzip
from .tree import FileState, OpenFile, is_hidden, open_inside, state_of

__all__ = ["FileRequest", "Folder", "Policy", "Representation", "Store", "Verified", "uncached"]

_LOOK_UP_INTERVAL: Final = 1.0  # seconds after which a path is looked up again
_UNUSED_AFTER: Final = 5.0  # seconds without a request after which an entry is dropped
_OPEN_FILE_COST: Final = 512 * 1024  # bytes of the cache that an open file counts as
_ENTRY_COST: Final = 4096  # bytes of the cache for an entry, without its content, paths and key
# Fields of requests that a prepared response does not fit. If-Range has an effect only together with Range.
_NOT_PLAIN: Final = (*CONDITIONAL_FIELDS, "range")
_READ_ATTEMPTS: Final = 3  # for a file that changes while it is read
_CHARSET_SAMPLE: Final = 64 * 1024  # bytes of a large text file that are read to detect UTF-8


GuessType = Callable[[str], str]


class Policy(NamedTuple):
    """Which files of a folder are served, and how.

    Attributes:
        index_pages: file names; the first that exists is sent for a folder.
        follow_symlinks: follow symbolic links that lead out of the root.
        hidden: serve names that begin with a dot.
        precompressed: send ``name.br``, ``name.zst`` or ``name.gz`` for ``name``.
        cache_size: bytes of memory for files.
        cache_file_size: bytes of the largest file that is kept in memory.
        fields: header fields that are added to prepared responses.
        cache_control: value of Cache-Control for files; None for no such field.
    """

    index_pages: tuple[str, ...]
    follow_symlinks: bool
    hidden: bool
    precompressed: bool
    cache_size: int
    cache_file_size: int
    fields: tuple[tuple[str, str], ...]
    cache_control: str | None = None


class FileRequest(NamedTuple):
    """What the header fields of a request for a file say.

    Attributes:
        plain: there is no condition and no range.
        codings: the content codings that the client accepts, the preferred one first.
    """

    plain: bool
    codings: tuple[str, ...]

    @classmethod
    def of(cls, headers: Headers) -> "FileRequest":
        """Parse the fields; the result is kept for clients that repeat them."""
        parsed: FileRequest | None = headers.memo.get(cls)
        if parsed is None:
            codings = headers.get_all("Accept-Encoding")
            is_plain = not any(name in headers for name in _NOT_PLAIN)
            accepted = accepted_codings(None if codings is None else ", ".join(codings))
            parsed = headers.remember(cls, FileRequest(is_plain, accepted))
        return parsed


class SelectedFile(NamedTuple):
    """The file that is sent for a resource: the original, or a precompressed one.

    Attributes:
        file: the open file.
        coding: its content coding.
        varies: whether another client could get another coding.
        sources: the files on which the selection depends, with their paths.
    """

    file: OpenFile
    coding: str
    varies: bool
    sources: tuple[tuple[str, FileState], ...]


class Representation:
    """One file in one content coding.

    Attributes:
        size: bytes of content.
        validators: entity tag and date.
        content_type: media type, with the charset if it is known.
        fields: Content-type, Last-Modified and so on, as pairs.
        file: the open file, if the content is not in memory.
        content: the content, if it is in memory.
        instant: the prepared response, if the content is in memory.
        head: the fields of a response with the whole file, if the content is not in memory; with Content-Length.
        cost: bytes of the cache that it counts as.
        is_cacheable: whether a later change of the file can be noticed by its dates.
        expires: when the path is to be looked up again, of ``time.monotonic``.
    """

    __slots__ = (
        "_identity", "_sources", "content", "content_type", "cost", "expires", "fields", "file", "head", "instant",
        "is_cacheable", "size", "validators",
    )  # fmt: skip

    def __init__(
        self,
        selected: SelectedFile,
        content: bytes | None,
        content_type: str,
        *,
        name: str,
        policy: Policy,
    ) -> None:
        file = selected.file
        self.size = file.size
        self.file = file if content is None else None
        self.content = content
        self.content_type = content_type
        self.validators = _validators(selected)
        self.fields = _fields(selected, content_type, self.validators, policy.cache_control)
        head = _with(self.fields, policy.fields)
        self.instant = None if content is None else _prepared(head, content)
        self.head = _with_length(head, file.size) if content is None else None
        self.is_cacheable = file.settled
        self.expires = 0.0
        self._sources = selected.sources
        self._identity = selected[1:]
        self.cost = _ENTRY_COST + sys.getsizeof(name) + sum(sys.getsizeof(path) for path, _ in selected.sources)
        if content is None:
            self.cost += _OPEN_FILE_COST
        else:
            self.cost += len(content) + (len(self.instant.rest) if self.instant is not None else 0)

    def matches(self, selected: SelectedFile) -> bool:
        """Whether another look-up has found the same files, unchanged."""
        return self.is_cacheable and self._identity == selected[1:]

    def is_current(self) -> bool:
        """Whether its files are unchanged, by ``os.stat``. Called in the loop: the system has cached the paths."""
        try:
            for path, state in self._sources:
                if state_of(os.stat(path)) != state:
                    return False
        except OSError:
            return False
        return True

    def as_fallback(self) -> "Representation":
        """The same file as a fallback for a path that does not exist.

        It has no Last-Modified: the date of the fallback says nothing about the path, at which there may have been, or
        may come, another page.
        """
        other = copy.copy(self)
        other.validators = self.validators._replace(modified=None)
        vary = "Accept, Accept-Encoding" if ("Vary", "Accept-Encoding") in self.fields else "Accept"
        other.fields = [*(field for field in self.fields if field[0] not in ("Last-Modified", "Vary")), ("Vary", vary)]
        other.fields = [(name, uncached(value) if name == "Cache-Control" else value) for name, value in other.fields]
        return other


def _validators(selected: SelectedFile) -> Validators:
    file, coding = selected.file, selected.coding
    etag = file.etag if coding == IDENTITY else f'{file.etag[:-1]}-{coding}"'
    modified, now = file.modified // 1_000_000_000, int(time.time())
    # Last-Modified must not be in the future, RFC 9110 section 8.8.2.1.
    return Validators(etag, min(modified, now), is_future=modified > now)


def _fields(
    selected: SelectedFile, content_type: str, validators: Validators, cache_control: str | None
) -> list[tuple[str, str]]:
    fields = [
        ("Content-type", content_type),
        ("Last-Modified", http_date(validators.modified or 0)),
        ("ETag", validators.etag),
        ("Accept-Ranges", "bytes"),
    ]
    if selected.coding != IDENTITY:
        fields.append(("Content-Encoding", selected.coding))
    if selected.varies:
        fields.append(("Vary", "Accept-Encoding"))
    if cache_control is not None:
        fields.append(("Cache-Control", cache_control))
    return fields


def uncached(cache_control: str) -> str:
    """The value of Cache-Control for a response that can change at any time, if files have ``cache_control``."""
    return "no-store" if "no-store" in cache_control else "no-cache"


def _with(fields: list[tuple[str, str]], more: Iterable[tuple[str, str]]) -> ResponseFields:
    """Add fields; they replace those of the same names."""
    added = list(more)
    replaced = {name.lower() for name, _ in added}
    return ResponseFields.of([*(field for field in fields if field[0].lower() not in replaced), *added])


# Fields that decide about the framing (`ResponseFields.deciding`), such as Connection, have to be seen by the writer.


def _with_length(fields: ResponseFields, size: int) -> ResponseFields | None:
    """The fields and Content-Length; None if one of them is for the writer to see."""
    if fields.deciding is not None:
        return None
    fields.add("Content-Length", size)
    return fields


def _prepared(fields: ResponseFields, content: bytes) -> PreparedResponse | None:
    """The response; None if one of its fields is for the writer to see."""
    if fields.deciding is not None:
        return None
    rest = b"".join([*fields, b"Content-Length: %d\r\n\r\n" % len(content), content])
    return PreparedResponse(200, rest, len(content))


class Folder(NamedTuple):
    """A folder without an index page."""

    path: str


class LookUp(NamedTuple):
    """What is looked up in the file system.

    Attributes:
        name: the key of the path in the cache.
        codings: the content codings that the client accepts.
        guess_type: makes the media type of a path.
        known: the cached representation, whose path has to be looked up again; None if there is none.
    """

    name: str
    codings: tuple[str, ...]
    guess_type: GuessType
    known: Representation | None


Key = tuple[str, tuple[str, ...]]

# Representations by name, compared with their files in this iteration of the loop. It is emptied at the end
# of the iteration, and not replaced, so that a client which repeats its fields can keep a reference to it.
Verified = dict[str, Representation]


class Store:
    """The files below one folder. It is used by one event loop.

    Args:
        root: the folder.
        policy: which files are served, and how.
    """

    def __init__(self, root: str, policy: Policy) -> None:
        self.root = root
        self.policy = policy
        self._entries: dict[Key, Representation] = {}
        self._verified: dict[tuple[str, ...], Verified] = {}  # by content codings, for one loop
        self._size = 0
        self._is_forgotten = False
        self._sweeper: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # of the sweeper
        self._verified_by: asyncio.AbstractEventLoop | None = None  # the loop that empties them

    def prepared(self, name: str, headers: Headers, memo: object) -> Representation | None:
        """The cached representation, if its file is unchanged; None also for conditional and range requests.

        Args:
            name: the key of the path in the cache, as for `find`.
            headers: the header fields of the request.
            memo: the key in ``headers.memo`` under which the `Verified` for such requests is kept.
        """
        parsed = headers.memo.get(FileRequest) or FileRequest.of(headers)
        if not parsed.plain:
            return None
        verified = self._verified_for(parsed.codings)
        if headers.memo.get(memo) is not verified:
            headers.remember(memo, verified)
        return verified.get(name) or self._compare(name, parsed.codings, verified)

    def fresh(self, name: str, codings: tuple[str, ...]) -> Representation | None:
        """The cached representation, if its file is unchanged."""
        verified = self._verified_for(codings)
        return verified.get(name) or self._compare(name, codings, verified)

    def revalidate(self, name: str, codings: tuple[str, ...]) -> None:
        """Compare with the file again at the next call: this program may have written to it in this iteration."""
        if codings in self._verified:
            self._verified[codings].pop(name, None)

    def forget(self) -> None:
        """Drop all entries, and keep no others: another store takes the place of this one."""
        self._is_forgotten = True
        for key in tuple(self._entries):
            self._drop(key)

    def _verified_for(self, codings: tuple[str, ...]) -> Verified:
        loop = get_running_loop()
        if self._verified_by is not loop:  # a loop that has been stopped may never empty its own
            self._verified_by = loop
            self._verified = {}
        verified = self._verified.get(codings)
        if verified is None:
            verified = self._verified[codings] = {}
        return verified

    def _compare(self, name: str, codings: tuple[str, ...], verified: Verified) -> Representation | None:
        key = (name, codings)
        entry = self._entries.get(key)
        if entry is None or entry.expires <= time.monotonic():
            return None
        if not entry.is_current():
            self._drop(key)
            return None
        if not verified:
            get_running_loop().call_soon(verified.clear)
        verified[name] = entry
        return entry

    async def find(
        self, name: str, path: str, codings: tuple[str, ...], guess_type: GuessType
    ) -> Representation | Folder | None:
        """Find the file for a path, in the cache or in the file system.

        Args:
            name: the key of the path in the cache.
            path: the path in the file system, below the root; it ends with a slash if it means a folder.
            codings: the content codings that the client accepts, from `accepted_codings`.
            guess_type: makes the media type of a path.

        Returns:
            The file; the folder, if it has no index page; None if there is nothing that may be served.

        Raises:
            HTTPError: 403: it may not be read; 503: there is no file descriptor left.
        """
        known = self.fresh(name, codings)
        if known is not None:
            return known
        key = (name, codings)
        known = self._entries.get(key)
        if known is not None:
            known.expires = time.monotonic() + _LOOK_UP_INTERVAL  # other requests use it meanwhile
        found = await get_running_loop().run_in_executor(
            None, self._look_up, path, LookUp(name, codings, guess_type, known)
        )
        if isinstance(found, Representation) and found.is_cacheable:
            self._keep(key, found)
        else:
            self._drop(key)
        return found

    # Called in threads.

    def _look_up(self, path: str, look_up: LookUp) -> Representation | Folder | None:
        if is_hidden(self.root, path) and not self.policy.hidden:
            return None
        file = self._open(path)
        if file is None:
            return None
        if file.is_directory:
            if not path.endswith("/"):
                return Folder(path)
            for page in self.policy.index_pages:
                index = self._open(path + page)  # raises 403 if it may not be read
                if index is not None and not index.is_directory:
                    return self._represent(index, path + page, look_up)
            return Folder(path)
        if path.endswith("/"):
            return None  # a file has no slash at the end, bpo-17324
        return self._represent(file, path, look_up)

    def _open(self, path: str) -> OpenFile | None:
        return open_inside(self.root, path, follow_symlinks=self.policy.follow_symlinks, unread_folders=True)

    def _represent(self, file: OpenFile, path: str, look_up: LookUp) -> Representation:
        try:
            content_type = look_up.guess_type(path)
        except StopIteration as error:  # a future does not accept it: the request would wait forever
            raise RuntimeError("guess_type raised StopIteration") from error
        known = look_up.known
        for _ in range(_READ_ATTEMPTS):
            selected = self._select(file, path, look_up.codings, own_coding(path, content_type))
            if known is not None and known.matches(selected):
                return known
            sent = selected.file
            content = read_from(sent.fileno(), 0, sent.size) if sent.size <= self.policy.cache_file_size else None
            if content is None or (len(content) == sent.size and sent.unchanged()):
                break
            again = self._open(path)
            if again is not None and not again.is_directory:
                file = again
        else:
            content = None  # it is sent from the open file, and checked after that
        if content is None:
            sent.sample()
        if content_type.startswith("text/") and "charset" not in content_type:
            # All codings get the charset of the original.
            text = content if content is not None and selected.coding == IDENTITY else self._beginning(file)
            content_type += _charset(text)
        return Representation(selected, content, content_type, name=look_up.name, policy=self.policy)

    def _beginning(self, file: OpenFile) -> bytes:
        return read_from(file.fileno(), 0, file.size if file.size <= self.policy.cache_file_size else _CHARSET_SAMPLE)

    def _select(self, file: OpenFile, path: str, codings: tuple[str, ...], own: str | None) -> SelectedFile:
        """Select the file in the coding that the client prefers, of those that exist."""
        original = (path, file.identity)
        if own is not None and is_gzip(file):
            return SelectedFile(file, own, False, (original,))
        usable: dict[str, tuple[str, OpenFile]] = {}
        varies = False
        for coding, suffix in CODINGS.items() if self.policy.precompressed else ():
            compressed = self._open_precompressed(path + suffix)
            if compressed is None:
                continue
            usability = check_precompressed(compressed, coding, file)
            varies |= usability is not Usability.UNUSABLE
            if usability is Usability.USABLE:
                usable[coding] = (path + suffix, compressed)
        for coding in codings:
            if coding in usable:
                other, compressed = usable[coding]
                return SelectedFile(compressed, coding, True, (original, (other, compressed.identity)))
            if coding == IDENTITY:
                break
        return SelectedFile(file, IDENTITY, varies, (original,))

    def _open_precompressed(self, path: str) -> OpenFile | None:
        try:
            file = self._open(path)
        except HTTPError as error:
            if error.status != 403:
                raise
            return None
        return None if file is None or file.is_directory else file

    # The cache.

    def _keep(self, key: Key, found: Representation) -> None:
        if self._is_forgotten:  # while it was being looked up
            return
        self._drop(key)
        self._entries[key] = found  # at the end: the oldest entry is dropped first
        self._size += found.cost
        found.expires = time.monotonic() + _LOOK_UP_INTERVAL
        while self._size > self.policy.cache_size:
            self._drop(next(iter(self._entries)))
        loop = get_running_loop()
        if self._sweeper is None or self._loop is not loop:
            self._loop = loop
            self._sweeper = loop.call_later(_UNUSED_AFTER, self._sweep)

    def _drop(self, key: Key) -> None:
        self.revalidate(*key)
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._size -= entry.cost

    def _sweep(self) -> None:
        """Drop entries that are not requested: a deleted file takes disk space as long as it is open."""
        self._sweeper = None
        limit = time.monotonic() - _UNUSED_AFTER
        for key in [key for key, entry in self._entries.items() if entry.expires < limit]:
            self._drop(key)
        if self._entries:
            self._loop = get_running_loop()
            self._sweeper = self._loop.call_later(_UNUSED_AFTER, self._sweep)


def _charset(content: bytes) -> str:
    """The charset parameter: UTF-8 if the content is valid and not all ASCII.

    ASCII text gets none, since it may declare its charset itself, in a ``meta`` element for example.
    """
    if content.isascii():
        return ""
    try:
        content.decode()
    except UnicodeDecodeError as error:
        ends_within_character = error.start >= len(content) - 3 and len(content) >= _CHARSET_SAMPLE
        if not ends_within_character:
            return ""
    return "; charset=utf-8"
