"""mypy, in its strict mode, on a program of a test; all workers share a cache, which the first check fills."""

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest


def checked(folder: Path, cache: Path, name: str = "program.py") -> subprocess.CompletedProcess[str]:
    """Check a program in a folder. Without mypy, the test is skipped."""
    pytest.importorskip("mypy", reason="mypy is of the group lint")
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(cache), name]
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a check that found half a cache would do all the work again
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=55)
