"""Check the pages that Sphinx has built: links inside of the site hold, and nothing is loaded from another host.

usage: python docs/check_pages.py docs/_build/html
"""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "object": "data"}
_of_styles = re.compile(r"url\(\s*['\"]?((?:https?:)?//[^)'\"]+)|@import\s+['\"](\S+?)['\"]")


class Page(HTMLParser):
    """What a page links to, what it loads, and the places in it.

    Attributes:
        links, loads: URLs.
        places: values of ``id``.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.places: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag loads or links to."""
        values = {name: value or "" for name, value in attrs}
        if "id" in values:
            self.places.add(values["id"])
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag == "link" and not {"canonical", "author"} & set(values.get("rel", "").split()):
            self.loads.append(values.get("href", ""))
        if tag in LOADING and LOADING[tag] in values:
            self.loads.append(values[LOADING[tag]])


def problems(root: Path) -> list[str]:
    """All that is wrong with the pages in a folder."""
    pages = {path: Page(path) for path in root.rglob("*.html")}
    found = [] if pages else [f"no pages in {root}"]
    for path, page in pages.items():
        name = path.relative_to(root)
        found += [f"{name} loads {url}" for url in page.loads if urlsplit(url).netloc]
        for url in page.links + page.loads:
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                found.append(f"{name} links to {url}, which does not exist")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].places:
                found.append(f"{name} links to {url}, and there is no such place in that page")
    for style in root.rglob("*.css"):
        found += [f"{style.relative_to(root)} loads {match[0]}" for match in _of_styles.finditer(style.read_text())]
    return found


if __name__ == "__main__":
    told = problems(Path(sys.argv[1]).resolve())
    print("\n".join(told), file=sys.stderr)
    sys.exit(1 if told else 0)
