"""Slow and bad peers at full size, against the default deadlines, while another client is served.

usage: python benchmarks/soak.py

A head dribbled at one byte a second, a body that stalls, one dribbled at a byte a second, a reader that stops reading a
100 MiB answer, and 1,000 connections that send nothing. Says when each has ended and how, how much memory the
server took over idle at most, and how long the other client waited. Takes about 40 seconds.
"""

import asyncio
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable
from pathlib import Path

HERE = Path(__file__).resolve().parent
SILENT = 1000
LONGEST = 60.0  # seconds after which nothing is waited for

Peer = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def outcome(reader: asyncio.StreamReader) -> str:
    """What the server says before it closes."""
    try:
        answer = await reader.read()
    except ConnectionError:
        return "reset"
    return answer.split(b"\r\n", 1)[0].decode("latin-1") or "closed without a word"


async def dribble(peer: Peer, begin: bytes, data: bytes) -> str:
    """Send one byte a second until the server has had enough."""
    reader, writer = peer
    writer.write(begin)
    result = asyncio.create_task(outcome(reader))
    for at in range(len(data)):
        done, _ = await asyncio.wait([result], timeout=1)
        if done:
            break
        writer.write(data[at : at + 1])
    return await result


async def stall(peer: Peer, begin: bytes) -> str:
    """Send the beginning of something, and no more."""
    peer[1].write(begin)
    return await outcome(peer[0])


async def stop_reading(peer: Peer) -> str:
    """Ask for a large answer, and do not read it."""
    reader, writer = peer
    writer.write(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
    got = len(await reader.read(1024))
    while got < 100 * 1024 * 1024:  # asyncio reads ahead until its own buffer is full, then stops
        await asyncio.sleep(0.5)
        if writer.transport.is_closing() or await gone(writer):
            return "cut"
    return "it was sent whole"


async def gone(writer: asyncio.StreamWriter) -> bool:
    """Whether the server has closed: it no longer has a connection to this port of ours."""
    port = writer.get_extra_info("sockname")[1]
    table = Path("/proc/net/tcp").read_text()
    return re.search(rf"0100007F:[0-9A-F]{{4}} 0100007F:{port:04X} 01", table) is None


async def silence(port: int) -> str:
    """Open many connections, and say nothing on any."""
    peers = [await asyncio.open_connection("127.0.0.1", port) for _ in range(SILENT)]
    results = {await outcome(reader) for reader, _ in peers}
    for _, writer in peers:
        writer.close()
    return " / ".join(results)


async def timed(name: str, peer: Awaitable[str]) -> None:
    """Print when a peer has ended, and how."""
    start = time.monotonic()
    try:
        result = await asyncio.wait_for(peer, LONGEST)
    except TimeoutError:
        result = "NOT ENDED"
    print(f"{name:34} {time.monotonic() - start:5.1f} s  {result}", flush=True)


async def others(port: int, waits: list[float]) -> None:
    """A client that is served all the while."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while True:
        start = time.perf_counter()
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"world!\n")
        waits.append(time.perf_counter() - start)
        await asyncio.sleep(0.005)


def rss(pid: int) -> int:
    """Resident memory in KiB."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1])


async def watch_memory(pid: int, peak: list[int]) -> None:
    """Keep the highest resident size."""
    while True:
        peak[0] = max(peak[0], rss(pid))
        await asyncio.sleep(0.1)


async def main() -> None:
    """Run all at once."""
    process = subprocess.Popen(
        [sys.executable, "-m", "aiohttpd", "serve", f"{HERE}/servers/soaked.py:Soaked", "-p", "0", "--no-access-log"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    found = re.search(r":(\d+)/", process.stderr.readline())
    assert found is not None
    port = int(found[1])
    waits: list[float] = []
    quiet = asyncio.create_task(others(port, waits))
    await asyncio.sleep(2)
    before = list(waits)
    waits.clear()
    idle = rss(process.pid)
    peak = [idle]
    memory = asyncio.create_task(watch_memory(process.pid, peak))
    post = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"

    async def connect() -> Peer:
        return await asyncio.open_connection("127.0.0.1", port, limit=1024)

    try:
        await asyncio.gather(
            timed("a head at one byte a second", dribble(await connect(), b"", b"GET / HTTP/1.1\r\nX: " + b"y" * 99)),
            timed("a body that stalls", stall(await connect(), post + b"x")),
            timed("a body at one byte a second", dribble(await connect(), post, b"x" * 999)),
            timed("a reader that stops (100 MiB)", stop_reading(await connect())),
            timed(f"{SILENT:,} that send nothing", silence(port)),
        )
        for name, taken in (("alone", before), ("beside them", waits)):
            centiles = statistics.quantiles(taken, n=100)
            print(f"the other client, {name:12} median {centiles[49] * 1e3:.2f} ms, 99 % {centiles[98] * 1e3:.2f} ms")
        print(f"memory over idle: {(peak[0] - idle) / 1024:.1f} MiB at most (idle: {idle / 1024:.0f} MiB)")
    finally:
        quiet.cancel()
        memory.cancel()
        process.kill()
        process.communicate()


if __name__ == "__main__":
    asyncio.run(main())
