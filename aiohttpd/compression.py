"""Compression of responses (Content-Encoding, RFC 9110 section 8.4) by an App around an App.

Owns the choice of responses that are compressed, and the fields of such responses. Files that are stored compressed
are served by `handlers.files`.

Do not compress responses on TLS that contain a secret together with text that an attacker can choose (BREACH).

Limits:

- One ``write`` is compressed in one step, which blocks the event loop. Write large content in parts, with ``drain``.
- Compression of a stream takes 256 KiB of memory.
- Compressed responses have weak entity tags, which never match in If-Match (RFC 9110 section 13.1.1).
- A 304 without Content-Type has Vary even if the full response would never be compressed.
- A response to HEAD has no Content-Length if the response to GET would be compressed.
"""

import asyncio
import re
import sys
import zlib
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from .asgi.host import hosted
from .engine.answer import Buffer
from .engine.encoder import ChangedHead, EncoderWrapper, FileReader
from .engine.interfaces import App, Encoder, FileSource, ResponseHead, ResponseWriter
from .handlers.app import forward_attributes, resolve_app
from .wire.conditions import find_tags
from .wire.headers import Headers
from .wire.negotiation import accepted_codings
from .wire.request import Request
from .wire.response import ResponseFields

__all__ = ["compress"]

# Text formats, and some binary formats that are not compressed. Other types are compressed already, or unknown.
_is_compressible = re.compile(
    r"text/.+|.+\+(?:json|xml)|image/bmp|font/[ot]tf"
    r"|application/(?:json|jsonl|(?:x-)?ndjson|(?:x-)?javascript|xml|wasm|rtf|sql|toml|(?:x-)?yaml|x-sh)",
    re.IGNORECASE,
).fullmatch
_PIECE = 64 * 1024  # bytes of a file that are compressed in one step; bytes after which `drain` yields to the loop
_BUFFER = 64 * 1024  # compressed bytes that are buffered; until then the response can be replaced by an error
_PARTIAL_STATUSES = frozenset((206, 304))  # statuses whose fields describe the full response with 200

# Content with one of these fields is encoded already, or has a digest of its bytes (RFC 9530).
_SETTLED = frozenset(("content-encoding", "content-digest", "repr-digest", "digest", "content-md5"))


# Plans for heads that were seen before: many answers have the same fields, among those by whose names it is decided.
# They begin with one of these letters; Location, ETag and Set-Cookie, which differ, do not.
_DECIDING_LETTERS = b"cdrvCDRV"  # Cache-Control, Content-..., Digest, Repr-Digest, Vary
_known_plans: dict[tuple[int, int, bytes], bytes | None] = {}
_KNOWN_PLANS = 256
_LONGEST_KNOWN = 512  # bytes of fields


class _Compressor(Protocol):
    """Compresses one answer."""

    def compress(self, data: bytes) -> bytes: ...
    def flush(self, mode: int) -> bytes: ...


class _Nothing:
    """A compressor for responses to HEAD: it drops the content."""

    def compress(self, data: bytes) -> bytes:
        return b""

    def flush(self, mode: int) -> bytes:
        return b""


def compress(app: App, *, minimum_size: int = 1024, level: int = 6) -> App:
    """Compress the responses of an App for clients whose Accept-Encoding allows it.

    The codings are gzip, and zstd on Python 3.14 and later. When the handler flushes, the compressor is flushed, too.
    Strong entity tags become weak ones, so an App that evaluates If-None-Match itself has to use weak comparison
    (RFC 9110 section 8.8.3.2).

    ::

        aiohttpd.run(aiohttpd.compression.compress(Handler), port=8080)

    Args:
        app: a handler class, another App, or an ASGI application.
        minimum_size: responses with fewer bytes are not compressed, if the size is known before they are sent.
        level: 1 (fast) to 9 (small).

    Raises:
        TypeError: ``app`` is not an App.
        ValueError: ``level`` is not 1 to 9.
    """
    if not 1 <= level <= 9:
        raise ValueError(f"the level of compression is 1 to 9, not {level}")
    return _Compressing(app, minimum_size, level)


