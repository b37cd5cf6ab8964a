"""Data of a request as classes with fields: generic ones, NamedTuple, InitVar, and what is said of wrong types."""

import dataclasses
import datetime
import sys
from collections import namedtuple
from collections.abc import Callable, MutableMapping, MutableSequence, MutableSet, Reversible
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, TypedDict, TypeVar

import pytest

import aiohttpd
from aiohttpd.errors import InvalidData
from aiohttpd.handlers.forms.data import MultiMap
from aiohttpd.handlers.json_text import dumps, loads
from aiohttpd.handlers.typed import convert
from aiohttpd.testing import exchange

from ..support.wire import split

T = TypeVar("T")
U = TypeVar("U")
N = TypeVar("N", int, None)
B = TypeVar("B", bound="int | datetime.date")


@dataclasses.dataclass
class Note:
    title: str

    def __post_init__(self) -> None:
        if not self.title.strip():
            raise ValueError("has no title")


@dataclasses.dataclass
class Page(Generic[T]):
    items: list[T]
    next: "Page[T] | None" = None
    more: dict[str, T] | None = None
    noted: Annotated[T | None, "noted"] = None


@dataclasses.dataclass
class Notes(Page[Note]):
    owner: str = ""


@dataclasses.dataclass
class Both(Page[U], Generic[T, U]):
    first: T | None = None


@dataclasses.dataclass
class Deep(Both[int, tuple[T, T]], Generic[T]):
    pass


@dataclasses.dataclass
class Nested(Generic[T]):
    page: Page[list[T]]


@dataclasses.dataclass
class Limited(Generic[N]):
    one: N


@dataclasses.dataclass
class Bound(Generic[B]):
    one: B


class Entry(TypedDict, Generic[T]):
    value: T
    also: NotRequired[list[T]]


class IntEntry(Entry[int]):
    name: str


class Pair(NamedTuple, Generic[T]):
    key: str
    value: T


class Point(NamedTuple):
    x: int
    y: float = 0.5


Plain = namedtuple("Plain", "a b", defaults=[0])  # without types


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (Page[Note], {"items": [{"title": "a"}]}, Page([Note("a")])),
        (Page[int], {"items": [1], "next": {"items": [2]}}, Page([1], Page([2]))),
        (Page[int], {"items": [], "more": {"a": 1}, "noted": 2}, Page([], more={"a": 1}, noted=2)),
        (Page, {"items": [1, "a"]}, Page([1, "a"])),
        (Notes, {"items": [{"title": "a"}], "owner": "me"}, Notes([Note("a")], owner="me")),
        (Both[int, str], {"items": ["a"], "first": 1}, Both(["a"], first=1)),
        (Deep[str], {"items": [["a", "b"]], "first": 1}, Deep([("a", "b")], first=1)),
        (Nested[int], {"page": {"items": [[1]]}}, Nested(Page([[1]]))),
        (list[Page[int]], [{"items": [1]}], [Page([1])]),
        (Limited, {"one": None}, Limited(None)),
        (Bound[datetime.date], {"one": "2026-11-29"}, Bound(datetime.date(2026, 11, 29))),
        (Entry[int], {"value": 1, "also": [2]}, {"value": 1, "also": [2]}),
        (Entry[Note], {"value": {"title": "a"}}, {"value": Note("a")}),
        (Pair[int], ["a", 1], Pair("a", 1)),
        (Pair[Note], {"key": "a", "value": {"title": "b"}}, Pair("a", Note("b"))),
        (Point, [1], Point(1)),
        (Point, {"x": 1, "y": 2}, Point(1, 2.0)),
        (list[Point], [[1, 2], [3, 4]], [Point(1, 2.0), Point(3, 4.0)]),
        (Plain, ["a"], Plain("a")),
    ],
)
def test_what_fits(kind: Any, value: Any, expected: Any) -> None:
    converted = convert(value, kind)
    assert converted == expected
    assert type(converted) is type(expected)
    assert convert(loads(dumps(converted)), kind) == expected  # what is read can be sent


@pytest.mark.parametrize(
    ("kind", "value", "reasons"),
    [
        (Page[Note], {"items": [{"title": 1}]}, "items.0.title is not text"),
        (Page[int], {"items": [], "next": {"items": ["a"]}}, "next.items.0 is not an integer"),
        (Notes, {"items": [1]}, "items.0 is not an object"),
        (Both[int, str], {"items": [1], "first": "a"}, "items.0 is not text; first is not an integer"),
        (Deep[str], {"items": [["a"]]}, "items.0 has 1 elements, not 2"),
        (Entry[int], {"value": "a"}, "value is not an integer"),
        (Limited, {"one": "a"}, "one is not an integer"),
        (Pair[int], ["a", "b"], "1 is not an integer"),
        (Pair[int], ["a"], "the data has 1 elements, not 2"),
        (Pair[int], {"key": "a"}, "value is missing"),
        (Point, [], "the data has 0 elements, not 1 to 2"),
        (Point, "a", "the data is not an object"),
    ],
)
def test_what_does_not_fit(kind: Any, value: Any, reasons: str) -> None:
    with pytest.raises(InvalidData) as caught:
        convert(value, kind)
    assert caught.value.explain == reasons


