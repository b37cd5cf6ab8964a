"""A handler forks: the child has nothing of the server, and the server does not notice."""

import asyncio
import os
import signal
import socket
import time
from pathlib import Path

import pytest

import aiohttpd

from ..support.programs import WAIT, gone, program

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork"),
    pytest.mark.filterwarnings("ignore:This process:DeprecationWarning"),
]

APP = """
import asyncio, multiprocessing, os, pty, signal, subprocess, sys, time
import aiohttpd

def nap():
    time.sleep(3600)

def handlers():
    return [repr(signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)]

def another():
    # A child may have a server of its own, whose handlers fail as handlers do.
    async def app(request, response):
        raise ValueError("in a child")

    async def main():
        async with aiohttpd.HTTPServer(("127.0.0.1", 0), app) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.server_port)
            writer.write(b"GET / HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 500")
            writer.close()

    asyncio.run(main())

class Handler(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self):
        await getattr(self, "get_" + self.path[1:])()

    def do_POST(self):  # in a thread
        child = os.fork()
        if not child:
            if self.path == "/back":
                return
            if self.path == "/fail":
                raise OSError
            nap()
        if self.path != "/thread":
            self.send_text(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
            return
        self.send_text(str(child))

    async def get_ok(self):
        self.send_text("ok")

    async def get_terminate(self):
        child = multiprocessing.get_context("fork").Process(target=nap)
        child.start()
        child.terminate()
        while child.is_alive():
            await asyncio.sleep(0.01)
        self.send_text(str(child.exitcode))

    async def get_handlers(self):
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.write(writing, repr(handlers()).encode())
            os._exit(0)
        os.waitpid(child, 0)
        self.send_text(os.read(reading, 1000).decode())

    async def get_stay(self):
        child = os.fork()
        if not child:
            nap()
        self.send_text(str(child))

    async def get_pty(self):
        child, terminal = pty.fork()
        if not child:
            os.execvp("sleep", ["sleep", "3600"])
        self.send_text(str(child))

    async def get_exit(self):
        child = os.fork()
        if not child:
            sys.exit(7)
        self.send_text(await self.end(child))

    async def get_raise(self):
        child = os.fork()
        if not child:
            raise OSError("exec has failed, say")
        self.send_text(await self.end(child))

    async def get_return(self):
        child = os.fork()
        self.send_text(await self.end(child) if child else "never seen")

    async def get_another(self):
        child = multiprocessing.get_context("fork").Process(target=another)
        child.start()
        while child.is_alive():
            await asyncio.sleep(0.01)
        self.send_text(str(child.exitcode))

    async def get_preexec(self):
        done = subprocess.run(["sh", "-c", "echo done"], preexec_fn=os.setsid, stdout=subprocess.PIPE)
        self.send_text(done.stdout.decode())

    async def end(self, child):
        while True:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                return str(os.waitstatus_to_exitcode(status))
            await asyncio.sleep(0.01)

if __name__ == "__main__":
    aiohttpd.run(Handler, port=0, workers=int(sys.argv[1]) if len(sys.argv) > 1 else None)
"""
SERVE = ("serve", "app:Handler", "--port", "0")
STARTS = {
    "serve": ("-m", "aiohttpd", *SERVE),
    "asyncio": ("-c", "import sys; sys.modules['uvloop'] = None; from aiohttpd.runner.cli import main; main()", *SERVE),
    "workers": ("-m", "aiohttpd", *SERVE, "--workers", "1"),
    "run": ("app.py",),
}


def start(folder: Path, how: str):
    (folder / "app.py").write_text(APP)
    return program(folder, *STARTS[how])


