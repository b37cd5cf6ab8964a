"""The pages of the documentation, taken apart: blocks of code, and the commands in them."""

import re
from pathlib import Path
from typing import NamedTuple

from .places import ROOT

DOCS = ROOT / "docs"
_FENCE = re.compile(r"^( *)(`{3,}|:{3,})(\S*).*?\n(.*?)^\1\2 *$", re.DOTALL | re.MULTILINE)


class CodeBlock(NamedTuple):
    """A block of code in a page.

    Attributes:
        line: where it begins in the page.
        language: what stands behind the fence.
        text: the code, without its indentation.
    """

    line: int
    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The name of the file that the block is, if its first line is a comment with a name."""
        named = re.match(r"# (\w+\.py)\n", self.text)
        return named[1] if named else None


class Command(NamedTuple):
    """A command line of a page.

    Attributes:
        text: what is typed.
        output: what the page says it prints; None if the page does not say.
    """

    text: str
    output: str | None


def pages() -> list[Path]:
    """All pages that may have code, the README among them."""
    inside = [page for page in DOCS.rglob("*.md") if "_build" not in page.parts]
    return [ROOT / "README.md", *sorted(inside)]


def blocks(page: Path) -> list[CodeBlock]:
    text = page.read_text()
    found = []
    for match in _FENCE.finditer(text):
        indent, _, language, code = match.groups()
        code = re.sub(rf"^{indent}", "", code, flags=re.MULTILINE)
        found.append(CodeBlock(text.count("\n", 0, match.start()) + 1, language, code))
    return found


def commands(block: CodeBlock) -> list[Command]:
    """The commands of a block of ``sh`` or ``console``; in the latter they begin with a dollar sign."""
    text = block.text.replace("\\\n", "")
    if block.language == "sh":
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
        return [Command(line, None) for line in lines]
    found = []
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        line, _, output = part.partition("\n")
        found.append(Command(line, output))
    return found


def program_of(page: str, name: str) -> str:
    """The text of a program in a page."""
    [text] = [block.text for block in blocks(DOCS / page) if block.file == name]
    return text
