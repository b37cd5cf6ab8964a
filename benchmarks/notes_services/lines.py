"""Lines of code: neither blank, nor a comment, nor a docstring.

usage: python benchmarks/notes_services/lines.py FILE ...
"""

import ast
import io
import sys
import tokenize
from pathlib import Path

_NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
_WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def code_lines(text: str) -> int:
    """How many lines of a Python program are code; of a string over several lines, those that are not blank."""
    lines = text.splitlines()
    found: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _NO_CODE:
            found.update(range(token.start[0], token.end[0] + 1))
    return len({number for number in found - _docstrings(text) if lines[number - 1].strip()})


def _docstrings(text: str) -> set[int]:
    found: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, _WITH_DOCSTRING) and ast.get_docstring(node) is not None:
            found.update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return found


def main() -> None:
    """Print the lines of each file, and of all together."""
    counts = {name: code_lines(Path(name).read_text()) for name in sys.argv[1:]}
    for name, count in counts.items():
        print(f"{count:5} {name}")
    print(f"{sum(counts.values()):5}")


if __name__ == "__main__":
    main()
