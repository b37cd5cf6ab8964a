"""Sites that take uploads: their pages, passwords, origins, and the command."""

import asyncio
import base64
import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import aiohttpd
from aiohttpd.fileserver.folder import FolderOptions, folder_app
from aiohttpd.fileserver.receive import check_system

from ..support.asking import answer_to
from ..support.clients import get, head
from ..support.commands import refused, started
from ..support.uploading import CONTENT, OLD, form_of_files, put, tree, uploader


class TestOrigin:
    @pytest.mark.parametrize(
        ("host", "fields", "allowed"),
        [
            ("a.example", [], True),
            ("a.example", ["Origin: http://a.example"], True),
            ("a.example", ["Origin: https://a.example"], True),  # a proxy speaks it for us
            ("a.example:80", ["Origin: http://a.example"], True),
            ("A.example:8000", ["Origin: http://a.example:8000"], True),
            ("[::1]:8000", ["Origin: http://[::1]:8000"], True),
            ("a.example", ["Origin: http://a.example:8000"], False),
            ("a.example:8000", ["Origin: http://a.example"], False),
            ("a.example:443", ["Origin: http://a.example"], False),
            ("a.example", ["Origin: http://b.example"], False),
            ("a.example", ["Origin: http://a.example.b.example"], False),
            ("a.example", ["Origin: http://b.example", "Origin: http://a.example"], False),
            ("a.example", ["Origin: null"], False),
            ("a.example", ["Origin: "], False),
            ("a.example", ["Origin: *"], False),
            ("a.example", ["Origin: http://["], False),
            ("a.example", ["Origin: http://a.example:x"], False),
            ("a.example", ["Origin: file://a.example"], False),
            ("a.example", ["Sec-Fetch-Site: none"], True),
            ("a.example", ["Sec-Fetch-Site: same-origin"], True),
            ("a.example", ["Sec-Fetch-Site: cross-site"], False),
            ("a.example", ["Sec-Fetch-Site: same-site"], False),
            ("inner:8000", ["Origin: https://a.example", "Sec-Fetch-Site: same-origin"], True),
            ("inner:8000", ["Origin: https://a.example", "Sec-Fetch-Site: cross-site"], False),
            ("inner:8000", ["Origin: https://friend.example"], True),
        ],
    )
    async def test_of_a_page(self, folder: Path, host: str, fields: list[str], allowed: bool) -> None:
        app = uploader(folder, allow_origin="https://friend.example")
        for data in (put("/a", CONTENT, *fields), form_of_files(("b", CONTENT), fields=tuple(fields))):
            response = await answer_to(app, data.replace(b"Host: localhost", f"Host: {host}".encode()))
            assert response.status == (201 if allowed else 403)
        assert (len(tree(folder)) == 3) == allowed

    async def test_any_may_read_is_not_any_may_upload(self, folder: Path) -> None:
        app = folder_app(str(folder), FolderOptions(upload=True, min_free=0, cors="*"))
        for origin in ("https://b.example", "null"):
            assert (await answer_to(app, put("/a", CONTENT, f"Origin: {origin}"))).status == 403

    async def test_options(self, folder: Path) -> None:
        app = folder_app(str(folder), FolderOptions(upload=True, cors="https://b.example", upload_auth="a:b"))
        response = await answer_to(app, head("OPTIONS", "/a", "Origin: https://b.example"))
        assert (response.status, response["Allow"]) == (204, "GET, HEAD, OPTIONS, POST, PUT")
        assert response["Access-Control-Allow-Methods"] == "GET, HEAD, OPTIONS, POST, PUT"


class TestPasswords:
    def basic(self, text: str) -> str:
        return f"Authorization: Basic {base64.b64encode(text.encode()).decode()}"

    @pytest.mark.parametrize(
        ("auth", "upload_auth", "given", "reads", "writes"),
        [
            (None, "a:b", None, 200, 401),
            (None, "a:b", "a:c", 200, 401),
            (None, "a:b", "a:b", 200, 201),
            ("g:h", None, None, 401, 401),
            ("g:h", None, "g:h", 200, 201),
            ("g:h", "a:b", None, 401, 401),
            ("g:h", "a:b", "g:h", 200, 401),
            ("g:h", "a:b", "a:b", 200, 201),
            ("g:h", "a:b", "a:h", 401, 401),
        ],
    )
    async def test_who_may(
        self, folder: Path, auth: str | None, upload_auth: str | None, given: str | None, reads: int, writes: int
    ) -> None:
        app = folder_app(str(folder), FolderOptions(upload=True, auth=auth, upload_auth=upload_auth, min_free=0))
        fields = () if given is None else (self.basic(given),)
        assert (await answer_to(app, get("/old", *fields))).status == reads
        for data in (put("/a", CONTENT, *fields), form_of_files(("b", CONTENT), fields=fields)):
            response = await answer_to(app, data)
            assert response.status == writes
            assert (response["WWW-Authenticate"] is None) == (writes != 401)
        assert len(tree(folder)) == (3 if writes == 201 else 1)


