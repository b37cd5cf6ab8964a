"""Formats of the access log: from a name or a template with ``{fields}`` to lines.

Owns the names of the fields, and how their values are escaped: nothing that a client sends can end a line, end its
quotes, or control a terminal. `access_log` writes the lines.
"""

import base64
import binascii
import json
import os
import re
import string
import time
from collections.abc import Callable, Iterable, Iterator, Set
from json.encoder import encode_basestring_ascii
from typing import Any

from ..net.clock import log_date
from ..wire.dates import MONTHS
from ..wire.request import Address

__all__ = ["FIELDS", "LineFormat", "NamedFormats", "Record", "escape", "members"]

# An answer: the request or what stands for one, status, bytes of content (None if that is not known), and when it began
# and was complete, of `perf_counter`: one clock for durations and for the time of day.
# The time when it began is known only for a format that is `timed`.
Record = tuple[Any, int, int | None, float, float]

# Returns the lines of records, each with its newline.
_Lines = Callable[[Iterable[Record]], list[str]]

# Characters that could end a line, control a terminal or end the quotes, and bytes whose encoding is not known.
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0x100))}
_ESCAPES |= {ord("\\"): "\\\\", ord('"'): '\\"'}


def escape(text: str) -> str:
    """Escape a text of a client for a line of the log and for a terminal."""
    return text.translate(_ESCAPES)


_NUMBERS = [str(number) for number in range(1000)]  # texts of all statuses and small sizes
_SHORT = [f"{number / 1e6:.6f}" for number in range(1000)]  # texts of durations below a millisecond, in seconds

# Expressions over the items of a record and the names that `_compile` adds. A template becomes one function of these
# expressions, since a call for each field would cost more than the expressions.
_SECONDS = "short[micros] if (micros := int((ended - started) * 1e6)) < 1000 else '%.6f' % (ended - started)"
_TEXT = {
    "client": "escape(request.client_address[0])",
    "user": "user(request.headers.peek('authorization'))",
    "time": "moment.time",
    "clf_time": "moment.clf_time",
    "iso_time": "moment.iso_time",
    "unix_time": "'%.3f' % (ended + offset)",
    "method": "request.method",
    "target": "target if '\"' not in (target := request.target) and '\\\\' not in target else escape(target)",
    "path": "escape(request.path)",
    "query": "escape(request.query_string)",
    "version": "request.version",
    "host": "escape(request.host or '-')",
    "scheme": "request.scheme",
    "status": "numbers[status]",
    "bytes": "numbers[size] if size < 1000 else size",
    "seconds": _SECONDS,
    "milliseconds": "'%.3f' % ((ended - started) * 1e3)",
    "microseconds": "int((ended - started) * 1e6)",
    "referer": "escape(request.headers.peek('referer') or '-')",
    "user_agent": "escape(request.headers.peek('user-agent') or '-')",
    "pid": "pid",
    "aborted": "'-'",
}
FIELDS = ("request", *_TEXT)
_is_own_field = re.compile(r"log_fields\[([A-Za-z_][A-Za-z0-9_.-]*)\]").fullmatch
_DURATIONS = frozenset(("seconds", "milliseconds", "microseconds"))

# Of what has been refused: no request, and so no more than its beginning.
_TEXT_REFUSED = dict.fromkeys(_TEXT, "'-'") | {
    name: _TEXT[name] for name in ("time", "clf_time", "iso_time", "unix_time", "client", "status", "pid")
} | {"request": "escape(request.requestline)"}  # fmt: skip

_JSON = {
    "time": "moment.iso_time",
    "client": "encode(request.client_address[0])",
    "method": "request.method",
    "target": "encode(request.target)",
    "version": "request.version",
    "host": "encode_or_null(request.host)",
    "status": "numbers[status]",
    "bytes": "numbers[size] if size < 1000 else size",
    "seconds": _SECONDS,
    "referer": "encode_or_null(request.headers.peek('referer'))",
    "user_agent": "encode_or_null(request.headers.peek('user-agent'))",
}
_OWN = {"own": "'' if request.known_log_fields is None else json_fields(request.known_log_fields)"}
_JSON_REFUSED = {name: _JSON[name] for name in ("time", "client", "status")}
_JSON_REFUSED["request"] = "encode(request.requestline)"

# What the requests of one connection have in common as long as they repeat their fields, whose memo keeps it then.
_REPEATED = frozenset(("client", "user", "version", "host", "scheme", "referer", "user_agent", "pid"))

_LINES = """
def lines(records):
    texts = []
    offset = time() - perf_counter()
    begins, ends = moment.begins - offset, moment.ends - offset
    for request, status, size, started, ended in records:
        if not begins <= ended < ends:
            moment.begin(ended + offset)
            begins, ends = moment.begins - offset, moment.ends - offset
        {values}
        texts.append(f{shape!r})
    return texts
"""
_REPEATED_TEXTS = """
def repeated(request):
    {values}
    texts = ({texts})
    if request.target[0] == "/":  # else it is the target that names the host
        request.headers.remember(key, texts)
    return texts
"""

