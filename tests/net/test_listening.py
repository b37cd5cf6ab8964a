"""Where a server listens: what --bind says, unix sockets and their permissions, sockets that are inherited."""

import asyncio
import fcntl
import os
import pty
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from aiohttpd import BindError, HTTPServer
from aiohttpd.config import Config
from aiohttpd.net.bind import is_local, read_addresses
from aiohttpd.net.sockets import ServerAddress, UnixAddress, listen, url_of
from aiohttpd.testing import running

from ..support.clients import Client, connected, echo_path
from ..support.commands import HELLO, command, run
from ..support.loops import on_both_loops
from ..support.waiting import until


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, since the path of a unix socket must be short; with an App."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hello.py").write_text(HELLO)
    (tmp_path / "neighbour.py").write_text("WORD = b'Hello!'\n")
    return tmp_path


@contextmanager
def command_running(*arguments: str, **options: object) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A server as a program; gives the process and the URLs that it says it serves on."""
    process = subprocess.Popen(
        command("serve", "hello:Hello", *arguments),
        stderr=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    )
    try:
        line = process.stderr.readline()
        match = re.fullmatch(r"Serving on (.+) \(Ctrl-C stops\)\n", line)
        assert match, line
        yield process, match[1].split(", ")
    finally:
        process.kill()
        process.communicate()


def text_of_url(url: str) -> str:
    if url.startswith("unix:"):
        path = url.removeprefix("unix:").replace("@", "\0")
        with httpx.Client(transport=httpx.HTTPTransport(uds=path)) as client:
            return client.get("http://a/").text
    return httpx.get(url).text


def reaches(path: str) -> bool:
    """Whether somebody listens there."""
    with closing(socket.socket(socket.AF_UNIX)) as client:
        try:
            client.connect(path)
        except ConnectionRefusedError:
            return False
        return True


def is_refused(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address).close()
    except ConnectionRefusedError:
        return True
    return False


class TestWords:
    @pytest.mark.parametrize(
        ("bind", "address"),
        [
            ("127.0.0.1", ("127.0.0.1", 80)),
            ("127.0.0.1:9", ("127.0.0.1", 9)),
            ("", ("", 80)),
            (":9", ("", 9)),
            ("localhost:0", ("localhost", 0)),
            ("::", ("::", 80)),
            ("::1", ("::1", 80)),
            ("[::]", ("::", 80)),
            ("[::]:9", ("::", 9)),
            ("[fe80::1%eth0]:9", ("fe80::1%eth0", 9)),
            ("unix", ("unix", 80)),
            ("unix:s", "s"),
            ("unix:/run/a b:c.sock", "/run/a b:c.sock"),
            ("unix:@name", "\0name"),
            ("unix:s?mode=660&group=www", UnixAddress("s", 0o660, "www")),
            ("unix:s?group=33", UnixAddress("s", None, "33")),
            ("unix:s?mode=0600", UnixAddress("s", 0o600)),
        ],
    )
    def test_what_they_stand_for(self, bind: str, address: ServerAddress) -> None:
        assert read_addresses([bind], 80, {}) == [address]

    @pytest.mark.parametrize(
        ("bind", "why"),
        [
            ("127.0.0.1:x", "'x' is not a port"),
            ("127.0.0.1:65536", "'65536' is not a port"),
            (f"127.0.0.1:{'9' * 5000}", "999' is not a port"),
            ("[::1]:", "'' is not a port"),
            ("unix:", "a path is missing"),
            ("unix:s?mode=9", "'9' is not a mode"),
            ("unix:s?mode=7777", "'7777' is not a mode"),
            ("unix:s?modus=660", "only mode=660 and group=NAME may follow the [?] behind a path"),
            ("unix:s?group=", "may follow the [?] behind a path"),
            ("unix:@s?mode=660", "may follow the [?] behind a path"),
            ("fd:x", "'x' is not a descriptor"),
            ("fd:99999999999999999999", "'9+' is not a descriptor"),
            ("fd:987654", "fd:987654 is not a socket: Bad file descriptor"),
            ("systemd:", "no socket was passed to this process"),
        ],
    )
    def test_what_they_cannot_be(self, bind: str, why: str) -> None:
        with pytest.raises(ValueError, match=rf"^--bind {re.escape(bind)}: .*{why}"):
            read_addresses([bind], 80, {})

    def test_a_descriptor(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as sock:
            (found,) = read_addresses([f"fd:{os.dup(sock.fileno())}"], 80, {})
            assert isinstance(found, socket.socket)
            with found:
                assert found.getsockname() == sock.getsockname()
                assert not found.get_inheritable()

    @pytest.mark.parametrize(
        ("family", "kind"),
        [
            (socket.AF_INET, socket.SOCK_DGRAM),
            (socket.AF_UNIX, socket.SOCK_STREAM),
            (socket.AF_INET, socket.SOCK_STREAM),  # FAULT: it was served on a free port of all addresses
        ],
    )
    def test_a_descriptor_that_nobody_connects_to(self, family: int, kind: int) -> None:
        with socket.socket(family, kind) as sock:
            with pytest.raises(ValueError, match=rf"fd:{sock.fileno()} is not a stream socket with an address"):
                read_addresses([f"fd:{sock.fileno()}"], 80, {})
            sock.getsockname()  # it has not been closed

    def test_a_descriptor_twice(self) -> None:
        """FAULT: the server did not end any more: closing the second object of the descriptor failed."""
        with socket.create_server(("127.0.0.1", 0)) as sock:
            found = read_addresses([f"fd:{sock.fileno()}"] * 2, 80, {})
            with pytest.raises(BindError, match="^cannot listen on a socket that is given twice"):
                listen(found, 1)
            for one in found:
                assert isinstance(one, socket.socket)
                one.detach()

    def test_a_descriptor_of_a_connection(self) -> None:
        """FAULT: a traceback, where other addresses give one line."""
        with socket.create_server(("127.0.0.1", 0)) as sock, socket.create_connection(sock.getsockname()) as client:
            number = client.fileno()
            with pytest.raises(BindError, match=f"^cannot listen on the socket with descriptor {number}: Invalid arg"):
                listen(client, 1)

    def test_who_can_reach_them(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as near, socket.create_server(("0.0.0.0", 0)) as far:
            for address in (("LOCALHOST.", 1), ("127.1.2.3", 1), ("::1", 1), "path", UnixAddress("path"), near):
                assert is_local(address)
            for address in (("0.0.0.0", 1), ("", 1), ("::", 1), ("example.org", 1), ("127.example.org", 1), far):
                assert not is_local(address)

    def test_of_nothing_comes_this_machine(self) -> None:
        assert read_addresses([], 80, {}) == [("127.0.0.1", 80)]


class TestTCP:
    @needs_ipv6
    @pytest.mark.parametrize("host", ["", "::"])
    def test_all_addresses_of_both_kinds_by_one_port(self, host: str) -> None:
        sockets = listen((host, 0), 1)
        try:
            port = sockets[0].getsockname()[1]
            assert {sock.family for sock in sockets} == {socket.AF_INET, socket.AF_INET6}
            for name in ("127.0.0.1", "::1"):
                with socket.create_connection((name, port)) as client:
                    assert client.getpeername()[0] == name  # and not ::ffff:127.0.0.1
        finally:
            for sock in sockets:
                sock.close()

    @needs_ipv6
    @pytest.mark.parametrize("turn", [1, -1])
    def test_each_kind_by_its_name(self, turn: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        both: list[ServerAddress] = [("0.0.0.0", port), ("::", port)]
        sockets = listen(both[::turn], 1)
        assert [sock.family for sock in sockets] == [socket.AF_INET, socket.AF_INET6][::turn]
        for sock in sockets:
            sock.close()

    @needs_ipv6
    def test_a_port_that_only_one_kind_has_free(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Then it is another port, not an error."""
        taken: list[socket.socket] = []
        bind = socket.socket.bind

        def first_taken(sock: socket.socket, address: tuple[str, int]) -> None:
            if sock.family == socket.AF_INET6 and not taken:
                other = socket.socket(socket.AF_INET6)
                taken.append(other)
                bind(other, address)
                other.listen()
            bind(sock, address)

        monkeypatch.setattr(socket.socket, "bind", first_taken, raising=False)
        sockets = listen(("", 0), 1)
        assert len(sockets) == 2
        assert sockets[0].getsockname()[1] == sockets[1].getsockname()[1] != taken[0].getsockname()[1]
        for sock in sockets + taken:
            sock.close()

    def test_one_that_fails_closes_the_others(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
            free.close()
            with pytest.raises(BindError, match="it is in use"):
                listen([("127.0.0.1", port), taken.getsockname()], 1)
            socket.create_server(("127.0.0.1", port)).close()


class TestUnix:
    def test_permissions_are_in_force_before_anybody_gets_in(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reached: list[bool] = []
        chmod = os.chmod

        def watched(path: str, mode: int) -> None:
            reached.append(reaches(path))
            chmod(path, mode)
            reached.append(reaches(path))

        monkeypatch.setattr(os, "chmod", watched)
        (sock,) = listen(UnixAddress("s", 0o640, str(os.getgid())), 1)
        with sock:
            found = os.stat("s")
            assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o640, os.getgid())
            assert reached == [False, False]
            assert reaches("s")

    def test_a_group_that_there_is_not(self, folder: Path) -> None:
        with pytest.raises(BindError, match="cannot listen on unix:s: .*no-such-group"):
            listen(UnixAddress("s", group="no-such-group"), 1)
        assert not Path("s").exists()

    def test_closing_removes_it(self, folder: Path) -> None:
        (sock,) = listen("s", 1)
        sock.dup().close()
        assert Path("s").exists()
        sock.close()
        assert not Path("s").exists()

    def test_closing_does_not_remove_another_in_its_place(self, folder: Path) -> None:
        (old,) = listen("s", 1)
        Path("s").rename("old")
        (new,) = listen("s", 1)
        old.close()
        with new:
            assert reaches("s")

    def test_one_left_behind_is_replaced(self, folder: Path) -> None:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind("s")
            dead.listen()
        (sock,) = listen("s", 1)
        with sock:
            assert reaches("s")

    @pytest.mark.parametrize("busy", [False, True])
    def test_one_that_lives_is_not(self, folder: Path, busy: bool) -> None:
        (sock,) = listen("s", 0)
        with sock, socket.socket(socket.AF_UNIX) as client:
            if busy:
                client.connect("s")  # and the queue is full
            with pytest.raises(BindError, match="cannot listen on unix:s: it is in use: is another server running[?]$"):
                listen("s", 1)
            assert Path("s").exists()

    def test_what_is_no_socket_stays(self, folder: Path) -> None:
        Path("s").write_text("mine")
        with pytest.raises(BindError, match="a file that is not a socket has this name"):
            listen("s", 1)
        assert Path("s").read_text() == "mine"

    def test_two_at_once(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """One is bound and does not listen yet: the other must not take it for dead."""
        waits = threading.Event()
        errors: list[BindError] = []
        flock, chmod = fcntl.flock, os.chmod

        def watched(descriptor: int, operation: int) -> None:
            try:
                flock(descriptor, operation)
            except BlockingIOError:
                waits.set()
                raise

        def other() -> None:
            try:
                listen("s", 1)
            except BindError as error:
                errors.append(error)

        second = threading.Thread(target=other)

        def meanwhile(path: str, mode: int) -> None:
            second.start()
            assert waits.wait(10)
            chmod(path, mode)

        monkeypatch.setattr(fcntl, "flock", watched)
        monkeypatch.setattr(os, "chmod", meanwhile)
        (sock,) = listen(UnixAddress("s", 0o600), 1)
        second.join()
        with sock:
            assert reaches("s")
            assert "it is in use" in str(errors[0])

    def test_a_lock_that_somebody_keeps(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("aiohttpd.net.sockets._PATIENCE", 0.02)
        descriptor = os.open(".", os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        (sock,) = listen("s", 1)
        sock.close()
        os.close(descriptor)

    @pytest.mark.skipif(sys.platform != "linux", reason="sockets in no folder are Linux's")
    def test_in_no_folder(self) -> None:
        name = f"\0aiohttpd-{os.getpid()}"
        (sock,) = listen(name, 1)
        with sock:
            assert reaches(name)
            assert url_of(sock.getsockname()) == f"unix:@{name[1:]}"
            with pytest.raises(BindError, match="it is in use"):
                listen(name, 1)


@on_both_loops
async def test_a_port_is_shared_by_who_wants_to() -> None:
    sharing = Config(access_log=False, reuse_port=True)
    async with HTTPServer(("127.0.0.1", 0), echo_path, config=sharing) as one:
        async with HTTPServer(one.server_address, echo_path, config=sharing) as two:
            assert one.url == two.url
        with pytest.raises(BindError, match="it is in use"):
            await HTTPServer(one.server_address, echo_path).start()


@on_both_loops
async def test_one_that_is_given_stays() -> None:
    """Others may listen on it: the service manager, or workers."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "s"))
        with socket.socket(socket.AF_UNIX) as given:
            given.bind(path)
            async with HTTPServer(given.dup(), echo_path) as server:
                async with connected(server) as client:
                    assert (await client.ask("/here")).body == b"/here"
                await server.shutdown(0)
            assert reaches(path)


@on_both_loops
async def test_connections_are_accepted_until_the_delay_is_over() -> None:
    async with running(echo_path, shutdown_delay=60) as server, connected(server) as early:
        await early.ask()
        stopping = asyncio.create_task(server.shutdown())
        await server.shutting_down.wait()
        async with connected(server) as late:
            for client in (early, late):
                answer = await client.ask("/here")
                assert (answer.body, answer["Connection"]) == (b"/here", "close")
        assert not stopping.done()
        await server.shutdown(0)
        await stopping


@pytest.mark.parametrize("turns", range(8))
@on_both_loops
async def test_who_has_been_accepted_is_served(turns: int) -> None:
    """Two servers share a socket, and one of them stops: nobody falls between, whatever the loop has just done."""
    with socket.create_server(("127.0.0.1", 0)) as given:
        async with HTTPServer(given.dup(), echo_path) as stays, HTTPServer(given.dup(), echo_path) as goes:
            clients = [socket.create_connection(given.getsockname()) for _ in range(5)]
            for _ in range(turns):
                await asyncio.sleep(0)
            stopping = asyncio.create_task(goes.shutdown())
            for sock in clients:
                client = Client(*await asyncio.open_connection(sock=sock))
                assert (await client.ask("/here")).body == b"/here"
                client.close()
            await stopping
            await stays.shutdown(0)


@on_both_loops
async def test_the_delay_is_before_the_grace() -> None:
    begun, goes_on = asyncio.Event(), asyncio.Event()

    async def app(request: object, response: object) -> None:
        begun.set()
        await goes_on.wait()
        await echo_path(request, response)  # type: ignore[arg-type]

    async with running(app, shutdown_delay=0.1, timeout_grace=60) as server, connected(server) as client:
        asking = asyncio.create_task(client.ask("/here"))
        await begun.wait()
        stopping = asyncio.create_task(server.shutdown())
        await until(lambda: is_refused(server.server_address))
        goes_on.set()
        assert (await asking).body == b"/here"
        await stopping


class TestCommand:
    def test_several_addresses(self, folder: Path) -> None:
        path = f"{folder}/s"
        with command_running("--bind", "127.0.0.1:0", "-b", f"unix:{path}?mode=600", "--bind", "localhost:0") as (
            process,
            urls,
        ):
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
            assert urls[1] == f"unix:{path}"
            assert len(urls) > 2
            for url in urls:
                assert text_of_url(url) == "Hello!"
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
            assert not Path(path).exists()

    def test_a_descriptor(self, folder: Path) -> None:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind("s")
            with command_running("--bind", f"fd:{sock.fileno()}", pass_fds=[sock.fileno()]) as (process, _):
                assert text_of_url("unix:s") == "Hello!"
                process.send_signal(signal.SIGTERM)
                assert process.wait(10) == 0
            assert Path("s").exists()

    def test_variable(self, folder: Path) -> None:
        environment = {**os.environ, "AIOHTTPD_BIND": "127.0.0.1:0 unix:s"}
        with command_running(env=environment) as (_, urls):
            assert [text_of_url(url) for url in urls] == ["Hello!", "Hello!"]

    @pytest.mark.parametrize("bind", ["fd:77", "unix:s?mode=rw", "systemd:", "systemd:web"])
    def test_errors(self, folder: Path, bind: str) -> None:
        done = run(folder, "serve", "hello:Hello", "--bind", bind)
        assert done.returncode == 2
        assert done.stderr.startswith(f"aiohttpd: --bind {bind}: ")
        assert done.stderr.count("\n") == 1

    def test_hanging_up_is_no_end(self, folder: Path) -> None:
        with command_running("-p", "0") as (process, urls):
            process.send_signal(signal.SIGHUP)
            assert text_of_url(urls[0]) == "Hello!"
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0

    @pytest.mark.parametrize("nohup", [False, True])
    def test_the_end_of_its_terminal_is(self, folder: Path, nohup: bool) -> None:
        outer, inner = pty.openpty()
        code = (
            "import fcntl, os, signal, sys, termios\n"
            "os.setsid()\n"
            "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
            f"signal.signal(signal.SIGHUP, signal.{'SIG_IGN' if nohup else 'SIG_DFL'})\n"
            "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])\n"
        )
        arguments = [sys.executable, "-c", code, *command("serve", "hello:Hello", "-p", "0")[1:]]
        process = subprocess.Popen(arguments, stdin=inner, stdout=inner, stderr=subprocess.PIPE, text=True)
        os.close(inner)
        try:
            assert process.stderr is not None
            url = process.stderr.readline().split()[2]
            os.close(outer)  # as a window is closed
            if nohup:
                assert text_of_url(url) == "Hello!"
                process.send_signal(signal.SIGHUP)
                assert text_of_url(url) == "Hello!"
                process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()
            process.communicate()
