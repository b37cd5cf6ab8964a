"""The workloads by aiohttp.

usage: aiohttp_app.py PORT FILES log|quiet [CERTIFICATE KEY]
"""

import asyncio
import logging
import ssl
import sys

import uvloop
from aiohttp import WSMsgType, web

KIB_64, MIB, CHUNK = bytes(64 * 1024), bytes(1024 * 1024), b"x" * 100


async def hello(request: web.Request) -> web.Response:
    return web.Response(body=b"Hello, world!\n", content_type="text/plain", charset="utf-8")


async def wait(request: web.Request) -> web.Response:
    await asyncio.sleep(0.001)
    return await hello(request)


async def as_json(request: web.Request) -> web.Response:
    return web.json_response({"message": "Hello, world!"})


async def echo(request: web.Request) -> web.Response:
    return web.json_response(await request.json())


async def upload(request: web.Request) -> web.Response:
    size = 0
    async for data in request.content.iter_any():
        size += len(data)
    return web.Response(text=str(size))


async def down_64k(request: web.Request) -> web.Response:
    return web.Response(body=KIB_64)


async def down_1m(request: web.Request) -> web.Response:
    return web.Response(body=MIB)


async def chunks(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    for _ in range(1000):
        await response.write(CHUNK)
    return response


async def websocket(request: web.Request) -> web.WebSocketResponse:
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    async for message in ws:
        if message.type == WSMsgType.TEXT:
            await ws.send_str(message.data)
        elif message.type == WSMsgType.BINARY:
            await ws.send_bytes(message.data)
    return ws


port, files, log, *tls = sys.argv[1:]
app = web.Application(client_max_size=2**30)
for handler in (hello, wait, down_64k, down_1m, chunks, websocket):
    app.router.add_get(f"/{handler.__name__}", handler)
app.router.add_get("/json", as_json)
app.router.add_post("/echo", echo)
app.router.add_post("/upload", upload)
app.router.add_static("/f", files)
context = None
if tls:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*tls)
if not files:
    uvloop.install()  # for files: asyncio's loop, which has the sendfile that uvloop lacks
access_log = None
if log == "log":
    logging.basicConfig(level=logging.INFO)
    access_log = logging.getLogger("aiohttp.access")
web.run_app(app, host="127.0.0.1", port=int(port), access_log=access_log, ssl_context=context, print=None)
