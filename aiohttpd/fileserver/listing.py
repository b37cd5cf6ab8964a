"""The formats of a folder's listing: an HTML page, and JSON.

Owns order, sizes, dates and escaping. It makes bytes of entries, and sees neither requests nor the file system.
"""

import base64
import hashlib
import html
import json
import os
import re
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol
from urllib.parse import parse_qsl, quote

from ..handlers.files.tree import Entry
from .upload_form import UPLOAD_SCRIPT

__all__ = ["HtmlListing", "JsonListing", "ListingFormat", "Order", "Totals", "content_security_policy"]


def _icon(path: str) -> str:
    svg = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'><path d='{path}'/></svg>"
    return f'url("data:image/svg+xml,{quote(svg)}") no-repeat'


# Drawn as SVG: not every system has a font with these symbols.
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
    """The Content-Security-Policy of the page: nothing but its own style, and its script if it has one, by hash."""
    more = (
        f"script-src {_hash(UPLOAD_SCRIPT)}; connect-src 'self'; form-action 'self'" if script else "form-action 'none'"
    )
    return (
        f"default-src 'none'; style-src {_hash(_STYLE)}; img-src data:; {more}; base-uri 'none'; frame-ancestors 'self'"
    )


_COLUMNS = (("name", "Name", ""), ("size", "Size", "s"), ("modified", "Modified", "m"))


class Order(NamedTuple):
    """The column by which entries are sorted, and the direction."""

    column: str = "name"
    descending: bool = False

    @classmethod
    def of(cls, query: str) -> "Order":
        """Parse a query such as ``sort=size&order=desc``. Unknown fields and values are ignored."""
        try:
            found = dict(parse_qsl(query, max_num_fields=20))
        except ValueError:
            return cls()
        column = found.get("sort", "name")
        if column not in (name for name, _, _ in _COLUMNS):
            return cls()
        return cls(column, found.get("order") == "desc")

    def key(self) -> Callable[[Entry], str]:
        """A function that makes the sort key of an entry: folders first, then by the column, then by natural name.

        Keys are text, since text is compared in C.
        """
        if self.column == "name":
            # Descending order reverses the whole list; folders stay first.
            folder = "1" if self.descending else "0"
            file = "0" if self.descending else "1"
            return lambda entry: (folder if entry.is_directory else file) + _natural(entry.name)
        number, most = _number(self.column), 10**20 if self.descending else 0
        return lambda entry: (
            f"{'0' if entry.is_directory else '1'}{abs(most - number(entry)):021}{_natural(entry.name)}"
        )

    @property
    def reverse(self) -> bool:
        """Whether keys are sorted in descending order."""
        return self.column == "name" and self.descending


_FAR = 10**19  # microseconds; more than any date of a file system


def _number(name: str) -> Callable[[Entry], int]:
    if name == "size":
        return lambda entry: entry.size
    return lambda entry: int(min(max(entry.modified * 1e6, -_FAR), _FAR)) + _FAR


# A run of digits becomes NUL, the number of digits, the digits: so 2 sorts before 10.
_find_digits = re.compile("0*([0-9]+)")


def _natural(name: str) -> str:
    """A text that sorts in natural order: ``file2`` before ``file10``."""
    return _find_digits.sub(lambda match: f"\0{chr(len(match[1]))}{match[1]}", name.casefold()) + f"\0\0{name}"


class Totals:
    """The summary of a folder.

    Attributes:
        folders: number of folders.
        files: number of files.
        size: bytes of all files.
        more: whether there are entries beyond the limit.
    """

    def __init__(self, entries: Iterable[Entry] = (), *, more: bool = False) -> None:
        self.folders = self.files = self.size = 0
        self.more = more
        self.add(entries)

    def add(self, entries: Iterable[Entry]) -> None:
        """Count entries."""
        for entry in entries:
            if entry.is_directory:
                self.folders += 1
            else:
                self.files += 1
                self.size += entry.size


class ListingFormat(Protocol):
    """A format of listings. It is written in pieces, from sorted entries."""

    order: Order

    def begin(self, totals: Totals) -> bytes:
        """The text before the entries."""

    def entries(self, entries: Iterable[Entry], *, first: bool) -> bytes:
        """The text of some entries; ``first`` if they are the first ones."""

    def end(self) -> bytes:
        """The text after the entries."""


class HtmlListing:
    """A listing as an HTML page.

    Args:
        path: the decoded path of the folder, with a slash at both ends.
        order: how its entries are sorted.
        form: HTML of a form for uploads; the page has its script then.
        sortable: add links to the other orders. Only for clients that ask for HTML as browsers do: programs that
            follow every link, such as ``wget -r``, would fetch the folder once for each order.
    """

    def __init__(self, path: str, order: Order, *, form: str = "", sortable: bool = True) -> None:
        self.order = order
        self._path = path
        self._form = form
        self._sortable = sortable

    def begin(self, totals: Totals) -> bytes:
        """The head of the page, the summary, and the link to the parent folder."""
        return _begin(self._path, totals, self.order, self._form, sortable=self._sortable).encode()

    def entries(self, entries: Iterable[Entry], *, first: bool) -> bytes:
        """Rows of the table."""
        return "".join(map(_row, entries)).encode()

    def end(self) -> bytes:
        """The rest of the page."""
        script = f"<script>{UPLOAD_SCRIPT}</script>\n" if self._form else ""
        return f"</tbody>\n</table>\n{script}</body>\n</html>\n".encode()


