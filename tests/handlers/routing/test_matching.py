"""Which route is found for a path: beside a naive reference, and in how many steps."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiohttpd import Converter, Router
from aiohttpd.handlers.routing.pattern import CONVERTERS, NO_MATCH, End, Pattern, Relation, compare
from aiohttpd.handlers.routing.tree import Tree

from ...support.routes import SOME_UUID, patterns, reached, router_of, telling
from ...support.steps import calls_of

PATH = st.lists(st.sampled_from(["a", "b", "c", "1", "7", SOME_UUID, "\udcff", "a/b"]), max_size=4).flatmap(
    lambda parts: st.sampled_from([parts, [*parts, ""]] if parts else [[""]])
)


def rank(pattern: Pattern, path: list[str]) -> list[int] | None:
    """How specific a pattern is for a path, segment by segment, the most specific first; None if it does not match."""
    ranks = []
    for at, part in enumerate(pattern.segments):
        if at >= len(path) or (at == len(path) - 1 and path[at] == ""):
            return None
        if isinstance(part, str):
            if part != path[at]:
                return None
            ranks.append(0)
        elif part.converter.read(path[at]) is NO_MATCH:
            return None
        else:
            ranks.append(2 if part.kind == "str" else 1)
    rest = path[len(pattern.segments) :]
    if pattern.end.is_open:
        return [*ranks, 3] if rest else None
    return [*ranks, 0] if rest == ([""] if pattern.end is End.SLASH else []) else None


@settings(deadline=None)
@given(st.lists(patterns(), max_size=12), st.lists(PATH, min_size=1, max_size=8))
def test_as_a_naive_reference(texts: list[str], paths: list[list[str]]) -> None:
    tree: Tree[str] = Tree()
    added: list[Pattern] = []
    for text in texts:
        pattern = Pattern.of(text)
        clash = {compare(pattern, other) for other in added} & {Relation.EQUAL, Relation.OVERLAP}
        if clash:
            with pytest.raises(ValueError, match="same paths|contradict") as caught:
                tree.add(pattern, text)
            assert repr(text) in str(caught.value)
        else:
            tree.add(pattern, text)
            added.append(pattern)
    for path in paths:
        ranked = [(ranks, pattern.text) for pattern in added if (ranks := rank(pattern, path)) is not None]
        found = tree.find(path)
        assert (found and found.route) == (min(ranked)[1] if ranked else None)


@pytest.mark.parametrize("few", [0, 1, 1000])
def test_clashes_are_found_by_the_index_and_by_the_tree(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of the two looks for them is a question of speed only."""
    monkeypatch.setattr("aiohttpd.handlers.routing.tree._FEW", few)
    order = random.Random(7)
    parts = ["a", "b", "{p}", "{p:int}", "1"]
    for _ in range(200):
        tree: Tree[str] = Tree()
        added: list[Pattern] = []
        for _ in range(12):
            chosen = [order.choice(parts).replace("{p", f"{{p{at}") for at in range(order.randrange(4))]
            text = "/" + "/".join([*chosen, *order.choice([[], [""], ["{$}"], ["{r...}"]])])
            pattern = Pattern.of(text)
            if {compare(pattern, other) for other in added} & {Relation.EQUAL, Relation.OVERLAP}:
                with pytest.raises(ValueError, match="same paths|contradict"):
                    tree.add(pattern, text)
            else:
                tree.add(pattern, text)
                added.append(pattern)