class _Compressing:
    """An App that compresses the responses of another App. It can be pickled for workers if the other App can."""

    def __init__(self, app: App, minimum_size: int, level: int) -> None:
        app = hosted(app)
        self._given = app, minimum_size, level
        self._inner = resolve_app(app)
        forward_attributes(app, self)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Compressing, self._given

    # A plain function: a coroutine for each request would cost more than this.
    def __call__(self, request: Request, response: ResponseWriter) -> Awaitable[None]:
        _, minimum_size, level = self._given
        memo = request.headers.memo
        coding = memo[_coding_of] if _coding_of in memo else _coding_of(request.headers)
        plan = coding, max(1, minimum_size), level
        if isinstance(response.encoder, _CompressingEncoder):
            response.encoder.offer(*plan)  # there is a compress() around this one already: compress only once
        else:
            response.encode_with(_CompressingEncoder(response.encoder, *plan))
        return self._inner(request, response)


def _coding_of(headers: Headers) -> str | None:
    """The coding that a client takes; None if there is none. It is remembered with the fields."""
    values = headers.get_all("Accept-Encoding") or ()
    wanted = accepted_codings(", ".join(values)) if values else ()
    coding = next((name for name in wanted if name in _COMPRESSORS or name == "identity"), "identity")
    return headers.remember(_coding_of, None if coding == "identity" else coding)


