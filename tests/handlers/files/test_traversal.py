"""What is outside of the folder stays outside: published attacks, any bytes, links, races, redirects, listings.

`data/traversal.jsonl` has a target a line, with why it is there. Unless it names a ``file`` that answers or a
``status``, the answer is 404 or 400.
"""

import asyncio
import contextlib
import json
import ntpath
import os
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aiohttpd.fileserver.handler import SimpleHTTPRequestHandler
from aiohttpd.handlers.files import tree
from aiohttpd.testing import exchange

from ...support.asking import QUIET
from ...support.examples import examples
from ...support.places import DATA
from ...support.wire import Response, finals

CASES: list[dict[str, Any]] = [json.loads(line) for line in (DATA / "traversal.jsonl").read_text().splitlines()]
SECRET = b"-- 5ecret: outside of the root --"
MODIFIED = 1_700_000_000
LISTING = b"<title>Directory listing for "
JSON = b"Accept: application/json, text/html;q=0.5\r\n"
CODINGS = b"Accept-Encoding: br, zstd, gzip\r\n"
FIELDS = {
    "accept-ranges", "connection", "content-encoding", "content-length", "content-security-policy", "content-type",
    "date", "etag", "last-modified", "location", "server", "transfer-encoding", "vary", "x-content-type-options",
}  # fmt: skip

PROFILE = examples(400)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="names and special files as Linux has them")

