"""The store: the files below one folder as representations, and the small ones of them in memory.

Owns what is known of a file (validators, type, coding), how long that is believed, and how much is kept.
It knows no handler and sends nothing.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from ..answer import Instant
from ..clock import http_date
from ..transfer import read_from
from ..wire.headers import Headers
from ..wire.response import ResponseFields
from .conditions import Validators
from .negotiation import CODINGS, IDENTITY, accepted_codings
from .tree import OpenFile, is_hidden, open_inside

__all__ = ["Folder", "Policy", "Representation", "Store", "Wishes"]

_BELIEVED: Final = 1.0  # seconds for which a file is not looked at again
_UNUSED: Final = 5.0  # seconds after which what nobody asks for is forgotten
_OPEN_COSTS: Final = 512 * 1024  # bytes of the cache that an open file counts for
_ENTRY_COSTS: Final = 1024
_TRIES: Final = 3  # to read a file that changes meanwhile
_SNIFFED: Final = 64 * 1024  # bytes of a text that are looked at for its charset

# The fields that make an answer more than the file itself, in any order and case.
_CONDITIONAL = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "range")


GuessType = Callable[[str], str]


class Policy(NamedTuple):
    """What of a tree is served, and how.

    Attributes:
        index_pages: names that stand for their folder, the first that exists.
        follow_symlinks: let links lead out of the root.
        hidden: serve names that begin with a dot.
        precompressed: serve siblings with ``.br``, ``.zst`` and ``.gz``.
        cache_size: bytes that are kept in memory.
        cache_file_size: bytes of the largest file that is kept there.
        fields: added to what is answered from memory.
    """

    index_pages: tuple[str, ...]
    follow_symlinks: bool
    hidden: bool
    precompressed: bool
    cache_size: int
    cache_file_size: int
    fields: tuple[tuple[str, str], ...]


class Wishes(NamedTuple):
    """What a request says beside its path."""

    plain: bool  # without conditions, and for the whole
    codings: tuple[str, ...]

    @classmethod
    def of(cls, headers: Headers) -> "Wishes":
        """Read the fields, once for a client that repeats them."""
        wishes: Wishes | None = headers.memo.get(cls)
        if wishes is None:
            codings = headers.get_all("Accept-Encoding")
            wishes = headers.memo[cls] = Wishes(
                not any(name in headers for name in _CONDITIONAL),
                accepted_codings(None if codings is None else ", ".join(codings)),
            )
        return wishes


class Representation:
    """One file in one coding.

    Attributes:
        size: bytes.
        validators: entity tag and time of the last change.
        content_type: with its charset where that is known.
        fields: Content-type, Last-Modified and so on, as pairs.
        file: the open file, if it is too large to be kept in memory.
        content: all of it, otherwise.
        instant: the answer with all of it, ready to leave, if there is ``content``.
    """

    __slots__ = (
        "_identity",
        "content",
        "content_type",
        "fields",
        "file",
        "instant",
        "keeps",
        "size",
        "until",
        "validators",
    )  # fmt: skip

    def __init__(
        self,
        file: OpenFile,
        content: bytes | None,
        content_type: str,
        coding: str,
        *,
        varies: bool,
        more: Iterable[tuple[str, str]],
    ) -> None:
        self.size = file.size
        self.file = file if content is None else None
        self.content = content
        self.content_type = content_type
        etag = file.etag if coding == IDENTITY else f'{file.etag[:-1]}-{coding}"'
        # RFC 9110 section 8.8.2.1: not in the future.
        modified, now = file.modified // 1_000_000_000, int(time.time())
        self.validators = Validators(etag, min(modified, now), is_future=modified > now)
        self.fields = [
            ("Content-type", content_type),
            ("Last-Modified", http_date(self.validators.modified)),
            ("ETag", etag),
            ("Accept-Ranges", "bytes"),
        ]
        if coding != IDENTITY:
            self.fields.append(("Content-Encoding", coding))
        if varies:
            self.fields.append(("Vary", "Accept-Encoding"))
        self.instant = None if content is None else _instant(_with(self.fields, more), content)
        self.keeps = file.settled
        self.until = 0.0
        self._identity = (file.identity, coding, varies)

    def still_is(self, file: OpenFile, coding: str, *, varies: bool) -> bool:
        """Whether another look has found the same."""
        return self.keeps and self._identity == (file.identity, coding, varies)

    @property
    def cost(self) -> int:
        """Bytes of the cache that it counts for."""
        if self.content is None:
            return _ENTRY_COSTS + _OPEN_COSTS
        return _ENTRY_COSTS + len(self.content) + (len(self.instant.rest) if self.instant is not None else 0)


def _with(fields: list[tuple[str, str]], more: Iterable[tuple[str, str]]) -> ResponseFields:
    """Fields of ours, and those that somebody adds or puts in their place."""
    added = list(more)
    theirs = {name.lower() for name, _ in added}
    return ResponseFields.of([*(field for field in fields if field[0].lower() not in theirs), *added])


def _instant(fields: ResponseFields, content: bytes) -> Instant | None:
    if fields.deciding is not None:  # somebody's own Date, say
        return None
    rest = b"".join([*fields, b"Content-Length: %d\r\n\r\n" % len(content), content])
    return Instant(200, rest, len(content))


class Folder(NamedTuple):
    """A folder without an index page."""

    path: str


class Asked(NamedTuple):
    """What a look at the file system is for."""

    codings: tuple[str, ...]
    guess_type: GuessType
    known: Representation | None


Key = tuple[str, tuple[str, ...]]


class Store:
    """The files below one root.

    Args:
        root: the folder.
        policy: what of it is served.
    """

    def __init__(self, root: str, policy: Policy) -> None:
        self.root = root
        self.policy = policy
        self._entries: dict[Key, Representation] = {}
        self._size = 0
        self._sweeper: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def instant(self, name: str, headers: Headers) -> Instant | None:
        """The answer to a plain request for a small file that has been looked at a moment ago.

        Args:
            name: what `find` was given.
            headers: the fields of the request.
        """
        wishes = headers.memo.get(Wishes) or Wishes.of(headers)
        entry = self._entries.get((name, wishes.codings))
        if entry is not None and wishes.plain and entry.until > time.monotonic():
            return entry.instant
        return None

    def fresh(self, name: str, codings: tuple[str, ...]) -> Representation | None:
        """What `find` would return without a look at the file system."""
        entry = self._entries.get((name, codings))
        return entry if entry is not None and entry.until > time.monotonic() else None

    async def find(
        self, name: str, path: str, codings: tuple[str, ...], guess_type: GuessType
    ) -> Representation | Folder | None:
        """Look a path up.

        Args:
            name: what stands for the path in the cache.
            path: the path in the file system, with the root in it; ends with a slash if it means a folder.
            codings: what the client takes, from `accepted_codings`.
            guess_type: the media type for the path of a file.

        Returns:
            The file; the folder, if there is no index page; None if nothing is there that may be served.
        """
        key = (name, codings)
        known = self._entries.get(key)
        now = time.monotonic()
        if known is not None:
            if known.until > now:
                return known
            known.until = now + _BELIEVED  # the others go on with it while we look
        found = await asyncio.get_running_loop().run_in_executor(
            None, self._look_up, path, Asked(codings, guess_type, known)
        )
        if isinstance(found, Representation) and found.keeps:
            self._keep(key, found)
        else:
            self._drop(key)
        return found

    # In a thread.

    def _look_up(self, path: str, asked: Asked) -> Representation | Folder | None:
        if is_hidden(self.root, path) and not self.policy.hidden:
            return None
        file = self._open(path)
        if file is None:
            return None
        if file.is_directory:
            if not path.endswith("/"):
                return Folder(path)
            for page in self.policy.index_pages:
                index = self._open(path + page)
                if index is not None and not index.is_directory:
                    return self._represent(index, path + page, asked)
            return Folder(path)
        if path.endswith("/"):
            return None  # a file is no folder, bpo-17324
        return self._represent(file, path, asked)

    def _open(self, path: str) -> OpenFile | None:
        return open_inside(self.root, path, follow_symlinks=self.policy.follow_symlinks)

    def _represent(self, file: OpenFile, path: str, asked: Asked) -> Representation:
        content_type = asked.guess_type(path)
        known = asked.known
        for _ in range(_TRIES):
            coding, chosen, varies = self._choose(file, path, asked.codings)
            if known is not None and known.still_is(chosen, coding, varies=varies):
                return known
            content = read_from(chosen.fileno(), 0, chosen.size) if chosen.size <= self.policy.cache_file_size else None
            if content is None or (len(content) == chosen.size and chosen.unchanged()):
                break
            again = self._open(path)
            if again is not None and not again.is_directory:
                file = again
        else:
            content = None  # what is sent from the open file is checked at its end
        if content_type.startswith("text/") and "charset" not in content_type and coding == IDENTITY:
            content_type += _charset(read_from(chosen.fileno(), 0, _SNIFFED) if content is None else content)
        return Representation(chosen, content, content_type, coding, varies=varies, more=self.policy.fields)

    def _choose(self, file: OpenFile, path: str, codings: tuple[str, ...]) -> tuple[str, OpenFile, bool]:
        """The coding that the client likes best of those that there are, and whether there is a choice."""
        siblings = {}
        for coding, suffix in CODINGS.items() if self.policy.precompressed else ():
            sibling = self._open(path + suffix)
            # One that is older than the file has been made of another.
            if sibling is not None and not sibling.is_directory and sibling.modified // 10**9 >= file.modified // 10**9:
                siblings[coding] = sibling
        for coding in codings:
            if coding in siblings:
                return coding, siblings[coding], True
            if coding == IDENTITY:
                break
        return IDENTITY, file, bool(siblings)

    # The cache.

    def _keep(self, key: Key, found: Representation) -> None:
        self._drop(key)
        self._entries[key] = found  # at the end of the queue
        self._size += found.cost
        found.until = time.monotonic() + _BELIEVED
        while self._size > self.policy.cache_size:
            self._drop(next(iter(self._entries)))
        loop = asyncio.get_running_loop()
        if self._sweeper is None or self._loop is not loop:
            self._loop = loop
            self._sweeper = loop.call_later(_UNUSED, self._sweep)

    def _drop(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._size -= entry.cost

    def _sweep(self) -> None:
        """Forget what has not been asked for in a while: an open file keeps its place on the disk."""
        self._sweeper = None
        limit = time.monotonic() - _UNUSED
        for key in [key for key, entry in self._entries.items() if entry.until < limit]:
            self._drop(key)
        if self._entries:
            self._loop = asyncio.get_running_loop()
            self._sweeper = self._loop.call_later(_UNUSED, self._sweep)


def _charset(content: bytes) -> str:
    """Say UTF-8 where that is certain; where all is ASCII the text may know better, in a ``meta`` say."""
    if content.isascii():
        return ""
    try:
        content.decode()
    except UnicodeDecodeError as error:
        if error.start < len(content) - 3 or len(content) < _SNIFFED:  # else it is cut within a character
            return ""
    return "; charset=utf-8"
