"""Data of a request as types of the program: what fits, what is said of what does not, and what it costs."""

import contextlib
import dataclasses
import datetime
import decimal
import enum
import pickle
import sys
import uuid
from collections.abc import Mapping, MutableSequence, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, NotRequired, Required, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

import aiohttpd
from aiohttpd.errors import InvalidData
from aiohttpd.handlers.forms.data import MultiMap
from aiohttpd.handlers.json_text import dumps, loads
from aiohttpd.handlers.typed import convert
from aiohttpd.testing import exchange

from ..support.examples import examples
from ..support.wire import split


class Colour(enum.Enum):
    RED = "red"
    ONE = 1


UserId = NewType("UserId", int)


@dataclasses.dataclass
class Tag:
    name: str


@dataclasses.dataclass
class Note:
    title: str
    tags: list[Tag] = dataclasses.field(default_factory=list)
    pinned: bool = False
    colour: Colour | None = None
    id: int = dataclasses.field(default=0, init=False)

    def __post_init__(self) -> None:
        if not self.title:
            raise ValueError("has no title")


@dataclasses.dataclass
class Node:
    value: int
    next: "Node | None" = None
    other: "Node | Leaf | None" = None


@dataclasses.dataclass
class Leaf:
    text: str


class Filter(TypedDict):
    page: int
    tag: NotRequired[list[str]]


@dataclasses.dataclass
class Query:
    page: int = 1
    limit: int | None = None
    tag: list[str] = dataclasses.field(default_factory=list)
    since: datetime.date | None = None
    deep: bool = False


FITS: list[tuple[Any, Any, Any]] = [
    (str, "a", "a"),
    (int, 3, 3),
    (int, 3.0, 3),
    (float, 3, 3.0),
    (bool, True, True),
    (None, None, None),
    (Any, {"a": [1]}, {"a": [1]}),
    (int | None, None, None),
    (int | str, "1", "1"),
    (Literal[1, "a"], 1, 1),
    (Literal[Colour.RED, 2], "red", Colour.RED),
    (Colour, "red", Colour.RED),
    (UserId, 7, 7),
    (Annotated[int, "anything"], 7, 7),
    (list[int], [1, 2], [1, 2]),
    (Sequence[int], [1, 2], [1, 2]),
    (set[int], [1, 1], {1}),
    (tuple[int, ...], [1, 2], (1, 2)),
    (tuple[int, str], [1, "a"], (1, "a")),
    (dict[str, int], {"a": 1}, {"a": 1}),
    (Mapping[int, str], {"1": "a"}, {1: "a"}),
    (dict[Colour, Tag], {"red": {"name": "a"}, "1": {"name": "b"}}, {Colour.RED: Tag("a"), Colour.ONE: Tag("b")}),
    (list[dict[datetime.date, int]], [{"2026-11-28": 1}], [{datetime.date(2026, 11, 28): 1}]),
    (dict[uuid.UUID, None], {str(uuid.UUID(int=1)): None}, {uuid.UUID(int=1): None}),
    (list, [1, "a"], [1, "a"]),
    (decimal.Decimal, 1.25, decimal.Decimal("1.25")),
    (datetime.date, "2026-11-28", datetime.date(2026, 11, 28)),
    (datetime.datetime, "2026-11-28T12:30:00Z", datetime.datetime(2026, 11, 28, 12, 30, tzinfo=datetime.UTC)),
    (uuid.UUID, "12345678123456781234567812345678", uuid.UUID("12345678123456781234567812345678")),
    (Note, {"title": "x", "tags": [{"name": "y"}], "unknown": 1}, Note("x", [Tag("y")])),
    (Note, {"title": "x", "id": 5}, Note("x")),
    (Node, {"value": 1, "next": {"value": 2}}, Node(1, Node(2))),
    (Node, {"value": 1, "other": {"text": "a"}}, Node(1, other=Leaf("a"))),
    (Filter, {"page": 1}, {"page": 1}),
]