def test_a_generic_typeddict_has_the_types_of_its_base() -> None:
    if sys.version_info >= (3, 12):  # before, a TypedDict does not know the arguments of its base
        with pytest.raises(InvalidData):
            convert({"value": "a", "name": "b"}, IntEntry)
    assert convert({"value": 1, "name": "b"}, IntEntry) == {"value": 1, "name": "b"}


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there is no statement 'type'")
def test_the_syntax_of_python_3_12() -> None:
    names: dict[str, Any] = {"dataclasses": dataclasses}
    exec(
        "type Twice[T] = tuple[T, T]\n"
        "type Tree[T] = T | list[Tree[T]]\n"
        "@dataclasses.dataclass\n"
        "class Box[T]:\n"
        "    inside: T\n"
        "    twice: Twice[T]\n",
        names,
    )
    box = names["Box"]
    assert convert({"inside": 1, "twice": [1, 2]}, box[int]) == box(1, (1, 2))
    assert convert([1, [2, [3]]], names["Tree"][int]) == [1, [2, [3]]]
    for kind, value in ((box[int], {"inside": "a", "twice": [1, 2]}), (names["Tree"][int], [1, ["a"]])):
        with pytest.raises(InvalidData):
            convert(value, kind)


@dataclasses.dataclass
class User(Generic[T]):
    name: str
    password: dataclasses.InitVar[str]
    extra: dataclasses.InitVar[list[T]]
    hint: dataclasses.InitVar[str | None] = None
    hashed: str = dataclasses.field(default="", init=False)

    def __post_init__(self, password: str, extra: list[T], hint: str | None) -> None:
        self.hashed = f"{password}{extra}{hint}"


def test_parameters_of_post_init_are_data() -> None:
    """FAULT: a dataclass with InitVar could not be made: 500."""
    user = convert({"name": "a", "password": "b", "extra": [1], "hashed": "planted"}, User[int])
    assert (user.name, user.hashed) == ("a", "b[1]None")
    with pytest.raises(InvalidData) as caught:
        convert({"name": "a", "extra": ["a"], "hint": 1}, User[int])
    assert caught.value.explain == "password is missing; extra.0 is not an integer; hint is not text"


def test_a_query_as_a_named_tuple_and_a_generic_class() -> None:
    query = MultiMap([("x", "1"), ("y", "2"), ("items", "1"), ("items", "2")])
    assert convert(query, Point, text=True) == Point(1, 2.0)
    assert convert(query, Page[int], text=True) == Page([1, 2])


@pytest.mark.parametrize("value", [{}, {"title": 1}, {"title": ""}])
def test_more_problems_than_are_told(value: Any) -> None:
    """FAULT: an object with a problem was made all the same after the 20th: TypeError, 500."""
    with pytest.raises(InvalidData) as caught:
        convert([value] * 30, list[Note])
    assert len(caught.value.problems) == 20


@dataclasses.dataclass
class Wrong:
    name: str
    wait: list[datetime.timedelta]


@dataclasses.dataclass
class Around:
    wrong: Wrong


def test_a_type_that_data_cannot_be_is_named_with_its_place() -> None:
    for kind in (Wrong, Around):
        with pytest.raises(TypeError, match=r"Wrong\.wait: data cannot be converted to <class 'datetime.timedelta'>"):
            convert({"wrong": {}}, kind)


def test_abstract_classes_with_arguments() -> None:
    """FAULT: what they hold was not converted."""
    for kind, value, expected in [
        (MutableSequence[float], [1], [1.0]),
        (MutableSet[float], [1], {1.0}),
        (MutableMapping[str, float], {"a": 1}, {"a": 1.0}),
    ]:
        converted: Any = convert(value, kind)  # type: ignore[var-annotated, arg-type, unused-ignore]
        assert repr(converted) == repr(expected)
    with pytest.raises(TypeError, match="cannot be converted"):
        convert([1], Reversible[str])  # type: ignore[type-abstract]


def test_choices_are_told_as_in_json() -> None:
    with pytest.raises(InvalidData) as caught:
        convert(2, Literal["a", 1, None, True])  # type: ignore[arg-type]
    assert caught.value.explain == "the data is not one of: a, 1, null, true"


def test_types_that_cannot_be_filled_in() -> None:
    with pytest.raises(TypeError, match="cannot be converted"):
        convert({"items": []}, Page[Callable[[int], str]])  # type: ignore[type-abstract]


class Handler(aiohttpd.BaseHTTPRequestHandler):
    async def do_POST(self) -> None:
        page = await self.json(Page[Note])
        self.send_json(page)


async def test_in_a_handler() -> None:
    content = b'{"items": [{"title": "Tea"}]}'
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(content)
    [answer] = split(await exchange(Handler, head + content))
    assert (answer.status, answer.body) == (200, b'{"items":[{"title":"Tea"}],"next":null,"more":null,"noted":null}')


def test_generic_structs_of_msgspec() -> None:
    """FAULT: a query or a form for one was an error of the program, and JSON was not."""
    msgspec = pytest.importorskip("msgspec", reason="needs msgspec: pip install msgspec")

    class Struct(msgspec.Struct, Generic[T]):  # type: ignore[misc, name-defined]
        more: T = msgspec.field(name="label")
        items: list[T] = []

    query = MultiMap([("label", "3"), ("label", "4"), ("items", "1"), ("items", "2")])
    assert convert({"label": 2, "items": [1]}, Struct[int]) == Struct(2, [1])
    assert convert(query, Struct[int], text=True) == Struct(3, [1, 2])
    assert convert(MultiMap([("label", "3"), ("label", "4")]), Struct[list[int]], text=True) == Struct([3, 4])
