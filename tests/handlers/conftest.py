"""Fixtures of handlers: a folder of files."""

from pathlib import Path

import pytest

from aiohttpd.handlers.files import tree


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with files, a large one and an empty one among them. All count as old, so that they may be cached."""
    monkeypatch.setattr(tree, "_SETTLED", -1)
    (tmp_path / "a.txt").write_bytes(b"0123456789")
    (tmp_path / "empty.bin").write_bytes(b"")
    (tmp_path / "large.bin").write_bytes(bytes(range(250)) * 4000)
    (tmp_path / "within").mkdir()
    return tmp_path
