"""Each row of the table of ASGI's specification, for this server; `python -m tests.asgi.table` compares others."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from ..support.asgi_programs import PROGRAM_ROWS, ProgramRow, ServerRun, asgi_server
from ..support.asgi_rows import TableRow
from ..support.asgi_sockets import ROWS


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def run() -> AsyncIterator[ServerRun]:
    async with asgi_server("aiohttpd") as run:
        assert await run.listens()
        yield run


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.check.__name__.removeprefix("row_"))
async def test_row(row: TableRow, run: ServerRun) -> None:
    await row.check(run.server)


@pytest.mark.parametrize("row", PROGRAM_ROWS, ids=lambda row: row.name)
async def test_program(row: ProgramRow) -> None:
    async with asgi_server("aiohttpd", row.app) as run:
        await row.check(run)


def test_there_are_enough() -> None:
    assert len(ROWS) + len(PROGRAM_ROWS) >= 60