FILES = [
    ".git/config", ".hidden", "%2e%2e/inside.txt", "C:/inside.txt", "a#b.txt", "a?b.txt", "app.html", "back\\slash.txt",
    "evil.example/inside.txt", "file.txt", "file.txt.gz", "folder/.env", "folder/file.txt", "folder/inner/deep.txt",
    "javascript:alert(1)", "leaky/index.htm", "line\r\nX-Injected: yes.txt", "page.html", "piped.txt",
    "site/index.html", " space ", "quote\"'&amp;.txt", "<script>alert(1)<script>", "<img src=x onerror=alert(1)>",
    "\u202etxt.exe", "data:text,x", "undecodable-\udcff\udcfe.txt", "undecodable-\udcff\udcfd.txt", "ünï.txt", "%00",
    "%2fx", "\t.txt",
]  # fmt: skip
FOLDERS = [
    "@evil.example", "\\evil.example", "\r\nSet-Cookie: a=b", "\t", "\udcff-folder", "chain", "empty", "leak", "links",
    "wrong/index.html", "python.org", "a;b", "a'b\"<c>&d", "javascript:", "http:", "...",
]  # fmt: skip
# Outside of the root, seen from the folder around it.
OUTSIDE = ["secret.txt", "secret/secret.txt", "root-secret/secret.txt", "rootsecret/secret.txt", "root.txt"]
LINKS = {
    "gone.txt.gz": "../secret.txt",
    "leak/index.html": "../../secret.txt",
    "leaky/index.html": "../../secret.txt",
    "page.html.gz": "../secret.txt",
    "page.html.br": "{base}/secret.txt",
    "page.html.zst": "../secret",
    "links/dangling": "nothing",
    "links/in-absolute": "{root}/folder/file.txt",
    "links/in-chain": "in-file",
    "links/in-file": "../file.txt",
    "links/in-folder": "../folder",
    "links/in-hidden": "../.hidden",
    "links/in-root": "..",
    "links/loop": "loop",
    "links/loop-a": "loop-b",
    "links/loop-b": "loop-a",
    "links/out-and-back": "{base}/back",
    "links/out-chain": "out-link",
    "links/out-file": "../../secret.txt",
    "links/out-file-absolute": "{base}/secret.txt",
    "links/out-folder": "../../secret",
    "links/out-folder-absolute": "{base}/secret",
    "links/out-link": "out-file",
    "links/out-parent": "../..",
    "links/out-sibling": "../../root-secret",
    "links/out-through": "../folder/../../secret.txt",
    "links/out-top": "/",
    "links/proc-environ": "/proc/self/environ",
    "links/proc-root": "/proc/self/root",
    "links/to-fifo": "../fifo",
    "links/to-null": "/dev/null",
    "links/to-zero": "/dev/zero",
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The root of a tree with everything in it that somebody could go through, and secrets all around."""
    base = tmp_path_factory.mktemp("traversal")
    root = base / "root"
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True)
    for name, content in [
        *((root / file, b"inside: " + os.fsencode(file)) for file in FILES),
        *((base / file, SECRET) for file in OUTSIDE),
    ]:
        name.parent.mkdir(parents=True, exist_ok=True)
        name.write_bytes(content)
        os.utime(name, (MODIFIED, MODIFIED))
    for link, target in LINKS.items():
        (root / link).symlink_to(target.format(base=base, root=root))
    for number in range(1101):
        (root / "chain" / f"many-{number}").symlink_to(f"many-{number - 1}" if number else "../file.txt")
    (base / "back").symlink_to(root / "file.txt")
    os.mkfifo(root / "fifo")
    os.mkfifo(root / "piped.txt.gz")
    with contextlib.chdir(root), socket.socket(socket.AF_UNIX) as listener:  # its path may not be long
        listener.bind("socket")
    return str(root)


@pytest.fixture(scope="module")
def known(root: str) -> set[bytes]:
    """What is in the files below the root, without any link."""
    return {
        Path(folder, name).read_bytes()
        for folder, _, names in os.walk(root)
        for name in names
        if Path(folder, name).is_file() and not Path(folder, name).is_symlink()
    }


Handler = type[SimpleHTTPRequestHandler]


@pytest.fixture(scope="module")
def default(root: str) -> Handler:
    return type("Default", (SimpleHTTPRequestHandler,), {"directory": root})


@pytest.fixture(scope="module")
def hidden(root: str) -> Handler:
    return type("Hidden", (SimpleHTTPRequestHandler,), {"directory": root, "show_hidden": True})


@pytest.fixture(scope="module")
def fallback(root: str) -> Handler:
    return type("Fallback", (SimpleHTTPRequestHandler,), {"directory": root, "fallback_page": "app.html"})


@pytest.fixture(scope="module")
def following(root: str) -> Handler:
    return type("Following", (SimpleHTTPRequestHandler,), {"directory": root, "follow_symlinks": True})


async def answers_for(app: Handler, target: bytes, *requests: tuple[str, bytes]) -> list[Response]:
    """Send a target with each method and fields, on one connection that may end with the first answer."""
    requests = requests or (("GET", b""),)
    data = b"".join(
        b"%s %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n"
        % (method.encode(), target, fields if b"Accept: " in fields else b"Accept: text/html\r\n" + fields)
        for method, fields in requests
    )
    async with asyncio.timeout(20):
        return finals(await exchange(app, data, config=QUIET), [method for method, _ in requests])


async def got_from(app: Handler, target: str, fields: bytes = b"") -> Response:
    [answer] = await answers_for(app, target.encode(), ("GET", fields))
    return answer


def bytes_of(case: dict[str, Any]) -> bytes:
    parts = case.get("target_parts") or [[case.get("target"), 1]]
    return b"".join(text.encode("latin-1") * count for text, count in parts)


def browsed(location: str, base: str = "http://localhost/") -> str:
    """Where a browser goes, by the rules of URLs: it drops tabs and line ends, and takes backslashes for slashes."""
    location = re.sub("[\t\r\n]", "", location).strip("".join(map(chr, range(33))))
    head, question, query = location.partition("?")
    head = head.replace("\\", "/")
    assert not re.match("[A-Za-z][A-Za-z0-9+.-]*:", head), "another scheme"
    assert not head.startswith("//"), "another host"
    if not head.startswith("/"):
        head = base.partition("://")[2].partition("/")[2].rpartition("/")[0] + "/" + head
        head = "/" + head.lstrip("/")
    names: list[str] = []
    *folders, last = head.split("/")[1:]
    for name in folders:
        plain = re.sub("%2e", ".", name, flags=re.IGNORECASE)
        if plain == "..":
            del names[-1:]
        elif plain != ".":
            names.append(name)
    return "/" + "".join(f"{name}/" for name in names) + last + question + query


def based_on(target: bytes) -> str:
    """The base of references in the answer to a request for a target."""
    path = target.decode("latin-1").partition("?")[0]
    return path if re.match("(?i)https?://", path) else f"http://localhost{path}"


def assert_harmless(answer: Response, known: set[bytes]) -> None:
    """Nothing from outside, no line that somebody has put into the head, no other host."""
    assert answer.status in (200, 301, 400, 404, 414)
    assert answer.complete
    assert {name.lower() for name, _ in answer.fields} <= FIELDS
    assert not any(re.search("[\0-\x1f\x7f]", value) for _, value in answer.fields)
    assert b"5ecret" not in answer.body and b"secret.txt" not in answer.body
    assert b"<script" not in answer.body.lower() or answer.body in known
    if answer.status == 200 and answer.body:
        assert answer.body in known or LISTING in answer.body
    if answer.status == 301:
        assert re.match(r"(?:\./)?[^/\\:?#]+/(?:\?|$)|\./[^/\\?#]+/(?:\?|$)", answer["Location"] or "")
        assert (answer["Location"] or "").isascii()


# The second of each two is answered from memory, if there is a file.
ROUNDS = (("GET", b""), ("HEAD", b""), ("GET", CODINGS), ("HEAD", CODINGS))


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", CASES, ids=[case["why"] for case in CASES])
async def test_target(
    case: dict[str, Any], root: str, default: Handler, hidden: Handler, fallback: Handler, known: set[bytes]
) -> None:
    target = bytes_of(case)
    allowed = case.get("status", (400, 404))
    rounds = {default: ROUNDS, hidden: ROUNDS[::3], fallback: ROUNDS[::3]}
    found = await asyncio.gather(*(answers_for(app, target, *rounds[app]) for app in rounds))
    for app, answers in zip(rounds, found, strict=True):
        first = answers[0]
        assert len(answers) == len(rounds[app]) or first.status in (400, 414)
        for answer in answers:
            assert_harmless(answer, known)
            assert (answer.status, answer["Location"]) == (first.status, first["Location"])
        if first.status == 301:
            followed = await got_from(app, browsed(first["Location"] or "", based_on(target)))
            assert_harmless(followed, known)
            assert followed.status == 200
        if app is default:
            assert first.status in allowed
            if "file" in case:
                assert first.body == Path(root, case["file"]).read_bytes()
        if app is fallback and first.status == 200 and set(allowed) <= {400, 404}:
            assert first.body == Path(root, "app.html").read_bytes()


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 150
    assert len({bytes_of(case) for case in CASES}) == len(CASES)
    assert all(case["why"] and case["source"] for case in CASES)


class TestHidden:
    @pytest.mark.parametrize(
        "name", [".hidden", ".git/config", "folder/.env", "%2ehidden", "folder/..%2f.git/config", "links/in-hidden"]
    )
    async def test_is_served_if_asked_for(self, name: str, hidden: Handler, root: str) -> None:
        answer = await got_from(hidden, f"/{name}")
        assert answer.status == 200
        assert answer.body == Path(root, os.fsdecode(unquote_to_bytes(name))).read_bytes()

    async def test_dots_are_no_names(self, hidden: Handler) -> None:
        assert (await got_from(hidden, "/.../")).status == 200
        assert (await got_from(hidden, "/../secret.txt")).status == 404

    async def test_the_root_may_lie_below_a_hidden_folder(self, tmp_path: Path) -> None:
        root = tmp_path / ".cache" / "site"
        root.mkdir(parents=True)
        (root / "file.txt").write_bytes(b"here")
        app = type("App", (SimpleHTTPRequestHandler,), {"directory": str(root)})
        assert (await got_from(app, "/file.txt")).body == b"here"


class TestLinks:
    @pytest.mark.parametrize(
        "name",
        [
            "out-file", "out-file-absolute", "out-chain", "out-through", "out-folder/secret.txt",
            "out-folder-absolute/secret.txt", "out-sibling/secret.txt", "out-parent/secret.txt",
        ],
    )  # fmt: skip
    async def test_lead_out_if_asked_for(self, name: str, following: Handler) -> None:
        answer = await got_from(following, f"/links/{name}")
        assert (answer.status, answer.body) == (200, SECRET)

    async def test_of_siblings_and_index_pages_lead_out_if_asked_for(self, following: Handler) -> None:
        assert (await got_from(following, "/leak/")).body == SECRET
        answer = await got_from(following, "/page.html", b"Accept-Encoding: br\r\n")
        assert (answer["Content-Encoding"], answer.body) == ("br", SECRET)

    @pytest.mark.parametrize(
        "name", ["dangling", "loop", "loop-a", "to-fifo", "to-null", "to-zero", "../chain/many-1100"]
    )
    async def test_to_no_file_are_never_followed(self, name: str, following: Handler) -> None:
        assert (await got_from(following, f"/links/{name}")).status == 404

    async def test_do_not_tell_what_is_outside(self, default: Handler) -> None:
        """CVE-2025-69226: whether there is something is not to be seen either."""
        answers = [
            await got_from(default, target)
            for target in ("/links/out-file", "/links/out-folder", "/links/dangling", "/../secret.txt", "/../nothing")
        ]
        told = [(a.status, a.reason, [f for f in a.fields if f[0] != "Date"], a.body) for a in answers]
        assert told == told[:1] * len(told)

    @pytest.mark.parametrize("page", ["links/out-file", "../secret.txt", "/../secret.txt", "leak/index.html", "fifo"])
    async def test_of_a_fallback_page_do_not_lead_out(self, page: str, root: str) -> None:
        app = type("App", (SimpleHTTPRequestHandler,), {"directory": root, "fallback_page": page})
        answer = await got_from(app, "/no/such/page")
        assert answer.status == 404
        assert SECRET not in answer.body

    async def test_the_root_may_be_one(self, tmp_path: Path, root: str) -> None:
        (tmp_path / "link").symlink_to(root)
        app = type("App", (SimpleHTTPRequestHandler,), {"directory": str(tmp_path / "link")})
        assert (await got_from(app, "/folder/file.txt")).status == 200
        assert (await got_from(app, "/links/in-absolute")).status == 200
        assert (await got_from(app, "/links/out-file")).status == 404
        assert (await got_from(app, "/")).status == 200

    @pytest.mark.parametrize("directory", ["root", "./root", "root/", "root/folder/..", "root/../root/."])
    async def test_the_root_may_be_written_as_one_likes(
        self, directory: str, root: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(Path(root).parent)
        app = type("App", (SimpleHTTPRequestHandler,), {"directory": directory})
        assert (await got_from(app, "/folder/file.txt")).status == 200
        assert (await got_from(app, "/links/in-file")).status == 200
        for target in ("/links/out-file", "/../secret.txt", "/.hidden", "/../root-secret/secret.txt"):
            assert (await got_from(app, target)).status == 404


# Any target, against another way to say what may be served.


def expected(root: str, target: bytes, *, hidden: bool) -> tuple[int, bytes | None]:
    """Status and, for a file, content."""
    if re.search(rb"[^!-~]|#", target):
        return 400, None
    if absolute := re.match(rb"(?i:https?)://evil\.example(?=[/?]|\Z)", target):
        target = target[absolute.end() :]
        target = target if target.startswith(b"/") else b"/" + target
    if not target.startswith(b"/"):
        return 400, None
    path = re.sub(rb"%([0-9A-Fa-f]{2})", lambda match: bytes([int(match[1], 16)]), target.split(b"?")[0])
    names: list[bytes] = []
    for name in path.split(b"/"):
        if name == b"..":
            del names[-1:]
        elif name not in (b"", b"."):
            names.append(name)
    if any(b"\0" in name or (name.startswith(b".") and not hidden) for name in names):
        return 404, None
    place = os.path.join(os.fsencode(root), *names)
    if not is_inside(root, place):
        return 404, None
    if os.path.isdir(place):
        if not path.endswith(b"/"):
            return 301, None
        pages = [os.path.join(place, name) for name in (b"index.html", b"index.htm")]
        found = [page for page in pages if is_inside(root, page) and os.path.isfile(page)]
        return 200, Path(os.fsdecode(found[0])).read_bytes() if found else None
    if os.path.isfile(place) and not path.endswith(b"/"):
        return 200, Path(os.fsdecode(place)).read_bytes()
    return 404, None


def is_inside(root: str, place: bytes) -> bool:
    try:
        os.stat(place)
    except OSError:
        return False
    top = os.path.realpath(os.fsencode(root))
    return os.path.commonpath([top, os.path.realpath(place)]) == top


def spelled(name: bytes, how: str) -> bytes:
    if how == "encoded":
        return b"".join(b"%%%02x" % byte for byte in name)
    if how == "twice":
        return b"".join(b"%%25%02X" % byte for byte in name)
    return quote(name, safe=":@!$&'()*+,;=" if how == "usual" else "").encode()


NAMES = sorted({os.fsencode(part) for path in (*FILES, *FOLDERS, *LINKS, *OUTSIDE) for part in path.split("/")})
NAMES += [b"fifo", b"socket", b"root", b"links", b"folder", b"nothing", b"\0", b"\xff", b"etc", b"passwd"]
SEGMENTS = st.builds(
    spelled,
    st.sampled_from(NAMES) | st.sampled_from([b".", b"..", b"..", b"..", b"..."]) | st.binary(max_size=3),
    st.sampled_from(["usual", "usual", "usual", "encoded", "safe", "twice"]),
)
BETWEEN = st.sampled_from(
    [b"/"] * 6 + [b"//", b"%2f", b"%2F", b"\\", b"%5c", b"/./", b"/../", b"/%2e%2e/", b";/", b"?"]
)
PLACES = st.sampled_from(
    [spelled(os.fsencode(path), "usual").replace(b"%2F", b"/") for path in (*FILES, *FOLDERS, *LINKS)]
)


@st.composite
def targets(draw: st.DrawFn) -> bytes:
    target = draw(
        st.sampled_from([b"/"] * 12 + [b"//", b"/\\", b"/%2f", b"", b"http://evil.example?", b"HTTPS://evil.example/"])
    )
    for _ in range(draw(st.integers(0, 4))):
        target += draw(SEGMENTS | PLACES) + draw(BETWEEN)
    return target + draw(SEGMENTS | PLACES | st.just(b""))


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@PROFILE
@given(
    targets() | st.binary(max_size=20).map(lambda data: b"/" + re.sub(rb"[ \r\n]", b"", data)),
    st.booleans(),
    st.booleans(),
)
@example(b"/links/out-parent/root/links/out-parent/root/file.txt", False, False)
@example(b"/links/out-parent/root/../secret.txt", True, True)
@example(b"/\\evil.example", False, True)
@example(b"/%00/../", False, False)
def test_any_target(
    runner: asyncio.Runner,
    root: str,
    default: Handler,
    hidden: Handler,
    known: set[bytes],
    target: bytes,
    show: bool,
    coded: bool,
) -> None:
    requests = (("GET", CODINGS if coded else b""), ("HEAD", b""))
    answers = runner.run(answers_for(hidden if show else default, target, *requests))
    for answer in answers:
        assert_harmless(answer, known)
    status, content = expected(root, target, hidden=show)
    assert [answer.status for answer in answers] == [status] * (1 if status == 400 else 2)
    if status == 301:
        leads_to = browsed(answers[0]["Location"] or "", based_on(target))
        assert expected(root, leads_to.encode(), hidden=show)[0] == 200
    elif content is not None and answers[0]["Content-Encoding"] is None:
        assert answers[0].body == content
    elif status == 200 and content is None:
        assert LISTING in answers[0].body


# Trees that change.


@contextlib.contextmanager
def swapping(*pairs: tuple[Path, Path]) -> Iterator[None]:
    """Exchange the things in each pair, over and over, while the block runs."""
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for one, other in pairs:
                parked = one.with_name(one.name + ".parked")
                one.rename(parked)
                other.rename(one)
                parked.rename(other)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def changing(tmp_path: Path) -> Path:
    """A root in which ``folder`` and ``file.txt`` have doubles that are links out."""
    for name, content in (("root/folder", b"inside"), ("secret", SECRET)):
        (tmp_path / name).mkdir(parents=True)
        for file in ("file.txt", "file.txt.gz", "index.html", f"only-in-{name[-6:]}"):
            (tmp_path / name / file).write_bytes(content)
            os.utime(tmp_path / name / file, (MODIFIED, MODIFIED))
    root = tmp_path / "root"
    (root / "file.txt").write_bytes(b"inside")
    (root / "link").symlink_to("../secret")
    (root / "link.txt").symlink_to("../secret/file.txt")
    return root


class TestRace:
    async def test_what_becomes_a_link_is_not_followed(self, changing: Path) -> None:
        class Indexed(SimpleHTTPRequestHandler):
            directory = str(changing)
            cache_size = 0  # each request looks at the tree

        class App(Indexed):
            index_pages = ()

        seen = set()
        with swapping((changing / "folder", changing / "link"), (changing / "file.txt", changing / "link.txt")):
            for number in range(300):
                target = ("/folder/file.txt", "/file.txt", "/folder/", "/link/file.txt", "/link.txt")[number % 5]
                answer = await got_from(Indexed if number % 2 else App, target, CODINGS if number % 3 else b"")
                assert SECRET not in answer.body and b"only-in-secret" not in answer.body
                seen.add(answer.status)
        assert seen <= {200, 404}

    def test_what_becomes_a_link_is_not_opened(self, changing: Path) -> None:
        root = str(changing)
        paths = [os.path.join(root, name) for name in ("folder/file.txt", "file.txt", "link/file.txt", "link.txt")]
        with swapping((changing / "folder", changing / "link"), (changing / "file.txt", changing / "link.txt")):
            for number in range(3000):
                file = tree.open_inside(root, paths[number % 4])
                assert file is None or os.read(file.fileno(), 100) == b"inside"

    @pytest.mark.parametrize("name", ["folder/file.txt", "file.txt", "folder", "folder/"])
    def test_between_the_look_and_the_opening(self, name: str, changing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        open_below: Callable[..., tree.OpenFile | None] = tree._open_below

        def swap_first(root: str, parts: list[str]) -> tree.OpenFile | None:
            for one, other in (("folder", "link"), ("file.txt", "link.txt")):
                (changing / one).rename(changing / "parked")
                (changing / other).rename(changing / one)
            return open_below(root, parts)

        monkeypatch.setattr(tree, "_open_below", swap_first)
        assert tree.open_inside(str(changing), os.path.join(changing, name)) is None

    def test_a_file_that_becomes_a_fifo_does_not_block(self, changing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        status_of = os.stat

        def swap_after(path: str, **options: Any) -> os.stat_result:
            status = status_of(path, **options)
            if "dir_fd" in options:  # the last look before it is opened
                (changing / "file.txt").unlink()
                os.mkfifo(changing / "file.txt")
            return status

        monkeypatch.setattr(tree, "os", SimpleNamespace(**{**vars(os), "stat": swap_after}))
        assert tree.open_inside(str(changing), os.path.join(changing, "file.txt")) is None

    async def test_a_file_that_becomes_a_folder_while_it_is_read(
        self, changing: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def change(file: tree.OpenFile) -> bool:
            if (changing / "file.txt").is_file():
                (changing / "file.txt").unlink()
                (changing / "file.txt").mkdir()
            return False

        monkeypatch.setattr(tree.OpenFile, "unchanged", change)
        app = type("App", (SimpleHTTPRequestHandler,), {"directory": str(changing)})
        answer = await got_from(app, "/file.txt")
        assert (answer.status, answer.body, answer.complete) == (200, b"", False)  # cut: it has changed


# Listings.


class Page(HTMLParser):
    """The elements of a page, and its links with their texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[tuple[str, str]] = []
        self._href: str | None = None
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "a":
            self._href = dict(attrs)["href"] or ""
            self.links.append((self._href, ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._href = None

    def handle_data(self, data: str) -> None:
        if self._href is not None:
            self.links[-1] = (self._href, self.links[-1][1] + data)


TAGS = {
    "a", "body", "h1", "head", "html", "link", "meta", "p", "span", "style", "table", "tbody", "td", "th", "thead",
    "time", "title", "tr",
}  # fmt: skip


def written_out(name: str) -> str:
    """A name as a page shows it: what is not seen would make it look like another."""
    return "".join(ascii(sign)[1:-1] if sign in "\t\r\n\u202e" else sign for sign in name)


UP = re.compile(r"(\.\./)+|\./").fullmatch
ATTRIBUTES = {"aria-sort", "charset", "class", "content", "datetime", "href", "lang", "name", "rel", "title"}


@pytest.mark.parametrize(
    "folder", ["/", "/links/", "/folder/", "/leak/", "/links/in-root/", "/links/in-folder/", "/%09/"]
)
@pytest.mark.parametrize("show", [False, True], ids=["default", "hidden"])
class TestListing:
    async def test_leads_to_what_is_served(
        self, folder: str, show: bool, root: str, default: Handler, hidden: Handler, known: set[bytes]
    ) -> None:
        app = hidden if show else default
        answer = await got_from(app, folder)
        page = Page(answer.body.decode())
        assert page.tags <= TAGS
        assert page.attributes <= ATTRIBUTES
        entries = [(href, text) for href, text in page.links if not href.startswith("?") and not UP(href)]
        answer = await got_from(app, folder, JSON)
        listed = json.loads(answer.body)["entries"]
        assert [
            (entry["href"], written_out(entry["name"]) + "/" * (entry["type"] == "directory")) for entry in listed
        ] == entries

        place = os.path.join(os.fsencode(root), unquote_to_bytes(folder)[1:])
        served = {
            name for name in os.listdir(place)
            if expected(root, (folder + quote(name, safe="")).encode(), hidden=show)[0] in (200, 301)
        }  # fmt: skip
        assert {unquote_to_bytes(href).rstrip(b"/") for href, _ in entries} == served
        assert len(entries) == len(served)
        for href, text in entries[:100]:
            assert text.rstrip("/") == written_out(unquote_to_bytes(href).rstrip(b"/").decode("utf-8", "replace"))
            if href.endswith("/"):
                assert (await got_from(app, browsed(folder + href[:-1]))).status == 301
            found = await got_from(app, browsed(href, f"http://localhost{folder}"))
            assert_harmless(found, known)
            assert found.status == 200
            content = expected(root, (folder + href).encode(), hidden=show)[1]
            assert found.body == content if content is not None else LISTING in found.body

    async def test_leads_up(self, folder: str, show: bool, default: Handler, hidden: Handler) -> None:
        page = Page((await got_from(hidden if show else default, folder)).body.decode())
        for href, _ in page.links:
            if UP(href):
                assert (await got_from(default, browsed(href, f"http://localhost{folder}"))).status == 200


async def test_a_listing_has_no_link_out_unless_asked_for(default: Handler, following: Handler) -> None:
    names = {entry["name"] for entry in json.loads((await got_from(default, "/links/", JSON)).body)["entries"]}
    more = {entry["name"] for entry in json.loads((await got_from(following, "/links/", JSON)).body)["entries"]} - names
    assert {name for name in names if not name.startswith("in-")} == {"out-and-back"}
    out = {link[6:] for link in LINKS if link.startswith("links/out-")} - {"out-and-back"}
    assert {name for name in more if not name.startswith("proc-")} == out


def test_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Backslashes, drives, shares and streams: nothing that begins a path of its own gets into one."""
    windows = SimpleNamespace(**{**vars(os), "name": "nt", "path": ntpath})
    monkeypatch.setattr("aiohttpd.fileserver.handler.os", windows)
    monkeypatch.setattr("aiohttpd.handlers.files.paths.os", windows)

    class App(SimpleHTTPRequestHandler):
        directory = "C:\\root"

    handler = App.__new__(App)
    for case in CASES:
        target = bytes_of(case)
        if target.startswith(b"/") and target.isascii():
            path = handler.translate_path(target.decode())
            below = path.removeprefix("C:\\root")
            assert len(below) == len(path) - len("C:\\root")
            assert not below or below[0] in "\\/"
            assert ":" not in below
            assert ".." not in re.split(r"[\\/]", below)
            assert "\\\\" not in below
