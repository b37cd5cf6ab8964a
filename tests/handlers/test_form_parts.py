"""Forms part by part, as they arrive; and what can be read again."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from aiohttpd import ContractError, HTTPError
from aiohttpd.testing import running

from ..support.asking import answer_to
from ..support.clients import MIB, connected, ended
from ..support.forming import END, MULTIPART, URL_ENCODED, Taker, Teller, form_of_size, part, post_form, taker
from ..support.loops import on_both_loops
from ..support.waiting import until

# Part by part.


def parts_body(count: int = 3, size: int = 200_000) -> bytes:
    return b"".join(part(f"f{n}", bytes([65 + n]) * size, f"n{n}") for n in range(count)) + END


@pytest.mark.parametrize("read", ["all", "some", "none", "mixed"])
async def test_parts(read: str) -> None:
    seen: list[tuple[str, str | None, bytes]] = []

    async def do_post(self: Taker) -> None:
        async for number, item in enumerated(self.parts()):
            how = ("none", "some", "all")[number] if read == "mixed" else read
            content = await item.read() if how == "all" else await item.read_some() if how == "some" else b""
            seen.append((item.name, item.filename, content))
            if how == "all":
                assert (await item.read(), item.size) == (b"", len(content))
        self.send_text("ok")

    assert (await answer_to(taker(do_post), post_form(parts_body()))).body == b"ok"
    assert [(name, filename) for name, filename, _ in seen] == [("f0", "n0"), ("f1", "n1"), ("f2", "n2")]
    for number, (_, _, content) in enumerate(seen):
        how = ("none", "some", "all")[number] if read == "mixed" else read
        assert set(content) <= {65 + number}
        assert {"all": len(content) == 200_000, "some": 0 < len(content) < 200_000, "none": not content}[how]


async def enumerated(items: AsyncIterator[Any]) -> AsyncIterator[tuple[int, Any]]:
    number = 0
    async for item in items:
        yield number, item
        number += 1


@pytest.mark.parametrize("size", [1000, MIB])
@on_both_loops
async def test_parts_abandoned(size: int) -> None:
    async def do_post(self: Taker) -> None:
        async for item in self.parts():
            async for _ in item:
                break
            break
        self.send_text("ok")

    async with running(taker(do_post)) as server, connected(server) as client:
        body = parts_body(2, size)
        await client.send(post_form(length=len(body)), body[:500])
        answer = await client.answer()
        assert (answer.body, answer["Connection"]) == (b"ok", None if size == 1000 else "close")
        await client.send(body[500:])
        if size == 1000:
            assert (await client.ask()).status == 405
        else:
            assert await ended(client)


async def test_a_part_is_read_before_the_next(caplog: pytest.LogCaptureFixture) -> None:
    async def do_post(self: Taker) -> None:
        first, second = [item async for item in self.parts()]
        assert await second.read(0) == b""  # it is empty, so nothing of it was skipped
        await first.read()

    assert (await answer_to(taker(do_post), post_form(part("a") + part("b", b"") + END))).status == 500
    assert "the part 'a' was skipped" in str(caplog.records[-1].exc_info)
    caplog.clear()


@pytest.mark.parametrize("limit", ["max_file_size", "max_field_size", "max_form_parts"])
async def test_an_error_of_parts_stays(limit: str) -> None:
    async def do_post(self: Taker) -> None:
        parts = self.parts()
        for _ in range(3):
            with pytest.raises(HTTPError) as caught:
                async for _ in parts:
                    pass
            assert caught.value.status == 413
        self.send_text("ok")

    body = part("a", bytes(10)) + part("b", bytes(10), "x") + END
    assert (await answer_to(taker(do_post, **{limit: 1}), post_form(body))).body == b"ok"


async def test_a_part_has_a_limit_of_its_reader() -> None:
    async def do_post(self: Taker) -> None:
        async for item in self.parts():
            await item.read(9)

    answer = await answer_to(taker(do_post), post_form(part("a", bytes(10), "x") + END))
    assert (answer.status, answer.body) == (413, b"'a' is larger than 9 bytes")


@on_both_loops
async def test_a_slow_reader_of_parts_pauses_the_client() -> None:
    bodies: list[Any] = []
    go_on = asyncio.Event()

    async def do_post(self: Taker) -> None:
        bodies.append(self.request.body)
        size = 0
        async for item in self.parts():
            async for data in item:
                await go_on.wait()
                size += len(data)
        self.send_text(str(size))

    async with running(taker(do_post)) as server, connected(server) as client, connected(server) as other:
        sending = asyncio.create_task(client.send(post_form(form_of_size(20 * MIB))))
        await until(lambda: bodies and bodies[0].received)
        for _ in range(20):
            await other.ask()
        assert bodies[0].received < MIB  # the rest waits with the client
        go_on.set()
        assert (await client.answer()).body == str(20 * MIB).encode()
        await sending


async def test_100_000_tiny_parts() -> None:
    body = part("a") * 100_000 + END

    async def do_post(self: Taker) -> None:
        form = await self.form()
        assert form.getall("a") == ["v"] * 100_000
        self.send_text("ok")

    assert (await answer_to(Teller, post_form(body))).status == 413
    assert (await answer_to(taker(do_post, max_form_parts=100_000), post_form(body))).body == b"ok"


@pytest.mark.parametrize("first", ["nothing", "body"])
async def test_tiny_parts_leave_turns_to_others(first: str) -> None:
    """All of them are there at once, so nothing else would let the loop go on."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def do_post(self: Taker) -> None:
        if first == "body":
            await self.body()
        before = turns
        await self.form()
        self.send_text(str(turns - before))

    counting = asyncio.create_task(count())
    try:
        answer = await answer_to(taker(do_post), post_form(part("a") * 900 + END))
    finally:
        counting.cancel()
    assert int(answer.body) >= 900 // 32


