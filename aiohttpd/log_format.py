"""Formats of the access log: what a line says, from a name or a template with ``{fields}``.

Owns the names of the fields and how each is made safe: nothing that a client sends can end a line, end the
quotes around it, or drive a terminal. When and where lines are written is `access_log`'s.
"""

import base64
import binascii
import functools
import os
import string
import time
from collections.abc import Callable, Iterable, Iterator
from json.encoder import encode_basestring_ascii
from typing import Any

from .clock import MONTHS, log_date
from .wire.request import Address

__all__ = ["FIELDS", "LineFormat", "NamedFormats", "Record", "escape", "members"]

# An answer: the request or what stands for one, status, bytes of content (None if that is not known), and when it began
# and was complete, of `perf_counter`: one clock for durations and for the time of day.
Record = tuple[Any, int, int | None, float, float]

# Gives the lines of records, each with its end.
_Lines = Callable[[Iterable[Record]], list[str]]

# Whatever could end a line, drive a terminal or end the quotes; and bytes of which nobody has said what they mean.
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0x100))}
_ESCAPES |= {ord("\\"): "\\\\", ord('"'): '\\"'}


def escape(text: str) -> str:
    """Make text of a client's safe for a line of the log and for a terminal."""
    return text.translate(_ESCAPES)


# Expressions over the items of a record and the names that `_compile` adds. A template becomes one function of them,
# since a call for each field would cost more than the fields do.
_TEXT = {
    "client": "safe(request.client_address[0])",
    "user": "user(headers.peek('authorization'))",
    "time": "moment.time",
    "clf_time": "moment.clf_time",
    "iso_time": "moment.iso_time",
    "unix_time": "'%.3f' % (ended + offset)",
    "method": "request.method",
    "target": "target if '\"' not in (target := request.target) and '\\\\' not in target else escape(target)",
    "path": "escape(request.path)",
    "query": "escape(request.query_string)",
    "version": "request.version",
    "host": "safe(request.host or '-')",
    "scheme": "request.scheme",
    "status": "numbers[status]",
    "bytes": "numbers[size] if size < 1000 else size",
    "seconds": "'%.6f' % (ended - started)",
    "milliseconds": "'%.3f' % ((ended - started) * 1e3)",
    "microseconds": "int((ended - started) * 1e6)",
    "referer": "safe(headers.peek('referer') or '-')",
    "user_agent": "safe(headers.peek('user-agent') or '-')",
    "pid": "pid",
}
FIELDS = ("request", *_TEXT)

# Of what has been refused: no request, and so no more than its beginning.
_TEXT_REFUSED = dict.fromkeys(_TEXT, "'-'") | {
    name: _TEXT[name] for name in ("time", "clf_time", "iso_time", "unix_time", "client", "status", "pid")
} | {"request": "escape(request.requestline)"}  # fmt: skip

_JSON = {
    "time": "moment.iso_time",
    "client": "quoted(request.client_address[0])",
    "method": "request.method",
    "target": "encode(request.target)",
    "version": "request.version",
    "host": "quoted(request.framing.host if request.target[0] == '/' else request.host)",
    "status": "numbers[status]",
    "bytes": "numbers[size] if size < 1000 else size",
    "seconds": "'%.6f' % (ended - started)",
    "referer": "quoted(headers.peek('referer'))",
    "user_agent": "quoted(headers.peek('user-agent'))",
}
_JSON_REFUSED = {name: _JSON[name] for name in ("time", "client", "status")}
_JSON_REFUSED["request"] = "encode(request.requestline)"


_FUNCTION = """
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
_OF_HEADERS = """
def of_headers(headers):
    values = headers.memo[key] = ({codes},)
    return values
