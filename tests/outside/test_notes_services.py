"""The service that benchmarks/notes_services has four times: ours does what the checks ask of all four."""

import pytest

from aiohttpd.testing import client
from benchmarks.notes_services.by_aiohttpd import app
from benchmarks.notes_services.checks import ADA, CHECKS, Check


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_ours(check: Check) -> None:
    async with client(app) as asking:
        asking.headers.update(ADA)
        await check(asking)
