"""Status lines and header fields of responses, as bytes.

Owns the checks of response heads, so that no text of a handler can split a response (RFC 9112 section 11.1). The
framing of a response is decided by `aiohttpd.engine.encoder`.
"""

from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import TypeVar

from .headers import is_field_value, is_token

__all__ = ["LAST_CHUNK", "NO_CONTENT", "ResponseFields", "has_no_content", "phrase", "reason_of", "status_line"]

LAST_CHUNK = b"0\r\n\r\n"

_PHRASES = {int(status): status.phrase for status in HTTPStatus}

NO_CONTENT = frozenset((204, 205, 304))  # statuses, see `has_no_content`

# Fields that decide framing, or that a response may have only once.
_DECIDING = frozenset(("content-length", "transfer-encoding", "connection", "date", "server", "upgrade"))

# Field lines that were sent before. The hash of a literal is known already, so a lookup costs less than a check of the
# grammar.
_known_lines: dict[tuple[str, str], bytes] = {}
_known_deciding: dict[tuple[str, str], tuple[bytes, str, str]] = {}  # with the name in lower case and the value
_KNOWN_LINES = 512
_LONGEST_KNOWN = 124  # characters of name and value

T = TypeVar("T")


def _remember(known: dict[tuple[str, str], T], name: str, value: str, line: T) -> None:
    if len(name) + len(value) <= _LONGEST_KNOWN:
        if len(known) >= _KNOWN_LINES:
            known.clear()
        known[name, value] = line


def phrase(status: int) -> str:
    """The standard reason phrase of a status code; empty if it has none."""
    return _PHRASES.get(status, "")


def reason_of(message: str | None) -> str | None:
    """The message of an error as a reason phrase; None, for the standard one, if it cannot stand in a status line."""
    return message if message and is_field_value(message) else None


def status_line(status: int, reason: str | None = None) -> bytes:
    """Make ``HTTP/1.1 200 OK`` with its CRLF.

    Raises:
        ValueError: the status is outside of 100 to 999, or the reason holds a control character.
    """
    if not 100 <= status <= 999:
        raise ValueError(f"a status code has three digits, not {status}")
    if reason is None:
        reason = phrase(status)
    elif not is_field_value(reason):
        raise ValueError(f"the reason phrase {reason!r} has a character that is not allowed in a status line")
    return b"HTTP/1.1 %d %s\r\n" % (status, reason.encode("latin-1"))


def has_no_content(method: str, status: int) -> bool:
    """Whether a final response has no content because of its status, whatever its fields say. HEAD does not count.

    204, 205, 304 (RFC 9110 sections 15.3.5, 15.3.6, 15.4.5) and 2xx to CONNECT (section 9.3.6).
    """
    return status in NO_CONTENT or (method == "CONNECT" and 200 <= status < 300)


class ResponseFields(list[bytes]):
    """The header fields of one response: a list of encoded lines. A field is checked when it is added.

    Attributes:
        deciding: the values of fields that decide framing, by name in lower case; None until there is one.
    """

    deciding: dict[str, str] | None = None

    @classmethod
    def of(cls, fields: Iterable[tuple[str, str | int]]) -> "ResponseFields":
        """Make the fields from ``(name, value)`` pairs; it raises what `add` raises."""
        made = cls()
        for name, value in fields:
            made.add(name, value)
        return made

    def copy(self) -> "ResponseFields":
        """Return a copy, for code that changes the fields of one response and not of others."""
        made = ResponseFields(self)
        made.deciding = None if self.deciding is None else dict(self.deciding)
        return made

    def add(self, name: str, value: str | int) -> None:
        """Append a field. Short lines are remembered, for the next response that has the same field.

        Raises:
            ValueError: the name is not a token, or the value has CR, LF, NUL or another control character.
            TypeError: the value is neither text nor a number.
        """
        self.append(_known_lines.get((name, value)) or self._new_line(name, value))  # type: ignore[arg-type]

    def _new_line(self, name: str, value: str | int) -> bytes:
        if isinstance(value, int):
            value = str(int(value))
        if (known := _known_deciding.get((name, value))) is not None:
            line, lower, text = known
            if self.deciding is None:  # there is nothing that it could contradict
                self.deciding = {lower: text}
            else:
                self._decide(lower, text)
            return line
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"a header field is text, not {name!r}: {value!r}")
        if not is_token(name):
            raise ValueError(f"{name!r} is no field name: letters, digits and !#$%&'*+-.^_`|~ only")
        if not is_field_value(value):
            raise ValueError(f"the value of {name} holds a character that may not stand in a field: {value!r}")
        line = f"{name}: {value}\r\n".encode("latin-1")
        lower = name.lower()
        if lower in _DECIDING:
            text = value.strip()
            self._decide(lower, text)
            _remember(_known_deciding, name, value, (line, lower, text))
        else:
            _remember(_known_lines, name, value, line)
        return line

    def _decide(self, name: str, value: str) -> None:
        deciding = self.deciding
        if deciding is None:
            deciding = self.deciding = {}
        if name == "content-length" and not (value.isascii() and value.isdigit()):
            raise ValueError(f"Content-Length is a number of bytes, not {value!r}")
        if name == "transfer-encoding" and value.lower() != "chunked":
            raise ValueError(f"Transfer-Encoding can be 'chunked' only, not {value!r}")
        if name in ("content-length", "transfer-encoding"):
            if name in deciding:
                raise ValueError(f"a second {name} in one answer")
            if "content-length" in deciding or "transfer-encoding" in deciding:
                raise ValueError("an answer has Content-Length or Transfer-Encoding, not both")  # RFC 9112 section 6.2
        if name == "connection" and name in deciding:
            value = f"{deciding[name]}, {value}"
        deciding[name] = value

    def drop(self, name: str) -> None:
        """Remove every field of a name."""
        lower = name.lower()
        prefix = lower.encode() + b":"
        self[:] = [line for line in self if not line.lower().startswith(prefix)]
        if self.deciding is not None:
            self.deciding.pop(lower, None)

    def pairs(self) -> Iterator[tuple[str, str]]:
        """The fields as ``(name, value)`` pairs, for code that wraps a response."""
        for line in self:
            name, _, value = str(line, "latin-1").partition(":")
            yield name, value.strip()