"""

_HTTP_SERVER = '{client} - - [{time}] "{request}" {status} {bytes}'
_COMMON = '{client} - {user} [{clf_time}] "{request}" {status} {bytes}'
NamedFormats = {
    "http.server": _HTTP_SERVER,
    "common": _COMMON,
    "combined": _COMMON + ' "{referer}" "{user_agent}"',
}


_NUMBERS = [str(number) for number in range(1000)]  # every status, and many a size


class Refused:
    """Stands for a request in the record of something that is none."""

    def __init__(self, client_address: Address, line: str) -> None:
        self.client_address = client_address
        self.requestline = line


class LineFormat:
    """Makes the lines of one format.

    Args:
        name: ``http.server``, ``common``, ``combined``, ``json``, or a template such as ``{status} {target}``.

    Raises:
        ValueError: there is no such format or field; the text says which there are.

    Attributes:
        lines: gives the lines of answers, of their records.
        is_json: whether each line is an object.
    """

    lines: _Lines

    def __init__(self, name: str) -> None:
        self._moment = _Moment()
        self.is_json = name == "json"
        if self.is_json:
            self.lines = _compile(_json_template(_JSON), _JSON, self._moment)
            self._refused = _compile(_json_template(_JSON_REFUSED), _JSON_REFUSED, self._moment)
        else:
            template = NamedFormats.get(name, name)
            self.lines = _compile(template, _TEXT, self._moment)
            self._refused = _compile(template, _TEXT_REFUSED, self._moment)

    def refused(self, client_address: Address, line: str, status: int) -> str:
        """The line for something that is no request and has been refused."""
        now = time.perf_counter()
        return self._refused([(Refused(client_address, line), status, None, now, now)])[0]

    def message(self, text: str) -> str:
        """The line for a text that a handler logs by itself, which is a line already where lines are text."""
        if not self.is_json:
            return text
        self._moment.begin(time.time())
        return f'{{"time":"{self._moment.iso_time}","message":{encode_basestring_ascii(text.rstrip())}}}\n'


def members(record: Record) -> dict[str, Any]:
    """The fields of a record as they are, for `logging`, whose formatters make them safe themselves."""
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
    }


class _Moment:
    """A second as the formats write it."""

    __slots__ = ("begins", "clf_time", "ends", "iso_time", "time")

    def __init__(self) -> None:
        self.begins = self.ends = 0

    def begin(self, at: float) -> None:
        """Another second has begun; an earlier one if the clock has been set back."""
        self.begins = second = int(at)
        self.ends = second + 1
        local = time.localtime(second)
        offset = time.strftime("%z", local)
        clock = f"{local.tm_hour:02d}:{local.tm_min:02d}:{local.tm_sec:02d}"
        self.time = log_date(second)
        self.clf_time = f"{local.tm_mday:02d}/{MONTHS[local.tm_mon]}/{local.tm_year:04d}:{clock} {offset}"
        date = f"{local.tm_year:04d}-{local.tm_mon:02d}-{local.tm_mday:02d}"
        self.iso_time = f"{date}T{clock}{offset[:3]}:{offset[3:]}"


def _compile(template: str, expressions: dict[str, str], moment: _Moment) -> _Lines:
    """One function of all that a line says, which is the fastest there is."""
    names: dict[str, Any] = {
        "moment": moment, "time": time.time, "perf_counter": time.perf_counter, "pid": os.getpid(),
        "escape": escape, "safe": _safe, "user": _user, "quoted": _quoted, "encode": encode_basestring_ascii,
        "numbers": _NUMBERS,
    }  # fmt: skip
    used: dict[str, str] = {}
    shape = ""
    for literal, field in _parts(template, expressions):
        # What somebody has written as a format becomes a literal; only the expressions above are code.
        shape += literal.replace("{", "{{").replace("}", "}}")
        if field is not None:
            used[field] = expressions[field]
            shape += f"{{f_{field}}}"
    values = [f"f_{field} = {code}" for field, code in used.items() if "headers." not in code]
    of_headers = [(f"f_{field}", code) for field, code in used.items() if "headers." in code]
    if of_headers:
        # A client that keeps its connection repeats its fields, and they are one object then.
        names["key"] = object()
        variables, codes = zip(*of_headers, strict=True)
        exec(_OF_HEADERS.format(codes=", ".join(codes)), names)
        values.append(f"{', '.join(variables)}, = request.headers.memo.get(key) or of_headers(request.headers)")
    exec(_FUNCTION.format(values="; ".join(values), shape=shape + "\n"), names)
    lines: _Lines = names["lines"]
    return lines


def _parts(template: str, fields: dict[str, str]) -> Iterator[tuple[str, str | None]]:
    """The literals of a template, each with the field that follows."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"access_log_format {template!r}: {error}; a brace of its own is written twice") from None
    if all(part[1] is None for part in parts):
        raise ValueError(
            f"access_log_format {template!r} is none of http.server, common, combined, json and none, "
            "and has no {field}"
        )
    for literal, field, spec, conversion in parts:
        if field is not None and (field not in FIELDS or spec or conversion):
            whole = field + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
            raise ValueError(f"access_log_format has no field {{{whole}}}; there are {', '.join(FIELDS)}")
        if field == "request" and "request" not in fields:
            yield literal, "method"
            yield " ", "target"
            yield " ", "version"
        else:
            yield literal, field


def _json_template(fields: dict[str, str]) -> str:
    # What the grammar lets through needs no look: a token has no quotes, nor has a version.
    plain = ("time", "method", "version")
    members = [f'"{name}":"{{{name}}}"' if name in plain else f'"{name}":{{{name}}}' for name in fields]
    return "{{" + ",".join(members) + "}}"


@functools.lru_cache(256)
def _safe(text: str) -> str:
    """Make a text safe that is the same again and again: of a field, or an address."""
    return escape(text)


@functools.lru_cache(256)
def _quoted(text: str | None) -> str:
    """The same for JSON."""
    return "null" if text is None else encode_basestring_ascii(text)


def _user(credentials: str | None) -> str:
    """The name that the client gives, RFC 7617; with 401 it was the wrong one, or the password was."""
    if credentials is None or credentials[:6].lower() != "basic ":
        return "-"
    try:
        name = base64.b64decode(credentials[6:]).partition(b":")[0].decode("latin-1")
    except (binascii.Error, ValueError):
        return "-"
    # White space would shift the fields of the line.
    return escape(name).replace(" ", "\\x20") or "-"
