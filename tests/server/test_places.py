"""Where servers listen, on real sockets: several addresses, several servers, unix sockets, sockets that are given."""

import asyncio
import socket
import tempfile
from pathlib import Path

from aiohttpd import BaseHTTPRequestHandler, HTTPServer, Request, StreamWriter
from aiohttpd.testing import running

from ..support.clients import Client, Waiting, answer_with, connected, echo_path, get, shutting_down
from ..support.loops import on_both_loops

# Addresses.


@on_both_loops
async def test_several_addresses_and_free_ports() -> None:
    async with HTTPServer([("127.0.0.1", 0), ("127.0.0.1", 0)], echo_path) as server:
        ports = [sock.getsockname()[1] for sock in server.sockets]
        assert len(set(ports)) == 2
        assert server.urls == [f"http://127.0.0.1:{port}" for port in ports]
        assert (server.url, server.server_port, server.server_name) == (server.urls[0], ports[0], "127.0.0.1")
        for port in ports:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            client = Client(reader, writer)
            assert (await client.ask("/here")).body == b"/here"
            client.close()
        await server.shutdown(0)


@on_both_loops
async def test_two_servers_in_one_loop() -> None:
    async with running(answer_with("one")) as one, running(answer_with("two")) as two:
        assert one.url != two.url
        async with connected(one) as client, connected(two) as other:
            assert ((await client.ask()).body, (await other.ask()).body) == (b"one", b"two")


@on_both_loops
async def test_a_unix_socket() -> None:
    seen: list[object] = []

    class Handler(BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            seen.extend((self.client_address, self.address_string(), self.request.server_address))
            self.send_response(200)
            self.end_headers()

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "socket")
        async with HTTPServer(str(path), Handler) as server:
            assert (server.url, server.server_address, server.server_port) == (f"unix:{path}", str(path), None)
            async with connected(server) as client:
                assert (await client.ask()).status == 200
            await server.shutdown(0)
        assert seen == [("unix:", 0), "unix:", str(path)]
        assert not path.exists()


@on_both_loops
async def test_a_given_socket() -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    address = sock.getsockname()
    async with HTTPServer(sock, echo_path) as server, connected(server) as client:
        assert server.server_address == address
        assert (await client.ask("/given")).body == b"/given"
        await server.shutdown(0)


@on_both_loops
async def test_an_address_is_known_to_the_last_handler() -> None:
    waiting = Waiting()
    seen = []

    async def app(request: Request, response: StreamWriter) -> None:
        await waiting(request, response)
        seen.append((request.server.url, request.server.server_port, request.server.server_name))

    async with running(app) as server, connected(server) as client:
        before = (server.url, server.server_port, server.server_name)
        await client.send(get())
        await waiting.begun.wait()
        async with shutting_down(server):
            waiting.released.set()
            assert (await client.answer()).status == 200
    assert seen == [before]
