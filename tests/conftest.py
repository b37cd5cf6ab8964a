"""What holds for every test: nothing is logged that the test does not expect."""

import compileall
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

import aiohttpd

# A shell starts background jobs with SIGINT ignored, and what is ignored stays so in the programs that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Compile the package: with PYTHONDONTWRITEBYTECODE, each of the programs that tests start would do so."""
    if not hasattr(config, "workerinput"):  # not in the workers of xdist
        compileall.compile_dir(Path(aiohttpd.__file__).parent, quiet=2)


def pytest_xdist_auto_num_workers() -> int:
    """Two for each core, since about half of the time a test waits: for a slow client, a deadline, a process."""
    return 2 * (os.cpu_count() or 1)


@pytest.fixture(autouse=True)
def quiet_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail if anything at WARNING or above was logged; a test that expects it looks, then calls ``caplog.clear()``."""
    yield
    records = [*caplog.get_records("setup"), *caplog.get_records("call")]
    loud = [record.getMessage() for record in records if record.levelno >= logging.WARNING]
    assert not loud, f"unexpected log records: {loud}"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority that nobody trusts yet."""
    return trustme.CA()


@pytest.fixture(scope="session")
def mypy_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of all checks by mypy in one process: the first one fills it, with this package and the library."""
    return tmp_path_factory.mktemp("mypy")