class _CompressingEncoder(EncoderWrapper):
    """An encoder that compresses the content of a response if it is suitable, and passes it on to another encoder.

    Compressed bytes are buffered until there are 64 KiB, or the handler flushes. Until then the response can be
    replaced by an error.

    Args:
        inner: the encoder that frames the compressed content.
        coding: the coding that the client prefers; None for no compression.
        minimum: content with fewer bytes is not compressed, if its size is known before it is sent.
        level: the level of the compressor, 1 to 9.
    """

    _given: ResponseHead | None = None  # the head for which `_plan` was called
    _head: ResponseHead  # the head that will be sent
    _early = False  # the content may have to be compressed
    _begun = False
    _compressor: _Compressor | None = None  # None until it is decided that the content is compressed
    _size = 0  # bytes of content received
    _ready_size = 0
    _work = 0  # bytes compressed since the task last yielded to the loop

    def __init__(self, inner: Encoder, coding: str | None, minimum: int, level: int) -> None:
        super().__init__(inner)
        self._ready: list[bytes] = []  # buffered content; compressed once there is a compressor
        self.offer(coding, minimum, level)

    def offer(self, coding: str | None, minimum: int, level: int) -> None:
        """Set coding, minimum and level for the next head."""
        self._coding = coding
        self._minimum = minimum
        self._level = level

    @property
    def begun(self) -> bool:
        return self._begun and self.inner.begun

    @property
    def complete(self) -> bool:
        return self._begun and self.inner.complete

    def takes_early(self, head: ResponseHead) -> bool:
        self._plan(head)
        return self._early

    def unsent(self, data: Buffer) -> None:
        if not self._early:  # otherwise it is not what GET would give to the inner encoder
            self.inner.unsent(data)

    def _plan(self, head: ResponseHead) -> None:
        """Decide from the head whether a response may be compressed."""
        self._forget()
        self._given = self._head = head
        if head.own_chunks or (head.request.method == "CONNECT" and head.status < 300):
            return
        fields = head.fields.copy()  # a handler may use the same object for several responses
        key = head.status, self._minimum, b"".join([line for line in fields if line[0] in _DECIDING_LETTERS])
        vary = _known_plans[key] if key in _known_plans else _new_plan(key, fields)
        if vary is None:
            return
        if vary:
            if b"\nvary:" in (b"\n" + key[2]).lower():
                fields.drop("vary")
            fields.append(vary)
        self._head = _changed(head, fields)
        if head.status == 304:
            self._tell_unchanged(fields)
        elif head.status != 206 and self._coding is not None:
            self._early = True

    def whole(self, head: ResponseHead, parts: list[bytes], size: int) -> int:
        if head is not self._given:  # an encoder around this one has changed the head
            self._plan(head)
        if self._early and (head.length is not None or size >= self._minimum):
            self._begin_compressing()
        if self._compressor is None:
            return self._whole(parts, size)
        if not head.has_content:
            return self._whole([], 0)
        self._take(parts, size)
        return self.end([], 0)

    def begin(self, head: ResponseHead, parts: list[bytes], size: int, *, push: bool) -> int:
        if head is not self._given:
            self._plan(head)
        if not self._early:
            self._begun = True
            return self.inner.begin(self._head, parts, size, push=push)
        if head.length is not None:
            self._begin_compressing()
        return self.data(parts, size, push=push)

    def data(self, parts: list[bytes], size: int, *, push: bool) -> int:
        if not self._early:
            return self.inner.data(parts, size, push=push)
        left = 0
        if self._ready_size >= _BUFFER and self._compressor is not None:
            left = self._send(push=False)
        self._take(parts, size)
        if self._compressor is None and (push or self._size >= self._minimum):
            self._begin_compressing()
        if push:
            self._compress_last(_SYNC)
            left += self._send(push=True)
        return left

    def end(self, parts: list[bytes], size: int) -> int:
        if not self._early:
            return self.inner.end(parts, size)
        self._take(parts, size)
        self._compress_last(_FINISH)
        ready, size = self._ready, self._ready_size
        self._ready, self._ready_size = [], 0
        if self._begun:
            return self.inner.end(ready, size)
        if self._compressor is None and ready and size - len(ready[-1]) >= _BUFFER:
            # It is shorter than the minimum, so it is not compressed. Frame it as it would be without this encoder.
            last = ready.pop()
            left = self.inner.begin(self._head, ready, size - len(last), push=False)
            return left + self.inner.end([last], len(last))
        return self._whole(ready, size)

    def file(self, descriptor: int) -> FileSource:
        return FileReader(self, descriptor, _PIECE) if self._early else self.inner.file(descriptor)

    async def drain(self) -> None:
        await self.inner.drain()
        if self._work >= _PIECE:
            self._work = 0
            await asyncio.sleep(0)

    def restart(self) -> Encoder:
        self._forget()
        return super().restart()

    def abort(self) -> None:
        self._forget()
        self.inner.abort()

    def _forget(self) -> None:
        self._early = self._begun = False
        self._compressor = None
        self._ready = []
        self._ready_size = self._size = 0

    def _whole(self, parts: list[bytes], size: int) -> int:
        self._begun = True
        return self.inner.whole(self._head, parts, size)

    def _take(self, parts: list[bytes], size: int) -> None:
        """Compress content; buffer it as long as it is not decided whether it is compressed."""
        self._size += size
        if self._compressor is None:
            self._ready += parts
            self._ready_size += size
            return
        self._work += size
        for part in parts:
            self._keep(self._compressor.compress(part))

    def _compress_last(self, modes: dict[str, int]) -> None:
        if self._compressor is not None and self._coding is not None:
            self._keep(self._compressor.flush(modes[self._coding]))

    def _keep(self, data: bytes) -> None:
        if data:
            self._ready.append(data)
            self._ready_size += len(data)

    def _send(self, *, push: bool) -> int:
        ready, size = self._ready, self._ready_size
        self._ready, self._ready_size = [], 0
        if self._begun:
            return self.inner.data(ready, size, push=push)
        self._begun = True
        return self.inner.begin(self._head, ready, size, push=push)

    def _begin_compressing(self) -> None:
        """Change the fields to those of compressed content, and compress the buffered content."""
        assert self._coding is not None
        fields = self._head.fields
        fields.drop("content-length")
        fields.drop("accept-ranges")  # ranges are of the uncompressed content
        fields.add("Content-Encoding", self._coding)
        _weaken(fields)
        # The compressed length is not known, so HEAD gets no Content-Length.
        self._head = ChangedHead(self._head, fields, length=None, mirrors_get=False)
        self._compressor = _COMPRESSORS[self._coding](self._level) if self._head.has_content else _Nothing()
        waiting, self._ready = self._ready, []
        size, self._ready_size, self._size = self._ready_size, 0, 0
        self._take(waiting, size)

    def _tell_unchanged(self, fields: ResponseFields) -> None:
        """Set the ETag of a 304 to the strong or weak form that the client has sent in If-None-Match.

        If the client has stored compressed content, a strong tag would allow it to combine that with a range of the
        uncompressed content.
        """
        known = set(find_tags(", ".join(self._head.request.headers.get_all("If-None-Match") or ())))
        for name, value in list(fields.pairs()):
            if name.lower() == "etag":
                strong, weak = value in known, f"W/{value}" in known
                if weak if strong is not weak else self._coding is not None:
                    _weaken(fields)
        if self._coding is not None:
            fields.drop("content-length")


