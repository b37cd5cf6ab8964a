"""ETag: entity tags for answers of an App that makes none, and 304 to clients that have the answer already.

Owns when an answer can have a tag, and how much of it waits for that.
"""

import hashlib
from collections.abc import Awaitable
from typing import Any

from ..engine.answer import Buffer
from ..engine.encoder import ChangedHead, EncoderWrapper
from ..engine.interfaces import App, Encoder, FileSource, ResponseHead
from ..wire.conditions import is_known
from ..wire.request import Request
from ..wire.response import ResponseFields
from .layer import Layer

__all__ = ["ETag"]

# RFC 9110 section 15.4.5: 304 has the fields that tell a cache about the answer, and none about content.
_OF_CONTENT = ("content-length", "content-type", "content-encoding", "content-language", "content-range")


class ETag(Layer):
    """Give answers to GET and HEAD an entity tag, a hash of their content, and answer 304 where If-None-Match has it.

    It saves bytes on the network, not the work of the App. Answers are left as they are that have an ETag, a status
    other than 200, ``Cache-Control: no-store``, more than ``most`` bytes, or are flushed before their end; so are
    files, which have tags of their own, and answers to HEAD for which a handler writes no content.

    Put it inside of `Compression`: the tag is that of the text before.

    Args:
        weak: make weak tags (``W/"..."``): for content that is the same without each byte being so. Ranges and If-Match
            need strong ones.
        most: bytes of an answer that wait for its end.

    Raises:
        ValueError: ``most`` is negative.
    """

    def __init__(self, *, weak: bool = False, most: int = 256 * 1024) -> None:
        if most < 0:
            raise ValueError("ETag: the size is not negative")
        self._weak = weak
        self._most = most

    def serve(self, app: App, request: Request, response: Any) -> Awaitable[None]:
        if request.method in ("GET", "HEAD"):
            response.encode_with(_TaggingEncoder(response, self._most, weak=self._weak))
        return app(request, response)


class _TaggingEncoder(EncoderWrapper):
    """Keeps an answer until it has a tag, or is too long. See `Encoder`."""

    def __init__(self, response: Any, most: int, *, weak: bool) -> None:
        super().__init__(response.encoder)
        self._response = response
        self._most = most
        self._prefix = "W/" * weak
        self._keeps = False  # content waits for the end
        self._given: ResponseHead | None = None  # the head for which `_keeps` was decided
        self._begun = False  # the inner encoder has been given the head
        self._head: ResponseHead
        self._parts: list[bytes] = []
        self._size = 0
        self._digest = hashlib.blake2b(digest_size=16)
        self._hashed = 0  # bytes

    @property
    def begun(self) -> bool:
        return self._begun and self.inner.begun

    @property
    def complete(self) -> bool:
        return self._begun and self.inner.complete

    def takes_early(self, head: ResponseHead) -> bool:
        early = self.inner.takes_early(head)
        self._given = head
        self._keeps = _can_have_tag(head)
        return early or self._keeps

    def unsent(self, data: Buffer) -> None:
        if self._hashed <= self._most:
            self._digest.update(data)
            self._hashed += len(data)
        self.inner.unsent(data)

    def whole(self, head: ResponseHead, parts: list[bytes], size: int) -> int:
        self._begun = True
        self._look_again(head)
        is_known = head.has_content or (size == self._hashed > 0 and head.length in (None, size))
        if not self._keeps or size > self._most or not is_known:
            return self.inner.whole(head, parts, size)
        self._head, self._parts, self._size = head, parts, size
        return self._whole()

    def begin(self, head: ResponseHead, parts: list[bytes], size: int, *, push: bool) -> int:
        self._head = head
        self._look_again(head)
        if self._keeps:
            return self.data(parts, size, push=push)
        self._begun = True
        return self.inner.begin(head, parts, size, push=push)

    def data(self, parts: list[bytes], size: int, *, push: bool) -> int:
        if not self._keeps:
            return self._pass(parts, size, push=push)
        self._parts += parts
        self._size += size
        return self._release(push=push) if push or self._size > self._most else 0

    def end(self, parts: list[bytes], size: int) -> int:
        if not self._keeps:
            return self.inner.end(parts, size)
        self._parts += parts
        self._size += size
        if self._size > self._most:
            return self._release(push=False) + self.inner.end([], 0)
        self._begun = True
        return self._whole()

    def file(self, descriptor: int) -> FileSource:
        if self._keeps and self._parts:
            self._response.size += self._release(push=False)
        self._keeps = False
        return self.inner.file(descriptor)

    def restart(self) -> Encoder:
        self._keeps = self._begun = False
        self._parts, self._size = [], 0
        self._digest, self._hashed = hashlib.blake2b(digest_size=16), 0
        return super().restart()

    def _look_again(self, head: ResponseHead) -> None:
        """An encoder around this one may have changed the head: another `ETag` has added a tag, say."""
        if self._keeps and head is not self._given:
            self._keeps = _can_have_tag(head)

    def _pass(self, parts: list[bytes], size: int, *, push: bool) -> int:
        if self._begun:
            return self.inner.data(parts, size, push=push)
        self._begun = True
        return self.inner.begin(self._head, parts, size, push=push)

    def _release(self, *, push: bool) -> int:
        """Let go of an answer that gets no tag."""
        self._keeps = False
        parts, size = self._parts, self._size
        self._parts, self._size = [], 0
        return self._pass(parts, size, push=push)

    def _whole(self) -> int:
        """Send all of an answer, or 304."""
        head, parts = self._head, self._parts
        for part in parts:
            self._digest.update(part)
        tag = f'{self._prefix}"{self._digest.hexdigest()}"'
        fields = head.fields.copy()
        fields.add("ETag", tag)
        if not is_known(head.request.headers, tag):
            changed = ChangedHead(head, fields, length=head.length, mirrors_get=head.head_mirrors_get)
            return self.inner.whole(changed, parts, self._size)
        for name in _OF_CONTENT:
            fields.drop(name)
        self._response.status = 304  # for the record
        return self.inner.whole(_NotModified(head, fields), [], 0)


class _NotModified(ChangedHead):
    """The head of 304, in place of one of 200."""

    def __init__(self, head: ResponseHead, fields: ResponseFields) -> None:
        super().__init__(head, fields, length=None, mirrors_get=False)
        self.status = 304
        self.reason = None
        self.has_content = False
        self.own_chunks = False


def _can_have_tag(head: ResponseHead) -> bool:
    if head.status != 200 or head.own_chunks:
        return False
    for name, value in head.fields.pairs():
        match name.lower():
            case "etag" | "content-range":
                return False
            case "cache-control" if "no-store" in [token.strip().lower() for token in value.split(",")]:
                return False
            case "content-type" if value.lower().startswith("text/event-stream"):
                return False
    return True
