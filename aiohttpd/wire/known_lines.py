"""A cache of field lines that match the grammar, so that only new lines of a head are matched.

Clients and proxies send the same field lines in each request, on all of their connections. The cache is two sets of
lines, bounded in number and in the length of a line, and shared by all connections. A set that is full is emptied. So
a client that sends only new lines makes the next heads of others cost as much as unknown ones. Only valid lines are in
the cache, so it changes no answer.
"""

import re
from itertools import filterfalse

from .framing import DECIDING
from .headers import FIELD_VALUE, TOKEN

__all__ = ["deciding_lines"]

_LINES = 1024  # in each set
_LONGEST = 256  # characters of a line that is kept

_match_line = re.compile(rf"(?:({DECIDING})|{TOKEN}):{FIELD_VALUE}").fullmatch

_plain: set[str] = set()  # lines of fields that say nothing about framing
_deciding: set[str] = set()


def deciding_lines(fields: str, limit: int) -> tuple[str, ...] | None:
    """Check field lines against the grammar, and find those that decide framing.

    Args:
        fields: field lines, with CRLF between two of them.
        limit: how many there may be.

    Returns:
        The lines, without their CRLF, in their order; None if there are too many, or one breaks the grammar.
    """
    lines = fields.split("\r\n") if fields else []
    if len(lines) > limit:
        return None
    found = []
    for line in filterfalse(_plain.__contains__, lines):
        if line not in _deciding:
            match = _match_line(line)
            if match is None:
                return None
            if match[1] is None:
                _remember(_plain, line)
                continue
            _remember(_deciding, line)
        found.append(line)
    return tuple(found)


def _remember(known: set[str], line: str) -> None:
    if len(line) <= _LONGEST:
        if len(known) >= _LINES:
            known.clear()
        known.add(line)