class TestServing:
    async def test_files_still_leave_at_once(self, folder: Path) -> None:
        app = uploader(folder)
        assert app._is_stock
        os.utime(folder / "old", (1e9, 1e9))
        while app.instant(SimpleNamespace(method="GET", target="/old", headers=aiohttpd.Headers())) is None:  # type: ignore[arg-type]
            assert (await answer_to(app, get("/old"))).body == b"old"

    async def test_what_is_new_is_seen_at_once(self, folder: Path) -> None:
        app = uploader(folder, overwrite=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                while not app._stores or not next(iter(app._stores.values()))._entries:
                    assert (await answer_to(app, get("/old"))).body == b"old"
        assert (await answer_to(app, put("/old"))).status == 204
        assert (await answer_to(app, get("/old"))).body == CONTENT
        assert (await answer_to(app, form_of_files(("old", b"again")))).status == 201
        assert (await answer_to(app, get("/old"))).body == b"again"

    async def test_a_packed_file_stands_for_no_other(self, folder: Path) -> None:
        app = uploader(folder)
        assert (await answer_to(app, put("/old.gz", b"\x1f\x8b"))).status == 201
        assert (await answer_to(app, get("/old", "Accept-Encoding: gzip"))).body == b"old"

    async def test_the_form(self, folder: Path) -> None:
        page = await answer_to(uploader(folder), get("/", "Accept: text/html"))
        assert b'<form method="post" action="./" enctype="multipart/form-data">' in page.body
        [script] = re.findall(rb"<script>(.*?)</script>", page.body, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(script).digest()).decode()
        assert f"script-src 'sha256-{digest}'; connect-src 'self'" in (page["Content-Security-Policy"] or "")
        guarded = await answer_to(
            uploader(folder, overwrite=True, upload_credentials="a:b", max_upload=9), get("/", "Accept: text/html")
        )
        assert b' data-overwrite="yes" data-guarded="yes" data-limit="9">' in guarded.body
        plain = await answer_to(folder_app(str(folder)), get("/", "Accept: text/html"))
        assert b"<form" not in plain.body and b"<script" not in plain.body


class TestCommand:
    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            (["--overwrite"], "of no use without --upload"),
            (["--upload-auth", "a:b"], "of no use without --upload"),
            (["--max-upload", "1M"], "of no use without --upload"),
            (["--min-free", "0"], "of no use without --upload"),
            (["--upload", "--upload-auth", "ab"], "credentials are 'name:password'"),
            (["--upload", "--upload-auth", ""], "credentials are 'name:password'"),
            (["--upload", "--max-upload", "big"], "'big' is not a size: write 1000000, 64k, 1M or 2G"),
            (["--upload", "--max-upload", ""], "'' is not a size"),
            (["--upload", "--max-upload", "1.5G"], "'1.5G' is not a size"),
            (["--upload", "--max-upload", "G"], "'G' is not a size"),
            (["--upload", "--min-free", "-1"], "'-1' is not a size"),
        ],
    )
    def test_errors(self, folder: Path, arguments: list[str], text: str) -> None:
        assert text in refused(folder, *arguments)

    def test_a_system_that_cannot(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "supports_dir_fd", set())
        monkeypatch.delitem(sys.modules, "aiohttpd.fileserver.uploads")
        with pytest.raises(NotImplementedError):
            check_system()
        assert "--upload: this system cannot hold a folder open" in refused(folder, "--upload")

    @pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
    def test_curl(self, folder: Path) -> None:
        (folder.parent / "source").write_bytes(CONTENT * 200_000)

        def curl(*arguments: str) -> tuple[str, str]:
            done = subprocess.run(
                ["curl", "-s", "-w", "\n%{http_code} %{size_upload}", *arguments],
                cwd=folder.parent,
                capture_output=True,
                text=True,
            )
            body, _, told = done.stdout.rpartition("\n")
            return body, told

        with started(folder, "serve", "-p", "0", "--upload", "--max-upload", "2G", "--upload-auth", "a:b") as served:
            user = ("-u", "a:b")
            assert curl(*user, "-T", "source", served.url) == ("", "201 2200000")
            assert curl(*user, "-F", "f=@source;filename=b", served.url)[0] == "saved b (2200000 bytes)\n"
            # Refused before the body is sent.
            for status, arguments in [("409", user), ("401", ())]:
                body, told = curl(*arguments, "-T", "source", served.url)
                assert told == f"{status} 0" and "Error code" in body
            assert curl(*user, "-T", "source", served.url + "sub/")[1][:3] == "201"
        same = CONTENT * 200_000
        assert tree(folder) == OLD | {"source": same, "b": same, "sub/source": same}

    def test_a_password_in_clear(self, folder: Path) -> None:
        arguments = ("--upload", "--upload-auth", "a:b", "--bind", "0.0.0.0")
        with started(folder, "serve", "-p", "0", *arguments) as served:
            while not (line := served.stderr.readline()).startswith("The password crosses the network unencrypted"):
                assert line.startswith("  http://")
