"""examples/deploy/ray_serve.py under load: two replicas, one is killed, every failed request is counted.

Run by ``nox -s ray``. Prints requests, failures, and how long it took until two replicas answered again.
"""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import httpx
import ray
from ray import serve

FOLDER = str(Path(__file__).resolve().parent.parent / "examples" / "deploy")
sys.path.insert(0, FOLDER)
import ray_serve  # noqa: E402  # which stands in that folder

CLIENTS = 8
SECONDS = 20.0
PORT = 8123


class Load:
    """Clients that ask and retry nothing."""

    def __init__(self) -> None:
        self.requests = 0
        self.failures: list[str] = []
        self.replicas: dict[int, float] = {}  # when each answered last

    async def ask(self, client: httpx.AsyncClient, until: float) -> None:
        while time.monotonic() < until:
            self.requests += 1
            try:
                answer = await client.get("/square?n=12")
                answer.raise_for_status()
                assert answer.json()["square"] == 144
                self.replicas[answer.json()["replica"]] = time.monotonic()
            except (httpx.HTTPError, AssertionError, ValueError) as error:
                self.failures.append(repr(error))


async def measure() -> int:
    load = Load()
    end = time.monotonic() + SECONDS
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{PORT}", timeout=30) as client:
        sent = await client.post("/", content=b"x" * 1_000_000)
        assert sent.json() == {"size": 1_000_000}, sent.text
        clients = [asyncio.create_task(load.ask(client, end)) for _ in range(CLIENTS)]
        while len(load.replicas) < 2 and time.monotonic() < end:
            await asyncio.sleep(0.05)
        before = set(load.replicas)
        print(f"replicas: {sorted(before)}, {load.requests} requests so far", flush=True)
        victim = min(before)
        killed = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        while not set(load.replicas) - before and time.monotonic() < end:
            await asyncio.sleep(0.05)
        fresh = set(load.replicas) - before
        print(f"killed {victim}; another answered after {time.monotonic() - killed:.1f} s: {sorted(fresh)}", flush=True)
        await asyncio.gather(*clients)
    print(f"{load.requests} requests, {len(load.failures)} failures: {sorted(set(load.failures))[:5]}", flush=True)
    return 0 if len(before) == 2 and fresh else 1


def main() -> int:
    ray.init(runtime_env={"env_vars": {"PYTHONPATH": FOLDER}}, include_dashboard=False)
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    serve.run(ray_serve.site)
    try:
        return asyncio.run(measure())
    finally:
        serve.shutdown()


if __name__ == "__main__":
    sys.exit(main())
