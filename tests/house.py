"""Measures the house: python tests/house.py prints what `test_house` holds to its limits.

Imports count wherever they stand in a file: at its top, in functions, for type checkers, by ``import_module``.
"""

import ast
import functools
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parent
PACKAGE = TESTS.parent / "aiohttpd"
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip("."): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
# Names with one underscore that belong to others by their documentation, or are the standard library's.
_PUBLIC = {"_asdict", "_replace", "_fields", "_make", "_field_defaults", "_exit", "_getframe"}


@functools.cache
def imports(name: str) -> frozenset[str]:
    """The modules of the package that a module imports. The lazy door of the package itself is left out."""
    path = MODULES[name]
    package = name.split(".") if path.name == "__init__.py" and name else name.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1] + (node.module or "").split(".") * bool(node.module)
            for alias in node.names:
                module = ".".join([*base, alias.name])
                found.add(module if module in MODULES else ".".join(base))
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            argument = node.args[0]
            if isinstance(argument, ast.Constant) and str(argument.value).startswith("aiohttpd."):
                found.add(argument.value.removeprefix("aiohttpd."))
    return frozenset((found & set(MODULES)) - {name})


def circles() -> list[list[str]]:
    """Groups of modules that import each other, directly or not (Tarjan's algorithm)."""
    numbers: dict[str, int] = {}
    lowest: dict[str, int] = {}
    open_modules: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        numbers[name] = lowest[name] = len(numbers)
        open_modules.append(name)
        for imported in imports(name):
            if imported not in numbers:
                visit(imported)
            if imported in open_modules:
                lowest[name] = min(lowest[name], lowest[imported])
        if lowest[name] == numbers[name]:
            group = open_modules[open_modules.index(name) :]
            del open_modules[open_modules.index(name) :]
            if len(group) > 1:
                found.append(sorted(group))

    for name in MODULES:
        if name not in numbers:
            visit(name)
    return found


def package_of(name: str) -> str:
    """The folder at the top of the package in which a module lies, or its own name."""
    return name.partition(".")[0]


def package_imports() -> dict[str, set[str]]:
    """Which folder or module at the top imports which others."""
    found: dict[str, set[str]] = defaultdict(set)
    for name in MODULES:
        if name:
            found[package_of(name)] |= {package_of(imported) for imported in imports(name)} - {package_of(name), ""}
    return found


def entries() -> list[str]:
    """What the package shows at its top."""
    return sorted(path.name for path in PACKAGE.iterdir() if path.name != "__pycache__")


def class_changes() -> list[str]:
    """Places where the class of an object is changed."""
    return [
        f"{name}:{node.lineno}"
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assign) and any(getattr(target, "attr", "") == "__class__" for target in node.targets)
    ]


def foreign_privates() -> Iterator[str]:
    """Uses of ``_names`` of other objects; those of a class or a function of the same module do not count.

    The annotation of a parameter tells whether its class is of this module, so a name that a class here has, too, does
    not hide it.
    """
    for name, path in MODULES.items():
        nodes = [*ast.walk(ast.parse(path.read_text()))]
        own = {node.attr for node in nodes if isinstance(node, ast.Attribute) and _of_self(node)}
        own |= {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
        foreign = {id(node) for node in _uses_of_foreign_parameters(nodes)}
        for node in nodes:
            if not isinstance(node, ast.Attribute) or not re.match("_[a-z]", node.attr) or _of_self(node):
                continue
            if (node.attr not in own or id(node) in foreign) and node.attr not in _PUBLIC:
                yield f"{name}:{node.lineno} {ast.unparse(node)}"


def _uses_of_foreign_parameters(nodes: list[ast.AST]) -> Iterator[ast.Attribute]:
    """Attributes of parameters, in functions and those inside them, whose annotation names no class of the module."""
    classes = {node.name for node in nodes if isinstance(node, ast.ClassDef)}
    for function in nodes:
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        arguments = function.args
        foreign = {
            argument.arg
            for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            if argument.annotation is not None
            and not {"object", *classes} & set(re.findall(r"\w+", ast.unparse(argument.annotation)))
        }
        for node in ast.walk(function):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in foreign:
                yield node


def _of_self(node: ast.Attribute) -> bool:
    value = node.value
    if isinstance(value, ast.Call):
        return ast.unparse(value) == "super()"
    return isinstance(value, ast.Name) and value.id in ("self", "cls")


def longest(folder: Path) -> tuple[int, str]:
    """Lines and name of the longest file."""
    return max((len(path.read_text().splitlines()), str(path.relative_to(folder))) for path in folder.rglob("*.py"))


def tests_that_import_tests() -> list[str]:
    """Test modules that import from another one."""
    pattern = re.compile(r"^from [.\w]*\btest_\w+ import", re.MULTILINE)
    return [
        str(path.relative_to(TESTS)) for path in sorted(TESTS.rglob("test_*.py")) if pattern.search(path.read_text())
    ]


def main() -> None:
    """Print all figures."""
    print("entries at the top:", len(entries()), *entries())
    print("circles of files:", circles())
    for name, imported in package_imports().items():
        print(f"  {name} imports", *sorted(imported))
    print("__class__ assignments:", class_changes())
    print("foreign privates:", *foreign_privates(), sep="\n  ")
    print("longest file:", *longest(PACKAGE))
    print("tests that import tests:", *tests_that_import_tests())
    print("longest test file:", *longest(TESTS))


if __name__ == "__main__":
    main()
