"""What the four services share: the notes in memory, a folder for attachments, the tokens, and who listens.

It is in memory, so that the server is measured, and not a database.
"""

import asyncio
import itertools
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

__all__ = ["ORIGIN", "TOKENS", "Note", "Store", "open_store"]

TOKENS = {"token-of-ada": "ada", "token-of-eve": "eve"}
ORIGIN = "https://app.example"  # whose pages may use the service
MOST = 1000  # notes of one user; the oldest is dropped


@dataclass
class Note:
    """A note."""

    id: int
    title: str
    text: str
    stars: int


class Store:
    """The notes of all users."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._notes: defaultdict[str, dict[int, Note]] = defaultdict(dict)
        self._numbers = itertools.count(1)
        self._listeners: set[asyncio.Queue[tuple[str, int]]] = set()

    def page(self, user: str, before: int | None, limit: int) -> list[Note]:
        """The latest notes, or the latest before an id."""
        latest = reversed(self._notes[user].values())
        return list(itertools.islice((note for note in latest if before is None or note.id < before), limit))

    def get(self, user: str, id: int) -> Note | None:
        """A note, or None."""
        return self._notes[user].get(id)

    def add(self, user: str, title: str, text: str, stars: int) -> Note:
        """Add a note."""
        note = Note(next(self._numbers), title, text, stars)
        notes = self._notes[user]
        notes[note.id] = note
        if len(notes) > MOST:
            del notes[next(iter(notes))]
        self._tell("added", note.id)
        return note

    def replace(self, user: str, id: int, title: str, text: str, stars: int) -> Note | None:
        """Change a note; None if there is none."""
        if id not in self._notes[user]:
            return None
        note = self._notes[user][id] = Note(id, title, text, stars)
        self._tell("changed", id)
        return note

    def delete(self, user: str, id: int) -> bool:
        """Delete a note; False if there is none."""
        if self._notes[user].pop(id, None) is None:
            return False
        self.file_of(id).unlink(missing_ok=True)
        self._tell("deleted", id)
        return True

    def file_of(self, id: int) -> Path:
        """The path of the attachment of a note."""
        return self._folder / str(id)

    async def changes(self) -> AsyncGenerator[tuple[str, int]]:
        """What happens, and to which note, without end."""
        queue: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._listeners.discard(queue)

    def _tell(self, what: str, id: int) -> None:
        for queue in self._listeners:
            queue.put_nowait((what, id))


@asynccontextmanager
async def open_store() -> AsyncGenerator[Store]:
    """A store with a temporary folder."""
    with TemporaryDirectory() as folder:
        yield Store(Path(folder))
