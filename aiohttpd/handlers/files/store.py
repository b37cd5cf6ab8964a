"""The store: the files below one folder as representations, and the small ones of them in memory.

Owns what is known of a file (validators, type, coding), how long that is believed, and how much is kept.
It knows no handler and sends nothing.

What is known of a file is compared with the file, by ``os.stat``, in each turn of the loop in which it is asked for.
That is after the request has come, and costs less than looking the path up; a busy loop has many requests in one turn.
Once a second the path is looked up anew, since there may be another index page, or a sibling in another coding.
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
from ...wire.conditions import Validators
from ...wire.dates import http_date
from ...wire.headers import Headers
from ...wire.negotiation import CODINGS, IDENTITY, accepted_codings
from ...wire.response import ResponseFields
from .media_types import own_coding
from .siblings import Fitness, fitness, is_gzip
from .tree import FileState, OpenFile, is_hidden, open_inside, state_of

__all__ = ["Folder", "Policy", "Representation", "Store", "Wishes", "uncached"]

_BELIEVED: Final = 1.0  # seconds for which a path is not looked up again
_UNUSED: Final = 5.0  # seconds after which what nobody asks for is forgotten
_OPEN_COSTS: Final = 512 * 1024  # bytes of the cache that an open file counts for
_ENTRY_COSTS: Final = 4096  # bytes of an entry beside its content, its paths and its key
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
        cache_control: value of Cache-Control for files.
    """

    index_pages: tuple[str, ...]
    follow_symlinks: bool
    hidden: bool
    precompressed: bool
    cache_size: int
    cache_file_size: int
    fields: tuple[tuple[str, str], ...]
    cache_control: str | None = None


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


class Chosen(NamedTuple):
    """Which of the files that stand for a resource is sent.

    ``sources`` are the files of which that depends, with their paths.
    """

    file: OpenFile
    coding: str
    varies: bool
    sources: tuple[tuple[str, FileState], ...]


