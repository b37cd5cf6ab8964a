"""The workloads as applications of ASGI, without a framework."""

import asyncio
import json

KIB_64, MIB, CHUNK = bytes(64 * 1024), bytes(1024 * 1024), b"x" * 100


def start(kind, length=None):  # type: ignore[no-untyped-def]
    headers = [(b"content-type", kind)]
    if length is not None:
        headers.append((b"content-length", b"%d" % length))
    return {"type": "http.response.start", "status": 200, "headers": headers}


HELLO_START = start(b"text/plain; charset=utf-8", 14)
HELLO_BODY = {"type": "http.response.body", "body": b"Hello, world!\n"}


async def answer(send, kind, content):  # type: ignore[no-untyped-def]
    await send(start(kind, len(content)))
    await send({"type": "http.response.body", "body": content})


async def hello(scope, receive, send):  # type: ignore[no-untyped-def]
    await send(HELLO_START)
    await send(HELLO_BODY)


async def wait(scope, receive, send):  # type: ignore[no-untyped-def]
    await asyncio.sleep(0.001)
    await send(HELLO_START)
    await send(HELLO_BODY)


async def as_json(scope, receive, send):  # type: ignore[no-untyped-def]
    await answer(send, b"application/json", json.dumps({"message": "Hello, world!"}, separators=(",", ":")).encode())


async def echo(scope, receive, send):  # type: ignore[no-untyped-def]
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            break
    value = json.loads(b"".join(parts))
    await answer(send, b"application/json", json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())


async def upload(scope, receive, send):  # type: ignore[no-untyped-def]
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    await answer(send, b"text/plain; charset=utf-8", str(size).encode())


async def down_64k(scope, receive, send):  # type: ignore[no-untyped-def]
    await answer(send, b"application/octet-stream", KIB_64)


async def down_1m(scope, receive, send):  # type: ignore[no-untyped-def]
    await answer(send, b"application/octet-stream", MIB)


async def chunks(scope, receive, send):  # type: ignore[no-untyped-def]
    await send(start(b"text/plain"))
    for _ in range(1000):
        await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
    await send({"type": "http.response.body"})


async def websocket(scope, receive, send):  # type: ignore[no-untyped-def]
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] != "websocket.disconnect":
        if message.get("text") is not None:
            await send({"type": "websocket.send", "text": message["text"]})
        else:
            await send({"type": "websocket.send", "bytes": message["bytes"]})
