"""WebSockets that misbehave, byte for byte, and what is left of them."""

import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aiohttpd.testing import TestServer, WebSocketFaults

from ..support.raw_peer import RawPeer
from ..support.websocket_clients import ACCEPT, PING, TEXT, close_frame, frame, opening

HEAD = (
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    f"Sec-WebSocket-Accept: {ACCEPT}\r\n"
)
GOODBYE = b"\x88\x02\x03\xe8"  # Close, 1000


class Opened:
    """A WebSocket client by its bytes, after the handshake."""

    def __init__(self, faults: WebSocketFaults, *fields: str) -> None:
        self.server = TestServer(faults)
        self.server.start()
        self.peer = RawPeer(self.server)
        self.peer.send(opening(*fields))
        self.head = ""

    def __enter__(self) -> "Opened":
        return self

    def read_head(self) -> str:
        self.head = self.peer.read_until(b"\r\n\r\n").decode()
        return self.head

    def __exit__(self, *error: object) -> None:
        self.server.stop()
        self.peer.sock.close()


@pytest.fixture
def opened() -> Iterator[Callable[..., Opened]]:
    made: list[Opened] = []

    def open_one(faults: WebSocketFaults, *fields: str) -> Opened:
        made.append(Opened(faults, *fields))
        return made[-1]

    yield open_one
    for each in made:
        each.__exit__()


class TestHandshakes:
    @pytest.mark.parametrize(
        ("faults", "head"),
        [
            (WebSocketFaults(), HEAD),
            (WebSocketFaults().wrong_accept(), HEAD.replace(ACCEPT, "ICX+Yqv66kxgM0FcWaLWlFLwTAI=")),
            (WebSocketFaults().wrong_accept("no"), HEAD.replace(ACCEPT, "no")),
            (WebSocketFaults().no_accept(), HEAD.replace(f"Sec-WebSocket-Accept: {ACCEPT}\r\n", "")),
            (WebSocketFaults().no_upgrade(), HEAD.replace("Upgrade: websocket\r\n", "")),
            (WebSocketFaults().no_connection(), HEAD.replace("Connection: Upgrade\r\n", "")),
            (WebSocketFaults().subprotocol_not_offered(), f"{HEAD}Sec-WebSocket-Protocol: surprise\r\n"),
            (WebSocketFaults().extension_not_offered(), f"{HEAD}Sec-WebSocket-Extensions: permessage-surprise\r\n"),
        ],
    )
    def test_heads(self, opened: Callable[..., Opened], faults: WebSocketFaults, head: str) -> None:
        assert sorted(opened(faults).read_head().split("\r\n")) == sorted(f"{head}\r\n".split("\r\n"))

    def test_the_first_subprotocol_is_chosen(self, opened: Callable[..., Opened]) -> None:
        head = opened(WebSocketFaults(), "Sec-WebSocket-Protocol: a, b").read_head()
        assert "Sec-WebSocket-Protocol: a\r\n" in head
        head = opened(WebSocketFaults().subprotocol_not_offered("c"), "Sec-WebSocket-Protocol: a, b").read_head()
        assert "Sec-WebSocket-Protocol: c\r\n" in head
        assert head.count("Sec-WebSocket-Protocol") == 1

    def test_never_accept(self, opened: Callable[..., Opened]) -> None:
        assert opened(WebSocketFaults().never_accept()).peer.is_quiet()

    def test_no_handshake(self) -> None:
        with TestServer(WebSocketFaults()) as server:
            peer = RawPeer(server)
            peer.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert peer.rest().startswith(b"HTTP/1.1 426 ")
            peer.sock.close()