def _begin(path: str, totals: Totals, order: Order, form: str, *, sortable: bool) -> str:
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
<p>{_summary(totals)}</p>
{form}<table>
<thead><tr>{"".join(_heading(*column, order, sortable=sortable) for column in _COLUMNS)}</tr></thead>
<tbody>
{parent if path != "/" else ""}"""


def _breadcrumbs(path: str) -> str:
    names = path.strip("/").split("/") if path != "/" else []
    links = [f'<a href="{"../" * len(names) or "./"}">Home</a>']
    for number, name in enumerate(names, 1):
        up = "../" * (len(names) - number) or "./"
        links.append(f'<a href="{up}">{html.escape(_readable(name))}</a>')
    return "<span>/</span>".join(links)


def _heading(column: str, title: str, kind: str, order: Order, *, sortable: bool) -> str:
    state, arrow, turn = "", "", ""
    if column == order.column:
        state = f' aria-sort="{"descending" if order.descending else "ascending"}"'
        arrow = " &darr;" if order.descending else " &uarr;"
        turn = "" if order.descending else "&amp;order=desc"
    text = f"{title}{arrow}"
    if sortable:
        text = f'<a href="?sort={column}{turn}" rel="nofollow">{text}</a>'
    return f'<th class="{kind}"{state}>{text}</th>'


def _summary(totals: Totals) -> str:
    if not totals.folders and not totals.files and not totals.more:
        return "This folder is empty"
    text = f"{_count(totals.folders, 'folder')}, {_count(totals.files, 'file')}, {_human_size(totals.size)}"
    return f"The first {text}; there are more" if totals.more else text


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _row(entry: Entry) -> str:
    name, href = html.escape(_readable(entry.name)), _reference(entry)
    exact = _count(entry.size, "byte")
    size = "" if entry.is_directory else f'<span title="{exact}">{_human_size(entry.size)}</span>'
    modified = time.strftime("%Y-%m-%d %H:%M", _local(entry.modified))
    slash = "/" if entry.is_directory else ""
    link = ' title="a link"' if entry.is_link else ""
    return (
        f'<tr{" class=d" if entry.is_directory else ""}><td><a href="{href}"{link}>{name}{slash}</a></td>'
        f'<td class="s">{size}</td><td class="m">'
        f'<time datetime="{_timestamp(entry.modified)}">{modified}</time></td></tr>\n'
    )


class JsonListing:
    """A listing as a JSON object with ``path``, ``more`` and ``entries``; sizes in bytes, times in UTC.

    Args:
        path: the decoded path of the folder, with a slash at both ends.
        order: how its entries are sorted.
    """

    def __init__(self, path: str, order: Order) -> None:
        self.order = order
        self._path = path

    def begin(self, totals: Totals) -> bytes:
        """The object up to its list of entries."""
        more = json.dumps(totals.more)
        return f'{{"path": {json.dumps(_shown(self._path))}, "more": {more}, "entries": ['.encode()

    def entries(self, entries: Iterable[Entry], *, first: bool) -> bytes:
        """Items of the list of entries."""
        texts = ",\n".join(json.dumps(_as_object(entry), ensure_ascii=False) for entry in entries)
        return f"{'' if first else ','}\n{texts}".encode()

    def end(self) -> bytes:
        """The end of the list and of the object."""
        return b"\n]}\n"


def _as_object(entry: Entry) -> dict[str, object]:
    return {
        "name": _shown(entry.name),
        "type": "directory" if entry.is_directory else "file",
        "size": None if entry.is_directory else entry.size,
        "modified": _timestamp(entry.modified),
        "href": _reference(entry),
    }


def _reference(entry: Entry) -> str:
    """A relative reference. A colon is percent-encoded, or the text before it would be a scheme."""
    return quote(os.fsencode(entry.name), safe="") + ("/" if entry.is_directory else "")


def _shown(name: str) -> str:
    """A name as text; bytes that are not UTF-8 become replacement characters."""
    return os.fsencode(name).decode("utf-8", "replace")


# Control characters, and invisible characters that reorder or hide others: U+202E shows gnp.exe as exe.png.
# Joiners of letters and emoji (U+200C, U+200D) are allowed, and so are spaces of any width.
_find_invisible = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufeff\uffa0\ufff9-\ufffb]"
)


def _readable(name: str) -> str:
    """A name as text that cannot be mistaken for another: invisible characters are escaped, as ``\\u202e``."""
    return _find_invisible.sub(lambda match: ascii(match[0])[1:-1], _shown(name))


def _timestamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", _converted(time.gmtime, seconds))


def _local(seconds: float) -> time.struct_time:
    return _converted(time.localtime, seconds)


def _converted(convert: Callable[[float], time.struct_time], seconds: float) -> time.struct_time:
    try:
        return convert(seconds)
    except (OverflowError, ValueError, OSError):  # a date that the platform cannot express
        return convert(0)


def _human_size(size: int) -> str:
    """A size as people read it: ``4.5 MB``; units are powers of 1000, as in file managers."""
    if size < 1000:
        return f"{size} B"
    value, units = size / 1000, iter(("kB", "MB", "GB", "TB", "PB"))
    unit = next(units)
    while value >= 999.5 and unit != "PB":
        value, unit = value / 1000, next(units)
    return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"
