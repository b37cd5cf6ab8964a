"""Test suites that a test runs: pytest in a process of its own, with the plugin of this package."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

# Arguments: pytest-asyncio runs the tests that are coroutine functions.
ASYNCIO = (
    "-p", "pytest_asyncio.plugin", "-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function",
)  # fmt: skip


def pytest_run(folder: Path, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(textwrap.dedent(text))
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "aiohttpd.testing.plugin", *arguments]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
