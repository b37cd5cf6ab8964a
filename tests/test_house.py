"""The house: who may import whom, how long a file may be, how light the package is, and where tests stand."""

import ast
import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from . import house

# Each may import those before it, and none after it; the page docs/architecture.md says what each owns.
ORDER = [
    *("errors", "config"),
    "wire",
    "net",
    "engine",
    "threads",
    "handlers",
    "asgi",
    *("compression", "middleware"),
    "fileserver",
    "server",
    "testing",
    "runner",
    *("compat", "__main__"),
]
# Files that may have more than 600 lines.
LONGER = {
    "handlers.base": 1000,  # the contract of handlers on one page; half of it is docstrings
    "engine.connection": 660,  # one state machine
}
OUTSIDE = {
    "runner.process": {"uvloop"},
    "runner.cli": {"click"},
    "runner.parameters": {"click"},
    "runner.serve_options": {"click"},
    "runner.testing_commands": {"click"},
    "handlers.forms.multipart": {"multipart"},
    "runner.reload": {"watchfiles"},
    "handlers.websocket.ending": {"websockets"},
    "handlers.websocket.handshake": {"websockets"},
    "handlers.websocket.websocket": {"websockets"},
    "handlers.websocket.plain": {"websockets"},
    "handlers.typed_state": {"typing_extensions"},
    "middleware.sessions": {"itsdangerous"},
    "middleware.opentelemetry": {"opentelemetry"},
    "testing.certificates": {"trustme"},
    "testing.httpx_client": {"httpcore", "httpx"},
    "testing.plugin": {"pytest"},
}


def name_of(path: Path) -> str:
    return next(name for name, other in house.MODULES.items() if other == path)


@functools.cache
def outside(path: Path) -> set[str]:
    """The modules from elsewhere that a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_packages_have_an_order() -> None:
    for name, imported in house.package_imports().items():
        later = {other for other in imported if ORDER.index(other) > ORDER.index(name)}
        assert not later, f"{name} imports {later}"


def test_the_package_can_be_held_in_the_head() -> None:
    assert len(house.entries()) <= 18
    assert {Path(entry).stem for entry in house.entries()} - {"__init__", "py"} == set(ORDER)


def test_the_page_of_the_architecture_is_true() -> None:
    """Its folders are those there are, in their order; each file that it names exists."""
    text = (house.PACKAGE.parent / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| (`.+?) \|", text.partition("## The route")[0], re.MULTILINE)
    names = [Path(name).stem for row in rows for name in re.findall("`([^`]+)`", row)]
    assert names == [name for name in ORDER if name != "__main__"]
    for name in re.findall(r"`([a-z_]+/[a-z_/]+\.[a-z]+)`", text):
        assert (house.PACKAGE / name).exists() or (house.PACKAGE.parent / name).exists(), name


def test_files_that_pages_name_exist() -> None:
    root = house.PACKAGE.parent
    pages = [root / "CONTRIBUTING.md", root / "docs" / "architecture.md", *(root / "tests").rglob("*.md")]
    for page in pages:
        for name in re.findall(r"`((?:tests|aiohttpd|benchmarks|examples|docs)/[\w./]+\.\w+)`", page.read_text()):
            assert (root / name).exists(), f"{page.relative_to(root)}: {name}"


def test_no_circle_of_files() -> None:
    assert house.circles() == []


def test_nobody_changes_a_class() -> None:
    assert house.class_changes() == []


def test_nobody_uses_privates_of_others() -> None:
    assert [*house.foreign_privates()] == []


@pytest.mark.parametrize("path", house.MODULES.values(), ids=name_of)
class TestModule:
    def test_says_what_it_owns(self, path: Path) -> None:
        assert ast.get_docstring(ast.parse(path.read_text()))

    def test_holds_one_thing(self, path: Path) -> None:
        assert len(path.read_text().splitlines()) <= LONGER.get(name_of(path), 600)

    def test_imports_the_standard_library_only(self, path: Path) -> None:
        allowed = OUTSIDE.get(name_of(path), set())
        newer = {"compression"}  # of the standard library from 3.14 on
        assert outside(path) - allowed - newer <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("path", [path for path in house.MODULES.values() if path.parent.name == "wire"], ids=name_of)
def test_wire_is_pure(path: Path) -> None:
    assert {house.package_of(name) for name in house.imports(name_of(path))} <= {"wire", "errors", "config"}
    converts = {"time"} if path.stem == "dates" else set()  # gmtime() with an argument reads no clock
    assert not outside(path) & {"asyncio", "time", "socket", "logging", "select", "os"} - converts


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

    FILES = sorted(house.TESTS.rglob("*.py"))

    def test_nothing_is_imported_from_a_test_module(self) -> None:
        tests = {path.stem for path in self.FILES if path.stem.startswith("test_")}
        for path in self.FILES:
            text = path.read_text()
            if not tests & set(re.findall(r"test_\w+", text)):
                continue  # no name of a test module is in it; a syntax tree takes long
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                    assert not tests & {part for name in names for part in name.split(".")}, path

    def test_no_file_is_too_long(self) -> None:
        lengths = {str(path.relative_to(house.TESTS)): len(path.read_text().splitlines()) for path in self.FILES}
        assert not {name: length for name, length in lengths.items() if length > 700}

    def test_each_folder_says_what_is_in_it(self) -> None:
        for folder in [
            house.TESTS,
            *(path for path in house.TESTS.rglob("*") if path.is_dir() and path.name != "__pycache__"),
        ]:
            init = folder / "__init__.py"
            if init.exists():
                assert ast.get_docstring(ast.parse(init.read_text())), folder
            else:
                assert (folder / "README.md").exists(), folder

    def test_each_folder_and_helper_is_in_the_readme(self) -> None:
        text = (house.TESTS / "README.md").read_text()
        names = [path.name for path in house.TESTS.iterdir() if path.is_dir() and path.name != "__pycache__"]
        names += [path.stem for path in (house.TESTS / "support").glob("*.py") if path.stem != "__init__"]
        assert not [name for name in names if f"`{name}" not in text]

    def test_a_name_of_the_helpers_means_one_thing(self) -> None:
        seen: dict[str, str] = {}
        for path in sorted((house.TESTS / "support").glob("*.py")):
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    names = [node.name]
                elif isinstance(node, ast.Assign):
                    names = [ast.unparse(target) for target in node.targets]
                else:
                    continue
                for name in names:
                    assert seen.setdefault(name, path.name) == path.name, name
