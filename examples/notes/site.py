"""The pages, for browsers: forms that are answered with a redirect, and an error page."""

from dataclasses import dataclass

import aiohttpd

from . import pages
from .passwords import hash_password, is_password
from .store import Draft, Store, User


@dataclass
class Credentials:
    """The form of the page for signing in."""

    name: str
    password: str
    new: bool = False

    def __post_init__(self) -> None:
        if not 0 < len(self.name) <= 100 or not 8 <= len(self.password) <= 1000:
            raise ValueError("needs a name, and a password of at least 8 characters")


class SignInFirst(aiohttpd.HTTPError):
    def __init__(self) -> None:
        super().__init__(403, explain="sign in first")


class Handler(aiohttpd.BaseHTTPRequestHandler[Store]):
    @property
    def store(self) -> Store:
        return self.server.state


class SignedIn(Handler):
    """For users only."""

    user: User

    async def setup(self) -> None:
        user = await self.store.user(self.session.get("user"))
        if user is None:
            raise SignInFirst
        self.user = user


class SignIn(Handler):
    async def do_GET(self) -> None:
        self.send_html(pages.sign_in())

    async def do_POST(self) -> None:
        given = await self.form_as(Credentials)
        user = await (self.create(given) if given.new else self.find(given))
        self.session.renew()  # what somebody else may have put into the session is gone
        self.session["user"] = user.id
        self.redirect("/")

    async def create(self, given: Credentials) -> User:
        return await self.store.add_user(given.name, await hash_password(given.password))

    async def find(self, given: Credentials) -> User:
        user = await self.store.user_named(given.name)
        if not await is_password(given.password, user.password if user else None) or user is None:
            raise aiohttpd.HTTPError(403, explain="name or password is wrong")
        return user


class SignOut(Handler):
    async def do_POST(self) -> None:
        self.session.renew()
        self.redirect("/sign-in")


class Home(SignedIn):
    async def do_GET(self) -> None:
        self.send_html(pages.home(self.user, await self.store.notes(self.user)))

    async def do_POST(self) -> None:
        note = await self.store.add_note(self.user, await self.form_as(Draft))
        self.redirect(f"/notes/{note.id}")


class NotePage(SignedIn):
    max_body_size = 1024 * 1024 * 1024  # of attachments; they are on the disk while they arrive

    async def do_GET(self) -> None:
        note = await self.store.note(self.user, self.params["id"])
        self.send_html(pages.note(self.user, note, await self.store.files(note)))

    async def do_POST(self) -> None:
        note = await self.store.change_note(self.user, self.params["id"], await self.form_as(Draft))
        self.redirect(f"/notes/{note.id}")

    @aiohttpd.route("POST", "/notes/{id:int}/files")
    async def attach(self) -> None:
        upload = (await self.form()).file("file")
        if upload is None:
            raise aiohttpd.HTTPError(400, explain="choose a file")
        await self.store.attach(self.user, self.params["id"], upload)
        self.redirect(f"/notes/{self.params['id']}")

    @aiohttpd.route("POST", "/notes/{id:int}/delete")
    async def delete(self) -> None:
        await self.store.delete_note(self.user, self.params["id"])
        self.redirect("/")


class File(SignedIn):
    async def do_GET(self) -> None:
        file = await self.store.file(self.user, self.params["id"])
        await self.send_file(self.store.path_of(file), download_as=file.name)  # conditions and ranges are its work


async def to_sign_in(self: Handler, error: SignInFirst) -> None:
    self.redirect("/sign-in", 303)


async def error_page(self: Handler, error: aiohttpd.HTTPError) -> None:
    title, text = self.responses.get(error.status, ("Error", ""))
    self.send_html(pages.error(error.message or title, error.explain or text), error.status)