FITS_NOT: list[tuple[Any, Any, str]] = [
    (str, 1, "the data is not text"),
    (int, True, "the data is not an integer"),
    (int, "1", "the data is not an integer"),
    (int, 1.5, "the data is not an integer"),
    (float, 10**400, "the data is too large"),
    (bool, 1, "the data is not true or false"),
    (Literal[1, "a"], True, "the data is not one of: 1, a"),
    (Colour, "green", "the data is not one of: red, 1"),
    (int | None, "x", "the data is not an integer"),
    (int | bool, "x", "the data is none of: int, bool"),
    (list[int], "12", "the data is not a list"),
    (list[int], [1, "a", 2, None], "1 is not an integer; 3 is not an integer"),
    (tuple[int, str], [1], "the data has 1 elements, not 2"),
    (dict[str, int], {"a": "b"}, "a is not an integer"),
    (datetime.date, "yesterday", "the data is not a date, such as 2026-11-28"),
    (Note, {}, "title is missing"),
    (Note, [], "the data is not an object"),
    (Note, {"title": ""}, "the data has no title"),
    (Note, {"title": 1, "tags": [{"name": "a"}, {}], "pinned": 1}, "title is not text; tags.1.name is missing; "
     "pinned is not true or false"),
    (Filter, {"tag": "a"}, "page is missing; tag is not a list"),
    (set[Any], [[]], "the data holds what cannot be in a set"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value", "expected"), FITS, ids=repr)
def test_what_is_read_can_be_sent(kind: Any, value: Any, expected: Any) -> None:
    """`send_json` writes each type that `json(kind)` makes, so that it is read as the same value."""
    assert convert(loads(dumps(expected)), kind) == expected


def test_models_of_libraries_can_be_sent() -> None:
    pydantic = pytest.importorskip("pydantic")
    msgspec = pytest.importorskip("msgspec")
    model = pydantic.create_model("Model", at=(datetime.date, ...), tags=(set[int], ...))
    struct = msgspec.defstruct("Struct", [("at", datetime.date), ("tags", set[int])])
    fields = {"at": datetime.date(2026, 11, 28), "tags": {3}}
    expected = b'{"one":{"at":"2026-11-28","tags":[3]},"two":[{"at":"2026-11-28","tags":[3]}]}'
    assert dumps({"one": model(**fields), "two": [struct(**fields)]}) == expected


def test_sets_have_one_order() -> None:
    """Otherwise each worker would send another text, since hashes of text differ between processes."""
    assert dumps({"c", "a", "b"}) == b'["a","b","c"]'


@pytest.mark.parametrize(("kind", "value", "expected"), FITS)
def test_what_fits(kind: Any, value: Any, expected: Any) -> None:
    converted = convert(value, kind)
    assert converted == expected
    assert type(converted) is type(expected)


def test_alternatives_are_tried_in_their_order() -> None:
    """Types that differ in the order only are equal for Python; the first use must not decide for the others."""
    date = datetime.date(2026, 11, 28)
    for _ in range(2):
        assert [type(convert(1, kind)) for kind in (int | float, float | int)] == [int, float]
        assert convert(str(date), str | datetime.date) == str(date)
        assert convert(str(date), datetime.date | str) == date
        assert convert([str(date)], list[str | datetime.date]) == [str(date)]
        assert convert([str(date)], list[datetime.date | str]) == [date]


def test_a_converter_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each evaluation of ``list[Tag]`` makes an object of its own."""
    assert convert([{"name": "a"}], list[Tag]) == [Tag("a")]
    built: list[Any] = []
    monkeypatch.setattr("aiohttpd.handlers.typed._list", lambda *given: built.append(given))
    assert convert([{"name": "b"}], list[Tag]) == [Tag("b")]
    assert not built


def test_a_note_at_a_type_need_not_be_hashable() -> None:
    for _ in range(2):
        assert convert([1], list[Annotated[int, {"a": []}]]) == [1]


def test_values_that_are_equal_are_not_one_type() -> None:
    for allowed, refused in ((1, True), (True, 1)) * 2:
        kind: Any = list[Literal[allowed]]  # type: ignore[valid-type]
        assert convert([allowed], kind) == [allowed]
        with pytest.raises(InvalidData):
            convert([refused], kind)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there is no statement 'type'")
def test_a_recursive_alias() -> None:
    names: dict[str, Any] = {}
    exec("type Tree = int | list[Tree]", names)
    assert convert([1, [2, [3]]], names["Tree"]) == [1, [2, [3]]]
    with pytest.raises(InvalidData):
        convert([1, ["a"]], names["Tree"])


def test_keys_that_json_cannot_have() -> None:
    for key in ((1, 2), b"a", Tag):
        with pytest.raises(TypeError, match="keys must be"):
            dumps({key: 1})


@pytest.mark.parametrize(("kind", "value", "reasons"), FITS_NOT)
def test_what_does_not_fit_is_told_with_its_place(kind: Any, value: Any, reasons: str) -> None:
    with pytest.raises(InvalidData) as caught:
        convert(value, kind)
    assert caught.value.status == 422
    assert caught.value.explain == reasons


def test_a_query_or_a_form_is_text() -> None:
    query = MultiMap(
        [("page", "2"), ("tag", "a"), ("tag", "b"), ("limit", ""), ("since", "2026-11-28"), ("deep", "on")]
    )
    assert convert(query, Query, text=True) == Query(2, None, ["a", "b"], datetime.date(2026, 11, 28), True)
    assert convert(query, Filter, text=True) == {"page": 2, "tag": ["a", "b"]}
    assert convert(MultiMap([]), Query, text=True) == Query()
    with pytest.raises(InvalidData) as caught:
        convert(MultiMap([("page", "1_000")]), Query, text=True)
    assert caught.value.explain == "page is not an integer"


def test_a_number_of_text_is_finite() -> None:
    """As in JSON; an infinity could not be sent as JSON either."""
    assert convert("1e300", float, text=True) == 1e300
    for text in ("1e999", "-1e999", "9" * 400):
        with pytest.raises(InvalidData) as caught:
            convert(text, float, text=True)
        assert caught.value.explain == "the data is too large"


def test_types_that_data_cannot_be() -> None:
    """An error of the program, not of its clients."""
    for kind in (bytes, complex, type, datetime.timedelta, Path, list[Path], Note | Path):
        for text in (False, True):
            with pytest.raises(TypeError, match="cannot be converted"):
                convert("a", kind, text=text)


class Later(TypedDict, total=False):
    """Its annotations are text, as with ``from __future__ import annotations``."""

    a: "Required[int]"
    b: "Annotated[Required[int], 'noted']"
    c: "int"


class Whole(TypedDict):
    a: "NotRequired[int]"
    b: "Annotated[NotRequired[int], 'noted']"
    c: "int"


class Both(Later):
    d: "int"
    e: "NotRequired[int]"


@pytest.mark.parametrize(("kind", "required"), [(Later, "ab"), (Whole, "c"), (Both, "abd")])
def test_required_in_annotations_that_are_text(kind: Any, required: str) -> None:
    """FAULT: what is Required could be missing, since Python does not look into such annotations."""
    whole = dict.fromkeys(required, 1)
    assert convert(whole, kind) == whole
    with pytest.raises(InvalidData) as refused:
        convert({}, kind)
    assert [problem.place for problem in refused.value.problems] == [(name,) for name in required]


def test_abstract_classes_take_their_instances() -> None:
    assert convert([1, "a"], MutableSequence) == [1, "a"]  # type: ignore[type-abstract]
    with pytest.raises(InvalidData):
        convert("a", MutableSequence)  # type: ignore[type-abstract]


def test_few_problems_are_told_of_many() -> None:
    with pytest.raises(InvalidData) as caught:
        convert(["a"] * 1000, list[int])
    assert len(caught.value.problems) == 20


def test_an_alternative_in_each_level_does_not_multiply_without_bound() -> None:
    @dataclasses.dataclass
    class Left:
        a: "Left | Right"

    @dataclasses.dataclass
    class Right:
        a: "Left | Right"

    namespace = sys.modules[__name__].__dict__
    namespace.update(Left=Left, Right=Right)
    value: dict[str, Any] = {"a": 1}
    for _ in range(60):
        value = {"a": value}
    with pytest.raises(InvalidData) as caught:
        convert(value, Left)
    assert caught.value.explain == "the data has too many alternatives to be tried"


def test_deep_nesting_is_refused() -> None:
    value: dict[str, Any] = {"value": 1}
    for _ in range(20_000):
        value = {"value": 1, "next": value}
    with pytest.raises(InvalidData) as caught:
        convert(value, Node)
    assert caught.value.explain == "the data is nested too deeply"


def test_the_error_can_be_handed_to_another_process() -> None:
    with pytest.raises(InvalidData) as caught:
        convert({}, Note)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.status, again.problems, again.explain) == (422, caught.value.problems, caught.value.explain)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@examples(400)
@given(JSON, st.sampled_from([kind for kind, _, _ in [*FITS, *FITS_NOT]]))
def test_whatever_comes_it_is_converted_or_refused(value: Any, kind: Any) -> None:
    for text in (False, True):
        with contextlib.suppress(InvalidData):
            convert(value, kind, text=text)


class Typed(aiohttpd.BaseHTTPRequestHandler):
    async def do_POST(self) -> None:
        note = await self.json(Note)
        self.send_json(dataclasses.asdict(note) | {"colour": None})

    async def do_GET(self) -> None:
        query = self.query_as(Query)
        self.send_text(f"{query.page} {query.tag}")

    async def do_PUT(self) -> None:
        upload = await self.form_as(Upload)
        self.send_text(f"{upload.number} {(await upload.file.read()).decode()}")


@dataclasses.dataclass
class Upload:
    number: int
    file: aiohttpd.UploadedFile


async def answered(method: str, target: str, content: bytes = b"", kind: str = "application/json") -> tuple[int, str]:
    head = f"{method} {target} HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n"
    (response,) = split(await exchange(Typed, head.encode() + content))
    return response.status, response.body.decode()


async def test_in_a_handler() -> None:
    assert await answered("POST", "/", b'{"title": "x"}') == (
        200, '{"title":"x","tags":[],"pinned":false,"colour":null,"id":0}',
    )  # fmt: skip
    status, page = await answered("POST", "/", b'{"tags": [{}]}')
    assert status == 422
    assert "title is missing; tags.0.name is missing" in page
    assert await answered("GET", "/?page=3&tag=a&tag=b") == (200, "3 ['a', 'b']")
    assert (await answered("GET", "/?page=x"))[0] == 422


async def test_large_content_is_converted_as_small_is() -> None:
    tags = b",".join([b'{"name": "n"}'] * 5000)
    assert (await answered("POST", "/", b'{"title": "x", "tags": [%b]}' % tags))[0] == 200
    status, page = await answered("POST", "/", b'{"title": "x", "tags": [%b, {}]}' % tags)
    assert status == 422
    assert "tags.5000.name is missing" in page


async def test_a_form_with_a_file() -> None:
    parts = (
        b'--x\r\nContent-Disposition: form-data; name="number"\r\n\r\n7\r\n'
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhello\r\n--x--\r\n'
    )
    assert await answered("PUT", "/", parts, "multipart/form-data; boundary=x") == (200, "7 hello")
    assert (await answered("PUT", "/", b"number=7", "application/x-www-form-urlencoded"))[0] == 422
    status, page = await answered("PUT", "/", b"number=7&file=a", "application/x-www-form-urlencoded")
    assert status == 422
    assert "file is not a file" in page


def test_models_of_pydantic() -> None:
    pydantic = pytest.importorskip("pydantic", reason="needs pydantic: pip install pydantic")

    class Model(pydantic.BaseModel):  # type: ignore[misc, name-defined]
        page: int
        tag: list[str] = []
        tags: list[str] = pydantic.Field([], alias="label")

    assert convert({"page": 1}, Model) == Model(page=1)
    query = MultiMap([("page", "1"), ("label", "a"), ("label", "b")])
    assert convert(query, Model, text=True).tags == ["a", "b"]
    assert convert(MultiMap([("page", "1"), ("tag", "a"), ("tag", "b")]), Model, text=True) == Model(
        page=1, tag=["a", "b"]
    )
    with pytest.raises(InvalidData) as caught:
        convert({"page": "x", "tag": [1]}, Model)
    assert [problem.place for problem in caught.value.problems] == [("page",), ("tag", 0)]


def test_long_names_are_cut_in_problems() -> None:
    """FAULT: 900 KB of JSON got an answer of 18 MB: each of 20 problems repeated the name around it."""
    longest, name = "k" * 100, "k" * 100_000
    with pytest.raises(InvalidData) as caught:
        convert({name: dict.fromkeys(map(str, range(30)), "x"), longest: {"a": 1}}, dict[str, dict[str, int]])
    problems = caught.value.problems
    assert [problem.place for problem in problems] == [(f"{longest}...", str(number)) for number in range(20)]
    with pytest.raises(InvalidData) as caught:
        convert({longest: {"a": "x"}}, dict[str, dict[str, int]])
    assert caught.value.problems[0].place == (longest, "a")


def test_structs_of_msgspec() -> None:
    msgspec = pytest.importorskip("msgspec", reason="needs msgspec: pip install msgspec")

    class Struct(msgspec.Struct):  # type: ignore[misc, name-defined]
        page: int
        tag: list[str] = []
        tags: list[str] = msgspec.field(name="label", default_factory=list)
        counts: dict[int, int] = {}  # the keys of JSON are text

    assert convert({"page": 1}, Struct) == Struct(1)
    assert convert({"page": 1, "counts": {"5": 7}}, Struct).counts == {5: 7}
    query = MultiMap([("page", "1"), ("label", "a"), ("label", "b")])
    assert convert(query, Struct, text=True).tags == ["a", "b"]
    with pytest.raises(InvalidData) as caught:
        convert({"page": 1, "counts": {"x": 7}}, Struct)
    assert caught.value.problems[0].place == ("counts",)
    assert convert(MultiMap([("page", "1"), ("tag", "a")]), Struct, text=True) == Struct(1, ["a"])
    with pytest.raises(InvalidData) as caught:
        convert({"page": 1, "tag": ["a", 2]}, Struct)
    assert caught.value.problems[0].place == ("tag", 1)
    assert caught.value.problems[0].reason == "Expected `str`, got `int`"
    for value in ({"page": "\ud800"}, {"\ud800": 1}, "\ud800"):  # a client can send it as an escape
        with pytest.raises(InvalidData) as caught:
            convert(value, Struct)
        assert "lone surrogate" in caught.value.problems[0].reason
