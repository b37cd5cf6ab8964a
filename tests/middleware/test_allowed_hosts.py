"""DNS rebinding: what a server on loopback answers to names that anybody may have led to it."""

import asyncio
import socket
from pathlib import Path

import httpx
import pytest

import aiohttpd
from aiohttpd.config.hosts import AllowedHosts, host_name, patterns_of
from aiohttpd.testing import running

from ..support.programs import program, serve_command
from ..support.wire import Response, finals

ON = r"^Serving .*on http://[0-9.]+:(\d+)/"
ALLOWED = [
    "localhost", "LocalHost:8000", "localhost.", "a.localhost", "a.b.localhost:1", "127.0.0.1", "127.0.0.1:8000",
    "127.1", "10.0.0.1", "[::1]", "[::1]:8000", "[2001:db8::1]", "[::ffff:127.0.0.1]", "0.0.0.0",
]  # fmt: skip
REFUSED = [
    "evil.example", "evil.example:8000", "localhost.evil.example", "localhostevil", "127.0.0.1.evil.example", "local",
    "127.0.0.1.nip.io", "1.2.3.4.5", "127.0.0.256", "1e.f", "cafe", "[v1.a]", "%6cocalhost", "a_b", "", ".localhost.x",
]  # fmt: skip


class TestPatterns:
    """What option, layer `TrustedHosts`, layer `CORS` and `Router` compare with their names and patterns."""

    def test_the_most_specific_first(self) -> None:
        assert [*patterns_of(host_name("A.b.Example.:80"))] == ["a.b.example", "*.b.example", "*.example"]

    @pytest.mark.parametrize("name", ["*", "*.example", "a.*.example", "a." * 126 + "com"])
    def test_no_name_of_a_host(self, name: str) -> None:
        """The work for a long Host of many dots would grow with the square of its length."""
        assert not [*patterns_of(name)]

    def test_the_longest_name(self) -> None:
        assert len([*patterns_of("a." * 125 + "com")]) == 126


class TestNames:
    @pytest.mark.parametrize("host", ALLOWED)
    def test_nobody_leads_them_elsewhere(self, host: str) -> None:
        assert AllowedHosts("").includes(host)

    @pytest.mark.parametrize("host", REFUSED)
    def test_anybody_may_lead_them_here(self, host: str) -> None:
        assert not AllowedHosts("").includes(host)

    def test_given(self) -> None:
        hosts = AllowedHosts("One.example, *.two.example.")
        for host in ("one.example", "ONE.example.:80", "a.two.example", "a.b.two.example", "localhost", "[::1]"):
            assert hosts.includes(host)
        for host in ("a.one.example", "two.example", "xtwo.example", "three.example"):
            assert not hosts.includes(host)
        assert AllowedHosts("*").includes("evil.example")

    @pytest.mark.parametrize("text", ["a:80", "http://a", "a/b", "[::1]", "a b@c", "**", "a.*.b", "\u00e4"])
    def test_no_name(self, text: str) -> None:
        with pytest.raises(ValueError, match="hosts: .* is not a name"):
            aiohttpd.Config(hosts=text)

    def test_an_address_that_is_meant_otherwise(self) -> None:
        """Other servers listen where --host says."""
        with pytest.raises(ValueError, match=r"to listen on 0\.0\.0\.0 write --bind 0\.0\.0\.0"):
            aiohttpd.Config(hosts="0.0.0.0")


async def asked(port: int, *lines: str, address: str = "127.0.0.1") -> Response:
    reader, writer = await asyncio.open_connection(address, port)
    writer.write("".join(f"{line}\r\n" for line in (*lines, "Connection: close", "")).encode())
    answer = await reader.read()
    writer.close()
    [response] = finals(answer, [lines[0].partition(" ")[0]])
    return response


async def status(port: int, host: str, path: str = "/", **where: str) -> int:
    return (await asked(port, f"GET {path} HTTP/1.1", f"Host: {host}", **where)).status


APP = "async def app(request, response):\n    response.send_head(200)\n    response.write(b'read')\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("secret")
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


