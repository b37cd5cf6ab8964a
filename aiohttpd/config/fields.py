"""Each option of a server, described once: name, default, unit, help text, flag, environment variable.

The flags in ``--help``, the variables ``AIOHTTPD_*`` and the tables of the documentation are made from the fields of
`Config`. The class holds plain values only; sockets, TLS contexts and Apps belong to the objects that use the options.
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple, NoReturn

from .hosts import AllowedHosts
from .trust import TrustedProxies, read_fields

__all__ = ["Config", "Option", "Preset", "misspelt_variables", "nearest", "options", "read_size"]

KIB = 1024
MIB = 1024 * KIB
# Beginnings of names of options that must not be 0: a server could then serve nobody.
_POSITIVE = (
    "timeout_head",
    "timeout_body",
    "timeout_handshake",
    "websocket_close_timeout",
    "limit_",
    "worker_threads",
    "backlog",  # for 0, asyncio accepts no connection
)
# Segments of RFC 3986 section 3.3, none of them empty: redirects of a Router begin with it.
_is_root_path = re.compile(r"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})++)*+").fullmatch
_COUNTS = ("backlog", "limit_fields", "limit_elements")  # numbers for listen() and for regular expressions
_MOST_COUNT = 2**31 - 1
_MOST = 2**63 - 1  # bytes that a file can have
_PREFIX = "AIOHTTPD_"
_OF_COMMAND = (  # variables of options of the command
    "BIND", "PORT", "WORKERS", "RELOAD", "AUTH", "UPLOAD_AUTH", "INTERFACE", "FACTORY", "APP_DIR", "LIFESPAN",
)  # fmt: skip
_MULTIPLES = {"k": KIB, "m": MIB, "g": 1024 * MIB}


class Preset(int):
    """A default value; the same number set by the program or its user is a plain ``int``."""


def _option(default: Any, text: str, *, unit: str = "", group: str, one: str = "") -> Any:
    return dataclasses.field(default=default, metadata={"help": text, "unit": unit, "group": group, "one": one})


# Fields of `Config`, by the group that `--help` shows them in: ``_timeout(default, help text)``.
_log = partial(_option, group="Logs and metrics")
_response = partial(_option, group="Responses")
_timeout = partial(_option, group="Timeouts", unit="seconds")
_worker = partial(_option, group="Workers")
_limit = partial(_option, group="Limits")
_size = partial(_option, group="Limits", unit="bytes")
_websocket = partial(_option, group="WebSockets")
_proxy = partial(_option, group="Proxies")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """All options of a server. It is immutable; `dataclasses.replace` makes a changed copy.

    ::

        config = Config(timeout_idle=15, limit_body=1024 * 1024)

    Durations are in seconds, sizes in bytes.

    Raises:
        TypeError: an option has a wrong type, or is unknown.
        ValueError: an option is out of its range; the text names it.
    """

    access_log: bool = _log(True, "write one line for each response on stderr")
    access_log_format: str = _log(
        "http.server", "http.server, common, combined, json, none, or a line with {fields}", unit="format"
    )
    metrics: str = _log(
        "",
        "path of a page with metrics for Prometheus, or HOST:PORT of a server that has them at /metrics",
        unit="path or address",
    )
    health: str = _log("", "path of a page that answers 200, and 503 when the server drains", unit="path")
    server_header: bool = _response(True, "send the Server field")
    debug: bool = _response(False, "show tracebacks in the browser, on loopback only, while you write a program")

    timeout_head: float = _timeout(10.0, "time for a request head, from its first byte (408)")
    timeout_body: float = _timeout(30.0, "how long a request body may be slower than min_rate (408)")
    timeout_write: float = _timeout(
        30.0, "how long a client may read slower than min_rate; then the connection is reset"
    )
    timeout_idle: float = _timeout(75.0, "how long a keep-alive connection may stay without a request")
    timeout_handshake: float = _timeout(10.0, "time for the TLS handshake")
    timeout_handler: float = _timeout(0.0, "time for a handler to begin its response (503); 0: no limit")
    timeout_linger: float = _timeout(2.0, "how long to wait for the client to close after a refusal")
    timeout_drain_idle: float = _timeout(1.0, "how long an idle connection stays open while the server drains")
    timeout_grace: float = _timeout(10.0, "time for requests in flight when the server stops")
    shutdown_delay: float = _timeout(
        0.0, "how long to go on accepting after the signal to stop, until load balancers know"
    )
    timeout_retire: float = _worker(300.0, "time for requests in flight when a worker is replaced", unit="seconds")
    timeout_retire_idle: float = _worker(
        5.0, "how long an idle connection stays open when a worker is replaced", unit="seconds"
    )
    timeout_heartbeat: float = _worker(
        30.0, "how long a worker's event loop may hang before the worker is replaced; 0: no limit", unit="seconds"
    )
    recycle_requests: int = _worker(0, "replace a worker after about this number of requests; 0: never")
    recycle_age: float = _worker(0.0, "replace a worker after about this time; 0: never", unit="seconds")
    recycle_rss: int = _worker(0, "replace a worker that uses about this much memory; 0: never", unit="bytes")
    processes: int = _worker(0, "processes of each worker for run_in_process; 0: the cores divided among the workers")

    min_rate: int = _limit(
        240,
        "slowest rate of a request body or of a client that reads; 0: one byte within the timeout is enough",
        unit="bytes/second",
    )
    limit_request_line: int = _size(16 * KIB, "length of the request line (414)")
    limit_field: int = _size(16 * KIB, "length of one header field (431)")
    limit_head: int = _size(64 * KIB, "length of the whole head, trailers included (431)")
    limit_fields: int = _limit(128, "number of header fields, trailers included (431)")
    limit_elements: int = _limit(1000, "number of elements in list fields: Cookie, Accept, Forwarded ... (431)")
    limit_body: int = _size(
        Preset(64 * MIB),
        "size of a request body that a handler reads (413); for handlers of http.server only if it is set",
    )
    limit_json: int = _size(MIB, "size of a request body that a handler reads as JSON (413)")
    limit_chunk_extension: int = _size(KIB, "size of the extensions of one chunk (400)")
    limit_chunk_extensions: int = _size(16 * KIB, "size of the extensions of all chunks of a body (400)")
    limit_discard: int = _size(
        64 * KIB, "rest of an unread body, framing included, that is read to keep the connection"
    )
    limit_unsent: int = _size(64 * MIB, "bytes of responses that may wait for a slow client in one connection")
    max_connections: int = _limit(0, "open connections of a process, more get 503; 0: no limit")
    max_in_flight: int = _limit(0, "requests of a process at a time, more get 503; 0: no limit")
    max_background: int = _limit(1000, "coroutines of background() and after() of a process at a time, more get 503")
    worker_threads: int = _limit(256, "threads for handlers that are not asynchronous")
    limit_queue: int = _limit(1024, "requests that may wait for a thread (503)")
    limit_spools: int = _size(
        512 * MIB, "disk space for data between threads and clients; request bodies may use a quarter of it (503)"
    )
    backlog: int = _limit(2048, "connections that may wait to be accepted")
    reuse_port: bool = _limit(False, "share the port with other servers of this user; a port in use is no error then")

    websocket_ping_interval: float = _websocket(
        20.0, "how long a WebSocket may be silent in one direction before a ping is sent; 0: no pings", unit="seconds"
    )
    websocket_ping_timeout: float = _websocket(
        20.0, "time for anything to arrive after a ping (1011); 0: no limit", unit="seconds"
    )
    websocket_close_timeout: float = _websocket(
        10.0, "time for the client to answer a Close frame; then the connection is closed", unit="seconds"
    )
    limit_websocket_message: int = _websocket(
        16 * MIB, "size of one message of a WebSocket, after decompression (1009)", unit="bytes"
    )
    limit_websocket_frames: int = _websocket(100_000, "number of frames of one message of a WebSocket (1008)")
    limit_websocket_queue: int = _websocket(
        256 * KIB, "messages that wait for a handler; above it, reading from the client pauses", unit="bytes"
    )

    root_path: str = _proxy(
        "",
        "prefix of all paths, percent-encoded, that a proxy removes; ASGI's root_path, WSGI's SCRIPT_NAME",
        unit="path",
    )
    hosts: str = _proxy(
        "",
        "names that a server on a loopback address accepts beside localhost and addresses (421); *: any name",
        unit="names",
        one="--host",
    )
    trusted_proxies: str = _proxy(
        "", "proxies that are trusted to name the client: addresses, networks, unix:", unit="networks"
    )
    trusted_fields: str = _proxy(
        "X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, X-Forwarded-Port",
        "fields that these proxies set; or Forwarded",
        unit="fields",
    )
    proxy_protocol: bool = _proxy(False, "these proxies send a header of the PROXY protocol, version 1 or 2, first")

    def __post_init__(self) -> None:
        for option in options():
            value: Any = getattr(self, option.name)
            kind: Any = option.type
            if not isinstance(value, kind) and not (option.type is float and type(value) is int):
                raise TypeError(f"{option.name} is {_TYPES[option.type]}, not {value!r}")
            if option.type is not str:  # texts are checked below, or by the modules that use them
                _check_number(option.name, value)
        AllowedHosts(self.hosts)
        read_fields(self.trusted_fields)
        if self.trusted_proxies:
            TrustedProxies(self.trusted_proxies)
        elif self.proxy_protocol:
            raise ValueError("proxy_protocol needs trusted_proxies: the addresses of the proxies that use it")

        if not _is_root_path(self.root_path):
            raise ValueError(
                f"root_path is a path as it stands in URLs, with no slash at its end: '/app', not {self.root_path!r}"
            )

        if self.health and not self.health.startswith("/"):
            raise ValueError(f"health must be a path that begins with a slash, not {self.health!r}")
        if self.health and self.health == self.metrics:
            raise ValueError(f"health and metrics cannot both be {self.health}")

    @classmethod
    def from_options(cls, given: Mapping[str, Any], environment: Mapping[str, str]) -> "Config":
        """Make a `Config` for a program: each option as given, else from the environment, else its default.

        The default of ``hosts`` is ``localhost`` here, since `run` and the command protect a server on a loopback
        address against DNS rebinding. An embedded `HTTPServer` has no such default.

        Args:
            given: options by name.
            environment: environment variables by name, ``os.environ`` for example.

        Raises:
            TypeError: an option is unknown; the text names the nearest one.
            ValueError: a variable cannot be read, or a value is out of its range.
        """
        values: dict[str, Any] = {}
        for option in options():
            text = environment.get(option.variable, "")
            if text.strip():  # an empty variable counts as unset
                values[option.name] = option.parse(text, option.variable)
        for name, value in given.items():
            if name not in cls.__dataclass_fields__:
                _unknown(name)
            values[name] = value
        return cls(**values | {"hosts": values.get("hosts") or "localhost"})


def _check_number(name: str, value: float) -> None:
    most = _MOST_COUNT if name in _COUNTS else _MOST
    if type(value) is not float and value > most:
        raise ValueError(f"{name} must be at most {most}, not {value}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, not {value!r}")
    positive = name.startswith(_POSITIVE)
    if value < 0 or (value == 0 and positive):
        raise ValueError(f"{name} must be {'positive' if positive else '0 or more'}, not {value:g}")


def read_size(text: str) -> int:
    """Read a number of bytes: ``65536``, ``64k``, ``1M`` or ``2G``.

    Raises:
        ValueError: the text is not one.
    """
    if text[-1:].lower() in _MULTIPLES:
        return int(text[:-1]) * _MULTIPLES[text[-1].lower()]
    return int(text)


class Option(NamedTuple):
    """One option, as its field in `Config` describes it.

    Attributes:
        name: the field.
        type: the type of its value.
        default: its default value.
        help: what it is for.
        unit: the unit of its value; empty if it has none.
        group: the heading in ``--help``.
        one: the flag that gives one value of a list, and may be repeated; empty if there is none.
    """

    name: str
    type: type
    default: Any
    help: str
    unit: str
    group: str
    one: str = ""

    @property
    def flag(self) -> str:
        """The flag on the command line, for example ``--timeout-head``."""
        return self.one or "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment variable, for example ``AIOHTTPD_TIMEOUT_HEAD``."""
        return _PREFIX + self.name.upper()

    def parse(self, text: str, name: str = "") -> Any:
        """Read a value from a text: ``yes``, ``2.5``, ``64k``, ``1M``.

        Args:
            text: the text.
            name: what the message of an error names, by default the field.

        Raises:
            ValueError: the text is not such a value.
        """
        try:
            if self.type is bool:
                return _BOOLS[text.lower()]
            return read_size(text) if self.type is int else self.type(text)
        except (KeyError, ValueError):
            raise ValueError(f"{name or self.name}: {text!r} is not {_KINDS[self.type]}") from None


