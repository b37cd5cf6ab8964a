"""Metrics: counters of one process, their sum over several processes, and the text format of Prometheus.

Owns the names of the metrics, and the form of a snapshot: plain data, which workers send to the supervisor as JSON.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import accumulate
from time import perf_counter
from typing import Any, Protocol

from ..engine.interfaces import Answer
from ..engine.states import CLOSED, ConnectionState
from ..wire.request import Request

__all__ = ["CONTENT_TYPE", "Metrics", "Snapshot", "merge", "prometheus_text"]

# The result of `Metrics.snapshot`: dicts by label, lists by bucket, and numbers. All of them can be summed.
Snapshot = dict[str, Any]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Methods of RFC 9110 and 5789, and of WebDAV (RFC 4918). All others are one label, since a client may invent them.
_METHODS = frozenset((
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
    "PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK",
))  # fmt: skip
_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # seconds
_SHORTEST = _BOUNDS[0]
_FOLDED = 256  # durations of one label that are counted together

_REASONS = {
    400: "malformed", 408: "timeout", 414: "line_too_long", 417: "expectation", 431: "head_too_large",
    501: "not_implemented", 505: "version",
}  # fmt: skip


class Sender(Protocol):
    """The output of a connection."""

    @property
    def total(self) -> int: ...


class Counted(Protocol):
    """What metrics need of a connection."""

    @property
    def out(self) -> Sender: ...
    @property
    def state(self) -> ConnectionState: ...


class Metrics:
    """The counters of one server since its start."""

    def __init__(self) -> None:
        # Durations that have not been counted yet, by method and status: counting many together costs less.
        self._waiting: dict[str, dict[int, list[float]]] = {}
        self._requests: Counter[str] = Counter()
        self._buckets = [0] * (len(_BOUNDS) + 1)  # not cumulative; the last one has no upper bound
        self._seconds = 0.0
        self._content_received = 0
        self._aborted = 0
        self._refusals: Counter[str] = Counter()
        self.websockets = 0  # open ones
        self.messages_received = self.messages_sent = 0  # of WebSockets
        # Of closed connections.
        self._closed = 0
        self._sent = 0

    def answered(self, request: Request, answer: Answer, started: float) -> None:
        """Count a complete answer; ``started`` is the time of its request, by ``perf_counter``."""
        try:
            times = self._waiting[request.method][answer.status]
        except KeyError:
            by_status = self._waiting.setdefault(request.method if request.method in _METHODS else "other", {})
            times = by_status.setdefault(answer.status, [])
        times.append(perf_counter() - started)
        if len(times) >= _FOLDED:
            self._fold()
        if request.known_body is not None:
            self._content_received += request.known_body.received

    def refused(self, status: int) -> None:
        """Count bytes that were refused as no valid request, by the status of the answer."""
        self._refusals[_REASONS.get(status, "other")] += 1

    def turned_away(self, limit: str) -> None:
        """Count a connection or request that was refused by ``max_connections`` or ``max_in_flight``."""
        self._refusals[limit] += 1

    def aborted(self) -> None:
        """Count an answer that was not sent completely; it is also counted by its status."""
        self._aborted += 1

    def closed(self, sent: int) -> None:
        """Count a connection that has been closed, and the bytes that were sent on it."""
        self._closed += 1
        self._sent += sent

    def snapshot(self, connections: Iterable[Counted] = (), in_flight: int = 0) -> Snapshot:
        """All counters and gauges as plain data.

        Args:
            connections: the open connections.
            in_flight: the number of requests that are being handled.
        """
        self._fold()
        states = {state.name.lower(): 0 for state in ConnectionState if state is not CLOSED}
        sent = self._sent
        opened = self._closed
        for connection in connections:
            opened += 1
            sent += connection.out.total
            state = connection.state.name.lower()
            if state in states:  # not for a closed connection that still sends
                states[state] += 1
        return {
            "requests": dict(self._requests),
            "buckets": list(accumulate(self._buckets[:-1])),
            "seconds": self._seconds,
            "in_flight": in_flight,
            "connections": states,
            "opened": opened,
            "sent": sent,
            "content_received": self._content_received,
            "aborted": self._aborted,
            "websockets": self.websockets,
            "websocket_messages": {"received": self.messages_received, "sent": self.messages_sent},
            "refusals": dict(self._refusals),
            "worker_restarts": 0,
        }

    def _fold(self) -> None:
        """Count the durations that wait."""
        for method, statuses in self._waiting.items():
            for status, times in statuses.items():
                if times:
                    # Status 0: the connection was closed before an answer was begun.
                    self._requests[f"{method} {status or 'none'}"] += len(times)
                    self._seconds += sum(times)
                    # Where the number of requests is high, nearly all of them are in the first bucket.
                    longer = [time for time in times if time > _SHORTEST]
                    self._buckets[0] += len(times) - len(longer)
                    for time in longer:
                        self._buckets[bisect_left(_BOUNDS, time)] += 1
                    times.clear()


def merge(snapshots: Iterable[Snapshot]) -> Snapshot:
    """Sum snapshots, for example those of all workers of a server."""
    total: Snapshot = {}
    for snapshot in snapshots:
        total = _sum(total, snapshot)
    return total


def _sum(one: Any, other: Any) -> Any:
    if isinstance(other, dict):
        return one | {name: _sum(one[name], value) if name in one else value for name, value in other.items()}
    if isinstance(other, list):
        return [first + second for first, second in zip(one, other, strict=True)]
    return one + other


def prometheus_text(snapshot: Snapshot) -> str:
    """Format a snapshot in the text format of Prometheus, version 0.0.4."""
    return "".join(f"{line}\n" for line in _lines({**Metrics().snapshot(), **snapshot}))


# For each member of a snapshot but the requests: the metric, its label if it has one, type and meaning.
_METRICS = {
    "in_flight": ("requests_in_flight", "", "gauge", "Requests that are being handled."),
    "connections": ("connections", "state", "gauge", "Open connections by what they wait for."),
    "opened": ("connections_total", "", "counter", "Connections that have been opened."),
    "sent": ("sent_bytes_total", "", "counter", "Bytes sent, heads included, TLS not."),
    "content_received": ("received_content_bytes_total", "", "counter", "Bytes of request bodies."),
    "aborted": ("aborted_answers_total", "", "counter", "Responses whose client was gone before their end."),
    "websockets": ("websockets", "", "gauge", "Open WebSockets."),
    "websocket_messages": ("websocket_messages_total", "direction", "counter", "Messages of WebSockets."),
    "refusals": ("refusals_total", "reason", "counter", "What was refused before a handler saw it."),
    "worker_restarts": ("worker_restarts_total", "", "counter", "Workers replaced because they died or hung."),
}


def _lines(snapshot: Snapshot) -> Iterator[str]:
    yield from _requests(snapshot)
    for member, (name, label, kind, meaning) in _METRICS.items():
        yield from _metric(name, kind, meaning)
        if not label:
            yield f"aiohttpd_{name} {snapshot[member]}"
            continue
        for value, count in sorted(snapshot[member].items()):
            yield f'aiohttpd_{name}{{{label}="{value}"}} {count}'


def _requests(snapshot: Snapshot) -> Iterator[str]:
    """The number of requests by method and status, and the histogram of their durations."""
    yield from _metric("requests_total", "counter", "Requests that have been answered.")
    for name, count in sorted(snapshot["requests"].items()):
        method, status = name.split()
        yield f'aiohttpd_requests_total{{method="{method}",status="{status}"}} {count}'
    name = "request_duration_seconds"
    yield from _metric(name, "histogram", "From the head of a request to the end of its response.")
    total = sum(snapshot["requests"].values())
    for bound, count in [*zip(_BOUNDS, snapshot["buckets"], strict=True), ("+Inf", total)]:
        yield f'aiohttpd_{name}_bucket{{le="{bound}"}} {count}'
    yield f"aiohttpd_{name}_sum {snapshot['seconds']}"
    yield f"aiohttpd_{name}_count {total}"


def _metric(name: str, kind: str, meaning: str) -> tuple[str, str]:
    return f"# HELP aiohttpd_{name} {meaning}", f"# TYPE aiohttpd_{name} {kind}"
