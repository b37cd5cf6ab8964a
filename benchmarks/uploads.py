"""Uploads at full size: 2 GiB as a form, 2 GiB raw, 200 of 10 MiB at once, and a client that dies.

usage: python benchmarks/uploads.py [folder]

The files go to a folder of their own in the one given, by default that of the system, and are removed. Says
how long each took, how much memory the server took over idle at most, and whether what is on the disk is what was
sent. Needs 5 GB of disk for a minute.
"""

import asyncio
import hashlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from pathlib import Path

MIB = 1024 * 1024
LARGE = 2048 * MIB
MANY, EACH = 200, 10 * MIB
ALLOWED = 64  # MiB over idle for one large upload
BOUNDARY = b"a7f3c1"
FORM = (
    b'--%b\r\nContent-Disposition: form-data; name="f"; filename="%b"\r\nContent-Type: application/octet-stream\r\n\r\n'
)


def content(seed: int, size: int) -> Iterator[bytes]:
    """Bytes that repeat nowhere near, and are cheap to make."""
    block = hashlib.shake_128(b"%d" % seed).digest(MIB)
    for number in range(size // MIB):
        yield b"%08d" % number + block[8:]


def digest(parts: Iterator[bytes]) -> str:
    """The SHA-256 of parts."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()


def on_disk(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def peak_of(pid: int, work: Awaitable[None]) -> tuple[float, float]:
    """Seconds, and MiB of resident memory at the peak."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins anew
    start = time.monotonic()
    await work
    return time.monotonic() - start, status(pid, "VmHWM")


def status(pid: int, name: str) -> float:
    """A line of the kernel's account of a process, in MiB."""
    found = re.search(rf"{name}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


async def paced(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Parts, with a turn for others after each."""
    for part in parts:
        yield part
        await asyncio.sleep(0)


async def put(port: int, name: str, seed: int, size: int) -> None:
    """Send a file as it is."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"PUT /%b HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (name.encode(), size))
    async for part in paced(content(seed, size)):
        writer.write(part)
        await writer.drain()
    await created(reader, writer)


async def post(port: int, name: str, seed: int, size: int) -> None:
    """Send a file as a form."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    begin, end = FORM % (BOUNDARY, name.encode()), b"\r\n--%b--\r\n" % BOUNDARY
    writer.write(
        b"POST / HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: multipart/form-data; boundary=%b\r\nContent-Length: %d\r\n\r\n"
        % (BOUNDARY, len(begin) + size + len(end))
    )
    writer.write(begin)
    async for part in paced(content(seed, size)):
        writer.write(part)
        await writer.drain()
    writer.write(end)
    await created(reader, writer)


async def created(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read the answer, which has to be 201."""
    answer = await reader.readuntil(b"\r\n")
    if not answer.startswith(b"HTTP/1.1 201 "):
        raise SystemExit(f"not taken: {answer!r}")
    writer.close()


async def curl(port: int, *arguments: str) -> None:
    """Have curl send a file."""
    process = await asyncio.create_subprocess_exec("curl", "-sSfo/dev/null", *arguments, f"http://127.0.0.1:{port}/")
    if await process.wait():
        raise SystemExit("curl has failed")


async def die(port: int, folder: Path) -> None:
    """Send half of a file, and reset the connection."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"PUT /half HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (100 * MIB))
    async for part in paced(content(0, 50 * MIB)):
        writer.write(part)
        await writer.drain()
    while not any(path.stat().st_size > 40 * MIB for path in folder.glob(".*")):
        await asyncio.sleep(0.01)
    print(f"50 of 100 MiB, then a reset: before {names(folder)}", end=" ")
    writer.transport.abort()
    for _ in range(500):
        if not any(folder.iterdir()):
            break
        await asyncio.sleep(0.01)
    print(f"after {names(folder)}")


def names(folder: Path) -> list[str]:
    """What is in a folder."""
    return sorted(path.name for path in folder.iterdir())


async def main(base: str | None) -> None:
    """Run one after the other."""
    good = True
    with tempfile.TemporaryDirectory(dir=base) as place:
        folder, source = Path(place, "served"), Path(place, "source")
        folder.mkdir()
        process = subprocess.Popen(
            [sys.executable, "-m", "aiohttpd", "serve", str(folder), "--upload", "-p", "0", "--no-access-log"],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        found = re.search(r":(\d+)/", process.stderr.readline())
        assert found is not None
        port = int(found[1])

        async def see(what: str, work: Awaitable[None], sent: dict[str, str], size: int, allowed: int | None) -> None:
            nonlocal good
            seconds, peak = await peak_of(process.pid, work)
            memory = peak - idle
            same = names(folder) == sorted(sent) and all(on_disk(folder / name) == sent[name] for name in sent)
            good = good and same and (allowed is None or memory < allowed)
            rate = size / MIB / seconds
            print(
                f"{what:32} {seconds:5.1f} s {rate:5.0f} MiB/s {memory:6.1f} MiB over idle, "
                f"{'identical' if same else 'DIFFERENT'}",
                flush=True,
            )
            for path in folder.iterdir():
                path.unlink()

        try:
            idle = status(process.pid, "VmRSS")
            print(f"idle: {idle:.0f} MiB")
            large = digest(content(1, LARGE))
            await see("2 GiB as a form", post(port, "a", 1, LARGE), {"a": large}, LARGE, ALLOWED)
            await see("2 GiB raw", put(port, "b", 1, LARGE), {"b": large}, LARGE, ALLOWED)
            with source.open("wb") as file:
                file.writelines(content(1, LARGE))
            await see("2 GiB by curl -F", curl(port, "-F", f"f=@{source}"), {"source": large}, LARGE, ALLOWED)
            await see("2 GiB by curl -T", curl(port, "-T", str(source)), {"source": large}, LARGE, ALLOWED)
            source.unlink()
            sent = {str(number): digest(content(number, EACH)) for number in range(MANY)}
            for what, send in (("raw", put), ("as forms", post)):
                work = asyncio.gather(*(send(port, name, int(name), EACH) for name in sent))
                await see(f"{MANY} of 10 MiB at once, {what}", done(work), sent, MANY * EACH, None)
            await die(port, folder)
            good = good and not any(folder.iterdir())
        finally:
            process.kill()
            process.communicate()
    print("as it should be" if good else "NOT AS IT SHOULD BE")
    sys.exit(not good)


async def done(work: Awaitable[object]) -> None:
    """Wait, and want no result."""
    await work


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else None))
