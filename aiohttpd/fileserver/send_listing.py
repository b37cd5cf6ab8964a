"""Reading, sorting and sending the listing of a folder, in pieces, in threads, with back-pressure.

Owns the scheduling: large folders, many of them, and slow clients must not delay other requests. The format of a
listing is in `listing`.

The listing of a small folder is made in one call in a thread. Of large folders, one at a time is read and sorted. Its
entries are then packed, to save memory, and each piece is formatted when the client has taken the one before.
"""

import asyncio
import marshal
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ..errors import ClientDisconnected
from ..handlers.files.tree import Entry, OpenFile, open_inside, read_entries, read_names

if TYPE_CHECKING:
    from ..engine.response import StreamWriter
    from .listing import ListingFormat

__all__ = ["ListedFolder", "send_listing"]

T = TypeVar("T")

_PIECE = 500  # entries that are read or formatted in one call: some milliseconds
_PACKED_PIECES = 20  # pieces that are packed in one call
_CONCURRENT_CALLS = 1  # with more calls that compute, the event loop waits longer for the interpreter lock
_CALL_TIMEOUT = 1.0  # seconds; a call that takes longer waits for a disk, so the next one may begin


class ListedFolder(NamedTuple):
    """A folder to list.

    Attributes:
        root: the folder outside of which nothing is served.
        path: path of the folder, below the root.
        is_listed: whether the listing shows a name; called in threads.
        follow_symlinks: as for `open_inside`.
        limit: the most entries that are listed.
    """

    root: str
    path: str
    is_listed: Callable[[str], bool]
    follow_symlinks: bool
    limit: int

    def open(self) -> OpenFile | None:
        """Open the folder; None if it is no folder that may be read."""
        folder = open_inside(self.root, self.path, follow_symlinks=self.follow_symlinks)
        return folder if folder is not None and folder.is_directory else None

    def names(self, folder: OpenFile, limit: int) -> tuple[list[str], bool]:
        """Read names; see `read_names`."""
        return read_names(folder, self.path, self.is_listed, limit)

    def entries(self, folder: OpenFile, names: list[str]) -> list[Entry]:
        """Read the type, size and date for some names; see `read_entries`."""
        return read_entries(folder, self.root, self.path, names, follow_symlinks=self.follow_symlinks)


async def send_listing(
    folder: ListedFolder, listing: "ListingFormat", wfile: "StreamWriter", send_head: Callable[[], None]
) -> bool:
    """Send a listing.

    Args:
        folder: the folder.
        listing: the format of the listing.
        wfile: the response.
        send_head: called when the folder has been opened, before anything is written.

    Returns:
        False if the folder cannot be read; nothing has been sent then.

    Raises:
        ClientDisconnected: the client has disconnected.
        OSError: reading failed after the head was sent.
    """
    content = await _call(_small_listing, folder, listing)
    if content is None:
        return False
    send_head()
    if content:
        wfile.write(content)
        return True
    if wfile.request.method == "HEAD":  # the content of a large listing is not needed
        wfile.flush()
        return True
    await wfile.drain()  # sends the head
    async with _semaphores.of_loop().large_folders:
        beginning, pieces = await _read(folder, listing, wfile)
    await _send(beginning, pieces, listing, wfile)
    return True


async def _read(folder: ListedFolder, listing: "ListingFormat", wfile: "StreamWriter") -> tuple[bytes, deque[bytes]]:
    """Read a large folder. Returns the beginning of its listing, and its entries, packed."""
    reading = _Reading(folder, listing)
    closed = asyncio.ensure_future(wfile.wait_closed())
    try:
        for step in (reading.read_names, reading.read_entries, reading.merge, reading.pack):
            more = True
            while more:
                if closed.done():
                    # A client that has closed its side may still wait for the response. Writing shows whether it does:
                    # the second write after a reset fails. White space is allowed at the beginning of both formats.
                    wfile.write(b"\n")
                    await wfile.drain()
                elif wfile.is_closing():
                    raise ClientDisconnected("the client is gone")
                more = await _call(step)
    finally:
        closed.cancel()
    return listing.begin(reading.totals), reading.packed


async def _send(beginning: bytes, pieces: deque[bytes], listing: "ListingFormat", wfile: "StreamWriter") -> None:
    """Format and send the pieces, each when the client has taken the one before."""
    wfile.write(beginning)
    first = True
    while pieces:
        wfile.write(await _call(partial(_formatted, listing, pieces.popleft(), first=first)))
        await wfile.drain()
        first = False
    wfile.write(listing.end())


# Called in threads.


