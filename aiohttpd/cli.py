"""The command ``aiohttpd``.

Owns the words on the command line and what is said to the person who typed them. The options themselves
are described in `config`.
"""

import contextlib
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

import click

from .config import Config, Option, options
from .listeners import BindError
from .runner import serve as serve_app
from .target import TargetError, TargetFailed, load_target
from .version import __version__

__all__ = ["main"]


class _GroupedCommand(click.Command):
    """Shows the options of `Config` in their groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        names = {option.name: option for option in options()}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and not isinstance(param, click.Argument):
                group = names[param.name].group if param.name in names else "Options"
                groups.setdefault(group, []).append(record)
        for group, records in groups.items():
            with formatter.section(group):
                formatter.write_dl(records)
        formatter.write_text(
            "Sizes may be written as 64k or 1M. Every option can be set by its environment variable, too, as "
            "AIOHTTPD_TIMEOUT_HEAD for --timeout-head; a flag wins."
        )


def _config_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(list(options())):
        if option.type is bool:
            flag = f"{option.flag}/--no-{option.name.replace('_', '-')}"
            add = click.option(flag, option.name, default=None, help=f"{option.help}  [{_yes_no(option.default)}]")
        else:
            unit = option.unit or "number"
            add = click.option(
                option.flag,
                option.name,
                callback=_parser(option),
                default=None,
                metavar=unit.upper(),
                help=f"{option.help}  [{_human(option)}]",
            )
        command = add(command)
    return command


def _parser(option: Option) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    def parse(context: click.Context, param: click.Parameter, value: str | None) -> Any:
        try:
            return None if value is None else option.parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None

    return parse


def _yes_no(value: bool) -> str:
    return "on" if value else "off"


def _human(option: Option) -> str:
    value = option.default
    if option.unit == "bytes":
        for suffix, multiple in (("M", 1024 * 1024), ("k", 1024)):
            if value % multiple == 0:
                return f"{value // multiple}{suffix}"
    return f"{value:g}"


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="aiohttpd %(version)s")
def main() -> None:
    """http.server, grown up for asyncio."""


@main.command(cls=_GroupedCommand)
@click.argument("target")
@click.option(
    "-b", "--bind", metavar="ADDRESS", default="127.0.0.1", envvar="AIOHTTPD_BIND", show_default=True,
    help="address to listen on: HOST, HOST:PORT, [IPV6]:PORT or unix:PATH; '' is all addresses",
)  # fmt: skip
@click.option(
    "-p", "--port", type=click.IntRange(0, 65535), default=8000, envvar="AIOHTTPD_PORT", show_default=True,
    help="port to listen on; 0 takes a free one",
)  # fmt: skip
@_config_options
def serve(target: str, bind: str, port: int, **given: Any) -> None:
    """Serve the handler class, or other App, that TARGET names.

    TARGET is module:Handler or path/to/file.py:Handler.

    \b
      aiohttpd serve hello.py:Hello
      aiohttpd serve myproject.web:Handler --bind 0.0.0.0 --port 8080
    """
    try:
        address = _address(bind, port)
        config = Config.from_options({name: value for name, value in given.items() if value is not None}, os.environ)
        app = load_target(target)
    except (TargetError, ValueError) as error:
        _fail(str(error), 2)
    except TargetFailed as failed:
        traceback.print_exception(failed.error)
        sys.exit(1)
    try:
        # Ctrl-C is caught by the server; one that comes before is as quiet.
        with contextlib.suppress(KeyboardInterrupt):
            serve_app(app, address, config)
    except BindError as error:
        _fail(str(error), 1)


def _address(bind: str, port: int) -> tuple[str, int] | str:
    """Read ``--bind``: HOST, HOST:PORT, a bare or bracketed IPv6 address, or unix:PATH."""
    if bind.startswith("unix:"):
        return bind.removeprefix("unix:")
    host, colon, digits = bind.rpartition(":")
    if not colon or bind.endswith("]") or (":" in host and not host.endswith("]")):
        host, digits = bind, str(port)
    if not (digits.isascii() and digits.isdigit() and int(digits) <= 65535):
        raise ValueError(f"--bind {bind}: {digits!r} is no port")
    return host.removeprefix("[").removesuffix("]"), int(digits)


def _fail(text: str, status: int) -> None:
    click.echo(f"aiohttpd: {text}", err=True)
    sys.exit(status)
