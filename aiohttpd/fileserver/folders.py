"""Folders: one is read, sorted and written out in pieces, in threads, few at a time, at the pace of its client.

Owns who does when what about a listing, so that no folder keeps the loop from other clients, however many ask for
however large ones. How a listing looks is `listing`'s.

A small folder is one piece. Of large ones one at a time is read and sorted; what is known of its entries is then
packed, and made into text while it leaves.
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
from ..handlers.files.tree import Entry, OpenFile, look_at, open_inside, read_names

if TYPE_CHECKING:
    from ..engine.response import StreamWriter
    from .listing import Form

__all__ = ["Listed", "send_listing"]

T = TypeVar("T")

_PIECE = 500  # entries that are looked at, or made into text, at once: some milliseconds
_PACKED = 20  # pieces that are packed at once
_AT_ONCE = 1  # such calls: with each more that computes, the loop waits longer for the interpreter
_COMPUTES = 1.0  # seconds; what takes longer waits for a disk, and nobody need wait for that one


class Listed(NamedTuple):
    """A folder that is to be listed, and by which rules.

    Attributes:
        root: outside of which nothing is served.
        path: the folder, with the root in it.
        is_listed: whether a name counts.
        follow_symlinks: as for `open_inside`.
        limit: how many entries there are at most.
    """

    root: str
    path: str
    is_listed: Callable[[str], bool]
    follow_symlinks: bool
    limit: int

    def open(self) -> OpenFile | None:
        """Open it; None if it is no folder that may be read."""
        folder = open_inside(self.root, self.path, follow_symlinks=self.follow_symlinks)
        return folder if folder is not None and folder.is_directory else None

    def names(self, folder: OpenFile, limit: int) -> tuple[list[str], bool]:
        """`read_names` in it."""
        return read_names(folder, self.path, self.is_listed, limit)

    def look_at(self, folder: OpenFile, names: list[str]) -> list[Entry]:
        """Look at some of the names."""
        return look_at(folder, self.root, self.path, names, follow_symlinks=self.follow_symlinks)


class _Gate:
    """Lets some pass at a time, in the order in which they come."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        if self._free and not self._waiting:
            self._free -= 1
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.leave()  # it has been let in at the same moment
            raise

    def leave(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._free += 1


class _Turn:
    """Who has been let in, and leaves once."""

    def __init__(self, gate: _Gate) -> None:
        self._gate: _Gate | None = gate

    def end(self) -> None:
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.leave()


class _Gates(threading.local):
    """Those of the loop that runs in a thread."""

    loop: asyncio.AbstractEventLoop | None = None

    def of_loop(self) -> "_Gates":
        loop = asyncio.get_running_loop()
        if self.loop is not loop:
            self.loop = loop
            self.calls, self.large = _Gate(_AT_ONCE), _Gate(1)
        return self


_gates = _Gates()


async def _call(function: Callable[..., T], *arguments: Any) -> T:
    """Call a function in a thread when it is its turn; what has been begun ends, though nobody may wait for it."""
    gate, loop = _gates.of_loop().calls, asyncio.get_running_loop()
    await gate.enter()
    turn = _Turn(gate)
    timer = loop.call_later(_COMPUTES, turn.end)
    try:
        future = loop.run_in_executor(None, function, *arguments)
    except BaseException:
        timer.cancel()
        turn.end()
        raise

    def ended(_: object) -> None:
        timer.cancel()
        turn.end()

    future.add_done_callback(ended)
    return await asyncio.shield(future)


async def send_listing(listed: Listed, form: "Form", wfile: "StreamWriter", send_head: Callable[[], None]) -> bool:
    """Answer with a listing.

    Args:
        listed: the folder.
        form: what the listing is made in.
        wfile: the answer.
        send_head: sends the head, once it is certain that the folder can be read.

    Returns:
        Whether it can.

    Raises:
        ClientDisconnected: nobody waits for it any more.
        OSError: it cannot be read to its end; the head has left.
    """
    small = await _call(_small, listed, form)
    if small is None:
        return False
    send_head()
    if small:
        wfile.write(small)
        return True
    if wfile.request.method == "HEAD":  # which wants nothing of what takes its time
        wfile.flush()
        return True
    await wfile.drain()  # the head
    gate = _gates.of_loop().large
    await gate.enter()
    try:
        begin, pieces = await _read(listed, form, wfile)
    finally:
        gate.leave()
    await _send(begin, pieces, form, wfile)
    return True


async def _read(listed: Listed, form: "Form", wfile: "StreamWriter") -> tuple[bytes, deque[bytes]]:
    """Read a large folder: the beginning of its listing, and its entries, packed."""
    reading = _Reading(listed, form)
    closed = asyncio.ensure_future(wfile.wait_closed())
    try:
        for step in (reading.open, reading.look, reading.merge, reading.pack):
            more = True
            while more:
                # One that has closed its side may still wait for its answer. If it does not, that shows when something
                # is sent for the second time: white space, with which either form may begin.
                if closed.done():
                    wfile.write(b"\n")
                    await wfile.drain()
                elif wfile.is_closing():
                    raise ClientDisconnected("the client is gone")
                more = await _call(step)
    finally:
        closed.cancel()
    return form.begin(reading.totals), reading.packed


async def _send(begin: bytes, pieces: deque[bytes], form: "Form", wfile: "StreamWriter") -> None:
    """Send what has been read, no faster than it is taken."""
    wfile.write(begin)
    first = True
    while pieces:
        wfile.write(await _call(partial(_text_of, form, pieces.popleft(), first=first)))
        await wfile.drain()
        first = False
    wfile.write(form.end())


# In a thread.


def _small(listed: Listed, form: "Form") -> bytes | None:
    """The whole listing of a small folder; empty for a large one, None if it cannot be read."""
    from .listing import Totals

    folder = listed.open()
    if folder is None:
        return None
    try:
        names, more = listed.names(folder, min(_PIECE, listed.limit))
    except OSError:
        return None
    if more and len(names) < listed.limit:
        return b""
    entries = listed.look_at(folder, names)
    entries.sort(key=form.order.key(), reverse=form.order.reverse)
    return form.begin(Totals(entries, more=more)) + form.entries(entries, first=True) + form.end()


def _text_of(form: "Form", packed: bytes, *, first: bool) -> bytes:
    return form.entries(map(Entry._make, marshal.loads(packed)), first=first)


class _Reading:
    """A large folder that is being read; each method is one piece of work, and says whether there is more."""

    def __init__(self, listed: Listed, form: "Form") -> None:
        from .listing import Totals

        self._listed = listed
        self._order = form.order
        self._runs: deque[list[tuple[str, Entry]]] = deque()  # sorted
        self._at = 0
        self.totals = Totals()
        self.packed: deque[bytes] = deque()

    def open(self) -> bool:
        """Read the names."""
        folder = self._listed.open()
        if folder is None:
            raise FileNotFoundError(f"{self._listed.path} is gone")
        self._folder = folder
        self._names, self.totals.more = self._listed.names(folder, self._listed.limit)
        return False

    def look(self) -> bool:
        """Look at some of them."""
        names = self._names[self._at : self._at + _PIECE]
        self._at += len(names)
        entries = self._listed.look_at(self._folder, names)
        self.totals.add(entries)
        key = self._order.key()
        self._runs.append(self._sorted([(key(entry), entry) for entry in entries]))
        return self._at < len(self._names)

    def merge(self) -> bool:
        """Make one of the two runs that are the shortest."""
        if len(self._runs) < 2:
            return False
        self._runs.append(self._sorted(self._runs.popleft() + self._runs.popleft()))
        return len(self._runs) > 1

    def _sorted(self, run: list[tuple[str, Entry]]) -> list[tuple[str, Entry]]:
        run.sort(key=itemgetter(0), reverse=self._order.reverse)  # of two runs, it finds them, and merges
        return run

    def pack(self) -> bool:
        """Pack some of the entries: what waits for a slow client takes a fifth of the memory then."""
        entries = self._runs[0]
        for start in range((len(entries) - 1) // _PIECE * _PIECE, -1, -_PIECE)[:_PACKED]:
            self.packed.appendleft(marshal.dumps([tuple(entry) for _, entry in entries[start:]]))
            del entries[start:]
        return bool(entries)