_HTTP_SERVER = '{client} - - [{time}] "{request}" {status} {bytes}'
_ABORTED = {"aborted": "'aborted'"}  # for an answer whose client has left before its end
_COMMON = '{client} - {user} [{clf_time}] "{request}" {status} {bytes}'
NamedFormats = {
    "http.server": _HTTP_SERVER,
    "common": _COMMON,
    "combined": _COMMON + ' "{referer}" "{user_agent}"',
}


class Refused:
    """Stands for a request in the record of bytes that are not a valid request."""

    known_log_fields = None

    def __init__(self, client_address: Address, line: str) -> None:
        self.client_address = client_address
        self.requestline = line


class LineFormat:
    """Formats records as lines.

    Args:
        name: ``http.server``, ``common``, ``combined``, ``json``, or a template such as ``{status} {target}``.

    Raises:
        ValueError: there is no such format or field; the text lists those that exist.

    Attributes:
        lines: a function that returns the lines of a list of records.
        is_json: whether each line is a JSON object.
        timed: whether lines show how long an answer took.
    """

    lines: _Lines

    def __init__(self, name: str) -> None:
        self._moment = _Moment()
        self.is_json = name == "json"
        if self.is_json:
            self.lines = _compile(_json_template(_JSON, own=True), _JSON | _OWN, self._moment, _REPEATED)
            self._refused = _compile(_json_template(_JSON_REFUSED), _JSON_REFUSED, self._moment, frozenset())
            cut = _JSON | {"aborted": "'true'"}
            self._aborted = _compile(_json_template(cut, own=True), cut | _OWN, self._moment, frozenset())
            self.timed = True
        else:
            template = NamedFormats.get(name, name)
            self.timed = any(field in _DURATIONS for _, field in _parts(template, _TEXT))
            self.lines = _compile(template, _TEXT, self._moment, _REPEATED)
            self._refused = _compile(template, _TEXT_REFUSED, self._moment, frozenset())
            # Programs that read lines of common and combined expect no further text in them.
            template += " {aborted}" if name == "http.server" else ""
            self._aborted = _compile(template, _TEXT | _ABORTED, self._moment, frozenset())

    def refused(self, client_address: Address, line: str, status: int) -> str:
        """The line for bytes that were refused as no valid request."""
        now = time.perf_counter()
        return self._refused([(Refused(client_address, line), status, None, now, now)])[0]

    def aborted(self, record: Record) -> str:
        """The line for an answer whose client has left before its end."""
        return self._aborted([record])[0]

    def message(self, text: str) -> str:
        """The line for a message of a handler: as JSON if lines are JSON, else the text as it is."""
        if not self.is_json:
            return text
        self._moment.begin(time.time())
        return f'{{"time":"{self._moment.iso_time}","message":{encode_basestring_ascii(text.rstrip())}}}\n'


def members(record: Record) -> dict[str, Any]:
    """The fields of a record, not escaped, as attributes of a log record; formatters of `logging` escape them."""
    request, status, size, started, ended = record
    return {
        "client": request.client_address[0],
        "request": request.requestline,
        "method": request.method,
        "target": request.target,
        "version": request.version,
        "host": request.host,
        "status": status,
        "bytes": size,
        "seconds": ended - started,
        "referer": request.headers.peek("referer"),
        "user_agent": request.headers.peek("user-agent"),
        "log_fields": request.known_log_fields or {},
    }


class _Moment:
    """A second of the log, formatted for all formats."""

    __slots__ = ("begins", "clf_time", "ends", "iso_time", "time")

    def __init__(self) -> None:
        self.begins = self.ends = 0

    def begin(self, at: float) -> None:
        """Format another second; an earlier one, if the clock has been set back."""
        self.begins = second = int(at)
        self.ends = second + 1
        local = time.localtime(second)
        offset = time.strftime("%z", local)
        clock = f"{local.tm_hour:02d}:{local.tm_min:02d}:{local.tm_sec:02d}"
        self.time = log_date(second)
        self.clf_time = f"{local.tm_mday:02d}/{MONTHS[local.tm_mon]}/{local.tm_year:04d}:{clock} {offset}"
        date = f"{local.tm_year:04d}-{local.tm_mon:02d}-{local.tm_mday:02d}"
        self.iso_time = f"{date}T{clock}{offset[:3]}:{offset[3:]}"


def _compile(template: str, expressions: dict[str, str], moment: _Moment, repeated: Set[str]) -> _Lines:
    """Compile a template to one function that formats records; this is the fastest way."""
    names: dict[str, Any] = {
        "moment": moment, "time": time.time, "perf_counter": time.perf_counter, "pid": os.getpid(),
        "escape": escape, "user": _user, "encode": encode_basestring_ascii, "encode_or_null": _encode_or_null,
        "numbers": _NUMBERS, "short": _SHORT, "key": object(), "json_fields": _json_fields, "own_field": _own_field,
    }  # fmt: skip
    code = _Code(expressions, repeated)
    for literal, field in _parts(template, expressions):
        code.add(literal, field)
    if code.runs:
        variables = "".join(f"r_{number}, " for number in range(len(code.runs)))
        texts = "".join(f"f{run!r}, " for run in code.runs)
        exec(_REPEATED_TEXTS.format(values=_assign(code.once), texts=texts), names)
        code.each[variables] = "request.headers.memo.get(key) or repeated(request)"
    exec(_LINES.format(values=_assign(code.each), shape=code.shape), names)
    lines: _Lines = names["lines"]
    return lines