_TYPES = {bool: "a bool", int: "an int", float: "a float or an int", str: "a str"}
_BOOLS = {**dict.fromkeys(("1", "true", "yes", "on"), True), **dict.fromkeys(("0", "false", "no", "off"), False)}
_KINDS = {bool: "yes or no", int: "a whole number (64k and 1M may be written)", float: "a number"}


def options() -> Iterator[Option]:
    """All options, in the order of the fields of `Config`."""
    for field in dataclasses.fields(Config):
        kind = field.type if isinstance(field.type, type) else type(field.default)
        yield Option(field.name, kind, field.default, **field.metadata)


def misspelt_variables(environment: Mapping[str, str], flags: Iterable[str] = ()) -> list[str]:
    """Warnings about variables that begin with ``AIOHTTPD_`` and are no option.

    They are no errors, since another program may use such a variable.

    Args:
        environment: the variables.
        flags: options of the command line that have no variable, such as ``--tls-cert``.
    """
    flag_of = {_PREFIX + flag.strip("-").replace("-", "_").upper(): flag for flag in flags}
    known = [option.variable for option in options()] + [_PREFIX + name for name in _OF_COMMAND]
    told = []
    for name, text in environment.items():
        if not text or not name.upper().startswith(_PREFIX) or name in known:
            continue
        if flag := flag_of.get(name.upper()):
            told.append(f"{name} is ignored: {flag} can be given on the command line only")
        else:
            near = nearest(name.upper(), known, 0.8)
            told.append(
                f"{name} is not an option of aiohttpd" + (f"; did you mean {near}?" if near else ", and is ignored")
            )
    return told


def nearest(name: str, known: Iterable[str], likeness: float) -> str | None:
    """The name that is most like another one, which may be a misspelling of it; None if none is like it."""
    import difflib  # needed for error messages only

    return next(iter(difflib.get_close_matches(name, known, 1, likeness)), None)


def _unknown(name: str) -> NoReturn:
    if name == "config":
        raise TypeError("no option 'config': write the options themselves as keywords, such as timeout_idle=15")
    near = nearest(name, Config.__dataclass_fields__, 0.6)
    raise TypeError(f"no option {name!r}" + (f"; did you mean {near!r}?" if near else ""))
