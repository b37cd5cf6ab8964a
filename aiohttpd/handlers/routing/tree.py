"""The tree of routes: one node for each segment, so that a search takes time proportional to the length of the path.

Owns the search of a route, and the check for routes that conflict. It knows nothing of requests and Apps.

Of all routes that match a path the most specific one is chosen, in whatever order they were added: a literal segment
before a parameter, a parameter with another converter before ``str``, both before a mount or ``{rest...}``. If two
routes have paths in common and neither is more specific, adding the second raises an error, as in Go's ServeMux.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Generic, NamedTuple, TypeVar

from .pattern import CONVERTERS, NO_MATCH, Converter, End, Param, Pattern, Relation, compare

__all__ = ["Found", "Tree"]

T = TypeVar("T")

_FEW = 32  # with at most so many candidates a new pattern is compared one by one


class Found(NamedTuple, Generic[T]):
    """A route that matches a path.

    Attributes:
        pattern: the pattern of the route.
        route: the object that was added with the pattern.
        values: the values of the parameters in the order of the pattern, without that of ``{rest...}``.
        used: the number of segments that the pattern has matched; the others belong to the mount or ``{rest...}``.
    """

    pattern: Pattern
    route: T
    values: tuple[Any, ...]
    used: int


class _Node(Generic[T]):
    """A node of the tree: the possible continuations after a sequence of segments.

    Attributes:
        literals: the nodes after a literal segment, by its text.
        params: the nodes after a parameter, with its converter; the more specific first.
        ends: the routes that end at this node, by their end: nothing, a slash, or any path.
    """

    __slots__ = ("ends", "literals", "params")

    def __init__(self) -> None:
        self.literals: dict[str, _Node[T]] = {}
        self.params: list[tuple[Converter, _Node[T]]] = []
        self.ends: dict[End, tuple[Pattern, T]] = {}

    def child(self, segment: str | Param) -> "_Node[T]":
        """Return the node after a segment; make it if it does not exist."""
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
        """Return the most specific route below this node.

        Args:
            segments: the segments of the path.
            at: the index of the next segment.
            values: the values of the parameters before.
        """
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
        """Yield the patterns below this node that may have paths in common with a pattern, from segment ``at`` on."""
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
        """Yield all patterns that end at this node or below."""
        yield from (pattern for pattern, _ in self.ends.values())
        for child in self.children():
            yield from child.all()

    def children(self) -> "list[_Node[T]]":
        """Return the child nodes."""
        return [*self.literals.values(), *(node for _, node in self.params)]


class Tree(Generic[T]):
    """The routes of one host, by their patterns."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()
        self._index = _Index()

    def add(self, pattern: Pattern, route: T) -> None:
        """Add a route.

        Raises:
            ValueError: there is a route for the same paths, or one that conflicts with it; the message names both.
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
        """Return the most specific route for a path; None if no route matches.

        Args:
            segments: the path, split by `split_path`.
        """
        return self._root.find(segments, 0, ())


class _Index:
    """All patterns by the segment at each position, to find candidates that may have paths in common with a new one.

    It is fast for patterns that begin with parameters; the tree is fast for those that begin with literal segments.
    """

    def __init__(self) -> None:
        self._literals: defaultdict[tuple[int, str], list[Pattern]] = defaultdict(list)
        self._params: defaultdict[int, list[Pattern]] = defaultdict(list)
        self._open: defaultdict[int, list[Pattern]] = defaultdict(list)  # mounts and {rest...}, by number of segments

    def add(self, pattern: Pattern) -> None:
        for at, segment in enumerate(pattern.segments):
            if isinstance(segment, str):
                self._literals[at, segment].append(pattern)
            else:
                self._params[at].append(pattern)
        if pattern.end.is_open:
            self._open[len(pattern.segments)].append(pattern)

    def candidates(self, pattern: Pattern) -> Iterable[Pattern] | None:
        """Return the patterns that match one literal segment of a pattern, if they are at most `_FEW`; else None."""
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
