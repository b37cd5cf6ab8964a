"""No path reaches a handler by another spelling than it reaches it by its own."""

import json
import posixpath
from typing import Any
from urllib.parse import quote, unquote

from hypothesis import given, settings
from hypothesis import strategies as st

from aiohttpd import Router

from ...support.routes import reached, router_of, telling

PARTS = st.sampled_from(["a", "b", "1", ".", "..", "", "a/b", "a/../b", "/", "%2F", "%2e%2e", "é", "..a", "x.y", " "])


@st.composite
def spellings(draw: st.DrawFn) -> str:
    """A target that begins with a slash, each character of its parts perhaps encoded, once or twice."""
    target = ""
    for part in draw(st.lists(PARTS, max_size=5)):
        target += "/"
        for sign in part:
            how = draw(st.integers(0, 3))
            coded = "".join(f"%{byte:02{'xX'[how % 2]}}" for byte in sign.encode())
            plain = sign if sign.isascii() and sign not in " " else coded
            target += {0: plain, 1: plain, 2: coded, 3: quote(coded) if sign == "/" else coded}[how]
    return (target or "/") + draw(st.sampled_from(["", "/", "?x=../y"]))


SITES: list[Router] = [
    router_of("/", "/a", "/b", "/a/b", "/{p}", "/{p:int}", "/a/{p}/", "/a/b/c", "/1/{rest...}"),
    router_of("/a/", "/a/b/", "/a/b/{p:int}", "/a/1/b", "/{rest...}"),
    router_of("/{rest...}", "/a/b", "/b/{$}", "/b", "/b/a/"),
    Router({"/a/": router_of("/", "/{p}", "/b/{p}", "/b/"), "/a/b/1": telling("guard"), "/{rest...}": telling("rest")}),
]


async def final(site: Router, target: str) -> Any:
    """Where a target leads when redirects are followed, as far as a client can tell."""
    for _ in range(5):
        found = await reached(site, target)
        if not isinstance(found, tuple):
            return found
        path, _, query = target.partition("?")
        location, _, more = found[1].partition("?")
        assert more == query
        assert location[:2] not in ("//", "/\\")
        target = (
            location
            if location[:1] == "/"
            else posixpath.dirname(path.removesuffix("/")).rstrip("/")
            + (location.lstrip(".") if location.partition("/")[0] in (".", "..") else "/" + location)
        )
        if query:
            target += f"?{query}"
    raise AssertionError("it is redirected for ever")


def canonical(target: str) -> str:
    """The one spelling of a path: each segment decoded once and encoded again, without dots and empty segments."""
    path, mark, query = target.partition("?")
    names: list[str] = []
    segments = [unquote(part, errors="surrogateescape") for part in path.split("/")[1:]]
    for segment in segments:
        if segment == "..":
            del names[-1:]
        elif segment not in ("", "."):
            names.append(segment)
    slash = ["", *names, *[""] * (segments[-1] in ("", ".", "..") or not names)]
    return "/".join(quote(name, safe="", errors="surrogateescape") for name in slash) + mark + query


def without_spelling(found: Any) -> Any:
    """What is reached, the path decoded: its spelling is that of the client."""
    if isinstance(found, dict):
        return {**found, "path": unquote(found["path"]), "root": unquote(found["root"])}
    return found


@settings(deadline=None)
@given(st.sampled_from(SITES), spellings())
async def test_a_spelling_leads_where_the_canonical_one_leads(site: Router, target: str) -> None:
    by_this, by_its_own = await final(site, target), await final(site, canonical(target))
    assert without_spelling(by_this) == without_spelling(by_its_own)


@settings(deadline=None)
@given(st.sampled_from(SITES), spellings())
async def test_only_clean_paths_reach_a_handler(site: Router, target: str) -> None:
    found = await reached(site, target)
    if isinstance(found, dict):
        assert found["root"] + found["path"] == target
        segments = [unquote(segment) for segment in target.partition("?")[0].split("/")[1:]]
        assert not {".", ".."} & set(segments)
        assert "" not in segments[:-1]


@settings(deadline=None)
@given(st.sampled_from(["/a/", "/{rest...}"]), spellings())
async def test_an_app_that_decodes_all_at_once_gets_nothing_that_belongs_to_another(
    open_route: str, target: str
) -> None:
    """A file server, or a framework behind a mount, takes an encoded slash for a slash, and walks up at dots."""
    site = router_of(open_route, "/a/b/", "/a/1", "/a/b/1/x", "/b/{p}")
    found = await reached(site, target)
    if isinstance(found, dict) and found["label"] == open_route:
        path = unquote(found["root"]) + unquote(found["path"].partition("?")[0])
        walked = posixpath.normpath(path) + "/" * (path.endswith("/") and path != "/")
        again = await reached(site, quote(walked))
        assert isinstance(again, dict), json.dumps(again)
        assert again["label"] == open_route
        assert unquote(found["params"].get("rest", "")) == unquote(again["params"].get("rest", ""))
