"""The texts of routes: what is one, what is refused, and which of two is more specific."""

import itertools
import uuid
from typing import Any

import pytest
from hypothesis import given, settings

from aiohttpd import Converter
from aiohttpd.handlers.routing.pattern import CONVERTERS, NO_MATCH, End, Param, Pattern, Relation, compare, split_path

from ...support.routes import SOME_UUID, patterns


@pytest.mark.parametrize(
    ("text", "host", "segments", "end", "names"),
    [
        ("/", "", [], End.SLASH, []),
        ("/{$}", "", [], End.SLASH, []),
        ("/notes", "", ["notes"], End.NOTHING, []),
        ("/notes/", "", ["notes"], End.MOUNT, []),
        ("/notes/{$}", "", ["notes"], End.SLASH, []),
        ("/notes/{id:int}", "", ["notes", "id:int"], End.NOTHING, ["id"]),
        ("/{user}/{id:uuid}/x", "", ["user:str", "id:uuid", "x"], End.NOTHING, ["user", "id"]),
        ("/{rest...}", "", [], End.REST, ["rest"]),
        ("/a/{b}/{rest...}", "", ["a", "b:str"], End.REST, ["b", "rest"]),
        ("/café/a b", "", ["café", "a b"], End.NOTHING, []),
        ("Example.ORG./x", "example.org", ["x"], End.NOTHING, []),
        ("*.example.org/", "*.example.org", [], End.SLASH, []),
        ("[::1]/x", "[::1]", ["x"], End.NOTHING, []),
        ("/100%", "", ["100%"], End.NOTHING, []),
        ("/...", "", ["..."], End.NOTHING, []),
        ("/:/a:b/a*b/<", "", [":", "a:b", "a*b", "<"], End.NOTHING, []),
    ],
)
def test_read(text: str, host: str, segments: list[str], end: End, names: list[str]) -> None:
    pattern = Pattern.of(text)
    shown = [f"{part.name}:{part.kind}" if isinstance(part, Param) else part for part in pattern.segments]
    assert (pattern.host, shown, pattern.end, pattern.names) == (host, segments, end, names)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "begins with a slash"),
        ("notes", "begins with a slash"),
        ("example.org:80/x", "without a port"),
        ("http://example.org/x", "is no host"),
        ("*/x", "is no host"),
        ("//x", "is never reached"),
        ("/a//b", "is never reached"),
        ("/a/../b", "is never reached"),
        ("/a/.", "is never reached"),
        ("/a//", "is never reached"),
        ("/{id", "is no parameter"),
        ("/v{n}", "is no parameter"),
        ("/{name}.json", "is no parameter"),
        ("/{a-b}", "is no parameter"),
        ("/{1}", "is no parameter"),
        ("/{rest...}/x", "is no parameter"),
        ("/{$}/x", "is no parameter"),
        ("/{}", "is no parameter"),
        ("/a/<id>", "'<id>' is no parameter: write '{id}'"),
        ("/a/<int:id>/b", "'<int:id>' is no parameter: write '{id}'"),
        ("/a/<path:rest>", "'<path:rest>' is no parameter: write '{rest...}'"),
        ("/a/:id", "':id' is no parameter: write '{id}'"),
        ("/a/*", "'*' is no parameter: write '{rest...}'"),
        ("/a/*files", "'*files' is no parameter: write '{files...}'"),
        ("/{rest:path}", "or write '{rest...}' for the rest of a path"),
        ("/{id:float}", "no converter 'float': there are str, int, uuid"),
        ("/{id}/{id:int}", "there twice"),
        ("/{id}/{id...}", "there twice"),
        ("/a%20b", "is encoded"),
        ("/a?b", "no '?'"),
        ("/a#b", "no '?' and no '#'"),
    ],
)
def test_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match="route") as caught:
        Pattern.of(text)
    assert repr(text) in str(caught.value)
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("path", "segments"),
    [
        ("/", [""]),
        ("/a", ["a"]),
        ("/a/", ["a", ""]),
        ("/a%2Fb/c", ["a/b", "c"]),
        ("/%252F", ["%2F"]),
        ("/%2e%2E", [".."]),
        ("/caf%C3%A9", ["café"]),
        ("/%FF", ["\udcff"]),
        ("/%", ["%"]),
        ("/a+b", ["a+b"]),
    ],
)
def test_split(path: str, segments: list[str]) -> None:
    assert split_path(path) == segments


