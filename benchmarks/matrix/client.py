"""The second load generator, for what wrk cannot do: WebSockets, and latency at a given rate.

usage: client.py WORKLOAD PORT SECONDS [RATE]

Without a rate, each connection asks again as soon as it has its response, as with wrk. With a rate, requests are due at
fixed moments, and a latency is counted from the moment when its request was due, not from when it could be sent: a
server that stands still for a while delays all that were due meanwhile, and they count (wrk, which waits for the
server, would leave them out: "coordinated omission"). Prints JSON: how many responses, and p50, p99, p99.9 in
milliseconds.

It is one loop over epoll, which looks all the time and never sleeps, so it wants a core for itself.
"""

import gc
import json
import select
import socket
import sys
import time
from collections import deque
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from matrix.workloads import WORKLOADS, Workload

PATIENCE = 5.0  # seconds after the last moment, for responses that are due
LAST_CHUNK = b"\r\n0\r\n\r\n"
SPAN = 1 << 18  # bytes to receive at a time
UPGRADE = (
    b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
MASK = b"\x11\x22\x33\x44"


def frame(size: int, *, masked: bool) -> bytes:
    """A message of text of a WebSocket (RFC 6455, 5.2), by a client or, without a mask, by a server."""
    length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2) if size < 65536 else b"\x7f" + size.to_bytes(8)
    if not masked:
        return b"\x81" + length + b"x" * size
    content = bytes(byte ^ mask for byte, mask in zip(b"x" * size, MASK * (size // 4 + 1), strict=False))
    return b"\x81" + bytes([length[0] | 0x80]) + length[1:] + MASK + content


def receive_head(sock: socket.socket) -> tuple[bytes, bytes]:
    """The head of a response, and what has come after it."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(SPAN)
        if not piece:
            raise SystemExit(f"the server has closed the connection after {data!r}")
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", rest


def length_of(head: bytes) -> int | None:
    """Content-Length; None for a response in chunks."""
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return None


class Load:
    """Connections to a server, the requests on them, and how long each took.

    Attributes:
        size: bytes of a response, which is the same for each; 0 if it is in chunks, and ends with the last one.
        latencies: seconds, of each response.
    """

    def __init__(self, workload: Workload, port: int) -> None:
        self._workload = workload
        self._frame = b""
        self._socks: dict[int, socket.socket] = {}
        self._missing: dict[int, int] = {}  # bytes, by connection that waits for a response
        self._due: dict[int, float] = {}
        self._poll = select.epoll()
        self._number = 0
        self._room = memoryview(bytearray(SPAN))
        self.size = 0
        self.latencies: list[float] = []
        if workload.app == "websocket":
            assert isinstance(workload.expected, int)
            self._frame = frame(workload.expected, masked=True)
            self.size = len(frame(workload.expected, masked=False))
        for _ in range(workload.connections):
            self._open(port)
        self.idle = deque(self._socks)

    def _open(self, port: int) -> None:
        sock = socket.create_connection(("127.0.0.1", port), 10)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._frame:
            sock.sendall(UPGRADE % self._workload.head.split(b" ", 2)[1])
            head, rest = receive_head(sock)
            if not head.startswith(b"HTTP/1.1 101 ") or rest:
                raise SystemExit(f"no WebSocket: {head + rest!r}")
        else:
            sock.sendall(self._next_request())
            head, rest = receive_head(sock)
            length = length_of(head)
            self.size = 0 if length is None else len(head) + length
            while not self._complete(self.size - len(head) - len(rest), rest):
                rest += sock.recv(SPAN)
            if not head.startswith(b"HTTP/1.1 200 "):
                raise SystemExit(f"not the response that was expected: {head!r}")
        sock.setblocking(False)
        self._socks[sock.fileno()] = sock
        self._poll.register(sock, select.EPOLLIN)

    def _complete(self, missing: int, data: bytes | memoryview) -> bool:
        """Whether a response is complete: nothing is missing, or these bytes end with the last chunk."""
        return not missing if self.size else data[-len(LAST_CHUNK) :] == LAST_CHUNK

    def _next_request(self) -> bytes:
        self._number += 1
        return self._frame or self._workload.request(100_000 + self._number)

    def send(self, due: float) -> None:
        """Send a request on an idle connection; it was due at a moment."""
        number = self.idle.popleft()
        request = self._next_request()
        if self._socks[number].send(request) != len(request):
            raise SystemExit("the server does not take a whole request at once")
        self._due[number], self._missing[number] = due, self.size

    def look(self) -> None:
        """Receive what is there."""
        for number, _ in self._poll.poll(0):
            data = self._room[: self._socks[number].recv_into(self._room)]
            if number not in self._missing:
                raise SystemExit(f"closed, or more than the response: {bytes(data[:200])!r}")
            missing = self._missing[number] - len(data)
            if not data or (self.size and missing < 0) or (not self._frame and data[:10] == b"HTTP/1.1 5"):
                raise SystemExit(f"closed, or not the response that was expected: {bytes(data[:200])!r}")
            self._missing[number] = missing
            if self._complete(missing, data):
                del self._missing[number]
                self.latencies.append(time.perf_counter() - self._due.pop(number))
                self.idle.append(number)

    def as_fast_as_possible(self, seconds: float) -> None:
        """Ask on each connection as soon as it has its response."""
        end = time.perf_counter() + seconds
        while (now := time.perf_counter()) < end or (not self.latencies and now < end + PATIENCE):
            while self.idle:
                self.send(now)
            self.look()

    def at(self, rate: float, seconds: float) -> int:
        """Ask so many times a second; returns how many requests had no response in the end."""
        start, sent, total = time.perf_counter(), 0, int(rate * seconds)
        while len(self.latencies) < total:
            elapsed = time.perf_counter() - start
            if elapsed > seconds + PATIENCE:
                break
            due = min(total, int(elapsed * rate) + 1)
            while sent < due and self.idle:
                self.send(start + sent / rate)
                sent += 1
            self.look()
        end = time.perf_counter()
        lost = total - len(self.latencies)
        self.latencies += [end - moment for moment in self._due.values()]
        self.latencies += [end - start - number / rate for number in range(sent, total)]
        return lost

    def close(self) -> None:
        """Close the connections."""
        for sock in self._socks.values():
            sock.close()
        self._poll.close()


def percentiles(latencies: list[float]) -> dict[str, float]:
    """Milliseconds within which so many of a hundred have their response."""
    ordered = sorted(latencies)
    return {
        name: ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000
        for name, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))
    }


def main() -> None:
    """Ask, and print."""
    name, port, seconds, *rate = sys.argv[1:]
    gc.disable()
    load = Load(WORKLOADS[name], int(port))
    lost = 0
    if rate and float(rate[0]):
        lost = load.at(float(rate[0]), float(seconds))
    else:
        load.as_fast_as_possible(float(seconds))
    answered = len(load.latencies) - lost
    load.close()
    if not load.latencies:
        raise SystemExit(f"not one response in {float(seconds) + PATIENCE} s")
    print(json.dumps({"answered": answered, "lost": lost, **percentiles(load.latencies)}))


if __name__ == "__main__":
    main()
