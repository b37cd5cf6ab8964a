"""Compression of answers as they are written: an App around an App, off unless somebody asks for it.

Owns which answers are compressed, RFC 9110 section 8.4, and their fields. Files that have been compressed
before are `files`' own.

What holds a secret beside text that an attacker chooses should not be compressed on TLS (BREACH).

What cannot be done: one ``write`` is compressed at once, so large content should come in pieces, with
``drain``. A stream takes 256 KiB of memory while it is compressed. A weak tag never matches in If-Match. A 304
does not tell the type of what it stands for: it has Vary even if that is never compressed. HEAD gets no
Content-Length where GET would be compressed.
"""

import asyncio
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterable
from typing import Any, Protocol, cast

from .engine.answer import Buffer, HasFileno, ResponseFraming, ResponseState, check_length, to_bytes
from .engine.interfaces import App
from .engine.response import StreamWriter
from .errors import ContractError
from .handlers.app import refused_as, resolve_app
from .net.sendfile import read_at
from .wire.negotiation import accepted_codings
from .wire.request import Request
from .wire.response import ResponseFields

__all__ = ["compress"]

# Text, and what is text inside; everything else is compressed already, or not known to be worth it.
_is_compressible = re.compile(
    r"text/.+|.+\+(?:json|xml)|image/bmp|font/[ot]tf"
    r"|application/(?:json|jsonl|(?:x-)?ndjson|(?:x-)?javascript|xml|wasm|rtf|sql|toml|(?:x-)?yaml|x-sh)",
    re.IGNORECASE,
).fullmatch
_find_tags = re.compile(r'(?:W/)?"[^"]*+"').findall
_PIECE = 64 * 1024  # bytes of a file that are compressed at once; bytes after which others have their turn
_NO_CONTENT = frozenset((204, 205))
_OF_ANOTHER = frozenset((206, 304))  # these tell of an answer with 200, and have some of its fields

# Fields of content that has been encoded, or that holds for these very bytes (RFC 9530).
_SETTLED = frozenset(("content-encoding", "content-digest", "repr-digest", "digest", "content-md5"))


class _Encoder(Protocol):
    """Compresses one answer."""

    def compress(self, data: bytes) -> bytes: ...
    def flush(self, mode: int) -> bytes: ...


class _Nothing:
    """Stands for an encoder where nobody wants the content."""

    def compress(self, data: bytes) -> bytes:
        return b""

    def flush(self, mode: int) -> bytes:
        return b""


def compress(app: App, *, minimum_size: int = 1024, level: int = 6) -> App:
    """Compress the answers of an App, with gzip, and with zstd where Python has it, to clients that take it.

    A stream is flushed as its handler flushes it. Strong entity tags become weak ones, so an App that looks at
    If-None-Match itself has to compare weakly.

    Args:
        app: a handler class, or another App.
        minimum_size: bytes below which an answer stays as it is, if its size is known in time.
        level: 1 (fast) to 9 (small).

    Raises:
        TypeError: this is no App.
        ValueError: there is no such level.
    """
    if not 1 <= level <= 9:
        raise ValueError(f"the level of compression is 1 to 9, not {level}")
    return _Compressing(app, minimum_size, level)


class _Compressing:
    """An App that compresses the answers of another one; it can be handed to workers if that can."""

    def __init__(self, app: App, minimum_size: int, level: int) -> None:
        self._given = app, minimum_size, level
        self._inner = resolve_app(app)
        refused_as(self, app)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Compressing, self._given

    async def __call__(self, request: Request, response: StreamWriter) -> None:
        _, minimum_size, level = self._given
        values = request.headers.get_all("Accept-Encoding") or ()
        wanted = accepted_codings(", ".join(values)) if values else ()
        coding = next((name for name in wanted if name in _ENCODERS or name == "identity"), "identity")
        response.__class__ = _CompressingWriter
        cast(_CompressingWriter, response).offer(None if coding == "identity" else coding, max(1, minimum_size), level)
        return await self._inner(request, response)


