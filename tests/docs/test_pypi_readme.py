"""The README as PyPI shows it: its links are absolute, and lead to files that exist."""

import re
import subprocess
import sys

from ..support.places import ROOT

REPOSITORY = "https://github.com/somebody/aiohttpd"


def test_all_links_are_absolute() -> None:
    given = [sys.executable, "docs/pypi_readme.py", REPOSITORY + "/"]
    text = subprocess.run(given, cwd=ROOT, capture_output=True, text=True, check=True, timeout=20).stdout
    readme = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) == len(readme.splitlines())
    targets = re.findall(r'(?:\]\(|src=|srcset=)"?([^)"\s]+)', text)
    assert len(targets) == len(re.findall(r"\]\(|src=|srcset=", readme)) > 40
    pictures = {target for target in targets if "/docs/pictures/" in target}
    assert len(pictures) == 4
    for target in targets:
        assert target.startswith("https://")
        if target.startswith(REPOSITORY):
            kind, path = target.removeprefix(REPOSITORY + "/").split("/HEAD/")
            assert kind == ("raw" if target in pictures else "blob")
            assert (ROOT / path).exists(), path
