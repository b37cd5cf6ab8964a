"""What clients of a proxy notice while the workers behind it are replaced: nothing.

usage: python benchmarks/proxied.py [haproxy nginx] [--seconds 60] [--clients 64] [--pause 3] [--idle 15] [--kept 2]

The proxies run with the configuration of examples/deploy. Clients who keep their connections and retry nothing ask
by GET and POST all the time, while SIGHUP rolls the workers, with a pause between. Then they ask so seldom that
connections are about to be closed, by the proxy, which keeps them for --kept, or by aiohttpd, which does for a second
more: requests come around both moments for --idle seconds.

That this can fail is shown with nginx by the wrong order, aiohttpd the first by a second: it must fail then, and does,
by complaints about what nginx tries again, and by 502 for a POST that has met its end on the way. HAProxy could not
be made to fail so: it told of nothing in either order, so for it the phase only shows that no answer is bad and no
line of the log is missing.
"""

import argparse
import asyncio
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from tests.support.fronts import CLIENT, FRONTS, PACKAGES, Front, backend, find  # noqa: E402
from tests.support.programs import Program, program  # noqa: E402
from tests.support.rolling import Load  # noqa: E402

WORKERS = 2
BODY = b"x" * 1000
FOR_EVER = 1 << 62  # turns
LATE = 0.6  # seconds: aiohttpd looks at such deadlines every half a second


@asynccontextmanager
async def proxied(name: str, kept: str, *options: str) -> AsyncIterator[tuple[Program, Front]]:
    """Workers, and a proxy in front of them."""
    with tempfile.TemporaryDirectory() as folder:
        bind = "127.0.0.1:0" if name == "haproxy" else f"unix:{folder}/s?mode=660"
        arguments = ["-m", "aiohttpd", "serve", *backend(name, "pid:Handler", bind), *options]
        async with program(HERE / "servers", *arguments, "--workers", str(WORKERS)) as server:
            address = (await server.says(r"^Serving on (?:http://([^/]*)/|(unix:\S*))")).group(1, 2)
            async with FRONTS[name](Path(folder), address[0] or address[1], kept) as front:
                yield server, front


def kinds(failures: list[tuple[str, Exception]]) -> Counter[str]:
    """What has gone wrong, how often."""

    def kind(error: Exception) -> str:
        if status := re.search(r"HTTP/1\.1 (\d\d\d)", str(error)):
            return f"status {status[1]}"
        return "refused" if isinstance(error, ConnectionRefusedError) else "reset or closed"

    return Counter(kind(error) for _, error in failures)


async def result(server: Program, front: Front, load: Load, lost: Counter[str]) -> bool:
    """Look at all that could tell of a failure, and print it."""
    complaints = front.complaints()
    status = await server.stops()
    answers = load.answers.total()
    log = Counter(line.split()[0] for line in server.lines if re.search(r' - - \[.*"(GET|POST) /pid ', line))
    errors = [line for line in server.lines if re.match(r"Traceback|\S*(Error|Exception)\b", line)]
    print(f"  {answers} answers; {', '.join(f'{count} {kind}' for kind, count in lost.items()) or 'no failure'}")
    print(f"  log: {', '.join(f'{count} lines of {client}' for client, count in log.items())}")
    print(f"  the proxy: {len(complaints)} complaints", *complaints[:5], *errors[:5], sep="\n    ")
    return not (lost or complaints or errors or status) and log == {CLIENT: answers}


async def under_load(name: str, clients: int, seconds: float, pause: float) -> bool:
    """Roll all the time, at least once."""
    async with proxied(name, "60s") as (server, front):
        start, rolls = time.monotonic(), 0
        async with Load(front.port, clients, turns=FOR_EVER, pause=0, source=CLIENT, body=BODY).running() as load:
            await load.more()
            while not rolls or time.monotonic() - start < seconds:
                before = set(load.answers)
                server.send(signal.SIGHUP)
                await load.until(lambda before=before: len(set(load.answers) - before) >= WORKERS)  # type: ignore[misc]
                rolls += 1
                await asyncio.sleep(pause)
        seconds = time.monotonic() - start
        print(f"{name}: {clients} clients, {seconds:.0f} s, {rolls} rolls, {len(load.answers)} workers")
        return await result(server, front, load, kinds(load.failures))


async def when_idle(name: str, clients: int, seconds: float, kept: float, ours: float) -> bool:
    """Ask when a connection is about to be closed, by the proxy after some seconds, by us after others."""
    together, moments = 0.0, [kept, ours] if kept < ours else [ours]  # later there is none left to be closed

    def pause() -> float:
        # All at once: else nginx takes the connection used last, and the others are never missed.
        nonlocal together
        now = time.monotonic()
        if together <= now:
            together = now + random.choice(moments) + random.uniform(-0.1, LATE)
        return together - now

    async with proxied(name, f"{kept * 1000:.0f}ms", "--timeout-idle", str(ours)) as (server, front):
        # A POST that a server cuts HAProxy lets fail in silence, but it tells of a GET that it tries again.
        body = b"" if name == "haproxy" else BODY
        async with Load(front.port, clients, turns=FOR_EVER, pause=pause, source=CLIENT, body=body).running() as load:
            start = time.monotonic()
            while time.monotonic() - start < seconds:
                await front.stands_still(0.3)
                await asyncio.sleep(0.2)
        print(
            f"{name}: requests about when connections are closed, by the proxy after {kept:g} s, by us after {ours:g}"
        )
        lost = kinds(load.failures)
        if name == "haproxy":
            # What it keeps for so long is the connection of a client, who may use it as it is closed; that is between
            # the two. Had the server been first, HAProxy would have tried again, and complained.
            print(f"  {lost.pop('reset or closed', 0)} connections that it closed first")
        return await result(server, front, load, lost)


async def measure(given: argparse.Namespace) -> bool:
    """All of it; says whether all went well."""
    well = True
    for name in given.proxies:
        well &= await under_load(name, given.clients, given.seconds, given.pause)
        if given.idle:
            well &= await when_idle(name, given.clients, given.idle, given.kept, given.kept + 1)
            if name == "nginx" and await when_idle(name, given.clients, given.idle, given.kept + 1, given.kept):
                print("  THE WRONG ORDER WENT WELL: what is above shows nothing")
                well = False
    return well


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("proxies", nargs="*", default=list(FRONTS), metavar="nginx|haproxy")
    arguments.add_argument("--seconds", type=float, default=60)
    arguments.add_argument("--clients", type=int, default=64)
    arguments.add_argument("--pause", type=float, default=3)
    arguments.add_argument("--idle", type=float, default=15)
    arguments.add_argument("--kept", type=float, default=2)
    given = arguments.parse_args()
    for name in given.proxies:
        if find(name) is None:
            arguments.error(f"{name} is missing: install Debian's package {PACKAGES[name]}")
    well = asyncio.run(measure(given))
    print("All went well." if well else "SOMETHING FAILED.")
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
