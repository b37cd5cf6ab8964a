"""What the attacks are run against, by aiohttp; with a folder, its files and their list."""

import sys

import uvloop
from aiohttp import web

BLOCK = bytes(256 * 1024)


async def hello(request: web.Request) -> web.Response:
    response = web.Response(text=f"Hello, {request.cookies.get('name', 'world')}!\n")
    response.enable_compression()
    return response


async def large(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": str(400 * len(BLOCK))})
    await response.prepare(request)
    for _ in range(400):
        await response.write(BLOCK)
    return response


async def take_json(request: web.Request) -> web.Response:
    return web.Response(text=str(len(await request.json())))


async def take_form(request: web.Request) -> web.Response:
    return web.Response(text=str(len(await request.post())))


async def take_body(request: web.Request) -> web.Response:
    return web.Response(text=str(len(await request.read())))


uvloop.install()
app = web.Application(client_max_size=64 * 2**20)
app.router.add_get("/large", large)
app.router.add_post("/json", take_json)
app.router.add_post("/form", take_form)
app.router.add_post("/", take_body)
if len(sys.argv) > 2:
    app.router.add_static("/", sys.argv[2], show_index=True)
else:
    app.router.add_get("/", hello)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=lambda *_: None)