class TestCommand:
    @pytest.mark.parametrize("arguments", [(), ("app.py:app",), ("--upload",), ("-w", "1"), ("--bind", "127.0.0.2")])
    async def test_a_rebound_name(self, folder: Path, arguments: tuple[str, ...]) -> None:
        """Neither reads nor writes, whatever is served."""
        host = arguments[1] if "--bind" in arguments else "127.0.0.1"
        async with serve_command(folder, *arguments, "--health", "/healthz", "--metrics", "/metrics") as server:
            port = int((await server.says(ON))[1])
            for path in ("/", "/a.txt", "/a.txt", "/healthz", "/metrics", "/none"):
                assert await status(port, f"evil.example:{port}", path, address=host) == 421
                assert await status(port, f"localhost:{port}", path, address=host) in (200, 404)
            put = ["PUT /new HTTP/1.1", "Host: evil.example", "Origin: http://evil.example", "Content-Length: 0"]
            assert (await asked(port, *put, address=host)).status == 421
            assert not (folder / "new").exists()

    async def test_every_way_to_name_a_host(self, folder: Path) -> None:
        async with serve_command(folder) as server:
            port = int((await server.says(ON))[1])
            for _ in range(2):  # the second time the file is in memory
                assert (await asked(port, "GET http://evil.example/a.txt HTTP/1.1", "Host: localhost")).status == 421
                refused = await asked(port, "GET http://localhost/a.txt HTTP/1.1", "Host: evil.example")
                assert refused.status == 421 and b"--host evil.example allows it" in refused.body
                assert (await asked(port, "GET http://localhost/a.txt HTTP/1.1", "Host: localhost")).status == 200
                assert (await asked(port, "GET /a.txt HTTP/1.0")).status == 200
                assert (await asked(port, "GET /a.txt HTTP/1.0", "Host: evil.example")).status == 421
            head = await asked(port, "HEAD /a.txt HTTP/1.1", "Host: evil.example")
            answer = await asked(port, "GET /a.txt HTTP/1.1", "Host: evil.example:80")
            assert (head.status, head["Content-Length"]) == (421, str(len(answer.body)))
            assert answer.reason == "Misdirected Request"
            assert b"--host evil.example allows it" in answer.body

    @pytest.mark.parametrize(
        "arguments", [("--host", "one.example", "--host", "evil.example"), ("--host", "*.example"), ("--host", "*")]
    )
    async def test_allowed(self, folder: Path, arguments: tuple[str, ...]) -> None:
        async with serve_command(folder, *arguments) as server:
            port = int((await server.says(ON))[1])
            for host in ("evil.example:80", "one.example", "localhost", "[::1]:80"):
                assert await status(port, host) == 200
            assert await status(port, "other.test") == (200 if "*" in arguments else 421)

    async def test_shared_with_the_network(self, folder: Path) -> None:
        """Who listens on all addresses is known by names that nobody has told us."""
        async with serve_command(folder, "--bind", "0.0.0.0") as server:
            port = int((await server.says(r"^Serving .* on port (\d+) of all"))[1])
            assert await status(port, "site.example") == 200

    async def test_each_address_for_itself(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("0.0.0.0", 0))
            port = free.getsockname()[1]
        async with serve_command(folder, "--bind", f"0.0.0.0:{port}", "--bind", "127.0.0.1:0") as server:
            await server.says("^Serving")
            assert await status(port, "site.example") == 200

    async def test_metrics_of_their_own_address(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            metrics = free.getsockname()[1]
        async with serve_command(folder, "--metrics", f"127.0.0.1:{metrics}") as server:
            await server.says("^Serving")
            assert await status(metrics, "evil.example", "/metrics") == 421
            assert await status(metrics, "localhost", "/metrics") == 200

    async def test_a_program(self, folder: Path) -> None:
        """run() is the same server; the keyword is hosts."""
        for keyword, expected in [
            ("", 421),
            (", hosts=''", 421),
            (", hosts='evil.example'", 200),
            (", hosts='*'", 200),
        ]:
            (folder / "main.py").write_text(f"import aiohttpd\n{APP}\naiohttpd.run(app, port=0{keyword})\n")
            async with program(folder, "main.py") as server:
                assert await status(await server.port(), "evil.example") == expected


async def app(request: aiohttpd.Request, response: aiohttpd.StreamWriter) -> None:
    response.send_head(200)


class TestEmbedded:
    async def test_it_decides_itself(self) -> None:
        async with running(app) as server:
            assert await status(server.server_port or 0, "evil.example") == 200
        async with running(app, hosts="one.example") as server:
            port = server.server_port or 0
            assert await status(port, "evil.example") == 421
            assert [await status(port, host) for host in ("one.example", "localhost", "127.0.0.1")] == [200] * 3

    async def test_behind_proxies(self, tmp_path: Path) -> None:
        """A trusted one passes on the names of the site; one that is not is anybody."""
        async with running(app, hosts="localhost", trusted_proxies="127.0.0.0/8") as server:
            assert await status(server.server_port or 0, "site.example") == 200
        async with running(app, hosts="localhost", trusted_proxies="10.0.0.0/8") as server:
            assert await status(server.server_port or 0, "site.example") == 421
        async with running(app, hosts="localhost", trusted_proxies="127.0.0.2") as server:
            for source, expected in [("127.0.0.2", 200), ("127.0.0.1", 421)]:
                transport = httpx.AsyncHTTPTransport(local_address=source)
                async with httpx.AsyncClient(transport=transport) as client:
                    answer = await client.get(server.url, headers={"Host": "site.example"})
                    assert answer.status_code == expected
            await server.shutdown(0)

    async def test_a_unix_socket(self, tmp_path: Path) -> None:
        """No browser connects to one."""
        config = aiohttpd.Config(hosts="localhost", access_log=False)
        async with aiohttpd.HTTPServer(str(tmp_path / "s"), app, config=config) as server:
            async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(tmp_path / "s"))) as client:
                assert (await client.get("http://site.example/")).status_code == 200
            await server.shutdown(0)
