"""The one description of every option: default, unit, help, flag, environment name.

``--help``, the variables ``AIOHTTPD_*`` and the table in the README are made from the fields of
`Config`. The class holds plain values only: what is derived from them (sockets, TLS contexts,
the loaded App) lives on what made it.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, NoReturn

from .hosts import AllowedHosts
from .trust import TrustedProxies, read_fields

__all__ = ["Config", "Option", "Preset", "misspelt_variables", "options", "read_size"]

KIB = 1024
MIB = 1024 * KIB
_POSITIVE = (
    "timeout_head",
    "timeout_body",
    "timeout_handshake",
    "limit_",
    "worker_threads",
)  # zero would let nobody in
_PREFIX = "AIOHTTPD_"
_OF_COMMAND = ("BIND", "PORT", "WORKERS", "RELOAD", "AUTH", "UPLOAD_AUTH")  # options of the command that are none here
_MULTIPLES = {"k": KIB, "m": MIB, "g": 1024 * MIB}


class Preset(int):
    """A number that nobody has set: the same one, set by somebody, is a plain ``int``."""


def _option(default: Any, text: str, *, unit: str = "", group: str, one: str = "") -> Any:
    return dataclasses.field(default=default, metadata={"help": text, "unit": unit, "group": group, "one": one})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """All options of a server, immutable; it travels whole.

    Raises:
        ValueError: an option is out of its range; the text names it.
    """

    access_log: bool = _option(True, "write one line on stderr for each answer", group="Seeing")
    access_log_format: str = _option(
        "http.server", "http.server, common, combined, json, none, or one with {fields}", unit="format", group="Seeing"
    )
    metrics: str = _option(
        "", "page with metrics for Prometheus, or HOST:PORT that has it at /metrics", unit="path or address",
        group="Seeing",
    )  # fmt: skip
    health: str = _option("", "page that says 200, and 503 once the server drains", unit="path", group="Seeing")
    server_header: bool = _option(True, "send the Server field", group="Answers")

    timeout_head: float = _option(
        10.0, "for a whole request head, from its first byte (408)", unit="seconds", group="Timeouts"
    )
    timeout_body: float = _option(
        30.0, "a request body may lag behind min_rate (408)", unit="seconds", group="Timeouts"
    )
    timeout_write: float = _option(
        30.0, "the peer may read an answer slower than min_rate, then RST", unit="seconds", group="Timeouts"
    )
    timeout_idle: float = _option(
        75.0, "a kept-alive connection may stay without a request", unit="seconds", group="Timeouts"
    )
    timeout_handshake: float = _option(10.0, "for TLS to be agreed upon", unit="seconds", group="Timeouts")
    timeout_handler: float = _option(
        0.0, "for a handler to begin its answer (503); 0: for ever", unit="seconds", group="Timeouts"
    )
    timeout_linger: float = _option(2.0, "wait for the peer to close after a refusal", unit="seconds", group="Timeouts")
    timeout_drain_idle: float = _option(
        1.0, "keep an idle connection open while the server drains", unit="seconds", group="Timeouts"
    )
    timeout_grace: float = _option(
        10.0, "for requests in flight when the server stops", unit="seconds", group="Timeouts"
    )
    shutdown_delay: float = _option(
        0.0, "go on accepting when told to stop, until load balancers know", unit="seconds", group="Timeouts"
    )
    timeout_retire: float = _option(
        300.0, "for requests in flight when another worker takes over", unit="seconds", group="Workers"
    )
    timeout_retire_idle: float = _option(
        5.0, "keep an idle connection open when another worker takes over", unit="seconds", group="Workers"
    )
    timeout_heartbeat: float = _option(
        30.0, "a worker's loop may stand still before it is replaced; 0: any time", unit="seconds", group="Workers"
    )
    recycle_requests: int = _option(0, "replace a worker after about so many requests; 0: never", group="Workers")
    recycle_age: float = _option(
        0.0, "replace a worker after about this time; 0: never", unit="seconds", group="Workers"
    )
    recycle_rss: int = _option(
        0, "replace a worker that takes about this much memory; 0: never", unit="bytes", group="Workers"
    )
    processes: int = _option(0, "for run_in_process, of each worker; 0: the cores, shared among them", group="Workers")

    min_rate: int = _option(
        240, "slowest rate of a body or an answer; 0: any progress will do", unit="bytes/second", group="Limits"
    )
    limit_request_line: int = _option(16 * KIB, "the request line (414)", unit="bytes", group="Limits")
    limit_field: int = _option(16 * KIB, "one header field (431)", unit="bytes", group="Limits")
    limit_head: int = _option(64 * KIB, "the whole head, trailers included (431)", unit="bytes", group="Limits")
    limit_fields: int = _option(128, "number of header fields, trailers included (431)", group="Limits")
    limit_elements: int = _option(
        1000, "number of elements in fields that are lists: Cookie, Accept, Forwarded ... (431)", group="Limits"
    )
    limit_body: int = _option(
        Preset(64 * MIB), "a request body that a handler reads (413); of http.server's handlers only if set",
        unit="bytes", group="Limits",
    )  # fmt: skip
    limit_json: int = _option(MIB, "a request body that a handler reads as JSON (413)", unit="bytes", group="Limits")
    limit_chunk_extension: int = _option(KIB, "extensions of one chunk (400)", unit="bytes", group="Limits")
    limit_chunk_extensions: int = _option(16 * KIB, "chunk extensions of one body (400)", unit="bytes", group="Limits")
    limit_discard: int = _option(
        64 * KIB,
        "rest of an unread body, framing included, that is read to keep the connection",
        unit="bytes",
        group="Limits",
    )
    limit_unsent: int = _option(
        64 * MIB, "bytes that may wait for a slow peer in one connection", unit="bytes", group="Limits"
    )
    max_connections: int = _option(
        0, "connections of a process at a time, others get 503; 0: any number", group="Limits"
    )
    max_in_flight: int = _option(0, "requests of a process at a time, others get 503; 0: any number", group="Limits")
    worker_threads: int = _option(256, "threads for handlers that are not asynchronous", group="Limits")
    limit_queue: int = _option(1024, "requests that wait for a thread (503)", group="Limits")
    limit_spools: int = _option(
        512 * MIB, "what waits in files between threads and clients; request bodies a quarter of it (503)",
        unit="bytes", group="Limits",
    )  # fmt: skip
    backlog: int = _option(2048, "connections that may wait to be accepted", group="Limits")
    reuse_port: bool = _option(
        False, "share the port with other servers of this user; a taken one is no error then", group="Limits"
    )

    hosts: str = _option(
        "", "that a server on loopback answers to beside localhost and addresses (421); *: any", unit="names",
        group="Proxies", one="--host",
    )  # fmt: skip
    trusted_proxies: str = _option(
        "", "proxies that are believed about the client: addresses, networks, unix:", unit="networks", group="Proxies"
    )
    trusted_fields: str = _option(
        "X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, X-Forwarded-Port",
        "what they set; or Forwarded",
        unit="fields",
        group="Proxies",
    )
    proxy_protocol: bool = _option(False, "they begin with a preamble of the PROXY protocol, 1 or 2", group="Proxies")

    def __post_init__(self) -> None:
        for option in options():
            value: Any = getattr(self, option.name)
            kind: Any = option.type
            if not isinstance(value, kind) and not (option.type is float and type(value) is int):
                raise TypeError(f"{option.name} is a {option.type.__name__}, not {value!r}")
            if option.type is str:
                continue  # whoever reads it says what is wrong with it
            if not math.isfinite(value):
                raise ValueError(f"{option.name} must be a finite number, not {value!r}")
            if value < 0 or (value == 0 and option.name.startswith(_POSITIVE)):
                raise ValueError(f"{option.name} must be positive, not {value!r}")
        AllowedHosts(self.hosts)
        read_fields(self.trusted_fields)
        if self.trusted_proxies:
            TrustedProxies(self.trusted_proxies)
        elif self.proxy_protocol:
            raise ValueError("proxy_protocol: whose? Name them with trusted_proxies")

        if self.health and not self.health.startswith("/"):
            raise ValueError(f"health is a path and begins with a slash, not {self.health!r}")
        if self.health and self.health == self.metrics:
            raise ValueError(f"health and metrics cannot both be {self.health}")

    @classmethod
    def from_options(cls, given: Mapping[str, Any], environment: Mapping[str, str]) -> "Config":
        """Make a `Config` as `run` and the command do: what is given, else the environment, else the default.

        A program of its own minds by which names it is asked (``hosts``); somebody else's decides that itself.

        Raises:
            TypeError: an unknown option; the text names the nearest one.
            ValueError: a variable that cannot be read, or a value out of range.
        """
        values: dict[str, Any] = {}
        for option in options():
            text = environment.get(option.variable, "")
            if text.strip():  # an empty one is as if unset
                values[option.name] = option.parse(text)
        for name, value in given.items():
            if name not in cls.__dataclass_fields__:
                _unknown(name)
            values[name] = value
        return cls(**values | {"hosts": values.get("hosts") or "localhost"})


def read_size(text: str) -> int:
    """Read a whole number, ``64k``, ``1M`` or ``2G``.

    Raises:
        ValueError: it is none.
    """
    if text[-1:].lower() in _MULTIPLES:
        return int(text[:-1]) * _MULTIPLES[text[-1].lower()]
    return int(text)


class Option(NamedTuple):
    """One option as its field describes it."""

    name: str
    type: type
    default: Any
    help: str
    unit: str
    group: str
    one: str = ""  # the flag that gives one value of several, and may be repeated

    @property
    def flag(self) -> str:
        """The flag on the command line, ``--timeout-head`` say."""
        return self.one or "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment variable, ``AIOHTTPD_TIMEOUT_HEAD`` say."""
        return _PREFIX + self.name.upper()

    def parse(self, text: str) -> Any:
        """Read a value as a person writes it: ``yes``, ``2.5``, ``64k``, ``1M``.

        Raises:
            ValueError: the text is no such value; the message names the option.
        """
        try:
            if self.type is bool:
                return {
                    "1": True,
                    "true": True,
                    "yes": True,
                    "on": True,
                    "0": False,
                    "false": False,
                    "no": False,
                    "off": False,
                }[text.lower()]
            return read_size(text) if self.type is int else self.type(text)
        except (KeyError, ValueError):
            raise ValueError(f"{self.name}: {text!r} is no {_KINDS[self.type]}") from None