HALF = b"\x81\x0a01234"
SENT = {
    "masked": (WebSocketFaults().masked("hi"), frame(TEXT, b"hi")),
    "reserved_opcode": (WebSocketFaults().reserved_opcode(), b"\x83\x00"),
    "reserved control opcode": (WebSocketFaults().reserved_opcode(11), b"\x8b\x00"),
    "reserved_bits": (WebSocketFaults().reserved_bits(), b"\xa1\x08reserved"),
    "RSV1": (WebSocketFaults().reserved_bits(4), b"\xc1\x08reserved"),
    "invalid_utf8": (WebSocketFaults().invalid_utf8(), b"\x81\x04caf\xe9"),
    "unfinished_fragments": (WebSocketFaults().unfinished_fragments(), b"\x01\x05first"),
    "interleaved": (WebSocketFaults().interleaved_messages(), b"\x01\x05first\x81\x06second"),
    "lone_continuation": (WebSocketFaults().lone_continuation(), b"\x80\x08of what?"),
    "long_control_frame": (WebSocketFaults().long_control_frame(), b"\x89\x7e\x00\x7e" + b"x" * 126),
    "fragmented_control_frame": (WebSocketFaults().fragmented_control_frame(), b"\x09\x02pi\x80\x02ng"),
    "padded_length": (WebSocketFaults().padded_length(), b"\x81\x7e\x00\x05short"),
    "impossible_length": (WebSocketFaults().impossible_length(), b"\x82\x7f\x80" + bytes(7)),
    "after messages": (
        WebSocketFaults().send("one").send(b"two").frame(PING, b"3").raw(b"\xff"),
        b"\x81\x03one\x82\x03two\x89\x013\xff",
    ),
    "huge": (
        WebSocketFaults().huge_message(70000, 2),
        b"\x02\x7e\x88\xb8" + bytes(35000) + b"\x80\x7e\x88\xb8" + bytes(35000),
    ),
}


class TestFrames:
    @pytest.mark.parametrize("name", SENT)
    def test_bytes_and_then_close_by_the_client(self, opened: Callable[..., Opened], name: str) -> None:
        faults, sent = SENT[name]
        client = opened(faults)
        client.read_head()
        assert client.peer.read(len(sent)) == sent
        client.peer.send(close_frame(1002, "no"))
        assert (client.peer.rest(), client.peer.end) == (b"\x88\x04\x03\xeano", "FIN")

    @pytest.mark.parametrize(
        ("faults", "sent"),
        [
            (WebSocketFaults().stop_in_frame(), HALF),
            (WebSocketFaults().stop_in_frame(0), HALF[:2]),
            (WebSocketFaults().stop_in_frame_head(), b"\x81"),
            (WebSocketFaults().close_without_fin(), GOODBYE),
        ],
    )
    def test_bytes_and_then_nothing(self, opened: Callable[..., Opened], faults: WebSocketFaults, sent: bytes) -> None:
        client = opened(faults)
        client.read_head()
        assert client.peer.read(len(sent)) == sent
        client.peer.send(close_frame(1000))
        assert client.peer.is_quiet()

    @pytest.mark.parametrize(
        ("faults", "sent"),
        [
            (WebSocketFaults().invalid_close_code(), b"\x88\x02\x03\xed"),
            (WebSocketFaults().invalid_close_code(0), b"\x88\x02\x00\x00"),
            (WebSocketFaults().short_close(), b"\x88\x01\x03"),
            (WebSocketFaults().invalid_close_reason(), b"\x88\x06\x03\xe8caf\xe9"),
            (WebSocketFaults().message_after_close(), GOODBYE + b"\x81\x04late"),
        ],
    )
    def test_close_frames_are_not_sent_twice(
        self, opened: Callable[..., Opened], faults: WebSocketFaults, sent: bytes
    ) -> None:
        client = opened(faults)
        client.read_head()
        assert client.peer.read(len(sent)) == sent
        client.peer.send(close_frame(1002))
        assert (client.peer.rest(), client.peer.end) == (b"", "FIN")

    @pytest.mark.parametrize(
        ("faults", "sent", "end"),
        [
            (WebSocketFaults().send("last").close_without_frame(), b"\x81\x04last", "FIN"),
            (WebSocketFaults().send("last").reset(), b"\x81\x04last", "RST"),
            (WebSocketFaults().lying_length(), b"\x81\x140123456789" + GOODBYE, "FIN"),
            (WebSocketFaults().lying_length(-4), b"\x81\x060123456789" + GOODBYE, "FIN"),
        ],
    )
    def test_ends(self, opened: Callable[..., Opened], faults: WebSocketFaults, sent: bytes, end: str) -> None:
        client = opened(faults)
        client.read_head()
        assert (client.peer.rest(), client.peer.end) == (sent, end)

    def test_ping_flood(self, opened: Callable[..., Opened]) -> None:
        client = opened(WebSocketFaults().ping_flood(250).send("end"))
        client.read_head()
        assert client.peer.read(250 * 127 + 5) == (b"\x89\x7d" + b"p" * 125) * 250 + b"\x81\x03end"

    @pytest.mark.parametrize(
        "offered", ["permessage-deflate; client_max_window_bits", "", "x-webkit, permessage-deflate"]
    )
    def test_deflate_bomb(self, opened: Callable[..., Opened], offered: str) -> None:
        client = opened(WebSocketFaults().deflate_bomb(1_000_000), f"Sec-WebSocket-Extensions: {offered}")
        assert ("Sec-WebSocket-Extensions: permessage-deflate\r\n" in client.read_head()) == bool(offered)
        first, second, *length = client.peer.read(4)
        assert (first, second) == (0xC2, 126)
        payload = client.peer.read(int.from_bytes(length))
        assert len(payload) < 3000
        assert zlib.decompressobj(-15).decompress(payload + b"\0\0\xff\xff") == bytes(1_000_000)


