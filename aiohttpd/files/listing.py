"""Listings: a folder as a page, or as JSON.

Owns how a folder looks: order, sizes, dates, escaping. It is given entries and makes bytes, piece by
piece, and knows neither requests nor the file system.
"""

import base64
import hashlib
import html
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple
from urllib.parse import parse_qsl, quote

from .tree import Entry
from .upload_form import UPLOAD_SCRIPT

__all__ = ["Order", "content_security_policy", "html_page", "json_text", "sort"]

_BATCH = 500  # entries in one piece


def _icon(path: str) -> str:
    svg = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'><path d='{path}'/></svg>"
    return f'url("data:image/svg+xml,{quote(svg)}") no-repeat'


# Drawn, since not every system has a font with pictures.
_FILE = "M3 .5h6.5L13 4v11.5H3z"
_FOLDER = "M1 2.5h5l1.5 2H15v9H1z"

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #667; --link: #0b57d0; --back: #fff; --over: #0b57d010 }
@media (prefers-color-scheme: dark) { :root { --soft: #9ab; --link: #8ab4f8; --back: #16181d; --over: #8ab4f81a } }
* { box-sizing: border-box }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1.5rem 1rem 3rem;
  background: var(--back) }
h1 { font-size: 1.25rem; font-weight: 600; margin: 0 0 .25rem; overflow-wrap: anywhere }
h1 span { color: var(--soft); font-weight: 400; padding: 0 .3em }
p { color: var(--soft); margin: 0 0 1rem; font-size: .875rem }
a { color: var(--link); text-decoration: none; white-space: pre-wrap; unicode-bidi: isolate }
a:hover, a:focus-visible { text-decoration: underline }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .4rem .5rem; border-bottom: 1px solid var(--line); vertical-align: top }
th { font-size: .875rem; font-weight: 600; white-space: nowrap }
th a { color: var(--soft) }
td:first-child { overflow-wrap: anywhere; width: 99%; padding-left: 2.1rem }
tbody tr:hover { background: var(--over) }
td:first-child::before { content: ""; position: absolute; width: 1rem; height: 1rem;
  margin: .25rem 0 0 -1.6rem; background: var(--soft); -webkit-mask: FILE; mask: FILE }
tr.d td:first-child::before { background: var(--link); -webkit-mask: FOLDER; mask: FOLDER }
tr.d a { font-weight: 600 }
.s, .m { white-space: nowrap; color: var(--soft); font-variant-numeric: tabular-nums; font-size: .875rem }
.s { text-align: right }
form { display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: center; margin: 0 0 1rem; padding: .75rem;
  border: 1px dashed var(--line); border-radius: .5rem; font-size: .875rem; color: var(--soft) }
form.over { background: var(--over); border-color: var(--link) }
button { font: inherit; padding: .25rem .75rem }
progress { flex: 1 1 8rem }
@media (max-width: 34rem) {
  th.m { display: none } td.m { display: none }
  th, td { padding: .6rem .25rem }
  td:first-child { padding-left: 1.85rem }
}
""".replace("FILE", _icon(_FILE)).replace("FOLDER", _icon(_FOLDER))


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def content_security_policy(*, script: bool = False) -> str:
    """What the page may load and run: nothing but its style, and its script if there is one, by their hashes."""
    more = (
        f"script-src {_hash(UPLOAD_SCRIPT)}; connect-src 'self'; form-action 'self'" if script else "form-action 'none'"
    )
    return (
        f"default-src 'none'; style-src {_hash(_STYLE)}; img-src data:; {more}; base-uri 'none'; frame-ancestors 'self'"
    )


_COLUMNS = (("name", "Name", ""), ("size", "Size", "s"), ("modified", "Modified", "m"))


class Order(NamedTuple):
    """By which column the entries are sorted."""

    column: str = "name"
    descending: bool = False

    @classmethod
    def of(cls, query: str) -> "Order":
        """Read ``sort=size&order=desc``; what is not understood does not count."""
        try:
            found = dict(parse_qsl(query, max_num_fields=20))
        except ValueError:
            return cls()
        column = found.get("sort", "name")
        if column not in (name for name, _, _ in _COLUMNS):
            return cls()
        return cls(column, found.get("order") == "desc")


def sort(entries: list[Entry], order: Order) -> None:
    """Sort in place: folders first, names as people count (2 before 10)."""
    entries.sort(key=lambda entry: _natural(entry.name))
    if order.column == "size":
        entries.sort(key=lambda entry: entry.size, reverse=order.descending)
    elif order.column == "modified":
        entries.sort(key=lambda entry: entry.modified, reverse=order.descending)
    elif order.descending:
        entries.reverse()
    entries.sort(key=lambda entry: not entry.is_directory)


def _natural(name: str) -> list[tuple[int, int, str]]:
    parts = re.split("([0-9]+)", name.casefold())
    return [(0, int(part), "") if part[:1] in "0123456789" and part else (1, 0, part) for part in parts]


def html_page(path: str, entries: list[Entry], order: Order, *, more: bool, form: str = "") -> Iterator[bytes]:
    """Make the page in pieces.

    Args:
        path: the decoded path of the folder, with a slash at both ends.
        entries: its content, sorted.
        order: how.
        more: whether there are entries that have not been read.
        form: for uploads; with it comes its script.
    """
    yield _begin(path, entries, order, form, more=more).encode()
    for start in range(0, len(entries), _BATCH):
        yield "".join(_row(entry) for entry in entries[start : start + _BATCH]).encode()
    script = f"<script>{UPLOAD_SCRIPT}</script>\n" if form else ""
    yield f"</tbody>\n</table>\n{script}</body>\n</html>\n".encode()


def _begin(path: str, entries: list[Entry], order: Order, form: str, *, more: bool) -> str:
    title = html.escape(_readable(path))
    parent = '<tr class="d"><td><a href="../">..</a></td><td class="s"></td><td class="m"></td></tr>\n'
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>Directory listing for {title}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{_breadcrumbs(path)}</h1>
<p>{_summary(entries, more=more)}</p>
{form}<table>
<thead><tr>{"".join(_heading(*column, order) for column in _COLUMNS)}</tr></thead>
<tbody>
{parent if path != "/" else ""}"""