_KINDS = {bool: "yes or no", int: "whole number (64k and 1M are understood)", float: "number"}


def options() -> Iterator[Option]:
    """Every option of `Config`, in order."""
    for field in dataclasses.fields(Config):
        kind = field.type if isinstance(field.type, type) else type(field.default)
        yield Option(field.name, kind, field.default, **field.metadata)


def misspelt_variables(environment: Mapping[str, str]) -> list[str]:
    """What to tell of variables that look like ours and are none; they may be somebody else's, so they are no error."""
    known = [option.variable for option in options()] + [_PREFIX + name for name in _OF_COMMAND]
    told = []
    for name, text in environment.items():
        if text and name.upper().startswith(_PREFIX) and name not in known:
            near = _nearest(name.upper(), known, 0.8)
            told.append(
                f"{name} is no option of aiohttpd" + (f"; did you mean {near}?" if near else ", and is ignored")
            )
    return told


def _nearest(name: str, known: Iterable[str], likeness: float) -> str | None:
    import difflib  # only on the way to an error

    return next(iter(difflib.get_close_matches(name, known, 1, likeness)), None)


def _unknown(name: str) -> NoReturn:
    near = _nearest(name, Config.__dataclass_fields__, 0.4)
    raise TypeError(f"no option {name!r}" + (f"; did you mean {near!r}?" if near else ""))


def reference() -> str:
    """The table of all options for the README, as Markdown."""
    cells = (
        [f"`{option.name}`", f"`{option.default}`" if option.default != "" else "", option.unit, option.help]
        for option in options()
    )
    rows = [f"| {' | '.join(row)} |".replace("|  |", "| |") for row in cells]
    return "\n".join(["| option | default | unit | what it is for |", "|---|---|---|---|", *rows])
