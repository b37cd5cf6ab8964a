"""Print the README with absolute links, as PyPI needs them: ``python docs/pypi_readme.py https://github.com/NAME/aiohttpd``.

PyPI shows the README at an address of its own, where relative links lead nowhere. In the repository they stay relative,
so that they work in each branch and in a clone.
"""

import re
import sys
from pathlib import Path

__all__ = ["with_absolute_links"]

_RELATIVE = r"(?!https?:|#)"
_IMAGE = re.compile(rf'(!\[[^\]]*\]\(|\bsrc(?:set)?="){_RELATIVE}')
_LINK = re.compile(rf"(?<!!)(\[[^\[\]]*\]\(){_RELATIVE}")


def with_absolute_links(text: str, repository: str) -> str:
    """Return a page of Markdown in which links and pictures are those of the repository's main branch.

    Args:
        text: the page, which is in the root of the repository.
        repository: the URL of the repository on GitHub, or on a server with the same paths.
    """
    repository = repository.rstrip("/")
    text = _IMAGE.sub(rf"\g<1>{repository}/raw/HEAD/", text)
    return _LINK.sub(rf"\g<1>{repository}/blob/HEAD/", text)


if __name__ == "__main__":
    readme = Path(__file__).parent.parent / "README.md"
    print(with_absolute_links(readme.read_text("utf-8"), sys.argv[1]), end="")
