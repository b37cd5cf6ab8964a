"""Files by aiohttp, on asyncio's loop, which has the sendfile that uvloop lacks."""

import sys

from aiohttp import web

app = web.Application()
app.router.add_static("/", sys.argv[2])
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=lambda *_: None)