class TestClients:
    def test_it_waits_for_messages(self, opened: Callable[..., Opened]) -> None:
        client = opened(WebSocketFaults().receive(2).send("after two"))
        client.read_head()
        client.peer.send(frame(TEXT, b"a" * 70_000) + frame(PING, b"x" * 126) + frame(TEXT, b"b", fin=False))
        assert client.peer.is_quiet()
        for byte in frame(0, b"c"):
            client.peer.send(bytes([byte]))
        assert client.peer.read(11) == b"\x81\x09after two"

    def test_a_client_that_vanishes_while_it_waits(self, opened: Callable[..., Opened]) -> None:
        client = opened(WebSocketFaults().receive().send("never"))
        client.read_head()
        client.peer.send(frame(TEXT, b"half")[:4])
        client.peer.sock.close()
        assert client.server.wait_for(1)[0].status == 101

    def test_a_flood_of_the_client_meanwhile(self, opened: Callable[..., Opened]) -> None:
        client = opened(WebSocketFaults().huge_message(20_000_000))
        client.read_head()
        for _ in range(200):
            client.peer.send(frame(TEXT, b"x" * 60_000))
        assert client.peer.read(10) == b"\x82\x7f" + (20_000_000).to_bytes(8)
        assert client.peer.read(20_000_000) == bytes(20_000_000)

    def test_drip(self, opened: Callable[..., Opened]) -> None:
        client = opened(WebSocketFaults().drip(2000).send("slow").close_without_frame())
        client.read_head()
        assert client.peer.rest() == b"\x81\x04slow"

    def test_as_the_answer_of_an_expectation(self) -> None:
        with TestServer() as server:
            server.expect("GET", "/chat").respond_with(WebSocketFaults().send("hi").close_without_frame()).once()
            peer = RawPeer(server)
            peer.send(opening(path="/chat"))
            assert peer.rest().endswith(b"\r\n\r\n\x81\x02hi")
            peer.sock.close()

    async def test_in_the_loop_of_the_test_with_tls(self) -> None:
        import ssl

        import websockets

        async with TestServer(WebSocketFaults().send("one").masked(), tls=True) as server:
            context = ssl.create_default_context(cafile=server.ca_file)
            async with websockets.connect(server.url.replace("http", "ws"), ssl=context) as client:
                assert await client.recv() == "one"
                with pytest.raises(websockets.ConnectionClosedError, match="1002"):
                    await client.recv()


@pytest.mark.parametrize("call", [{"opcode": 16}, {"opcode": -1}, {"opcode": 1, "rsv": 8}])
def test_frames_have_four_bits_and_three(call: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="0 to 15"):
        WebSocketFaults().frame(**call)


def test_rates_are_positive() -> None:
    with pytest.raises(ValueError, match="more than 0"):
        WebSocketFaults().drip(0)


def test_it_needs_no_library() -> None:
    code = """if True:
        import sys
        sys.modules["websockets"] = None
        from aiohttpd.testing import TestServer, WebSocketFaults
        with TestServer(WebSocketFaults()):
            pass
    """
    subprocess.run([sys.executable, "-c", code], check=True)