def _small_listing(folder: ListedFolder, listing: "ListingFormat") -> bytes | None:
    """The listing of a small folder; empty for a large folder, None if the folder cannot be read."""
    from .listing import Totals

    opened = folder.open()
    if opened is None:
        return None
    try:
        names, more = folder.names(opened, min(_PIECE, folder.limit))
    except OSError:
        return None
    if more and len(names) < folder.limit:
        return b""
    entries = folder.entries(opened, names)
    entries.sort(key=listing.order.key(), reverse=listing.order.reverse)
    return listing.begin(Totals(entries, more=more)) + listing.entries(entries, first=True) + listing.end()


def _formatted(listing: "ListingFormat", packed: bytes, *, first: bool) -> bytes:
    return listing.entries(map(Entry._make, marshal.loads(packed)), first=first)


class _Reading:
    """A large folder that is being read and sorted by merging.

    Each method does one piece of work and returns whether it has to be called again.
    """

    def __init__(self, folder: ListedFolder, listing: "ListingFormat") -> None:
        from .listing import Totals

        self._folder = folder
        self._order = listing.order
        self._runs: deque[list[tuple[str, Entry]]] = deque()  # sorted lists of (sort key, entry)
        self._position = 0  # in the names
        self.totals = Totals()
        self.packed: deque[bytes] = deque()

    def read_names(self) -> bool:
        """Open the folder and read its names."""
        opened = self._folder.open()
        if opened is None:
            raise FileNotFoundError(f"{self._folder.path} is gone")
        self._opened = opened
        self._names, self.totals.more = self._folder.names(opened, self._folder.limit)
        return False

    def read_entries(self) -> bool:
        """Read the entries of the next names, and sort them."""
        names = self._names[self._position : self._position + _PIECE]
        self._position += len(names)
        entries = self._folder.entries(self._opened, names)
        self.totals.add(entries)
        key = self._order.key()
        self._runs.append(self._sorted([(key(entry), entry) for entry in entries]))
        return self._position < len(self._names)

    def merge(self) -> bool:
        """Merge the two shortest runs."""
        if len(self._runs) < 2:
            return False
        self._runs.append(self._sorted(self._runs.popleft() + self._runs.popleft()))
        return len(self._runs) > 1

    def _sorted(self, run: list[tuple[str, Entry]]) -> list[tuple[str, Entry]]:
        run.sort(key=itemgetter(0), reverse=self._order.reverse)  # merges two sorted runs in linear time
        return run

    def pack(self) -> bool:
        """Pack some of the entries: packed, they take a fifth of the memory while a slow client reads."""
        entries = self._runs[0]
        for start in range((len(entries) - 1) // _PIECE * _PIECE, -1, -_PIECE)[:_PACKED_PIECES]:
            self.packed.appendleft(marshal.dumps([tuple(entry) for _, entry in entries[start:]]))
            del entries[start:]
        return bool(entries)


# How many calls run at once.


class _Acquired:
    """A semaphore that has been acquired and is released once, whoever is the first to do so."""

    def __init__(self, semaphore: asyncio.Semaphore) -> None:
        self._semaphore: asyncio.Semaphore | None = semaphore

    def release(self) -> None:
        semaphore, self._semaphore = self._semaphore, None
        if semaphore is not None:
            semaphore.release()


class _Semaphores(threading.local):
    """The semaphores of the event loop that runs in this thread."""

    loop: asyncio.AbstractEventLoop | None = None

    def of_loop(self) -> "_Semaphores":
        loop = asyncio.get_running_loop()
        if self.loop is not loop:
            self.loop = loop
            self.calls, self.large_folders = asyncio.Semaphore(_CONCURRENT_CALLS), asyncio.Semaphore(1)
        return self


_semaphores = _Semaphores()


async def _call(function: Callable[..., T], *arguments: Any) -> T:
    """Call a function in a thread, at most `_CONCURRENT_CALLS` at once.

    A call that has begun is not interrupted; the semaphore is released when it ends, also if the caller is cancelled.
    """
    semaphore, loop = _semaphores.of_loop().calls, asyncio.get_running_loop()
    await semaphore.acquire()
    acquired = _Acquired(semaphore)
    timer = loop.call_later(_CALL_TIMEOUT, acquired.release)
    try:
        future = loop.run_in_executor(None, function, *arguments)
    except BaseException:
        timer.cancel()
        acquired.release()
        raise

    def ended(_: object) -> None:
        timer.cancel()
        acquired.release()

    future.add_done_callback(ended)
    return await asyncio.shield(future)
