"""What the site keeps: users and notes in SQLite, attachments as files beside the database.

Each statement is a transaction of its own. Triggers write what happens to notes into the table ``changes``, from which
the feed of a client goes on where it was interrupted.
"""

import asyncio
import contextlib
import secrets
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiosqlite

import aiohttpd

SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA foreign_keys = ON;
CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, password BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS notes (
    id INTEGER PRIMARY KEY AUTOINCREMENT, user INTEGER NOT NULL REFERENCES users, title TEXT NOT NULL,
    text TEXT NOT NULL, changed TEXT NOT NULL DEFAULT (datetime()));
CREATE TABLE IF NOT EXISTS files (
    id TEXT PRIMARY KEY, note INTEGER NOT NULL REFERENCES notes ON DELETE CASCADE, name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS changes (
    id INTEGER PRIMARY KEY AUTOINCREMENT, user INTEGER NOT NULL, note INTEGER NOT NULL, what TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS notes_of_user ON notes (user, id);
CREATE TRIGGER IF NOT EXISTS added AFTER INSERT ON notes BEGIN
    INSERT INTO changes (user, note, what) VALUES (new.user, new.id, 'added'); END;
CREATE TRIGGER IF NOT EXISTS changed AFTER UPDATE ON notes BEGIN
    INSERT INTO changes (user, note, what) VALUES (new.user, new.id, 'changed'); END;
CREATE TRIGGER IF NOT EXISTS deleted AFTER DELETE ON notes BEGIN
    INSERT INTO changes (user, note, what) VALUES (old.user, old.id, 'deleted'); END;
CREATE TRIGGER IF NOT EXISTS forget AFTER INSERT ON changes BEGIN
    DELETE FROM changes WHERE id <= new.id - 10000; END;
"""
LARGEST_ID = 2**63 - 1  # SQLite has no larger integer


def is_unicode(text: str) -> bool:
    """Whether a text can be encoded in UTF-8, as SQLite does."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass
class Draft:
    """A note as a client sends it."""

    title: str
    text: str = ""

    def __post_init__(self) -> None:
        if not 0 < len(self.title) <= 200:
            raise ValueError("needs a title of at most 200 characters")
        if not is_unicode(self.title + self.text):  # JSON can write "\ud800"
            raise ValueError("has half of a surrogate pair, which is no character")


@dataclass
class Note:
    id: int
    title: str
    text: str
    changed: str


@dataclass
class User:
    id: int
    name: str
    password: bytes


@dataclass
class File:
    id: str
    name: str


@dataclass
class Change:
    id: int
    note: int
    what: str


class Store:
    """The database, and the folder of the attachments."""

    def __init__(self, database: aiosqlite.Connection, folder: Path) -> None:
        self._database = database
        self._folder = folder
        self._changed = asyncio.Event()

    async def _rows(self, statement: str, *values: object) -> list[sqlite3.Row]:
        return list(await self._database.execute_fetchall(statement, values))

    async def _change(self, statement: str, *values: object) -> list[sqlite3.Row]:
        rows = await self._rows(statement, *values)
        self._changed.set()  # wakes those who wait for changes; the next change sets another event
        self._changed = asyncio.Event()
        return rows

    # Users.

    async def add_user(self, name: str, password: bytes) -> User:
        """Raises HTTPError 409: there is such a user."""
        try:
            [row] = await self._rows("INSERT INTO users (name, password) VALUES (?, ?) RETURNING *", name, password)
        except sqlite3.IntegrityError:
            raise aiohttpd.HTTPError(409, explain="there is another user of this name") from None
        return User(*row)

    async def user(self, id: object) -> User | None:
        return next((User(*row) for row in await self._rows("SELECT * FROM users WHERE id = ?", id)), None)

    async def user_named(self, name: str) -> User | None:
        return next((User(*row) for row in await self._rows("SELECT * FROM users WHERE name = ?", name)), None)

    # Notes. Those of other users are not found.

    async def notes(self, user: User, before: int | None = None, limit: int = 50) -> list[Note]:
        """The latest notes of a user; for the next page, those before an id."""
        statement = "SELECT id, title, text, changed FROM notes WHERE user = ? AND id < ? ORDER BY id DESC LIMIT ?"
        return [Note(*row) for row in await self._rows(statement, user.id, before or LARGEST_ID, limit)]

    async def note(self, user: User, id: int) -> Note:
        statement = "SELECT id, title, text, changed FROM notes WHERE user = ? AND id = ?"
        return _note(await self._rows(statement, user.id, id))

    async def add_note(self, user: User, draft: Draft) -> Note:
        statement = "INSERT INTO notes (user, title, text) VALUES (?, ?, ?) RETURNING id, title, text, changed"
        return _note(await self._change(statement, user.id, draft.title, draft.text))

    async def change_note(self, user: User, id: int, draft: Draft) -> Note:
        statement = (
            "UPDATE notes SET title = ?, text = ?, changed = datetime() WHERE user = ? AND id = ? "
            "RETURNING id, title, text, changed"
        )
        return _note(await self._change(statement, draft.title, draft.text, user.id, id))

    async def delete_note(self, user: User, id: int) -> None:
        note = await self.note(user, id)
        files = await self.files(note)
        await self._change("DELETE FROM notes WHERE user = ? AND id = ?", user.id, id)
        for file in files:
            self.path_of(file).unlink(missing_ok=True)

    # Attachments.

    async def files(self, note: Note) -> list[File]:
        return [File(*row) for row in await self._rows("SELECT id, name FROM files WHERE note = ?", note.id)]

    async def file(self, user: User, id: str) -> File:
        statement = "SELECT files.id, name FROM files JOIN notes ON note = notes.id WHERE user = ? AND files.id = ?"
        rows = await self._rows(statement, user.id, id)
        if not rows:
            raise aiohttpd.HTTPError(404, explain="there is no such file")
        return File(*rows[0])

    async def attach(self, user: User, id: int, upload: aiohttpd.UploadedFile) -> None:
        note = await self.note(user, id)
        file = File(secrets.token_hex(16), upload.safe_filename)
        await upload.save_to(self.path_of(file))
        try:
            await self._rows("INSERT INTO files (id, note, name) VALUES (?, ?, ?)", file.id, note.id, file.name)
        except sqlite3.IntegrityError:  # the note has been deleted meanwhile
            self.path_of(file).unlink()
            raise aiohttpd.HTTPError(404, explain="there is no such note") from None
        await self._change("UPDATE notes SET changed = datetime() WHERE id = ?", note.id)

    def path_of(self, file: File) -> Path:
        return self._folder / file.id

    # Changes.

    async def last_change(self) -> int:
        [[last]] = await self._rows("SELECT coalesce(max(id), 0) FROM changes")
        return int(last)

    async def changes(self, user: User, after: int) -> AsyncIterator[Change]:
        """What happens to the notes of a user, without end."""
        while True:
            changed = self._changed
            for row in await self._rows("SELECT id, note, what FROM changes WHERE user = ? AND id > ?", user.id, after):
                change = Change(*row)
                after = change.id
                yield change
            with contextlib.suppress(TimeoutError):  # in other processes there are changes without this event
                await asyncio.wait_for(changed.wait(), 2)


def _note(rows: list[sqlite3.Row]) -> Note:
    if not rows:
        raise aiohttpd.HTTPError(404, explain="there is no such note")
    return Note(*rows[0])


@contextlib.asynccontextmanager
async def open_store(folder: Path, server: aiohttpd.HTTPServer) -> AsyncGenerator[None]:
    """The lifespan of the application: handlers find the store as ``self.server.state``."""
    files = folder / "files"
    files.mkdir(mode=0o700, parents=True, exist_ok=True)
    async with aiosqlite.connect(folder / "notes.db", isolation_level=None) as database:
        await database.executescript(SCHEMA)
        server.state = Store(database, files)
        yield
