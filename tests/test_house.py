"""The house: who may import whom, how long a file may be, and how light the package is."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .support.places import ROOT, TESTS

PACKAGE = ROOT / "aiohttpd"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Each floor may import those below it, and none above: imports point downward only.
FLOORS = [
    ["errors", "version", "apps", "json_text", "trust", "hosts", "program", "channel"],
    ["shared_stream", "reload", "balance"],
    ["first_process", "forking"],
    ["config", "clock"],
    ["wire.headers"],
    ["wire.request"],
    ["wire.framing", "wire.response"],
    ["wire.refusals"],
    ["wire.parser", "wire.body", "wire.preamble"],
    ["wire.forwarded", "error_body"],
    ["accepting", "deadlines", "half_closing", "progress", "sending", "log_format", "metrics", "listeners", "tls"],
    ["reachable"],
    ["systemd", "processes", "sharing", "stderr"],
    ["transfer", "access_log", "binding", "threads.spools"],
    ["threads.pool", "threads.outbox", "threads.incoming", "threads.__init__"],
    ["threads.running"],
    ["service", "reader"],
    ["answer", "contract"],
    ["writer"],
    ["failures", "link", "auth", "threads.plain", "threads.passing"],
    ["threads.tunnel"],
    ["threads.exchange"],
    ["threads.stand_in"],
    ["threads.session", "threads.instances"],
    ["threads.legacy", "threads.wsgi"],
    ["intake", "pages", "handshake"],
    ["handling"],
    ["connection"],
    ["proxies", "load", "rebinding"],
    ["assembly"],
    ["acceptors"],
    ["server", "events", "forms.uploads", "files.conditions", "files.ranges", "files.negotiation"],
    ["forms.data", "forms.multipart", "files.media_types", "files.paths", "files.tree", "files.upload_form"],
    ["forms.reading", "files.siblings", "files.listing", "files.receiving"],
    ["files.store"],
    ["forms.__init__", "files.content", "files.folders"],
    ["files.answering", "compression"],
    ["input", "output", "methods"],
    ["handler"],
    ["files.handler", "threads.handler", "compat.ours"],
    ["files.uploading"],
    ["files.__init__"],
    ["live", "seeing"],
    ["testing", "target", "site"],
    ["worker"],
    ["watching"],
    ["supervisor"],
    ["supervising"],
    ["runner"],
    ["cli", "compat.calling", "compat.loop_thread"],
    ["compat.engine"],
    ["compat.__init__"],
    ["__main__", "__init__", "wire.__init__"],
]
OUTSIDE = {
    "program": {"uvloop"},
    "cli": {"click"},
    "forms.multipart": {"multipart"},
    "reload": {"watchfiles"},
}
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def imports(path: Path) -> set[str]:
    """The modules of the package that a module imports when it runs; for type checkers only does not count."""
    here = name_of(path).split(".")
    found = set()
    tree = ast.parse(path.read_text())
    only_for_types = {
        node
        for test in ast.walk(tree)
        if isinstance(test, ast.If) and ast.unparse(test.test) == "TYPE_CHECKING"
        for node in ast.walk(test)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level and node not in only_for_types:
            base = here[: -node.level]
            for alias in node.names:
                for parts in (
                    [*base, *(node.module or "").split("."), alias.name],
                    [*base, *(node.module or "").split(".")],
                ):
                    name = ".".join(part for part in parts if part)
                    if name in FLOOR:
                        found.add(name)
    return found


def outside(path: Path) -> set[str]:
    """The modules from elsewhere that a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("path", MODULES, ids=name_of)
class TestModule:
    def test_stands_on_its_floor(self, path: Path) -> None:
        name = name_of(path)
        for imported in imports(path):
            assert FLOOR[imported] < FLOOR[name], f"{name} imports {imported}"

    def test_says_what_it_owns(self, path: Path) -> None:
        assert ast.get_docstring(ast.parse(path.read_text()))

    def test_holds_one_thing(self, path: Path) -> None:
        assert len(path.read_text().splitlines()) <= 600

    def test_imports_the_standard_library_only(self, path: Path) -> None:
        allowed = OUTSIDE.get(name_of(path), set())
        newer = {"compression"}  # of the standard library from 3.14 on
        assert outside(path) - allowed - newer <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("path", [path for path in MODULES if path.parent.name == "wire"], ids=name_of)
def test_wire_is_pure(path: Path) -> None:
    assert all(name.startswith("wire.") or name in ("errors", "config") for name in imports(path))
    assert not outside(path) & {"asyncio", "time", "socket", "logging", "select", "os"}


def test_import_is_light() -> None:
    """What asyncio does not load already is short, and nothing heavy is in it."""
    code = "import asyncio, sys; before = set(sys.modules); import aiohttpd; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    loaded = {name for name in done.stdout.split() if not name.startswith("aiohttpd")}
    assert not loaded & {
        "click",
        "multipart",
        "uvloop",
        "email",
        "http.client",
        "http.server",
        "json",
        "tempfile",
        "difflib",
    }
    assert len(loaded) <= 12, loaded


def test_exports() -> None:
    import aiohttpd

    assert sorted(aiohttpd.__all__, key=str.lower) == sorted(set(aiohttpd.__all__), key=str.lower)
    for name in aiohttpd.__all__:
        assert name in ("App", "__version__") or getattr(aiohttpd, name).__doc__


class TestTests:
    """The tests: what is shared lies in tests/support, and each folder says what is in it."""

    FILES = sorted(TESTS.rglob("*.py"))

    def test_nothing_is_imported_from_a_test_module(self) -> None:
        tests = {path.stem for path in self.FILES if path.stem.startswith("test_")}
        for path in self.FILES:
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                    assert not tests & {part for name in names for part in name.split(".")}, path

    def test_no_file_is_too_long(self) -> None:
        lengths = {str(path.relative_to(TESTS)): len(path.read_text().splitlines()) for path in self.FILES}
        assert not {name: length for name, length in lengths.items() if length > 700}

    def test_each_folder_says_what_is_in_it(self) -> None:
        for folder in [TESTS, *(path for path in TESTS.rglob("*") if path.is_dir() and path.name != "__pycache__")]:
            init = folder / "__init__.py"
            if init.exists():
                assert ast.get_docstring(ast.parse(init.read_text())), folder
            else:
                assert (folder / "README.md").exists(), folder

    def test_each_folder_and_helper_is_in_the_readme(self) -> None:
        text = (TESTS / "README.md").read_text()
        names = [path.name for path in TESTS.iterdir() if path.is_dir() and path.name != "__pycache__"]
        names += [path.stem for path in (TESTS / "support").glob("*.py") if path.stem != "__init__"]
        assert not [name for name in names if f"`{name}" not in text]

    def test_a_name_of_the_helpers_means_one_thing(self) -> None:
        seen: dict[str, str] = {}
        for path in sorted((TESTS / "support").glob("*.py")):
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    names = [node.name]
                elif isinstance(node, ast.Assign):
                    names = [ast.unparse(target) for target in node.targets]
                else:
                    continue
                for name in names:
                    assert seen.setdefault(name, path.name) == path.name, name
