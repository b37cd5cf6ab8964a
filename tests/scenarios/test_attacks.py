"""One hostile client, for a second: the server keeps its memory and its descriptors, and others are served.

The short form of ``benchmarks/attacks.py``, which has the peers beside it. Bounds are on memory and descriptors, not on
time; that the other client is served is counted.
"""

import json
import os
import subprocess
import sys

import pytest

from ..support.places import ROOT

ATTACKS = ROOT / "benchmarks" / "attacks.py"

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc, of Linux")


@pytest.mark.parametrize(
    ("attack", "mebibytes", "descriptors"),
    [
        ("pipelining", 8, 6),
        ("pipelining, unread", 8, 6),
        ("tiny chunks", 12, 6),
        ("slow readers", 16, 110),
        ("big listing", 40, 30),
        ("JSON", 40, 16),
        ("form", 40, 24),
        ("list fields", 8, 6),
    ],
)
def test_attack(attack: str, mebibytes: float, descriptors: int) -> None:
    command = [sys.executable, str(ATTACKS), "--seconds", "1", "--attack", attack, "--only", "aiohttpd", "--json"]
    done = subprocess.run([*command, "--entries", "5000"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["memory"] < mebibytes
    assert figures["descriptors"] <= descriptors
    assert figures["answers"] >= 3
