"""Siblings in another coding: which of them is sent for a file, and that all say the same of what it is."""

import gzip
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ...support.asking import fetch
from ...support.folders import files_of
from ...support.wire import Response

TEXT = "größer\n" * 40_000
ORIGINAL = TEXT.encode()
ZIPPED = gzip.compress(ORIGINAL, mtime=0)
ZSTD = b"\x28\xb5\x2f\xfd\x20\x09\x49\0\0and so on"  # one raw block, RFC 8878 section 3.1.1
OLD = 1e9


def put_file(path: Path, content: bytes, when: float = OLD) -> None:
    path.write_bytes(content)
    os.utime(path, (when, when))


@pytest.fixture
def site(tmp_path: Path) -> Path:
    put_file(tmp_path / "page.js", ORIGINAL)
    return tmp_path


ACCEPTED = {".gz": "gzip", ".zst": "zstd", ".br": "br"}


async def coded(site: Path, suffix: str) -> Response:
    return await fetch(files_of(site), "/page.js", f"Accept-Encoding: {ACCEPTED[suffix]}")


class TestWhichIsSent:
    @pytest.mark.parametrize(
        ("suffix", "content"), [(".gz", ZIPPED), (".zst", ZSTD), (".br", b"brotli, which has no sign")]
    )
    async def test_one_that_is_right(self, site: Path, suffix: str, content: bytes) -> None:
        put_file(site / f"page.js{suffix}", content)
        answer = await coded(site, suffix)
        assert (answer["Content-Encoding"], answer.body) == (ACCEPTED[suffix], content)
        assert answer["Vary"] == "Accept-Encoding"

    @pytest.mark.parametrize(
        ("suffix", "content"),
        [
            (".gz", b""), (".zst", b""), (".br", b""),
            (".gz", ORIGINAL), (".zst", ORIGINAL), (".gz", ZSTD), (".zst", ZIPPED),
            (".gz", ZIPPED[:10]), (".gz", ZIPPED[:17]), (".gz", b"\x1f\x8b\x08"), (".zst", ZSTD[:3]),
            (".gz", ZIPPED[: len(ZIPPED) // 4]), (".gz", ZIPPED[:-1]), (".gz", ZIPPED + bytes(1)),
            (".gz", gzip.compress(b"of something else", mtime=0)),
            (".zst", ZSTD[:-1]), (".zst", ZSTD[:8]), (".zst", ZSTD[:5]), (".zst", ZSTD + b"x"),
            (".zst", ZSTD + ZSTD[:12]),
        ],
    )  # fmt: skip
    async def test_one_that_is_none(self, site: Path, suffix: str, content: bytes) -> None:
        """Empty, in no such coding, cut, or made of something else."""
        put_file(site / f"page.js{suffix}", content)
        answer = await coded(site, suffix)
        assert (answer.status, answer["Content-Encoding"], answer.body) == (200, None, ORIGINAL)

    @pytest.mark.parametrize("suffix", [".gz", ".zst", ".br"])
    @pytest.mark.parametrize("age", [0, 1, -3600])
    async def test_one_that_may_not_be_complete(self, site: Path, suffix: str, age: float) -> None:
        """What is answered meanwhile varies already, so that no cache keeps it for everybody."""
        put_file(site / f"page.js{suffix}", ZIPPED if suffix == ".gz" else ZSTD, time.time() - age)
        answer = await coded(site, suffix)
        assert (answer["Content-Encoding"], answer.body) == (None, ORIGINAL)
        assert answer["Vary"] == "Accept-Encoding"

    @pytest.mark.parametrize(
        ("original", "sibling", "sent"),
        [
            (OLD + 0.25, OLD + 0.5, True),
            (OLD + 0.5, OLD + 0.5, True),
            (OLD + 0.5, OLD, True),  # its date is a copy of the original's, in whole seconds
            (OLD + 0.5, OLD + 0.25, False),
            (OLD + 1.5, OLD + 0.5, False),
        ],
    )
    async def test_one_that_is_older(self, site: Path, original: float, sibling: float, sent: bool) -> None:
        os.utime(site / "page.js", (original, original))
        put_file(site / "page.js.br", b"coded", sibling)
        assert ((await coded(site, ".br"))["Content-Encoding"] == "br") is sent

    async def test_half_written(self, site: Path) -> None:
        """By somebody who takes his time."""
        app = files_of(site)
        with (site / "page.js.gz").open("wb") as file:
            for start in range(0, len(ZIPPED), len(ZIPPED) // 4 + 1):
                file.write(ZIPPED[start : start + len(ZIPPED) // 4 + 1])
                file.flush()
                os.utime(site / "page.js.gz", (OLD + start, OLD + start))
                answer = await fetch(app, "/page.js", "Accept-Encoding: gzip")
                content = gzip.decompress(answer.body) if answer["Content-Encoding"] else answer.body
                assert content == ORIGINAL

    async def test_a_change_of_either_is_seen_at_once(self, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("aiohttpd.handlers.files.tree._SETTLED", -1)
        put_file(site / "page.js.br", b"coded")
        app = files_of(site)
        for _ in range(2):
            assert (await fetch(app, "/page.js", "Accept-Encoding: br")).body == b"coded"
        (site / "page.js").write_bytes(b"other")
        assert (await fetch(app, "/page.js", "Accept-Encoding: br")).body == b"other"
        put_file(site / "page.js", b"other")
        put_file(site / "page.js.br", b"coded again", OLD + 1)
        app = files_of(site)
        for _ in range(2):
            assert (await fetch(app, "/page.js", "Accept-Encoding: br")).body == b"coded again"
        (site / "page.js.br").unlink()
        assert (await fetch(app, "/page.js", "Accept-Encoding: br")).body == b"other"
        put_file(site / "page.js.br", b"coded again", OLD + 1)
        app = files_of(site)
        for _ in range(2):
            assert (await fetch(app, "/page.js", "Accept-Encoding: br")).body == b"coded again"
        (site / "page.js").unlink()
        assert (await fetch(app, "/page.js", "Accept-Encoding: br")).status == 404

    @pytest.mark.parametrize("tool", ["gzip", "zstd", "brotli"])
    async def test_of_the_usual_tools(self, site: Path, tool: str) -> None:
        """They give the date of the original to what they make."""
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}: Debian's package {tool}")
        suffix = {"gzip": ".gz", "zstd": ".zst", "brotli": ".br"}[tool]
        os.utime(site / "page.js", ns=(1_700_000_000_123_456_789,) * 2)
        subprocess.run([tool, "-k", str(site / "page.js")], check=True, capture_output=True)
        assert (await coded(site, suffix))["Content-Encoding"] == ACCEPTED[suffix]

    async def test_zstd_that_is_cut(self, site: Path) -> None:
        """Wherever that is, however it was made."""
        if shutil.which("zstd") is None:
            pytest.skip("needs zstd: Debian's package zstd")
        mixed = os.urandom(200_000) + ORIGINAL
        for arguments in ((), ("--no-check",), ("-19",)):
            made = subprocess.run(["zstd", "-c", *arguments], input=mixed, check=True, capture_output=True).stdout
            put_file(site / "page.js.zst", b"\x5a\x2a\x4d\x18\x04\0\0\0skip" + made + made)
            assert (await coded(site, ".zst"))["Content-Encoding"] == "zstd"
            for end in (4, 10, len(made) // 3, len(made) - 5, len(made) - 1):
                put_file(site / "page.js.zst", made[:end])
                assert (await coded(site, ".zst"))["Content-Encoding"] is None


class TestType:
    @pytest.mark.parametrize("memory", [0, 1024 * 1024], ids=["open", "in memory"])
    @pytest.mark.parametrize("text", [TEXT, "plain ASCII\n" * 100, "ä", "a" * 70_000 + "ä"])
    async def test_is_one_for_all_codings(self, site: Path, text: str, memory: int) -> None:
        """With its charset, which the coded bytes cannot tell."""
        original = text.encode()
        put_file(site / "page.js", original)
        for suffix, content in ((".gz", gzip.compress(original)), (".zst", ZSTD), (".br", b"coded")):
            put_file(site / f"page.js{suffix}", content)
        app = files_of(site, cache_file_size=memory)
        fields = ["gzip", "zstd", "br", "identity"]
        answers = [await fetch(app, "/page.js", f"Accept-Encoding: {name}") for name in fields]
        assert [answer["Content-Encoding"] for answer in answers] == ["gzip", "zstd", "br", None]
        assert len({answer["Content-Type"] for answer in answers}) == 1
        if text is TEXT:
            assert answers[0]["Content-Type"] == "text/javascript; charset=utf-8"

    async def test_parts_have_it_too(self, site: Path) -> None:
        put_file(site / "page.js.gz", ZIPPED)
        answer = await fetch(files_of(site), "/page.js", "Accept-Encoding: gzip", "Range: bytes=0-9")
        assert (answer.status, answer.body) == (206, ZIPPED[:10])
        assert (answer["Content-Type"], answer["Content-Encoding"]) == ("text/javascript; charset=utf-8", "gzip")


class TestDrawings:
    """``.svgz`` is an SVG in gzip by its name."""

    async def test_have_their_coding(self, site: Path) -> None:
        content = gzip.compress(b"<svg/>")
        put_file(site / "a.svgz", content)
        for fields in ([], ["Accept-Encoding: br"]):
            answer = await fetch(files_of(site), "/a.svgz", *fields)
            assert (answer["Content-Type"], answer["Content-Encoding"]) == ("image/svg+xml", "gzip")
            assert (answer.body, answer["Vary"]) == (content, None)

    async def test_that_are_not_compressed(self, site: Path) -> None:
        put_file(site / "a.svgz", b"<svg/>")
        answer = await fetch(files_of(site), "/a.svgz")
        assert (answer["Content-Encoding"], answer.body) == (None, b"<svg/>")

    async def test_are_what_the_class_says(self, site: Path) -> None:
        put_file(site / "a.svgz", gzip.compress(b"<svg/>"))
        answer = await fetch(files_of(site, extensions_map={".svgz": "application/gzip"}), "/a.svgz")
        assert (answer["Content-Type"], answer["Content-Encoding"]) == ("application/gzip", None)


@pytest.mark.skipif(sys.version_info < (3, 14), reason="the standard library has zstd from Python 3.14 on")
async def test_zstd_of_the_standard_library(site: Path) -> None:
    from compression import zstd

    content = zstd.compress(ORIGINAL)
    put_file(site / "page.js.zst", content)
    assert (await coded(site, ".zst")).body == content
