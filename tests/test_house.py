"""The house: who may import whom, how long a file may be, and how light the package is."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "aiohttpd"
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