def _changed(head: ResponseHead, fields: ResponseFields) -> ChangedHead:
    return ChangedHead(head, fields, length=head.length, mirrors_get=head.head_mirrors_get)


def _new_plan(key: tuple[int, int, bytes], fields: ResponseFields) -> bytes | None:
    """The line of Vary for an answer that would be compressed for a client that takes it; None for another answer.

    It takes the place of those that are there. It is empty if they are enough.
    """
    status, minimum, text = key
    vary = _vary(fields) if _is_suitable(status, fields, minimum) else None
    if len(text) <= _LONGEST_KNOWN:
        if len(_known_plans) >= _KNOWN_PLANS:
            _known_plans.clear()
        _known_plans[key] = vary
    return vary


def _is_suitable(status: int, fields: ResponseFields, minimum: int) -> bool:
    """Whether a response is suitable for compression; for 206 and 304, whether the full response with 200 is."""
    deciding = fields.deciding or {}
    found: dict[str, str] = {}
    for name, value in fields.pairs():
        key = name.lower()
        found[key] = f"{found[key]}, {value}" if key in found else value
    part = found.get("content-range")
    if status in (204, 205) or (part is not None and status != 206):
        return False
    size = deciding.get("content-length") if status != 206 else (part or "").rpartition("/")[2]
    if size and size.isdecimal() and int(size) < minimum:
        return False
    if not _SETTLED.isdisjoint(found) or _has_token(found.get("cache-control", ""), "no-transform"):
        return False  # RFC 9111 section 5.2.2.6
    kind = found.get("content-type", "").partition(";")[0].strip().lower()
    if status in _PARTIAL_STATUSES and kind in ("", "multipart/byteranges"):
        return True  # the type of the full response is not known
    return _is_compressible(kind) is not None


def _has_token(value: str, token: str) -> bool:
    return token in [part.strip().lower() for part in value.split(",")]


def _vary(fields: ResponseFields) -> bytes:
    values = [value for name, value in fields.pairs() if name.lower() == "vary" and value]
    if any(_has_token(value, "*") or _has_token(value, "accept-encoding") for value in values):
        return b""
    return f"Vary: {', '.join([*values, 'Accept-Encoding'])}\r\n".encode("latin-1")


def _weaken(fields: ResponseFields) -> None:
    """Make the entity tag weak: the compressed bytes differ from the uncompressed ones, RFC 9110 section 8.8.1."""
    for name, value in list(fields.pairs()):
        if name.lower() == "etag" and not value.startswith("W/"):
            fields.drop("etag")
            fields.add("ETag", f"W/{value}")


def _gzip(level: int) -> _Compressor:
    return zlib.compressobj(level, zlib.DEFLATED, 16 + zlib.MAX_WBITS)


_COMPRESSORS: dict[str, Callable[[int], _Compressor]] = {"gzip": _gzip}
_SYNC = {"gzip": zlib.Z_SYNC_FLUSH}
_FINISH = {"gzip": zlib.Z_FINISH}

if sys.version_info >= (3, 14):
    try:
        from compression import zstd
    except ImportError:  # this Python was built without libzstd
        pass
    else:
        _COMPRESSORS["zstd"] = lambda level: zstd.ZstdCompressor(level)
        _SYNC["zstd"] = zstd.ZstdCompressor.FLUSH_BLOCK
        _FINISH["zstd"] = zstd.ZstdCompressor.FLUSH_FRAME