def _breadcrumbs(path: str) -> str:
    names = path.strip("/").split("/") if path != "/" else []
    links = [f'<a href="{"../" * len(names) or "./"}">Home</a>']
    for number, name in enumerate(names, 1):
        up = "../" * (len(names) - number) or "./"
        links.append(f'<a href="{up}">{html.escape(_readable(name))}</a>')
    return "<span>/</span>".join(links)


def _heading(column: str, title: str, kind: str, order: Order) -> str:
    state, arrow, turn = "", "", ""
    if column == order.column:
        state = f' aria-sort="{"descending" if order.descending else "ascending"}"'
        arrow = " &darr;" if order.descending else " &uarr;"
        turn = "" if order.descending else "&amp;order=desc"
    return f'<th class="{kind}"{state}><a href="?sort={column}{turn}">{title}{arrow}</a></th>'


def _summary(entries: list[Entry], *, more: bool) -> str:
    folders = sum(entry.is_directory for entry in entries)
    files = len(entries) - folders
    size = sum(entry.size for entry in entries if not entry.is_directory)
    text = f"{_count(folders, 'folder')}, {_count(files, 'file')}, {human_size(size)}"
    return f"The first {text}; there are more" if more else text


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _row(entry: Entry) -> str:
    name, href = html.escape(_readable(entry.name)), _reference(entry)
    exact = _count(entry.size, "byte")
    size = "" if entry.is_directory else f'<span title="{exact}">{human_size(entry.size)}</span>'
    modified = time.strftime("%Y-%m-%d %H:%M", _local(entry.modified))
    slash = "/" if entry.is_directory else ""
    link = ' title="a link"' if entry.is_link else ""
    return (
        f'<tr{" class=d" if entry.is_directory else ""}><td><a href="{href}"{link}>{name}{slash}</a></td>'
        f'<td class="s">{size}</td><td class="m">'
        f'<time datetime="{_timestamp(entry.modified)}">{modified}</time></td></tr>\n'
    )


def json_text(path: str, entries: list[Entry], *, more: bool) -> Iterator[bytes]:
    """Make an object with ``path`` and ``entries`` in pieces; sizes in bytes, times in UTC.

    Args:
        path: the decoded path of the folder, with a slash at both ends.
        entries: its content, sorted.
        more: whether there are entries that have not been read.
    """
    yield f'{{"path": {json.dumps(_shown(path))}, "more": {json.dumps(more)}, "entries": ['.encode()
    for start in range(0, len(entries), _BATCH):
        texts = [json.dumps(_as_object(entry), ensure_ascii=False) for entry in entries[start : start + _BATCH]]
        yield ((",\n" if start else "\n") + ",\n".join(texts)).encode()
    yield b"\n]}\n"


def _as_object(entry: Entry) -> dict[str, object]:
    return {
        "name": _shown(entry.name),
        "type": "directory" if entry.is_directory else "file",
        "size": None if entry.is_directory else entry.size,
        "modified": _timestamp(entry.modified),
        "href": _reference(entry),
    }


def _reference(entry: Entry) -> str:
    """A relative reference; a colon would make a scheme of what stands before it."""
    return quote(os.fsencode(entry.name), safe="") + ("/" if entry.is_directory else "")


def _shown(name: str) -> str:
    """A name as text: bytes that are no UTF-8 as the replacement character."""
    return os.fsencode(name).decode("utf-8", "replace")


# Controls, and what is not seen but turns or hides its neighbours: U+202E before gnp.exe makes exe.png of it.
# What joins letters and emoji (U+200C, U+200D) may stay, and so may spaces of any width.
_find_unseen = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufeff\uffa0\ufff9-\ufffb]"
)


def _readable(name: str) -> str:
    """A name as text that looks like nothing else: what is not seen is written out, as ``\\u202e``."""
    return _find_unseen.sub(lambda match: ascii(match[0])[1:-1], _shown(name))


def _timestamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", _known(time.gmtime, seconds))


def _local(seconds: float) -> time.struct_time:
    return _known(time.localtime, seconds)


def _known(convert: Callable[[float], time.struct_time], seconds: float) -> time.struct_time:
    try:
        return convert(seconds)
    except (OverflowError, ValueError, OSError):  # a date that the file system has made up
        return convert(0)


def human_size(size: int) -> str:
    """A size for people: ``4.5 MB``, powers of 1,000 as in file managers."""
    if size < 1000:
        return f"{size} B"
    value, units = size / 1000, iter(("kB", "MB", "GB", "TB", "PB"))
    unit = next(units)
    while value >= 999.5 and unit != "PB":
        value, unit = value / 1000, next(units)
    return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"
