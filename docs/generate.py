"""Write the parts of the reference that are made from the code: options, command line, metrics, formats of the log.

usage: python docs/generate.py [--check]

A generated part stands between two comments in a page of docs/reference. A test runs this with ``--check``, which
changes nothing and exits with status 1 if a page is not what the code says.
"""

import re
import sys
from collections.abc import Callable, Iterator
from inspect import cleandoc
from pathlib import Path
from textwrap import dedent

import click

from aiohttpd.config import Option, options
from aiohttpd.runner.cli import main as command
from aiohttpd.server.log_format import NamedFormats
from aiohttpd.server.metrics import Metrics, prometheus_text

REFERENCE = Path(__file__).resolve().parent / "reference"
BEGIN, END = "<!-- {} is written by docs/generate.py -->", "<!-- end of {} -->"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    cells = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells)


def code(text: object) -> str:
    """A text as code; nothing for an empty one."""
    return f"`{text}`" if text != "" else "none"


def option_tables() -> str:
    """Each option once, by topic."""
    groups: dict[str, list[Option]] = {}
    for option in options():
        groups.setdefault(option.group, []).append(option)
    return "\n\n".join(
        f"## {group}\n\n"
        + table(
            ["option", "flag", "default", "unit", "meaning"],
            [
                [code(one.name), code(one.flag), code(one.default), one.unit or "none", one.help]
                for one in group_options
            ],
        )
        for group, group_options in groups.items()
    )


def flags(parameters: list[click.Parameter]) -> str:
    """The options of a command that are no options of a server, by topic."""
    known = {option.name for option in options()}
    groups: dict[str, list[list[str]]] = {}
    for parameter in parameters:
        if not isinstance(parameter, click.Option) or parameter.hidden or parameter.name in known:
            continue
        names = ", ".join(code(name) for name in (*parameter.opts, *parameter.secondary_opts))
        value = f" `{parameter.metavar or parameter.type.name.upper()}`" if not parameter.is_flag else ""
        variable = parameter.envvar if isinstance(parameter.envvar, str) else ""
        group = getattr(parameter, "group", "Options")
        row = [names + value, code(variable), re.sub(r"\s+", " ", parameter.help or "")]
        groups.setdefault(group, []).append(row)
    return "\n\n".join(
        f"### {group}\n\n" + table(["flag", "variable", "meaning"], rows) for group, rows in groups.items()
    )


def command_line() -> str:
    """All commands with their usage and options."""
    assert isinstance(command, click.Group)
    return "\n\n".join(list(_commands(command)))


def _commands(group: click.Group) -> Iterator[str]:
    with click.Context(group, info_name="aiohttpd") as outer:
        for name, one in group.commands.items():
            with click.Context(one, parent=outer, info_name=name) as context:
                usage = " ".join(one.collect_usage_pieces(context))
                yield f"## `aiohttpd {name}`\n\n```text\naiohttpd {name} {usage}\n```\n\n{_prose(one.help or '')}"
                if told := flags(one.params):
                    yield told


def _prose(text: str) -> str:
    """The help of a command in Markdown; a paragraph of examples begins with a backspace."""
    parts = [cleandoc(part) for part in cleandoc(text).split("\n\n")]
    return "\n\n".join(
        f"```text\n{dedent(part[1:]).strip()}\n```" if part.startswith("\b") else " ".join(part.split())
        for part in parts
    )


def metric_table() -> str:
    """Each metric with its type, its labels and its meaning."""
    text = prometheus_text(_with_labels())
    rows = []
    for name, meaning in re.findall(r"^# HELP (\S+) (.*)$", text, re.MULTILINE):
        [kind] = re.findall(rf"^# TYPE {name} (\w+)$", text, re.MULTILINE)
        labels = dict.fromkeys(re.findall(r"(\w+)=\"", "".join(re.findall(rf"^{name}\{{(.*?)\}}", text, re.MULTILINE))))
        rows.append([code(name), kind, ", ".join(map(code, labels)) or "none", meaning])
    return table(["metric", "type", "labels", "meaning"], rows)


def _with_labels() -> dict[str, object]:
    return {**Metrics().snapshot(), "requests": {"GET 200": 1}, "refusals": {"malformed": 1}}


def log_formats() -> str:
    """The formats of the access log that have a name."""
    rows = [[code(name), code(template)] for name, template in NamedFormats.items() if template]
    return table(["format", "template"], rows)


PARTS: dict[str, tuple[str, Callable[[], str]]] = {
    "options": ("options.md", option_tables),
    "commands": ("command-line.md", command_line),
    "metrics": ("metrics.md", metric_table),
    "formats": ("access-log.md", log_formats),
}


def generated(page: str, name: str, make: Callable[[], str]) -> str:
    """The page with its part as the code says."""
    begin, end = BEGIN.format(name), END.format(name)
    before, rest = page.split(begin)
    return f"{before}{begin}\n\n{make()}\n\n{end}{rest.split(end)[1]}"


def main() -> int:
    """Write or compare all pages."""
    stale = []
    for name, (file, make) in PARTS.items():
        path = REFERENCE / file
        old = path.read_text()
        new = generated(old, name, make)
        if new != old:
            stale.append(file)
            if "--check" not in sys.argv:
                path.write_text(new)
    for file in stale:
        print(f"docs/reference/{file}", "differs from the code: run docs/generate.py" if "--check" in sys.argv else "")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