class Representation:
    """One file in one coding.

    Attributes:
        cost: bytes of the cache that it counts for.
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
        "_sources",
        "content",
        "content_type",
        "cost",
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
        chosen: Chosen,
        content: bytes | None,
        content_type: str,
        *,
        name: str,
        policy: Policy,
    ) -> None:
        file, coding = chosen.file, chosen.coding
        self.size = file.size
        self.file = file if content is None else None
        self.content = content
        self.content_type = content_type
        etag = file.etag if coding == IDENTITY else f'{file.etag[:-1]}-{coding}"'
        # RFC 9110 section 8.8.2.1: not in the future.
        modified, now = file.modified // 1_000_000_000, int(time.time())
        shown = min(modified, now)
        self.validators = Validators(etag, shown, is_future=modified > now)
        self.fields = [
            ("Content-type", content_type),
            ("Last-Modified", http_date(shown)),
            ("ETag", etag),
            ("Accept-Ranges", "bytes"),
        ]
        if coding != IDENTITY:
            self.fields.append(("Content-Encoding", coding))
        if chosen.varies:
            self.fields.append(("Vary", "Accept-Encoding"))
        if policy.cache_control is not None:
            self.fields.append(("Cache-Control", policy.cache_control))
        self.instant = None if content is None else _instant(_with(self.fields, policy.fields), content)
        self.keeps = file.settled
        self.until = 0.0
        self._sources = chosen.sources
        self._identity = chosen[1:]
        self.cost = _ENTRY_COSTS + sys.getsizeof(name) + sum(sys.getsizeof(path) for path, _ in chosen.sources)
        if content is None:
            self.cost += _OPEN_COSTS
        else:
            self.cost += len(content) + (len(self.instant.rest) if self.instant is not None else 0)

    def still_is(self, chosen: Chosen) -> bool:
        """Whether another look has found the same."""
        return self.keeps and self._identity == chosen[1:]

    def is_current(self) -> bool:
        """Whether its files are what they were; this asks the system, which knows them since the last look."""
        try:
            for path, state in self._sources:
                if state_of(os.stat(path)) != state:
                    return False
        except OSError:
            return False
        return True

    def as_fallback(self) -> "Representation":
        """The same for a path at which there is nothing.

        Its date says nothing of what has been there before, and something else may come.
        """
        other = copy.copy(self)
        other.validators = self.validators._replace(modified=None)
        vary = "Accept, Accept-Encoding" if ("Vary", "Accept-Encoding") in self.fields else "Accept"
        other.fields = [*(field for field in self.fields if field[0] not in ("Last-Modified", "Vary")), ("Vary", vary)]
        other.fields = [(name, uncached(value) if name == "Cache-Control" else value) for name, value in other.fields]
        return other


def uncached(cache_control: str) -> str:
    """The value of Cache-Control, where files have this one, for what may be something else in a moment."""
    return "no-store" if "no-store" in cache_control else "no-cache"


def _with(fields: list[tuple[str, str]], more: Iterable[tuple[str, str]]) -> ResponseFields:
    """Fields of ours, and those that somebody adds or puts in their place."""
    added = list(more)
    theirs = {name.lower() for name, _ in added}
    return ResponseFields.of([*(field for field in fields if field[0].lower() not in theirs), *added])


def _instant(fields: ResponseFields, content: bytes) -> PreparedResponse | None:
    if fields.deciding is not None:  # somebody's own Date, say
        return None
    rest = b"".join([*fields, b"Content-Length: %d\r\n\r\n" % len(content), content])
    return PreparedResponse(200, rest, len(content))


class Folder(NamedTuple):
    """A folder without an index page."""

    path: str


class Asked(NamedTuple):
    """What a look at the file system is for."""

    name: str
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
        self._current: dict[Key, Representation] = {}  # those that have been compared with their files in this turn
        self._turn: asyncio.AbstractEventLoop | None = None  # of this loop, while there are some
        self._size = 0
        self._sweeper: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def instant(self, name: str, headers: Headers) -> PreparedResponse | None:
        """The answer to a plain request for a small file that is in memory.

        Args:
            name: what `find` was given.
            headers: the fields of the request.
        """
        wishes = headers.memo.get(Wishes) or Wishes.of(headers)
        if not wishes.plain:
            return None
        key = (name, wishes.codings)
        entry = self._current.get(key)  # as in `fresh`
        if entry is None or self._turn is not get_running_loop():
            entry = self._compare(key)
            if entry is None:
                return None
        return entry.instant

    def fresh(self, name: str, codings: tuple[str, ...]) -> Representation | None:
        """What `find` would return without a look-up, if it is what its file is now."""
        key = (name, codings)
        entry = self._current.get(key)
        if entry is None or self._turn is not get_running_loop():
            return self._compare(key)
        return entry

    def doubt(self, name: str, codings: tuple[str, ...]) -> None:
        """Compare with the file once more in this turn: somebody here may have written to it."""
        self._current.pop((name, codings), None)

    def _compare(self, key: Key) -> Representation | None:
        entry = self._entries.get(key)
        if entry is None or entry.until <= time.monotonic():
            return None
        if not entry.is_current():
            self._drop(key)
            return None
        loop = get_running_loop()
        if self._turn is not loop:
            self._end_turn()
            self._turn = loop
            loop.call_soon(self._end_turn)
        self._current[key] = entry
        return entry

    def _end_turn(self) -> None:
        self._turn = None
        self._current.clear()

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

        Raises:
            HTTPError: 403: it may not be read; 503: there is no descriptor left.
        """
        known = self.fresh(name, codings)
        if known is not None:
            return known
        key = (name, codings)
        known = self._entries.get(key)
        if known is not None:
            known.until = time.monotonic() + _BELIEVED  # the others go on with it while we look
        found = await get_running_loop().run_in_executor(
            None, self._look_up, path, Asked(name, codings, guess_type, known)
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
                index = self._open(path + page)  # one that may not be read is there
                if index is not None and not index.is_directory:
                    return self._represent(index, path + page, asked)
            return Folder(path)
        if path.endswith("/"):
            return None  # a file is no folder, bpo-17324
        return self._represent(file, path, asked)

    def _open(self, path: str) -> OpenFile | None:
        return open_inside(self.root, path, follow_symlinks=self.policy.follow_symlinks, unread_folders=True)

    def _represent(self, file: OpenFile, path: str, asked: Asked) -> Representation:
        try:
            content_type = asked.guess_type(path)
        except StopIteration as error:  # no future takes it, so who waits would wait for ever
            raise RuntimeError("guess_type raised StopIteration") from error
        known = asked.known
        for _ in range(_TRIES):
            chosen = self._choose(file, path, asked.codings, own_coding(path, content_type))
            if known is not None and known.still_is(chosen):
                return known
            sent = chosen.file
            content = read_from(sent.fileno(), 0, sent.size) if sent.size <= self.policy.cache_file_size else None
            if content is None or (len(content) == sent.size and sent.unchanged()):
                break
            again = self._open(path)
            if again is not None and not again.is_directory:
                file = again
        else:
            content = None  # what is sent from the open file is checked at its end
        if content is None:
            sent.sample()
        if content_type.startswith("text/") and "charset" not in content_type:
            # The same for all codings, so it is that of the text itself.
            text = content if content is not None and chosen.coding == IDENTITY else self._beginning(file)
            content_type += _charset(text)
        return Representation(chosen, content, content_type, name=asked.name, policy=self.policy)

    def _beginning(self, file: OpenFile) -> bytes:
        return read_from(file.fileno(), 0, file.size if file.size <= self.policy.cache_file_size else _SNIFFED)

    def _choose(self, file: OpenFile, path: str, codings: tuple[str, ...], own: str | None) -> Chosen:
        """The coding that the client likes best of those that there are, and whether there is a choice."""
        itself = (path, file.identity)
        if own is not None and is_gzip(file):
            return Chosen(file, own, False, (itself,))
        usable: dict[str, tuple[str, OpenFile]] = {}
        varies = False
        for coding, suffix in CODINGS.items() if self.policy.precompressed else ():
            sibling = self._open_sibling(path + suffix)
            if sibling is None:
                continue
            fits = fitness(sibling, coding, file)
            varies |= fits is not Fitness.NEVER
            if fits is Fitness.FITS:
                usable[coding] = (path + suffix, sibling)
        for coding in codings:
            if coding in usable:
                other, sibling = usable[coding]
                return Chosen(sibling, coding, True, (itself, (other, sibling.identity)))
            if coding == IDENTITY:
                break
        return Chosen(file, IDENTITY, varies, (itself,))

    def _open_sibling(self, path: str) -> OpenFile | None:
        try:
            sibling = self._open(path)
        except HTTPError as error:
            if error.status != 403:
                raise
            return None
        return None if sibling is None or sibling.is_directory else sibling

    # The cache.

    def _keep(self, key: Key, found: Representation) -> None:
        self._drop(key)
        self._entries[key] = found  # at the end of the queue
        self._size += found.cost
        found.until = time.monotonic() + _BELIEVED
        while self._size > self.policy.cache_size:
            self._drop(next(iter(self._entries)))
        loop = get_running_loop()
        if self._sweeper is None or self._loop is not loop:
            self._loop = loop
            self._sweeper = loop.call_later(_UNUSED, self._sweep)

    def _drop(self, key: Key) -> None:
        self._current.pop(key, None)
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
            self._loop = get_running_loop()
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
