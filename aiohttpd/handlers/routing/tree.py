"""The tree of routes: one node for each segment, so that a match costs by the length of the path.

Owns how a route is found, and which routes cannot stand beside each other. It knows no requests and no Apps.

Of all routes that match a path the most specific wins, whatever the order in which they were added: a literal segment
before a parameter, a converter before plain text, both before what takes any path. Two routes that have paths in common
of which neither is more specific than the other are refused when the second is added, as by Go's ServeMux.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Generic, NamedTuple, TypeVar

from .pattern import CONVERTERS, NO_MATCH, Converter, End, Param, Pattern, Relation, compare

__all__ = ["Found", "Tree"]

T = TypeVar("T")

_FEW = 32  # patterns that a new one is compared with one by one


class Found(NamedTuple, Generic[T]):
    """A route that matches.

    Attributes:
        pattern: of the route.
        route: what was added with it.
        values: of the parameters but the rest, in their order.
        used: how many segments its pattern has; the others are the rest.
    """

    pattern: Pattern
    route: T
    values: tuple[Any, ...]
    used: int


class _Node(Generic[T]):
    """What may follow the segments up to here.

    Attributes:
        literals: by the text of the next segment.
        params: by converter, the more specific first.
        ends: the routes that end here: without a slash, with one, and with any path.
    """

    __slots__ = ("ends", "literals", "params")

    def __init__(self) -> None:
        self.literals: dict[str, _Node[T]] = {}
        self.params: list[tuple[Converter, _Node[T]]] = []
        self.ends: dict[End, tuple[Pattern, T]] = {}

    def child(self, segment: str | Param) -> "_Node[T]":
        """The node for a segment, made if it is not there."""
        if isinstance(segment, str):
            return self.literals.setdefault(segment, _Node())
        for converter, node in self.params:
            if converter is segment.converter:
                return node
        made: _Node[T] = _Node()
        self.params.append((segment.converter, made))
        self.params.sort(key=lambda param: param[0] is CONVERTERS["str"])
        return made

    def find(self, segments: Sequence[str], at: int, values: tuple[Any, ...]) -> Found[T] | None:
        """The most specific route below this node for the segments from ``at`` on."""
        if at == len(segments):
            end = self.ends.get(End.NOTHING)
            return None if end is None else Found(*end, values, at)
        segment = segments[at]
        if segment or at + 1 < len(segments):
            child = self.literals.get(segment)
            found = None if child is None else child.find(segments, at + 1, values)
            if found is not None:
                return found
            for converter, child in self.params:
                value = converter.read(segment)
                if value is not NO_MATCH:
                    found = child.find(segments, at + 1, (*values, value))
                    if found is not None:
                        return found
        elif End.SLASH in self.ends:
            return Found(*self.ends[End.SLASH], values, at)
        end = self.ends.get(End.MOUNT)
        return None if end is None else Found(*end, values, at)

    def in_common(self, pattern: Pattern, at: int) -> Iterator[Pattern]:
        """The patterns below this node that may have paths in common with one, from its segment ``at`` on."""
        if at == len(pattern.segments):
            if pattern.end.is_open:
                yield from self.all()
            else:
                yield from (other for other, _ in self.ends.values())
            return
        if End.MOUNT in self.ends:
            yield self.ends[End.MOUNT][0]
        segment = pattern.segments[at]
        if isinstance(segment, Param):
            children = self.children()
        else:
            same = [self.literals[segment]] if segment in self.literals else []
            children = [*same, *(node for _, node in self.params)]
        for child in children:
            yield from child.in_common(pattern, at + 1)

    def all(self) -> Iterator[Pattern]:
        """All patterns that end here or below."""
        yield from (pattern for pattern, _ in self.ends.values())
        for child in self.children():
            yield from child.all()

    def children(self) -> "list[_Node[T]]":
        """The nodes that follow."""
        return [*self.literals.values(), *(node for _, node in self.params)]


class Tree(Generic[T]):
    """Routes by their patterns, of one host."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()
        self._index = _Index()

    def add(self, pattern: Pattern, route: T) -> None:
        """Add a route.

        Raises:
            ValueError: there is one for the same paths, or one that contradicts it; the text names both.
        """
        others = self._index.candidates(pattern)
        if others is None:
            others = self._root.in_common(pattern, 0)
        for other in others:
            _check(pattern, other)
        self._index.add(pattern)
        node = self._root
        for segment in pattern.segments:
            node = node.child(segment)
        node.ends[End.MOUNT if pattern.end.is_open else pattern.end] = pattern, route

    def find(self, segments: Sequence[str]) -> Found[T] | None:
        """The most specific route for a path, given by `split_path`; None if there is none."""
        return self._root.find(segments, 0, ())


class _Index:
    """All patterns by what they have at one place, to find the few that can have a path in common with another.

    The tree is fast where a pattern begins with literal segments, and the index where it begins with parameters.
    """

    def __init__(self) -> None:
        self._literals: defaultdict[tuple[int, str], list[Pattern]] = defaultdict(list)
        self._params: defaultdict[int, list[Pattern]] = defaultdict(list)
        self._open: defaultdict[int, list[Pattern]] = defaultdict(list)  # those that any path may follow, by length

    def add(self, pattern: Pattern) -> None:
        for at, segment in enumerate(pattern.segments):
            if isinstance(segment, str):
                self._literals[at, segment].append(pattern)
            else:
                self._params[at].append(pattern)
        if pattern.end.is_open:
            self._open[len(pattern.segments)].append(pattern)

    def candidates(self, pattern: Pattern) -> Iterable[Pattern] | None:
        """The patterns that fit one at the place where the fewest do; None if these are many."""
        for at, segment in enumerate(pattern.segments):
            if isinstance(segment, str):
                shorter = [self._open[length] for length in range(at + 1) if length in self._open]
                lists = [self._literals.get((at, segment), []), self._params.get(at, []), *shorter]
                if sum(map(len, lists)) <= _FEW:
                    return chain.from_iterable(lists)
        return None


def _check(pattern: Pattern, other: Pattern) -> None:
    relation = compare(pattern, other)
    if relation is Relation.EQUAL:
        raise ValueError(f"the routes {other.text!r} and {pattern.text!r} are for the same paths")
    if relation is Relation.OVERLAP:
        raise ValueError(
            f"the routes {other.text!r} and {pattern.text!r} contradict each other: some paths match both, and neither "
            "is more specific"
        )
