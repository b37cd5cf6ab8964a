"""The table of what ASGI's specification says, and of who does it.

usage: python -m tests.asgi.table [--only aiohttpd uvicorn hypercorn granian] [--rows WORD]

Runs each server as a program, with the same application; a cell is empty where it does what the row says, "not claimed"
for an extension or a version that it does not say it has, and else tells the deviation. Rows "beyond" are what the
specification leaves open. Needs the servers (nox -s asgi has them).
"""

import argparse
import asyncio
import importlib.metadata

from ..support.asgi_programs import ASGI_SERVERS, PROGRAM_ROWS, asgi_server
from ..support.asgi_rows import NotClaimed, TableServer
from ..support.asgi_sockets import ROWS

Cells = dict[tuple[str, str], dict[str, str]]


async def result_of(check: object) -> str:
    """Empty, or how a server deviates."""
    try:
        async with asyncio.timeout(40):
            await check  # type: ignore[misc]
    except NotClaimed:
        return "not claimed"
    except AssertionError as error:
        return str(error) or "deviates"
    except Exception as error:
        return f"{type(error).__name__} {error}".strip()
    return ""


async def look_at(name: str, cells: Cells, word: str) -> None:
    """Fill the column of one server."""
    async with asgi_server(name) as run:
        if not await run.listens():
            raise SystemExit(f"{name} does not start:\n{run.log()}")
        server: TableServer = run.server
        for row in ROWS:
            if word in row.name or word == row.section:
                cells.setdefault((row.section, row.name), {})[name] = await result_of(row.check(server))
    for program in PROGRAM_ROWS:
        if word in program.name or word == program.section:
            async with asgi_server(name, program.app) as run:
                cells.setdefault((program.section, program.name), {})[name] = await result_of(program.check(run))


def main() -> None:
    """Look, and print."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--only", nargs="*", choices=ASGI_SERVERS, default=list(ASGI_SERVERS))
    arguments.add_argument("--rows", default="")
    given = arguments.parse_args()
    cells: Cells = {}
    for name in given.only:
        asyncio.run(look_at(name, cells, given.rows))
    versions = [f"{name} {importlib.metadata.version(name)}" for name in given.only]
    print("| | " + " | ".join(["what the specification says", *versions]) + " |")
    print("|---|---|" + "---|" * len(versions))
    for (section, row), found in cells.items():
        print(f"| {section} | {row} | " + " | ".join(found[name][:90] or "yes" for name in given.only) + " |")
    for name in given.only:
        missed = [section for (section, _), found in cells.items() if found[name] not in ("", "not claimed")]
        claimed = sum(1 for found in cells.values() if found[name] != "not claimed")
        deviations = len(missed) - missed.count("beyond")
        print(f"\n{name}: {len(cells)} rows, {claimed} claimed, {deviations} deviations from the specification")


if __name__ == "__main__":
    main()