class _CompressingWriter(StreamWriter):
    """An answer that compresses what is written to it, once it is known that it should.

    While ``_waiting`` or ``_encoder`` is set, the head has been given and the end has not come.
    """

    _coding: str | None
    _minimum: int
    _level: int
    _waiting: list[bytes] | None = None  # content of which it is not decided yet
    _waiting_size = 0
    _encoder: _Encoder | None = None
    _passing = False  # what is written is compressed already
    _expected: int | None = None  # Content-Length of the handler, which the client does not see
    _taken = 0  # bytes that the handler has written for it
    _work = 0  # bytes compressed since others had their turn

    def offer(self, coding: str | None, minimum: int, level: int) -> None:
        """Say what could be done: the coding that the client takes, if there is one."""
        self._coding = coding
        self._minimum = minimum
        self._level = level

    def send_head(
        self, status: int, fields: "ResponseFields | Iterable[tuple[str, str | int]]" = (), reason: str | None = None
    ) -> None:
        if self.state is not ResponseState.START or status < 200:
            super().send_head(status, fields, reason)
            return
        # A copy, since those of a handler may be shared.
        fields = _copy(fields) if isinstance(fields, ResponseFields) else ResponseFields.of(fields)
        tunnel = self.request.method == "CONNECT" and status < 300
        suitable = not tunnel and _is_suitable(status, fields, self._minimum)
        if suitable:
            _vary(fields)
        if not suitable or status == 206 or (status != 304 and self._coding is None):
            super().send_head(status, fields, reason)
        elif status == 304:
            self._tell_unchanged(fields)
            super().send_head(status, fields, reason)
        elif (length := (fields.deciding or {}).get("content-length")) is not None:
            self._describe(fields)
            super().send_head(status, fields, reason)
            self._begin(int(length))
        else:
            super().send_head(status, fields, reason)
            self._waiting, self._waiting_size = [], 0

    def write(self, data: Buffer) -> None:
        if self._waiting is None and self._encoder is None:
            super().write(data)
            return
        data = data if type(data) is bytes else to_bytes(data)
        if self._waiting is None:
            self._encode(data)
            return
        self._waiting.append(data)
        self._waiting_size += len(data)
        if self._waiting_size >= self._minimum:
            self._compress_waiting()

    def flush(self) -> None:
        if not self._passing:
            self._compress_waiting()
            if self._encoder is not None:
                self._pass(self._encoder.flush(_SYNC[cast(str, self._coding)]))
        super().flush()

    async def drain(self) -> None:
        await super().drain()
        if self._work >= _PIECE:
            self._work = 0
            await asyncio.sleep(0)

    async def sendfile(
        self,
        file: HasFileno | int,
        offset: int = 0,
        count: int | None = None,
        *,
        check: Callable[[], bool] | None = None,
    ) -> None:
        if self._waiting is None and self._encoder is None:
            await super().sendfile(file, offset, count, check=check)
            return
        descriptor = file if isinstance(file, int) else file.fileno()
        left = max(0, os.fstat(descriptor).st_size - offset) if count is None else count
        if not left:
            return
        self._compress_waiting()
        self._check_length(left)
        if self._discards:
            self._taken += left
            return
        while left:
            data = await read_at(descriptor, offset, min(left, _PIECE))
            if not data:
                raise EOFError(f"the file has ended at {offset} bytes, before all was sent")
            offset += len(data)
            left -= len(data)
            if check is not None and not left and not check():
                raise EOFError("the file has changed while it was sent")
            self.write(data)
            await self.drain()

    def restart(self) -> None:
        self._forget()
        super().restart()

    def abort(self) -> None:
        self._forget()
        super().abort()

    @property
    def empty(self) -> bool:
        return super().empty and not (self._waiting or self._taken)

    def finish(self) -> None:
        encoder, waiting = self._encoder, self._waiting
        last = b""
        if encoder is not None:
            if self._expected is not None and self._taken < self._expected and not self._discards:
                raise ContractError(f"{self._taken} bytes of content, but Content-Length says {self._expected}")
            if self._discards:
                self.head_mirrors_get = False  # as far as the length goes, which is not known
            last = encoder.flush(_FINISH[cast(str, self._coding)])
        self._forget()
        for data in waiting or ():
            super().write(data)
        if last and self.state is ResponseState.HELD and self._framing is ResponseFraming.AUTO:
            self._parts.append(last)  # all is here, so it leaves in one piece, whatever its size
            self._room -= len(last)
        elif last:
            super().write(last)
        super().finish()

    # The inner side.

    def _compress_waiting(self) -> None:
        if self._waiting is None:
            return
        waiting, self._waiting = self._waiting, None
        self._describe(self._fields)
        self._begin(None)
        for data in waiting:
            self._encode(data)

    def _begin(self, expected: int | None) -> None:
        self._encoder = _Nothing() if self._discards else _ENCODERS[cast(str, self._coding)](self._level)
        self._expected = expected
        self._taken = 0

    def _encode(self, data: bytes) -> None:
        self._check_length(len(data))
        self._taken += len(data)
        self._work += len(data)
        self._pass(cast(_Encoder, self._encoder).compress(data))

    def _pass(self, data: bytes) -> None:
        if data:
            self._passing = True
            try:
                super().write(data)
            finally:
                self._passing = False

    def _check_length(self, count: int) -> None:
        if self._expected is not None:
            check_length(self._taken + count, self._expected)

    def _forget(self) -> None:
        self._waiting = self._encoder = self._expected = None

    def _describe(self, fields: ResponseFields) -> None:
        """Change the fields to those of compressed content."""
        fields.drop("content-length")
        fields.drop("accept-ranges")  # of what is not sent
        fields.add("Content-Encoding", cast(str, self._coding))
        _weaken(fields)

    def _tell_unchanged(self, fields: ResponseFields) -> None:
        """Have 304 name the tag that the client has.

        A strong tag for content that the client has compressed would let it ask for the rest of something else.
        """
        known = set(_find_tags(", ".join(self.request.headers.get_all("If-None-Match") or ())))
        for name, value in list(fields.pairs()):
            if name.lower() == "etag":
                strong, weak = value in known, f"W/{value}" in known
                if weak if strong is not weak else self._coding is not None:
                    _weaken(fields)
        if self._coding is not None:
            fields.drop("content-length")


