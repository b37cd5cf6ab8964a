"""A fixture of the spools: sizes so small that each of them is reached at once."""

import pytest

from aiohttpd.threads import body, outbox


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is 1 MiB, 64 MiB or 256 KiB is a thousand times smaller."""
    for module in (outbox, body):
        monkeypatch.setattr(module, "_MEMORY", 1000)
        monkeypatch.setattr(module, "_SPOOLED", 4000)
        monkeypatch.setattr(module, "_PIECE", 700)
