"""Media types: the same on every machine; and dot names of RFC 8615."""

import mimetypes
from pathlib import Path

import pytest

from aiohttpd.handlers.files.media_types import EXTENSIONS, guess_type

from ...support.asking import fetch
from ...support.folders import files_of

KNOWN = {
    "a.js": "text/javascript", "a.mjs": "text/javascript", "a.cjs": "text/javascript", "a.json": "application/json",
    "a.map": "application/json", "a.webmanifest": "application/manifest+json", "a.wasm": "application/wasm",
    "a.html": "text/html", "A.HTM": "text/html", "a.xhtml": "application/xhtml+xml", "a.css": "text/css",
    "a.md": "text/markdown", "a.txt": "text/plain", "a.csv": "text/csv", "a.vtt": "text/vtt", "a.ics": "text/calendar",
    "a.atom": "application/atom+xml", "a.rss": "application/rss+xml", "a.xml": "text/xml", "a.svg": "image/svg+xml",
    "a.svgz": "image/svg+xml", "a.png": "image/png", "a.jpg": "image/jpeg", "a.avif": "image/avif",
    "a.webp": "image/webp", "a.jxl": "image/jxl", "a.ico": "image/vnd.microsoft.icon", "a.mp3": "audio/mpeg",
    "a.m4a": "audio/mp4", "a.mp4": "video/mp4", "a.webm": "video/webm", "a.ts": "video/mp2t",
    "a.m3u8": "application/vnd.apple.mpegurl", "a.mpd": "application/dash+xml", "a.woff": "font/woff",
    "a.woff2": "font/woff2", "a.ttf": "font/ttf", "a.otf": "font/otf", "a.glb": "model/gltf-binary",
    "a.gltf": "model/gltf+json", "a.epub": "application/epub+zip", "a.pdf": "application/pdf",
    "a.zip": "application/zip",
    "a.docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "a.tar": "application/x-tar", "a.tar.gz": "application/gzip", "a.tgz": "application/gzip",
    "a.tar.bz2": "application/x-bzip2", "a.tbz2": "application/x-bzip2", "a.tbz": "application/x-bzip2",
    "a.tar.xz": "application/x-xz", "a.txz": "application/x-xz", "a.tar.zst": "application/zstd",
    "a.tzst": "application/zstd", "a.html.gz": "application/gzip", "a.7z": "application/x-7z-compressed",
    "a.TGZ": "application/gzip",
}  # fmt: skip
WRONG = "application/x-of-this-machine"


@pytest.fixture(params=["nothing", "everything, and wrong"])
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Machines that know no types, and one that says another for each."""
    registry = mimetypes.MimeTypes(())
    for table in (registry.types_map[True], registry.types_map[False], registry.encodings_map, registry.suffix_map):
        table.clear()
    if request.param != "nothing":
        registry.encodings_map |= {".tgz": "gzip", ".odd": "gzip"}
        for name in KNOWN:
            registry.add_type(WRONG, "." + name.rpartition(".")[2].lower())
    guess = getattr(registry, "guess_file_type", registry.guess_type)
    monkeypatch.setattr("aiohttpd.handlers.files.media_types._guess_file_type", guess)


@pytest.mark.usefixtures("machine")
class TestTable:
    @pytest.mark.parametrize("name", KNOWN)
    def test_is_the_same_everywhere(self, name: str) -> None:
        assert guess_type(f"/folder.odd/{name}") == KNOWN[name]

    def test_the_map_of_a_class_comes_first(self) -> None:
        assert guess_type("a.ts", {".ts": "text/x-typescript"}) == "text/x-typescript"
        assert guess_type("a.TS", {".TS": "x/upper", ".ts": "x/lower"}) == "x/upper"
        assert guess_type("a.Ts", {".ts": "x/lower"}) == "x/lower"
        assert guess_type("a.tgz", EXTENSIONS | {".tgz": "application/x-tgz"}) == "application/x-tgz"

    def test_what_nobody_knows(self) -> None:
        for name in ("a", "a.", ".html", "a.unknown", "html", "a.odd"):
            assert guess_type(name) is None


def test_all_that_python_knows_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of Python knows more or less."""
    defaults: dict[str, str] = dict(getattr(mimetypes, "_types_map_default"))  # noqa: B009
    monkeypatch.setattr("aiohttpd.handlers.files.media_types._guess_file_type", lambda path: (None, None))
    assert [suffix for suffix in defaults if guess_type(f"a{suffix}") is None] == []


def test_what_only_the_machine_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiohttpd.handlers.files.media_types._guess_file_type", lambda path: ("x/own", None))
    assert guess_type("a.rarely-seen") == "x/own"


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("name", ["a.js", "a.mjs", "a.css", "a.md", "a.csv", "a.ics", "a.txt", "a.html"])
async def test_text_has_its_charset(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("größer", encoding="utf-8")
    assert (await fetch(files_of(tmp_path), f"/{name}"))["Content-Type"] == f"{KNOWN[name]}; charset=utf-8"


async def test_the_attributes_of_a_class(tmp_path: Path) -> None:
    (tmp_path / "a.ts").write_text("let a: number")
    (tmp_path / "a.unknown").write_text("x")
    app = files_of(tmp_path, extensions_map={".ts": "application/typescript"}, default_content_type="text/odd")
    assert (await fetch(app, "/a.ts"))["Content-Type"] == "application/typescript"
    assert (await fetch(app, "/a.unknown"))["Content-Type"] == "text/odd"


class TestWellKnown:
    @pytest.fixture
    def site(self, tmp_path: Path) -> Path:
        for name in (".well-known/security.txt", ".well-known/.secret", ".git/config", "sub/.well-known/a.txt"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("text")
        (tmp_path / ".well-known.txt").write_text("text")
        return tmp_path

    @pytest.mark.parametrize(
        ("path", "status"),
        [
            ("/.well-known/security.txt", 200), ("/%2Ewell-known/security.txt", 200), ("/.well-known/", 200),
            ("/.well-known", 301), ("/.well-known/none", 404), ("/.well-known/.secret", 404), ("/.git/config", 404),
            ("/sub/.well-known/a.txt", 404), ("/.well-known.txt", 404), ("/.WELL-KNOWN/security.txt", 404),
            ("/.well-known/../.git/config", 404),
        ],
    )  # fmt: skip
    async def test_is_served_and_other_dot_names_are_not(self, site: Path, path: str, status: int) -> None:
        for directory in (str(site), f"{site}/"):
            assert (await fetch(files_of(site, directory=directory), path)).status == status

    async def test_is_not_listed(self, site: Path) -> None:
        assert b"well-known" not in (await fetch(files_of(site), "/")).body
        assert b".secret" not in (await fetch(files_of(site), "/.well-known/")).body
