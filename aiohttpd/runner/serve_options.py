"""The options of ``aiohttpd serve``, and how its help shows them.

Owns the options of the command. Those of a server are made of the fields of `config`.
"""

from collections.abc import Callable
from typing import Any

import click
from click.core import ParameterSource

from ..config import Option, options
from ..wire.headers import is_token
from .parameters import Port, Seconds, Size, Workers, check_credentials

__all__ = ["GroupedCommand", "serve_options"]


class GroupedCommand(click.Command):
    """Shows options in groups in its help."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, _with_fields_joined(args))
        except click.BadParameter as error:
            param = error.param
            if param is not None and ctx.get_parameter_source(param.name or "") is ParameterSource.ENVIRONMENT:
                error.param_hint = f"the variable {param.envvar}"
            raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        names = {option.name: option for option in options()}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and not isinstance(param, click.Argument):
                group = names[param.name].group if param.name in names else getattr(param, "group", "Options")
                groups.setdefault(group, []).append(record)
        for group, records in groups.items():
            with formatter.section(group):
                formatter.write_dl(records)
        formatter.write_paragraph()
        formatter.write_text(
            "Sizes may be written as 64k or 1M. Options can also be set by environment variables, "
            "AIOHTTPD_TIMEOUT_HEAD for --timeout-head; but not those of TLS, Files and Uploads, --directory, --open "
            "and --wsgi. An option on the command line wins."
        )


def _with_fields_joined(arguments: list[str]) -> list[str]:
    """Turn ``-H NAME VALUE``, the syntax of http.server in Python 3.15, into ``-H 'NAME: VALUE'``."""
    joined: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        joined.append(argument)
        if argument == "--":
            break
        if argument in ("-H", "--header"):
            name = next(rest, None)
            value = next(rest, None) if name is not None and is_token(name) else None
            joined += [text for text in (name if value is None else f"{name}: {value}",) if text is not None]
    return [*joined, *rest]


def _config_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(list(options())):
        if option.type is bool:
            flag = f"{option.flag}/--no-{option.name.replace('_', '-')}"
            add = click.option(flag, option.name, default=None, help=f"{option.help}  [{_human(option)}]")
        else:
            unit = (option.unit or "number").replace(" or ", "|")
            add = click.option(
                option.flag,
                option.name,
                callback=_parser(option),
                default=None,
                multiple=bool(option.one),
                metavar="NAME" if option.one else unit.upper(),
                help=f"{option.help}  [{_human(option)}]" if option.default != "" else option.help,
            )
        command = add(command)
    return command


def _parser(option: Option) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    def parse(context: click.Context, param: click.Parameter, value: str | tuple[str, ...] | None) -> Any:
        if isinstance(value, tuple):  # the option may be repeated
            value = ",".join(value) if value else None
        try:
            return None if value is None else option.parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error).removeprefix(f"{option.name}: ")) from None

    return parse


def _human(option: Option) -> str:
    value = option.default
    if isinstance(value, bool):
        return "on" if value else "off"
    if option.unit == "bytes" and value:
        for suffix, multiple in (("M", 1024 * 1024), ("k", 1024)):
            if value % multiple == 0:
                return f"{value // multiple}{suffix}"
    return (value or "none") if isinstance(value, str) else f"{value:g}"


def _refuse_cgi(context: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        raise click.UsageError(
            "CGI programs are not supported, and http.server has dropped them in Python 3.15. Before 3.15 its handler "
            "class still runs them: aiohttpd serve http.server:CGIHTTPRequestHandler",
            context,
        )


def _options_of(group: str, *decorators: Callable[..., Any]) -> Callable[..., Any]:
    """Make one decorator of several options, which ``--help`` shows under a heading."""

    def decorate(command: Any) -> Any:
        for decorator in reversed(decorators):
            command = decorator(command)
            command.__click_params__[-1].group = group
        return command

    return decorate


_LISTENING = _options_of(
    "Listening",
    click.option(
        "-b", "--bind", "binds", metavar="ADDRESS", multiple=True, envvar="AIOHTTPD_BIND",
        help="address to listen on: HOST, HOST:PORT, [IPV6]:PORT, unix:PATH, unix:PATH?mode=660&group=www, fd:N or "
        "systemd:; '' or [::] is all addresses; repeatable  [what systemd has opened, or 127.0.0.1]",
    ),
    click.option(
        "-p", "--port", type=Port(), default=8000, envvar="AIOHTTPD_PORT", show_default=True,
        help="port to listen on; 0 takes a free one",
    ),
    click.option(
        "-w", "--workers", type=Workers(), envvar="AIOHTTPD_WORKERS",
        help="number of worker processes, 'auto' for one on each core; SIGHUP replaces them, one after the other",
    ),
    click.option(
        "--reload", "reloads", is_flag=True, envvar="AIOHTTPD_RELOAD", help="load code again when Python files change"
    ),
    click.option("-d", "--directory", metavar="DIR", help="the folder to serve, as in http.server"),
    click.option(
        "--auth", metavar="USER:PASSWORD", envvar="AIOHTTPD_AUTH", show_envvar=True, callback=check_credentials,
        help="ask for this name and password; better set by the variable, since others may see the command line",
    ),
    click.option("--open", "opens", is_flag=True, help="open the page in the browser"),
    click.option("--protocol", hidden=True, expose_value=False),  # of http.server; here the client's version counts
    click.option("--cgi", is_flag=True, hidden=True, expose_value=False, callback=_refuse_cgi),
)  # fmt: skip

_TLS = _options_of(
    "TLS",
    click.option("--tls-cert", metavar="FILE", help="certificate in PEM: serve HTTPS"),
    click.option("--tls-key", metavar="FILE", help="the key of the certificate, if it is in another file"),
    click.option("--tls-password-file", metavar="FILE", help="file with the password of the key"),
    click.option("--tls-ca", metavar="FILE", help="accept only clients with a certificate signed by one of these"),
)  # fmt: skip

_APPLICATIONS = _options_of(
    "Applications",
    click.option(
        "--interface", type=click.Choice(["auto", "handler", "asgi", "wsgi"]), default="auto",
        envvar="AIOHTTPD_INTERFACE", metavar="auto|handler|asgi|wsgi",
        help="what TARGET is; auto tells an ASGI application from a handler class or another App  [auto]",
    ),
    click.option("--wsgi", is_flag=True, help="TARGET is a WSGI application, as --interface wsgi"),
    click.option(
        "--factory", is_flag=True, envvar="AIOHTTPD_FACTORY",
        help="TARGET is a function without arguments that returns the application",
    ),
    click.option(
        "--app-dir", metavar="DIR", default="", envvar="AIOHTTPD_APP_DIR",
        help="folder from which TARGET is imported  [the current one]",
    ),
    click.option(
        "--lifespan", metavar="NAME|auto|on|off", default="auto", envvar="AIOHTTPD_LIFESPAN",
        help="module:name of an async context manager that is entered before the server accepts connections, and left "
        "after it has stopped; or whether an ASGI application gets messages of the lifespan protocol  [auto]",
    ),
)  # fmt: skip

_FILES = _options_of(
    "Files",
    click.option(
        "-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'",
        help="add a field to responses with a file or a listing, or to all responses of a handler; repeatable",
    ),
    click.option(
        "--content-type", metavar="TYPE", help="media type of files with an unknown ending  [application/octet-stream]"
    ),
    click.option("--cache", metavar="SECONDS|no-store", help="how long browsers may keep files (Cache-Control)"),
    click.option(
        "--cors", metavar="[ORIGIN]", is_flag=False, flag_value="*",
        help="let web pages of an origin, by default of any origin, read the responses",
    ),
    click.option(
        "--spa", metavar="[FILE]", is_flag=False, flag_value="index.html",
        help="answer every page that does not exist with this file  [index.html]",
    ),
    click.option(
        "--index", multiple=True, metavar="NAME",
        help="file that is sent for a folder; repeatable  [index.html, index.htm]",
    ),
    click.option("--listing/--no-listing", default=None, help="list folders that have no index page  [on]"),
    click.option("--hidden", is_flag=True, default=None, help="serve and list names that begin with a dot"),
    click.option("--follow-symlinks", is_flag=True, default=None, help="follow links that lead out of the folder"),
    click.option("--compress", is_flag=True, default=None, help="compress text for clients that accept it"),
)  # fmt: skip

_UPLOADS = _options_of(
    "Uploads",
    click.option(
        "--upload", is_flag=True, default=None,
        help="accept uploads: a form on listings, curl -T FILE URL/, curl -F f=@FILE URL/",
    ),
    click.option("--overwrite", is_flag=True, default=None, help="let uploads replace existing files"),
    click.option(
        "--upload-auth", metavar="USER:PASSWORD", envvar="AIOHTTPD_UPLOAD_AUTH", show_envvar=True,
        callback=check_credentials,
        help="ask for this name and password before a file is taken",
    ),
    click.option("--max-upload", type=Size(), help="largest upload request  [no limit]"),
    click.option("--min-free", type=Size(), help="disk space that uploads leave free  [256M]"),
    click.option(
        "--min-free-files", type=click.IntRange(0), metavar="NUMBER", help="inodes that uploads leave free  [1000]"
    ),
    click.option(
        "--timeout-lock", type=Seconds(), metavar="SECONDS",
        help="how long --overwrite waits for another program that has locked the folder  [5]",
    ),
    click.option(
        "--trust-uploads", is_flag=True, default=None,
        help="let uploaded files be pages of the site: with scripts, and under the names of index pages",
    ),
)  # fmt: skip


def serve_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options to the function of the command."""
    for add in (_config_options, _UPLOADS, _FILES, _APPLICATIONS, _TLS, _LISTENING):  # help has the last first
        command = add(command)
    return command
