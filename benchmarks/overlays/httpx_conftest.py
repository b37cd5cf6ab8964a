"""For the tests of httpx: their ASGI application on a TestServer in place of uvicorn. Appended to their conftest.py."""

from email.utils import formatdate

import httpx
import pytest

import aiohttpd.testing
from tests.conftest import app

FIELDS = [(b"date", formatdate(usegmt=True).encode()), (b"server", b"uvicorn")]


async def as_uvicorn(scope, receive, send):
    """The application with what uvicorn adds: eight tests compare the printed head with uvicorn's."""

    async def send_so(message):
        if message["type"] == "http.response.start":
            message["headers"] = [*FIELDS, *message.get("headers", [])]
            await send(message)
            return
        await send({**message, "more_body": True})  # so the length is not known: chunked, as uvicorn does it
        await send({"type": "http.response.body"})

    await app(scope, receive, send_so)


class Server:
    def __init__(self, url):
        self.url = httpx.URL(f"{url}/")


@pytest.fixture(scope="session")
def server():
    with aiohttpd.testing.TestServer(as_uvicorn, port=8000, server_header=False) as server:  # tests compare the port
        yield Server(server.url)
