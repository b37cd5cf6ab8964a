"""What clients notice while workers come and go under full load: nothing, but for whom a killed one had.

usage: python benchmarks/rolls.py [--workers 2] [--rolls 5] [--pause 3] [--scheme http https] [--reuse-port]

wrk runs throughout, beside clients that retry nothing and check each answer, and beside WebSockets that talk, and open
again when they are closed; without TLS, then with it. All are counted: for rolls (SIGHUP, on TLS with a new certificate
each), SIGTTIN and SIGTTOU there must be no failure, and each WebSocket that ends is closed by 1001; for a SIGKILL there
are none but on connections of the worker that was killed. Exits with 1 if that does not hold.
With --reuse-port there is no SIGTTOU: a worker less is a socket less then, and who waits there is lost.
Needs wrk (Debian: apt-get install wrk) and the group "tests".
"""

import argparse
import asyncio
import os
import re
import signal
import ssl
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import trustme

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from tests.support.programs import Program, program  # noqa: E402
from tests.support.rolling import Load, Talker  # noqa: E402

CLIENTS, WRK, SOCKETS = 16, 48, 64


class Certificate:
    """One that can be issued anew, and is."""

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self.path = folder / "cert.pem"
        self.context = ssl.create_default_context()
        self._authority.configure_trust(self.context)
        self.change()

    def change(self) -> None:
        """Replace the file at once, as one should."""
        new = self.path.with_suffix(".new")
        self._authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(new)
        os.replace(new, self.path)


async def wrk(url: str, seconds: float) -> tuple[int, int]:
    """Requests, and errors of any kind; but answers that took more than two seconds, which are none."""
    process = await asyncio.create_subprocess_exec(
        "wrk", "-t1", f"-c{WRK}", f"-d{seconds:.0f}s", url, stdout=asyncio.subprocess.PIPE
    )
    output = (await process.communicate())[0].decode()
    found = re.search(r"(\d+) requests in", output)
    assert found, output
    print(*re.findall("Socket errors:.*|Non-2xx.*", output))
    errors = sum(int(number) for number in re.findall(r"(?:connect|read|write|responses:) (\d+)", output))
    return int(found[1]), errors


async def rolled(
    server: Program,
    load: Load,
    talkers: list[Talker],
    count: int,
    pause: float,
    certificate: Certificate | None,
    changes: Iterable[signal.Signals],
) -> None:
    """Roll, then send the signals that add and remove."""
    for number in range(1, count + 1):
        before = set(load.answers)
        held = {worker for talker in talkers for worker in talker.workers}
        if certificate is not None:
            certificate.change()
        server.send(signal.SIGHUP)
        await server.says("^Replacing the workers$", number)
        while len(set(load.answers) - before) < 2:
            await load.more()
        while held & {talker.workers[-1] for talker in talkers}:
            await load.more()
        await asyncio.sleep(pause)
    for number in changes:
        server.send(number)
        await asyncio.sleep(pause)


@asynccontextmanager
async def talking(scheme: str, port: int, context: ssl.SSLContext | None) -> AsyncIterator[list[Talker]]:
    """WebSockets that talk while the block runs."""
    url = f"{scheme.replace('http', 'ws')}://127.0.0.1:{port}/socket"
    talkers = [Talker(url, context=context, pause=0.05) for _ in range(SOCKETS)]
    tasks = [asyncio.create_task(talker.talk()) for talker in talkers]
    try:
        while not all(talker.workers for talker in talkers):
            await asyncio.sleep(0.05)
        yield talkers
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def closes(talkers: list[Talker]) -> tuple[Counter[int], int]:
    """The codes of closes, and how many WebSockets could not be opened; forgets them."""
    codes = Counter(code for talker in talkers for code in talker.codes)
    failures = sum(len(talker.failures) for talker in talkers)
    for talker in talkers:
        talker.codes.clear()
        talker.failures.clear()
    return codes, failures


async def measure(scheme: str, workers: int, rolls: int, pause: float, *, reuse_port: bool) -> bool:
    """One server under load; says whether nothing was lost."""
    with tempfile.TemporaryDirectory() as folder:
        certificate = Certificate(Path(folder)) if scheme == "https" else None
        options = ["--tls-cert", str(certificate.path)] if certificate else []
        changes = {signal.SIGTTIN: "one worker more", signal.SIGTTOU: "one less"}
        if reuse_port:
            options.append("--reuse-port")
            del changes[signal.SIGTTOU]
        arguments = ("-m", "aiohttpd", "serve", "pid:Handler", "--port", "0", "--no-access-log")
        async with program(HERE / "servers", *arguments, "--workers", str(workers), *options) as server:
            port = await server.port()
            url = f"{scheme}://127.0.0.1:{port}/"
            context = certificate.context if certificate else None
            load = Load(port, CLIENTS, context=context)
            async with load.running(), talking(scheme, port, context) as talkers:
                busy = asyncio.create_task(wrk(url, rolls * (pause + 3) + 2 * pause + 5))
                await load.more()
                await rolled(server, load, talkers, rolls, pause, certificate, changes)
                requests, errors = await busy
                lost, answers = len(load.failures), load.answers.total()
                done = ", ".join([f"{rolls} rolls", *changes.values()])
                print(f"{scheme}: {done}; {len(load.answers)} workers answered")
                print(f"  wrk:     {requests} requests, {errors} errors")
                print(f"  clients: {answers} requests, {lost} failures {load.failures[:3] or ''}")
                told = min(len(talker.codes) for talker in talkers)
                codes, unopened = closes(talkers)
                messages = sum(talker.messages for talker in talkers)
                print(f"  sockets: {SOCKETS}, {messages} echoes, closes by code {dict(codes)}, {unopened} not opened")
                well = errors == lost == unopened == 0 and set(codes) == {1001} and told >= rolls

                load.failures.clear()
                busy = asyncio.create_task(wrk(url, 2 * pause))
                await asyncio.sleep(pause / 2)
                victim = load.latest[0]
                os.kill(int(victim), signal.SIGKILL)
                requests, errors = await busy
                lost, answers = len(load.failures), load.answers.total() - answers
                others = [failure for failure in load.failures if failure[0] not in (victim, "nobody yet")]
                print(f"{scheme}: SIGKILL for one of {workers}")
                print(f"  wrk:     {requests} requests, {errors} errors")
                print(f"  clients: {answers} requests, {lost} failures, {len(others)} on connections of others")
                codes, unopened = closes(talkers)
                print(f"  sockets: closes by code {dict(codes)}, {unopened} not opened")
                well = well and not others and lost <= CLIENTS and errors <= WRK and set(codes) <= {1006}
            return await server.stops() == 0 and well


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("--rolls", type=int, default=5)
    arguments.add_argument("--pause", type=float, default=3)
    arguments.add_argument("--scheme", nargs="*", default=["http", "https"])
    arguments.add_argument("--reuse-port", action="store_true")
    given = arguments.parse_args()
    well = [
        asyncio.run(measure(scheme, given.workers, given.rolls, given.pause, reuse_port=given.reuse_port))
        for scheme in given.scheme
    ]
    sys.exit(0 if all(well) else 1)


if __name__ == "__main__":
    main()
