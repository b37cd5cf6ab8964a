"""The hot path does not become longer unnoticed: Python instructions for a request, against those on record."""

import json
import os
import subprocess
import sys

import pytest

from .support.places import DATA, ROOT

TOLERANCE = 1.03
RENEW = "if that is meant, and worth it: python benchmarks/instructions.py --renew"


def test_no_request_takes_more_instructions_than_on_record() -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    expected = json.loads((DATA / "instructions.json").read_text()).get(version)
    if expected is None:
        pytest.skip(f"nothing is on record for Python {version}: python benchmarks/instructions.py --renew")
    command = [sys.executable, str(ROOT / "benchmarks" / "instructions.py"), "--json"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    found = json.loads(done.stdout)
    assert found.keys() == expected.keys()
    longer = {name: (number, expected[name]) for name, number in found.items() if number > TOLERANCE * expected[name]}
    assert not longer, RENEW
    shorter = {name: (number, expected[name]) for name, number in found.items() if TOLERANCE * number < expected[name]}
    assert not shorter, f"it is faster, so that the next change could lose it unnoticed; {RENEW}"