class TestConverters:
    @pytest.mark.parametrize(
        ("kind", "text", "value"),
        [
            ("str", "a b", "a b"),
            ("str", "é\n", "é\n"),
            ("str", "", NO_MATCH),
            ("str", "\udcff", NO_MATCH),
            ("str", "é\udcff", NO_MATCH),
            ("int", "0", 0),
            ("int", "007", 7),
            ("int", str(2**63 - 1), 2**63 - 1),
            ("int", str(2**63), NO_MATCH),
            ("int", "9" * 5000, NO_MATCH),
            ("int", "-1", NO_MATCH),
            ("int", "1_0", NO_MATCH),
            ("int", " 1", NO_MATCH),
            ("int", "1\n", NO_MATCH),
            ("int", "٣", NO_MATCH),
            ("uuid", SOME_UUID, uuid.UUID(SOME_UUID)),
            ("uuid", SOME_UUID.upper(), uuid.UUID(SOME_UUID)),
            ("uuid", SOME_UUID.replace("-", ""), NO_MATCH),
            ("uuid", "{" + SOME_UUID + "}", NO_MATCH),
        ],
    )
    def test_of_the_package(self, kind: str, text: str, value: Any) -> None:
        assert CONVERTERS[kind].read(text) == value

    def test_custom_converter(self) -> None:
        def even(text: str) -> int:
            if int(text) % 2:
                raise ValueError("odd")
            return int(text)

        converter = Converter("[0-9]+", even, lambda value: f"{value:04}")
        assert [converter.read(text) for text in ("4", "5", "x", "4\n")] == [4, NO_MATCH, NO_MATCH, NO_MATCH]
        assert converter.write(4) == "0004"
        with pytest.raises(ValueError, match="does not match"):
            converter.write(5)


# Every path of up to three segments of these, and each with one more, with a slash at its end or without.
_PARTS = ["a", "b", "c", "1", "2", SOME_UUID, SOME_UUID.replace("a", "b")]
_PATHS = [
    [*parts, *more, *end]
    for length in range(4)
    for parts in itertools.product(_PARTS, repeat=length)
    for more in ([], ["c"])
    for end in ([], [""])
    if parts or more or end
]


def _matches(pattern: Pattern, path: list[str]) -> bool:
    if len(path) < len(pattern.segments):
        return False
    for part, text in zip(pattern.segments, path, strict=False):
        wanted = text == part if isinstance(part, str) else part.converter.read(text) is not NO_MATCH
        if not wanted:
            return False
    rest = path[len(pattern.segments) :]
    return bool(rest) if pattern.end.is_open else rest == ([""] if pattern.end is End.SLASH else [])


@settings(deadline=None)
@given(patterns(), patterns())
def test_relations_are_those_of_the_sets_of_paths(one: str, other: str) -> None:
    mine, theirs = Pattern.of(one), Pattern.of(other)
    first = {number for number, path in enumerate(_PATHS) if _matches(mine, path)}
    second = {number for number, path in enumerate(_PATHS) if _matches(theirs, path)}
    expected = (
        Relation.EQUAL
        if first == second
        else Relation.DISJOINT
        if not first & second
        else Relation.NARROWER
        if first < second
        else Relation.WIDER
        if first > second
        else Relation.OVERLAP
    )
    assert compare(mine, theirs) is expected


def test_two_converters_of_ones_own_may_have_a_text_in_common() -> None:
    converters = {**CONVERTERS, "low": Converter("[a-z]+"), "odd": Converter(".[13579]")}

    def relation(one: str, other: str) -> Relation:
        return compare(Pattern.of(one, converters), Pattern.of(other, converters))

    assert relation("/{x:low}", "/{y:odd}") is Relation.OVERLAP
    assert relation("/{x:low}", "/{y}") is Relation.NARROWER
    assert relation("/{x:low}", "/a1") is Relation.DISJOINT
    assert relation("/{x:low}/p", "/{y:odd}/q") is Relation.DISJOINT
    assert relation("/{x:low}", "/{y:low}") is Relation.EQUAL