def _copy(fields: ResponseFields) -> ResponseFields:
    copy = ResponseFields(fields)
    copy.deciding = None if fields.deciding is None else dict(fields.deciding)
    return copy


def _is_suitable(status: int, fields: ResponseFields, minimum: int) -> bool:
    """Whether an answer would be compressed for a client that takes it; of 206 and 304, whether the whole would."""
    deciding = fields.deciding or {}
    found: dict[str, str] = {}
    for name, value in fields.pairs():
        key = name.lower()
        found[key] = f"{found[key]}, {value}" if key in found else value
    part = found.get("content-range")
    if status in _NO_CONTENT or "transfer-encoding" in deciding or (part is not None and status != 206):
        return False
    size = deciding.get("content-length") if status != 206 else (part or "").rpartition("/")[2]
    if size and size.isdecimal() and int(size) < minimum:
        return False
    if not _SETTLED.isdisjoint(found) or _has_token(found.get("cache-control", ""), "no-transform"):
        return False  # RFC 9111 section 5.2.2.6
    kind = found.get("content-type", "").partition(";")[0].strip().lower()
    if status in _OF_ANOTHER and kind in ("", "multipart/byteranges"):
        return True  # nobody says what the whole is
    return _is_compressible(kind) is not None


def _has_token(value: str, token: str) -> bool:
    return token in [part.strip().lower() for part in value.split(",")]


def _vary(fields: ResponseFields) -> None:
    values = [value for name, value in fields.pairs() if name.lower() == "vary" and value]
    if not any(_has_token(value, "*") or _has_token(value, "accept-encoding") for value in values):
        fields.drop("vary")
        fields.add("Vary", ", ".join([*values, "Accept-Encoding"]))


def _weaken(fields: ResponseFields) -> None:
    """The same content, not the same bytes, RFC 9110 section 8.8.1."""
    for name, value in list(fields.pairs()):
        if name.lower() == "etag" and not value.startswith("W/"):
            fields.drop("etag")
            fields.add("ETag", f"W/{value}")


def _gzip(level: int) -> Any:
    return zlib.compressobj(level, zlib.DEFLATED, 16 + zlib.MAX_WBITS)


_ENCODERS: dict[str, Callable[[int], Any]] = {"gzip": _gzip}
_SYNC = {"gzip": zlib.Z_SYNC_FLUSH}
_FINISH = {"gzip": zlib.Z_FINISH}

if sys.version_info >= (3, 14):
    try:
        from compression import zstd
    except ImportError:  # this Python has been built without it
        pass
    else:
        _ENCODERS["zstd"] = lambda level: zstd.ZstdCompressor(level)
        _SYNC["zstd"] = zstd.ZstdCompressor.FLUSH_BLOCK
        _FINISH["zstd"] = zstd.ZstdCompressor.FLUSH_FRAME
