"""The HTML of the site. Everything that a user has written is escaped."""

from collections.abc import Iterable
from html import escape

from .store import File, Note, User

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="stylesheet" href="/static/notes.css">
<script src="/static/notes.js" defer></script>
</head>
<body>
<header><a href="/">Notes</a>{user}</header>
<main>{main}</main>
</body>
</html>
"""

USER = '<form method="post" action="/sign-out">{name} <button>Sign out</button></form>'

SIGN_IN = """<form method="post">
<label>Name <input name="name" required autocomplete="username"></label>
<label>Password <input name="password" type="password" minlength="8" required></label>
<button>Sign in</button> <button name="new" value="1">Create an account</button>
</form>"""

EDIT = """<form method="post">
<label>Title <input name="title" value="{title}" maxlength="200" required></label>
<label>Text <textarea name="text" rows="8">{text}</textarea></label>
<button>Save</button>
</form>"""

MORE = """<form method="post" action="/notes/{id}/files" enctype="multipart/form-data">
<ul>{files}</ul>
<input name="file" type="file" required> <button>Attach</button>
</form>
<form method="post" action="/notes/{id}/delete"><button>Delete the note</button></form>"""


def _page(title: str, main: str, user: User | None = None) -> str:
    who = "" if user is None else USER.format(name=escape(user.name))
    return PAGE.format(title=escape(title), user=who, main=main)


def sign_in() -> str:
    return _page("Sign in", SIGN_IN)


def home(user: User, notes: Iterable[Note]) -> str:
    items = "".join(f'<li><a href="/notes/{note.id}">{escape(note.title)}</a>' for note in notes)
    return _page("Notes", f'<ul id="notes">{items}</ul>{EDIT.format(title="", text="")}', user)


def note(user: User, note: Note, files: Iterable[File]) -> str:
    items = "".join(f'<li><a href="/files/{file.id}">{escape(file.name)}</a>' for file in files)
    edit = EDIT.format(title=escape(note.title), text=escape(note.text))
    return _page(note.title, edit + MORE.format(id=note.id, files=items), user)


def error(title: str, text: str) -> str:
    return _page(title, f"<h1>{escape(title)}</h1><p>{escape(text)}</p>")
