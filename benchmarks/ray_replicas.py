"""examples/deploy/ray_serve.py under load: one of two replicas is killed, then both are replaced; failures are counted.

Run by ``nox -s ray``. A failure is allowed only for a request that was under way when the replica was killed, since Ray
does not repeat a request that a replica has begun with: it is answered with 500. Exits with 1 if there is another one.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

import httpx
import ray
from ray import serve

FOLDER = str(Path(__file__).resolve().parent.parent / "examples" / "deploy")
sys.path.insert(0, FOLDER)
import ray_serve  # noqa: E402  # which stands in that folder

CLIENTS = 8
PATIENCE = 60.0  # seconds for anything
PORT = 8123


class Failure(NamedTuple):
    """A request without a complete, right answer; times are those of ``time.monotonic()``."""

    began: float
    ended: float
    error: str


class Load:
    """Clients that ask and retry nothing."""

    def __init__(self) -> None:
        self.requests = 0
        self.failures: list[Failure] = []
        self.replicas: dict[int, float] = {}  # when each answered last

    async def ask(self, client: httpx.AsyncClient) -> None:
        while True:
            self.requests += 1
            began = time.monotonic()
            try:
                answer = await client.get("/square?n=12")
                answer.raise_for_status()
                assert answer.json()["square"] == 144
                self.replicas[answer.json()["replica"]] = time.monotonic()
            except (httpx.HTTPError, AssertionError, ValueError) as error:
                self.failures.append(Failure(began, time.monotonic(), repr(error)))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that answers show."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.05)

    async def until_two(self, *, besides: Collection[int] = ()) -> set[int]:
        """Wait until two replicas answer from now on; gives them."""
        began = time.monotonic()

        def fresh() -> set[int]:
            return {replica for replica, last in self.replicas.items() if last > began} - set(besides)

        await self.until(lambda: len(fresh()) >= 2)
        return fresh()


async def kill_one(load: Load) -> int:
    """Kill a replica; gives the number of failures that this does not explain."""
    before = await load.until_two()
    victim = min(before)
    load.failures.clear()
    first = load.requests
    os.kill(victim, signal.SIGKILL)
    killed = time.monotonic()
    after = await load.until_two(besides={victim})
    print(f"killed {victim} of {sorted(before)}; two answer after {time.monotonic() - killed:.1f} s: {sorted(after)}")
    # Ray's proxy sends a request to another replica only if none has begun with it: it may have had an effect.
    lost = [failure for failure in load.failures if failure.began < killed < failure.ended]
    others = len(load.failures) - len(lost)
    print(f"{load.requests - first} requests, {len(lost)} lost with the replica, {others} other failures", flush=True)
    return others


async def redeploy(load: Load) -> int:
    """Replace both replicas, as for a new version; gives the number of failures."""
    before = await load.until_two()
    load.failures.clear()
    first = load.requests
    other = ray_serve.Replica.options(ray_actor_options={"runtime_env": {"env_vars": {"VERSION": "2"}}})
    await asyncio.to_thread(serve.run, other.bind())
    after = await load.until_two(besides=before)
    failures = [failure.error for failure in load.failures]
    print(f"deployed anew: {sorted(before)}, then {sorted(after)}")
    print(f"{load.requests - first} requests, {len(failures)} failures {failures[:3] or ''}", flush=True)
    return len(failures)


async def measure() -> int:
    load = Load()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{PORT}", timeout=30) as client:
        sent = await client.post("/", content=b"x" * 1_000_000)
        assert sent.json() == {"size": 1_000_000}, sent.text
        clients = [asyncio.create_task(load.ask(client)) for _ in range(CLIENTS)]
        try:
            return await kill_one(load) + await redeploy(load)
        finally:
            for task in clients:
                task.cancel()
            await asyncio.gather(*clients, return_exceptions=True)


def main() -> int:
    ray.init(runtime_env={"env_vars": {"PYTHONPATH": FOLDER}}, include_dashboard=False)
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    serve.run(ray_serve.site)
    try:
        return 1 if asyncio.run(measure()) else 0
    finally:
        serve.shutdown()


if __name__ == "__main__":
    sys.exit(main())