@on_both_loops
async def test_the_memory_of_an_upload() -> None:
    block = bytes(MIB)

    async def do_post(self: Taker) -> None:
        file = (await self.form()).file("f")
        assert file is not None
        self.send_text(str(file.size))

    async with running(taker(do_post), limit_body=65 * MIB) as server, connected(server) as client:
        start, end = part("f", b"", "big")[:-2], b"\r\n" + END
        tracemalloc.start()
        try:
            await client.send(post_form(length=len(start) + 64 * MIB + len(end)), start)
            for _ in range(64):
                await client.send(block)
            await client.send(end)
            assert (await client.answer()).body == str(64 * MIB).encode()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 16 * MIB


# A body is read once.


@pytest.mark.parametrize("kind", [MULTIPART, URL_ENCODED])
async def test_what_can_be_read_again(kind: str) -> None:
    data = part("a") + END if kind == MULTIPART else b"a=v"

    async def do_post(self: Taker) -> None:
        if self.path == "/":
            content = await self.body()  # to check a signature, say
            assert content == await self.body() == data
            assert await self.text() == data.decode()
        form = await self.form()
        assert form["a"] == "v"
        assert await self.form() is form
        if self.path == "/" and kind == MULTIPART:
            assert [await item.read() async for item in self.parts()] == [b"v"]
        self.send_text("ok")

    for path in (b"/", b"/form"):
        request = post_form(data, kind).replace(b" / ", b" %b " % path, 1)
        assert (await answer_to(taker(do_post), request)).body == b"ok"


FIRST = {
    "form()": lambda self: self.form(),
    "body()": lambda self: self.body(),
    "parts()": lambda self: anext(self.parts()),
    "rfile": lambda self: self.rfile.read(5),
}


@pytest.mark.parametrize("second", ["form()", "parts()", "body()"])
@pytest.mark.parametrize("first", ["form()", "parts()", "rfile"])
async def test_what_cannot_be_read_again(first: str, second: str) -> None:
    async def do_post(self: Taker) -> None:
        await FIRST[first](self)
        if first == second == "form()":
            await self.form()
        else:
            with pytest.raises(ContractError, match=rf"{second[:-2]}\(\) after .*{first.rstrip('()')}"):
                await FIRST[second](self)
        self.send_text("ok")

    assert (await answer_to(taker(do_post), post_form(part("a") + END))).body == b"ok"


async def test_another_try_after_415() -> None:
    async def do_post(self: Taker) -> None:
        with pytest.raises(HTTPError, match="415"):
            await self.form()
        self.send_json(await self.json())

    assert (await answer_to(taker(do_post), post_form(b"[1]", "application/json"))).body == b"[1]"
