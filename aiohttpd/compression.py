"""Compression of answers as they are written: an App around an App, off unless somebody asks for it.

Owns which answers are compressed, RFC 9110 section 8.4, and their fields. Files that have been compressed
before are `files`' own.

What holds a secret beside text that an attacker chooses should not be compressed on TLS (BREACH).
"""

import re
import sys
import zlib
from collections.abc import Callable, Iterable
from typing import Any, Protocol, cast

from .answer import Buffer, HasFileno, State, to_bytes
from .files.negotiation import accepted_codings
from .service import App, resolve_app
from .transfer import read_at
from .wire.request import Request
from .wire.response import ResponseFields
from .writer import StreamWriter

__all__ = ["compress"]

# Text, and what is text inside; everything else is compressed already, or not known to be worth it.
_is_compressible = re.compile(
    r"text/.+|.+\+(?:json|xml)|application/(?:json|jsonl|javascript|xml|wasm|rtf|toml|yaml)|image/bmp|font/[ot]tf",
    re.IGNORECASE,
).fullmatch
_READ = 256 * 1024
_WITHOUT_CONTENT = frozenset((204, 205, 206, 304))  # 206 has a part of something else


class _Encoder(Protocol):
    """Compresses one answer."""

    def compress(self, data: bytes) -> bytes: ...
    def flush(self, mode: int) -> bytes: ...


def compress(app: App, *, minimum_size: int = 1024, level: int = 6) -> App:
    """Compress the answers of an App, with gzip, and with zstd where Python has it, to clients that take it.

    A stream is flushed as its handler flushes it. Strong entity tags become weak ones.

    Args:
        app: a handler class, or another App.
        minimum_size: bytes below which an answer stays as it is, if its size is known in time.
        level: 1 (fast) to 9 (small).
    """
    inner = resolve_app(app)

    async def compressing(request: Request, response: StreamWriter) -> None:
        values = request.headers.get_all("Accept-Encoding") or ()
        wanted = accepted_codings(", ".join(values)) if values else ()
        coding = next((name for name in wanted if name in _ENCODERS or name == "identity"), "identity")
        response.__class__ = _CompressingWriter
        cast(_CompressingWriter, response).offer(None if coding == "identity" else coding, minimum_size, level)
        await inner(request, response)

    return compressing


class _CompressingWriter(StreamWriter):
    """An answer that compresses what is written to it, once it is known that it should."""

    _coding: str | None
    _minimum: int
    _level: int
    _waiting: list[bytes] | None = None  # content of which it is not decided yet
    _waiting_size = 0
    _encoder: _Encoder | None = None
    _passing = False  # what is written is compressed already

    def offer(self, coding: str | None, minimum: int, level: int) -> None:
        """Say what could be done: the coding that the client takes, if there is one."""
        self._coding = coding
        self._minimum = minimum
        self._level = level

    def send_head(
        self, status: int, fields: "ResponseFields | Iterable[tuple[str, str | int]]" = (), reason: str | None = None
    ) -> None:
        if not isinstance(fields, ResponseFields):
            fields = ResponseFields.of(fields)
        fields = _copy(fields)
        suitable = status >= 200 and _is_suitable(status, fields, self._minimum)
        if suitable:
            _vary(fields)
        if suitable and self._coding is not None and status not in _WITHOUT_CONTENT:
            if "content-length" in (fields.deciding or {}):
                self._begin(fields)
            else:
                self._waiting, self._waiting_size = [], 0
        super().send_head(status, fields, reason)

    def write(self, data: Buffer) -> None:
        if self._passing or (self._waiting is None and self._encoder is None):
            super().write(data)
        elif self._encoder is not None:
            self._pass(self._encoder.compress(data if type(data) is bytes else to_bytes(data)))
        else:
            assert self._waiting is not None
            self._waiting.append(data if type(data) is bytes else to_bytes(data))
            self._waiting_size += len(data)
            if self._waiting_size >= self._minimum:
                self._compress_waiting()

    def flush(self) -> None:
        if not self._passing:
            self._compress_waiting()
            if self._encoder is not None and self.state is not State.DONE:
                self._pass(self._encoder.flush(_SYNC[cast(str, self._coding)]))
        super().flush()

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
        left = sys.maxsize if count is None else count
        while left and (data := await read_at(descriptor, offset, min(left, _READ))):
            offset += len(data)
            left -= len(data)
            if check is not None and not left and not check():
                raise EOFError("the file has changed while it was sent")
            self.write(data)
            await self.drain()
        if left and count is not None:
            raise EOFError(f"the file has ended at {offset} bytes, before all was sent")

    def restart(self) -> None:
        self._waiting = self._encoder = None
        super().restart()

    def finish(self) -> None:
        if self._encoder is not None and self.state is not State.DONE:
            self._pass(self._encoder.flush(_FINISH[cast(str, self._coding)]))
        elif self._waiting:
            waiting, self._waiting = self._waiting, None
            for data in waiting:
                super().write(data)
        super().finish()

    def _compress_waiting(self) -> None:
        if self._waiting is None:
            return
        waiting, self._waiting = self._waiting, None
        self._begin(self._fields)
        assert self._encoder is not None
        for data in waiting:
            self._pass(self._encoder.compress(data))

    def _begin(self, fields: ResponseFields) -> None:
        coding = cast(str, self._coding)
        self._encoder = _ENCODERS[coding](self._level)
        fields.drop("content-length")
        if fields.deciding is not None:
            fields.deciding.pop("content-length", None)
        fields.drop("accept-ranges")  # of what is not sent
        fields.add("Content-Encoding", coding)
        _weaken(fields)

    def _pass(self, data: bytes) -> None:
        if data:
            self._passing = True
            try:
                super().write(data)
            finally:
                self._passing = False


def _copy(fields: ResponseFields) -> ResponseFields:
    """Fields that can be changed; those of a handler may be shared."""
    copy = ResponseFields(fields)
    copy.deciding = None if fields.deciding is None else dict(fields.deciding)
    return copy


def _is_suitable(status: int, fields: ResponseFields, minimum: int) -> bool:
    """Whether an answer would be compressed for a client that takes it."""
    deciding = fields.deciding or {}
    if "transfer-encoding" in deciding or int(deciding.get("content-length", minimum)) < minimum:
        return False
    found = {name.lower(): value for name, value in fields.pairs()}
    if "content-encoding" in found or "content-range" in found:
        return False
    if "no-transform" in found.get("cache-control", "").lower():  # RFC 9111 section 5.2.2.6
        return False
    return status == 304 or _is_compressible(found.get("content-type", "").partition(";")[0].strip()) is not None


def _vary(fields: ResponseFields) -> None:
    values = [value for name, value in fields.pairs() if name.lower() == "vary"]
    if not any(part.strip().lower() in ("*", "accept-encoding") for value in values for part in value.split(",")):
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
    from compression import zstd

    _ENCODERS["zstd"] = lambda level: zstd.ZstdCompressor(level)
    _SYNC["zstd"] = zstd.ZstdCompressor.FLUSH_BLOCK
    _FINISH["zstd"] = zstd.ZstdCompressor.FLUSH_FRAME
