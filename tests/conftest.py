"""What holds for every test: nothing is logged that the test does not expect."""

import compileall
import contextlib
import gc
import importlib
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import trustme

import aiohttpd

# A shell starts background jobs with SIGINT ignored, and what is ignored stays so in the programs that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# pytest compiles all tests, so that a failed assertion shows its values: seven seconds, for each process of each run
# with PYTHONDONTWRITEBYTECODE. The variable holds for the programs that tests start.
sys.dont_write_bytecode = False


def pytest_configure(config: pytest.Config) -> None:
    """Do once what workers and programs would do again and again.

    The package is compiled, since they would not keep it with PYTHONDONTWRITEBYTECODE. And one authority is trusted by
    default, which has certified nobody: each client of httpx takes 18 ms to read those of the system, and no test needs
    them.
    """
    if hasattr(config, "workerinput"):  # in a worker of xdist
        return
    compileall.compile_dir(Path(aiohttpd.__file__).parent, quiet=2)
    folder = tempfile.TemporaryDirectory()
    config.add_cleanup(folder.cleanup)
    path = Path(folder.name) / "authority.pem"
    trustme.CA().cert_pem.write_to_path(path)
    os.environ["SSL_CERT_FILE"] = str(path)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Collect without garbage collection, and keep what there is then out of that of the tests.

    A ``gc.collect()`` in a test would take a quarter of a second for all the tests that there are.
    """
    gc.disable()
    try:
        _import_share(session.config)
        return (yield)
    finally:
        importlib.import_module("hypothesis")  # it looks for what refers to an object, in vain if that is frozen
        if sys.version_info < (3, 14):  # on later ones hypothesis takes its own random numbers for garbage then
            gc.freeze()
        gc.enable()


def _import_share(config: pytest.Config) -> None:
    """Import a part of all test modules in each worker, so that the first run compiles each module once."""
    worker = getattr(config, "workerinput", None)
    if worker is None or config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return
    tests = Path(__file__).parent
    number, count = int(worker["workerid"].removeprefix("gw")), worker["workercount"]
    for path in sorted(tests.rglob("test_*.py"))[number::count]:
        with contextlib.suppress(Exception, pytest.skip.Exception):  # the collection reports it
            importlib.import_module(".".join(path.relative_to(tests.parent).with_suffix("").parts))


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
    """The cache of all checks by mypy in one run: the first one fills it, with this package and the library."""
    base = tmp_path_factory.getbasetemp()
    path = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "mypy"
    path.mkdir(exist_ok=True)
    return path
