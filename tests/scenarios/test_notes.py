"""examples/notes: what its README says of it. Its own tests are beside it."""

import json
import re
import runpy

import click

from aiohttpd.runner.cli import serve

from ..support.places import ROOT

NOTES = ROOT / "examples" / "notes"
README = (NOTES / "README.md").read_text()


def test_it_is_small() -> None:
    """Programs without blank lines, comments and docstrings; style and script without blank lines; no tests."""
    code_lines = runpy.run_path(str(ROOT / "benchmarks" / "notes_services" / "lines.py"))["code_lines"]
    programs = [path for path in NOTES.glob("*.py") if not path.name.startswith("test_")]
    others = [*(NOTES / "static").iterdir()]
    count = sum(code_lines(path.read_text()) for path in programs)
    count += sum(bool(line.strip()) for path in others for line in path.read_text().splitlines())
    assert count < 400
    assert f"{round(count, -1)} lines of code" in README


def test_the_readme_has_each_file() -> None:
    named = set(re.findall(r"`(\w+\.py|\w+/|Containerfile)`", README))
    assert named >= {
        path.name + "/" * path.is_dir() for path in NOTES.iterdir() if path.name not in ("README.md", "__pycache__")
    }


def test_the_container_serves_it() -> None:
    text = (NOTES / "Containerfile").read_text()
    [arguments] = re.findall(r"^CMD (\[.*\])$", text, re.MULTILINE)
    with click.Context(serve) as context:
        serve.parse_args(context, json.loads(arguments))
    assert context.params["target"] == "notes:app"
    assert "COPY . notes" in text
