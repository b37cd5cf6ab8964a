"""The workloads by sanic.

usage: sanic_app.py PORT FILES log|quiet [CERTIFICATE KEY]
"""

import asyncio
import sys

from sanic import Sanic, json, raw, text

KIB_64, MIB, CHUNK = bytes(64 * 1024), bytes(1024 * 1024), b"x" * 100
port, files, log, *tls = sys.argv[1:]
app = Sanic("bench", configure_logging=log == "log")
app.config.ACCESS_LOG = log == "log"
app.config.REQUEST_MAX_SIZE = 2**30


@app.get("/hello")
async def hello(request):  # type: ignore[no-untyped-def]
    return text("Hello, world!\n")


@app.get("/wait")
async def wait(request):  # type: ignore[no-untyped-def]
    await asyncio.sleep(0.001)
    return text("Hello, world!\n")


@app.get("/json")
async def as_json(request):  # type: ignore[no-untyped-def]
    return json({"message": "Hello, world!"})


@app.post("/echo")
async def echo(request):  # type: ignore[no-untyped-def]
    return json(request.json)


@app.post("/upload", stream=True)
async def upload(request):  # type: ignore[no-untyped-def]
    size = 0
    while (data := await request.stream.read()) is not None:
        size += len(data)
    return text(str(size))


@app.get("/down_64k")
async def down_64k(request):  # type: ignore[no-untyped-def]
    return raw(KIB_64)


@app.get("/down_1m")
async def down_1m(request):  # type: ignore[no-untyped-def]
    return raw(MIB)


@app.get("/chunks")
async def chunks(request):  # type: ignore[no-untyped-def]
    response = await request.respond(content_type="text/plain")
    for _ in range(1000):
        await response.send(CHUNK)
    await response.eof()


@app.websocket("/websocket")
async def websocket(request, ws):  # type: ignore[no-untyped-def]
    async for message in ws:
        await ws.send(message)


app.static("/f", files or ".")

if __name__ == "__main__":
    ssl = {"cert": tls[0], "key": tls[1]} if tls else None
    app.run("127.0.0.1", int(port), ssl=ssl, single_process=True, access_log=log == "log", motd=False, backlog=2048)
