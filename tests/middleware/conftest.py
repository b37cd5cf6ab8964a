"""What several files of this folder share."""

from pathlib import Path

import pytest

from ..support.compressing import BLOB


@pytest.fixture(scope="module")
def blob(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("compression") / "blob"
    path.write_bytes(BLOB)
    return path
