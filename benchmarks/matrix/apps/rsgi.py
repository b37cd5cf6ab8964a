"""The workloads as applications of RSGI, for granian."""

import asyncio
import json

KIB_64, MIB, CHUNK = bytes(64 * 1024), bytes(1024 * 1024), b"x" * 100
TEXT, OCTETS = [("content-type", "text/plain; charset=utf-8")], [("content-type", "application/octet-stream")]
AS_JSON = [("content-type", "application/json")]


async def hello(scope, protocol):  # type: ignore[no-untyped-def]
    protocol.response_bytes(200, TEXT, b"Hello, world!\n")


async def wait(scope, protocol):  # type: ignore[no-untyped-def]
    await asyncio.sleep(0.001)
    protocol.response_bytes(200, TEXT, b"Hello, world!\n")


async def as_json(scope, protocol):  # type: ignore[no-untyped-def]
    content = json.dumps({"message": "Hello, world!"}, separators=(",", ":")).encode()
    protocol.response_bytes(200, AS_JSON, content)


async def echo(scope, protocol):  # type: ignore[no-untyped-def]
    value = json.loads(await protocol())
    content = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    protocol.response_bytes(200, AS_JSON, content)


async def upload(scope, protocol):  # type: ignore[no-untyped-def]
    size = 0
    async for data in protocol:
        size += len(data)
    protocol.response_str(200, TEXT, str(size))


async def down_64k(scope, protocol):  # type: ignore[no-untyped-def]
    protocol.response_bytes(200, OCTETS, KIB_64)


async def down_1m(scope, protocol):  # type: ignore[no-untyped-def]
    protocol.response_bytes(200, OCTETS, MIB)


async def chunks(scope, protocol):  # type: ignore[no-untyped-def]
    transport = protocol.response_stream(200, TEXT)
    for _ in range(1000):
        await transport.send_bytes(CHUNK)


async def websocket(scope, protocol):  # type: ignore[no-untyped-def]
    transport = await protocol.accept()
    while (message := await transport.receive()).kind != 0:
        if message.kind == 1:
            await transport.send_bytes(message.data)
        else:
            await transport.send_str(message.data)
    protocol.close()