class KeptClient:
    """One connection, kept."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=WAIT)

    def ask(self, path: str, method: str = "GET") -> str:
        self.sock.sendall(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode())
        answer = b""
        while True:
            head, end, content = answer.partition(b"\r\n\r\n")
            if end and len(content) >= int(head.lower().partition(b"content-length: ")[2].split()[0]):
                return content.decode()
            piece = self.sock.recv(65536)
            assert piece, answer
            answer += piece


@pytest.mark.parametrize("how", STARTS)
class TestChild:
    async def test_what_it_is_sent_is_its_own(self, how: str, tmp_path: Path) -> None:
        async with start(tmp_path, how) as server:
            client = KeptClient(await server.port())
            for _ in range(3):
                assert await asyncio.to_thread(client.ask, "/terminate") == "-15"
            assert await asyncio.to_thread(client.ask, "/ok") == "ok"
            handlers = await asyncio.to_thread(client.ask, "/handlers")
            assert handlers.count("Handlers.SIG_DFL") + handlers.count("Handlers.SIG_IGN") == 2
            assert "default_int_handler" in handlers
            client.sock.close()
            assert not [line for line in server.lines if "Finishing" in line]
            assert await server.stops() == 0

    @pytest.mark.parametrize("path", ["/stay", "/pty", "/thread"])
    async def test_it_keeps_nothing_open(self, how: str, path: str, tmp_path: Path) -> None:
        async with start(tmp_path, how) as server:
            port = await server.port()
            client, other = KeptClient(port), KeptClient(port)
            assert await asyncio.to_thread(other.ask, "/ok") == "ok"
            method = "POST" if path == "/thread" else "GET"
            child = int(await asyncio.to_thread(client.ask, path, method))
            try:
                assert await asyncio.to_thread(other.ask, "/ok") == "ok"
                server.send(signal.SIGTERM)
                assert await asyncio.to_thread(other.sock.recv, 10) == b""
                await gone(server.process.pid)  # its stderr is open still, in the child
                os.kill(child, 0)  # it lives
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", port))
            finally:
                os.kill(child, signal.SIGKILL)
            client.sock.close()
            other.sock.close()

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [("GET", "/exit", 7), ("GET", "/raise", 1), ("GET", "/return", 0), ("POST", "/back", 0), ("POST", "/fail", 1)],
    )
    async def test_it_comes_back_into_the_server(
        self, how: str, method: str, path: str, status: int, tmp_path: Path
    ) -> None:
        """It ends there, and takes nothing that is for its parent."""
        async with start(tmp_path, how) as server:
            port = await server.port()
            client, other = KeptClient(port), KeptClient(port)
            assert await asyncio.to_thread(other.ask, "/ok") == "ok"
            for _ in range(3):
                assert await asyncio.to_thread(client.ask, path, method) == str(status)
                for _ in range(20):
                    assert await asyncio.to_thread(other.ask, "/ok") == "ok"
                new = KeptClient(port)
                assert await asyncio.to_thread(new.ask, "/ok") == "ok"
                new.sock.close()
            client.sock.close()
            other.sock.close()
            assert await server.stops() == 0

    async def test_it_serves_itself(self, how: str, tmp_path: Path) -> None:
        async with start(tmp_path, how) as server:
            client = KeptClient(await server.port())
            assert await asyncio.to_thread(client.ask, "/another") == "0"
            client.sock.close()
            assert await server.stops() == 0

    async def test_a_program_is_executed(self, how: str, tmp_path: Path) -> None:
        async with start(tmp_path, how) as server:
            client = KeptClient(await server.port())
            assert await asyncio.to_thread(client.ask, "/preexec") == "done\n"
            client.sock.close()
            assert await server.stops() == 0


async def test_a_socket_in_a_folder_stays(tmp_path: Path) -> None:
    """A child that ends as a program does must not remove what is the server's."""
    (tmp_path / "app.py").write_text(APP)
    async with program(tmp_path, "-m", "aiohttpd", "serve", "app:Handler", "--bind", "unix:sock") as server:
        await server.says("Serving")
        for _ in range(2):
            reader, writer = await asyncio.open_unix_connection(tmp_path / "sock")
            writer.write(b"GET /exit HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert (await reader.read()).endswith(b"\r\n\r\n7")
            writer.close()
        assert await server.stops() == 0


async def test_an_embedded_server() -> None:
    """Its signals are those of its program; the port and the connections are not for children."""

    async def app(request: aiohttpd.Request, response: aiohttpd.StreamWriter) -> None:
        response.send_head(200)
        response.write(b"ok")

    async with aiohttpd.HTTPServer(("127.0.0.1", 0), app) as server:
        assert server.server_port is not None
        reader, writer = await asyncio.open_connection("127.0.0.1", server.server_port)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"ok")
        child = os.fork()
        if not child:
            time.sleep(3600)
            os._exit(0)
        try:
            port = server.server_port
            other_reader, other = await asyncio.open_connection("127.0.0.1", port)
            other.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await other_reader.readuntil(b"ok")
            await server.shutdown()
            assert await reader.read() == b""
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        writer.close()
        other.close()
