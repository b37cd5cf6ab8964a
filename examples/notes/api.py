"""The same notes as JSON, and the feed of changes. Errors are problem+json, by the layer around these routes."""

from dataclasses import dataclass

import aiohttpd

from .site import SignedIn
from .store import LARGEST_ID, Draft


@dataclass
class Paging:
    """The query of the list."""

    before: int | None = None
    limit: int = 50

    def __post_init__(self) -> None:
        if not 0 < self.limit <= 100:
            raise ValueError("has a limit that is not 1 to 100")
        if self.before is not None and not 0 < self.before <= LARGEST_ID:
            raise ValueError("has a number in 'before' that is no id of a note")


class Notes(SignedIn):
    async def do_GET(self) -> None:
        paging = self.query_as(Paging)
        notes = await self.store.notes(self.user, paging.before, paging.limit)
        self.send_json([vars(note) for note in notes])

    async def do_POST(self) -> None:
        note = await self.store.add_note(self.user, await self.json(Draft))
        self.add_header("Location", f"{self.request.root_path}/notes/{note.id}")
        self.send_json(vars(note), 201)


class Note(SignedIn):
    async def do_GET(self) -> None:
        self.send_json(vars(await self.store.note(self.user, self.params["id"])))

    async def do_PUT(self) -> None:
        draft = await self.json(Draft)
        self.send_json(vars(await self.store.change_note(self.user, self.params["id"], draft)))

    async def do_DELETE(self) -> None:
        await self.store.delete_note(self.user, self.params["id"])
        self.send_response(204)
        self.end_headers()


class Changes(SignedIn):
    async def do_GET(self) -> None:
        async with self.event_stream() as events:
            last = events.last_event_id  # of a client that connects again
            # A number with 19 digits may be too large for SQLite.
            after = int(last) if last.isdecimal() and len(last) < 19 else await self.store.last_change()
            async for change in self.store.changes(self.user, after):
                await events.send(str(change.note), event=change.what, id=str(change.id))


routes = aiohttpd.Router({"/notes": Notes, "/notes/{id:int}": Note, "/changes": Changes})