def compared(texts: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """How many pairs of patterns are compared while a tree is made."""
    count = 0

    def counting(one: Pattern, other: Pattern) -> Relation:
        nonlocal count
        count += 1
        return compare(one, other)

    monkeypatch.setattr("aiohttpd.handlers.routing.tree.compare", counting)
    tree: Tree[str] = Tree()
    for text in texts:
        tree.add(Pattern.of(text), text)
    return count


@pytest.mark.parametrize(
    "texts",
    [
        [
            f"/api/things{number}{end}"
            for number in range(400)
            for end in ("", "/{id:int}", "/{id:int}/edit", "/latest")
        ],
        [f"/r{one}/{{id}}/s{other}" for one in range(40) for other in range(40)],
        [text for number in range(800) for text in (f"/{{t}}/foo{number}", f"/lit{number}/bar")],
        [text for number in range(800) for text in (f"/m{number}/", f"/m{number}/x/y")],
    ],
    ids=["usual", "grid", "parameters-first", "mounts"],
)
def test_a_new_route_is_compared_with_few(texts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert compared(texts, monkeypatch) <= 33 * len(texts)


@settings(deadline=None)
@given(st.lists(patterns(), max_size=8, unique=True), st.randoms(use_true_random=False), PATH)
def test_the_order_does_not_count(texts: list[str], order: random.Random, path: list[str]) -> None:
    kept: list[str] = []
    for text in texts:
        if not {compare(Pattern.of(text), Pattern.of(one)) for one in kept} & {Relation.EQUAL, Relation.OVERLAP}:
            kept.append(text)
    found = []
    for _ in range(2):
        tree: Tree[str] = Tree()
        for text in kept:
            tree.add(Pattern.of(text), text)
        match = tree.find(path)
        found.append(match and match.route)
        order.shuffle(kept)
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("target", "label", "params"),
    [
        ("/", "/", {}),
        ("/notes", "/notes", {}),
        ("/notes/7", "/notes/{id:int}", {"id": "7"}),
        ("/notes/latest", "/notes/latest", {}),
        ("/notes/other", "/notes/{name}", {"name": "other"}),
        ("/notes/7/star", "/notes/{id:int}/star", {"id": "7"}),
        ("/notes/latest/star", "/notes/{name}/{rest...}", {"name": "latest", "rest": "star"}),
        ("/notes/7/a/b/", "/notes/{name}/{rest...}", {"name": "7", "rest": "a/b/"}),
        ("/notes/7/", "/notes/{name}/{rest...}", {"name": "7", "rest": ""}),
        (f"/things/{SOME_UUID}", "/things/{id:uuid}", {"id": SOME_UUID}),
        ("/a%20b", "/a b", {}),
        ("/notes/caf%C3%A9", "/notes/{name}", {"name": "café"}),
        ("/notes/a%2Fb", "/notes/{name}", {"name": "a/b"}),
        ("/notes/%252F", "/notes/{name}", {"name": "%2F"}),
        ("/notes/a+b?c=d", "/notes/{name}", {"name": "a+b"}),
        ("/page/", "/page/{$}", {}),
        ("/notes?a=/b", "/notes", {}),
        ("http://example.org/notes/7?x", "/notes/{id:int}", {"id": "7"}),
    ],
)
async def test_table(target: str, label: str, params: dict[str, str]) -> None:
    texts = [
        *("/", "/notes", "/notes/{id:int}", "/notes/latest", "/notes/{name}", "/notes/{id:int}/star", "/page/{$}"),
        *("/notes/{name}/{rest...}", "/things/{id:uuid}", "/a b"),
    ]
    for order in (texts, texts[::-1]):
        found = await reached(router_of(*order), target)
        assert (found["label"], found["params"]) == (label, params)


@pytest.mark.parametrize("target", ["/notes/-1/star/x", "/thing", "/things/x", "/none", "/notes/%FF", "/a/%FF/b"])
async def test_nothing(target: str) -> None:
    site = router_of("/", "/notes/{id:int}", "/notes/{name}", "/things/{id:uuid}", "/a/{rest...}")
    assert await reached(site, target) == 404


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        ("/notes", "/notes", "same paths"),
        ("/notes/{id}", "/notes/{name}", "same paths"),
        ("/notes/", "/notes/{rest...}", "same paths"),
        ("/", "/{$}", "same paths"),
        ("/{a}/b", "/a/{b}", "contradict"),
        ("/{a:int}/{b}", "/{a}/{b:int}", "contradict"),
        ("/{a}/x/", "/b/{rest...}", "contradict"),
        ("example.org/x", "EXAMPLE.org/x", "same paths"),
    ],
)
def test_routes_that_contradict_each_other(one: str, other: str, why: str) -> None:
    for first, second in ((one, other), (other, one)):
        router = Router()
        router.add(first, telling("first"))
        with pytest.raises(ValueError, match=why) as caught:
            router.add(second, telling("second"))
        assert repr(first) in str(caught.value)
        assert repr(second) in str(caught.value)


def test_what_looks_alike_does_not_contradict() -> None:
    router_of("/{a}/b", "/{a}/c", "/a/{b:int}", "example.org/{a}/b", "example.org/a/d", "/a/b", "*.example.org/a/{b}")


def steps(tree: Tree[str], path: str) -> int:
    """How many calls of Python and C functions it takes to find the route for a path."""
    segments = path.split("/")[1:]
    return calls_of(lambda: tree.find(segments))


def many(count: int) -> Tree[str]:
    """As many routes as an application of that size may have."""
    tree: Tree[str] = Tree()
    for number in range(count // 5):
        for text in ("", "/{id:int}", "/{id:int}/edit", "/{id:int}/parts/{part}", "/latest"):
            text = f"/api/things{number}{text}"
            tree.add(Pattern.of(text), text)
    return tree


def test_steps_are_those_of_the_path_whatever_the_number_of_routes() -> None:
    paths = ["/api/things0", "/api/things1/77/parts/x", "/api/things1/latest", "/api/none/77", "/x/y/z"]
    ten = many(10)
    few = [steps(ten, path) for path in paths]
    assert min(few) > 1
    for count in (1_000, 10_000):
        tree = many(count)
        assert [steps(tree, path) for path in paths] == few


def test_a_converter_is_not_asked_before_the_literal_prefix_has_matched() -> None:
    asked: list[str] = []

    class Asked(Converter):
        def read(self, text: str) -> Any:
            asked.append(text)
            return super().read(text)

    converters = {**CONVERTERS, "slow": Asked("(a+)+")}
    tree: Tree[int] = Tree()
    for number in range(50):
        tree.add(Pattern.of(f"/prefix{number}/{{x:slow}}/end", converters), number)
    asked.clear()
    assert tree.find(["other", "a" * 40 + "!", "end"]) is None
    assert tree.find(["prefix", "a" * 40 + "!", "end"]) is None
    assert asked == []
    assert tree.find(["prefix7", "aa", "end"])
    assert asked == ["aa"]


def test_a_long_path_is_no_deep_recursion() -> None:
    tree: Tree[str] = Tree()
    for text in ("/{a}/{b}", "/a/b/{c}/{rest...}", "/a/b/", "/{rest...}"):
        tree.add(Pattern.of(text), text)
    found = tree.find(["a"] * 100_000)
    assert found
    assert found.route == "/{rest...}"
    found = tree.find(["a", "b"] * 100_000)
    assert found
    assert found.route == "/a/b/{c}/{rest...}"