class _Code:
    """The code of a template, while it is compiled.

    Fields that requests repeat are joined to runs, with the text between them: their text is made once for requests
    with the same header fields.

    Args:
        expressions: the expressions of all fields, by name.
        repeated: the fields that requests repeat.

    Attributes:
        shape: the line, as the content of an f-string.
        each: the variables of `shape`, and their expressions.
        runs: the runs, as contents of f-strings; in `shape` they are ``r_0``, ``r_1`` and so on.
        once: the variables of `runs`, and their expressions.
    """

    def __init__(self, expressions: dict[str, str], repeated: Set[str]) -> None:
        self._expressions = expressions
        self._repeated = repeated
        self.shape = ""
        self.each: dict[str, str] = {}
        self.runs: list[str] = []
        self.once: dict[str, str] = {}
        self._run = ""
        self._has_field = False  # in the run

    def add(self, literal: str, field: str | None) -> None:
        """Add a text of the template, which becomes a part of string literals, and the field after it."""
        self._run += literal.replace("{", "{{").replace("}", "}}")
        if field is not None and field in self._repeated:
            self.once[f"f_{field}"] = self._expressions[field]
            self._run += f"{{f_{field}}}"
            self._has_field = True
            return
        self._end_run()
        if field is None:
            return
        own = _is_own_field(field)
        name = f"o_{len(self.each)}" if own else f"f_{field}"
        self.each[name] = f"own_field(request.known_log_fields, {own[1]!r})" if own else self._expressions[field]
        self.shape += f"{{{name}}}"

    def _end_run(self) -> None:
        if self._has_field:
            self.shape += f"{{r_{len(self.runs)}}}"
            self.runs.append(self._run)
        else:
            self.shape += self._run
        self._run, self._has_field = "", False


def _assign(expressions: dict[str, str]) -> str:
    return "; ".join(f"{name} = {code}" for name, code in expressions.items()) or "pass"


def _parts(template: str, fields: dict[str, str]) -> Iterator[tuple[str, str | None]]:
    """The literal texts of a template, each with the field that follows it."""
    try:
        parts = list(string.Formatter().parse(template + "\n"))
    except ValueError as error:
        raise ValueError(f"access_log_format {template!r}: {error}; write a literal brace twice") from None
    if all(part[1] is None for part in parts):
        raise ValueError(
            f"access_log_format {template!r} is none of http.server, common, combined, json and none, "
            "and has no {field}"
        )
    for literal, field, spec, conversion in parts:
        known = field is None or field in fields or field == "request" or _is_own_field(field)
        if field is not None and (not known or spec or conversion):
            whole = field + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
            raise ValueError(
                f"access_log_format has no field {{{whole}}}; there are {', '.join(FIELDS)}, log_fields[NAME]"
            )
        if field == "request" and "request" not in fields:
            yield literal, "method"
            yield " ", "target"
            yield " ", "version"
        else:
            yield literal, field


def _json_template(fields: dict[str, str], *, own: bool = False) -> str:
    # Method and version need no escape: the grammar allows no quotes in them.
    plain = ("time", "method", "version")
    members = [f'"{name}":"{{{name}}}"' if name in plain else f'"{name}":{{{name}}}' for name in fields]
    return "{{" + ",".join(members) + "{own}" * own + "}}"


def _json_fields(fields: dict[str, Any]) -> str:
    """The program's own fields as more members; what the line has itself is not overwritten."""
    more = {str(name): value for name, value in fields.copy().items() if name not in _JSON and name != "aborted"}
    try:
        text = json.dumps(more, default=_told, allow_nan=False, separators=(",", ":"))
    except Exception:  # a key that is no text in a dictionary, NaN, a circle
        text = json.dumps({name: _told(value) for name, value in more.items()}, separators=(",", ":"))
    return f",{text[1:-1]}" if more else ""


def _own_field(fields: dict[str, Any] | None, name: str) -> str:
    """A field of the program's own, for a line of text."""
    value = None if fields is None else fields.get(name)
    return "-" if value is None else _told(value).encode("ascii", "backslashreplace").decode().translate(_ESCAPES)


def _told(value: object) -> str:
    """The text of a value of the program's own; the log goes on whatever it does."""
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__}>"


def _encode_or_null(text: str | None) -> str:
    return "null" if text is None else encode_basestring_ascii(text)


def _user(credentials: str | None) -> str:
    """The user name of the client (RFC 7617); with status 401 it has not been accepted."""
    if credentials is None or credentials[:6].lower() != "basic ":
        return "-"
    try:
        name = base64.b64decode(credentials[6:]).partition(b":")[0].decode("latin-1")
    except (binascii.Error, ValueError):
        return "-"
    # White space would shift the fields of the line.
    return escape(name).replace(" ", "\\x20") or "-"
