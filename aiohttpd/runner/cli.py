"""The command ``aiohttpd``: its options, and its messages to the user.

Options of a server are described in `config`; here are only those of the command.
"""

import contextlib
import errno
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import partial
from typing import Any, Literal, NoReturn

import click
from click.core import ParameterSource

from ..config import Config, Option, misspelt_variables, options
from ..config.hosts import is_loopback
from ..engine.interfaces import App
from ..errors import TLSError
from ..fileserver.folder import FolderOptions, folder_app
from ..handlers.app import NoLifespan, innermost
from ..net.bind import is_local, read_addresses
from ..net.sockets import BindError, ServerAddress, UnixAddress
from ..net.tls import Certificates
from ..server.status_server import check_log_and_metrics
from ..wire.headers import is_token
from ..wire.product import __version__
from .announce import Listening, announce, local_url, warnings
from .loader import Loading, NamedLifespan, TargetError, TargetFailed, frames_of_user, load_target, target_app
from .parameters import Port, Seconds, Size, Workers, check_credentials
from .pid1 import leave_pid1
from .process import INTERRUPTED, fail, open_standard_streams, say, traceback_text
from .run import serve as serve_app
from .run import serve_many
from .signals import hang_up_awaited
from .stderr import own_stderr
from .testing_commands import COMMANDS

__all__ = ["main"]


class _GroupedCommand(click.Command):
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
            add = click.option(flag, option.name, default=None, help=f"{option.help}  [{_yes_no(option.default)}]")
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


def _yes_no(value: bool) -> str:
    return "on" if value else "off"


def _human(option: Option) -> str:
    value = option.default
    if option.unit == "bytes" and value:
        for suffix, multiple in (("M", 1024 * 1024), ("k", 1024)):
            if value % multiple == 0:
                return f"{value // multiple}{suffix}"
    return (value or "none") if isinstance(value, str) else f"{value:g}"


class _Commands(click.Group):
    """Suggests ``aiohttpd serve site`` to users who write ``aiohttpd site``. Ctrl-C ends it without a word."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise click.UsageError(f"No such option {error.option_name!r}. {_serve_hint(given)}", ctx) from None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            if not (os.path.exists(args[0]) or args[0].isdigit() or _is_target(args[0])):
                raise
            raise click.UsageError(f"No such command {args[0]!r}. {_serve_hint(args)}", ctx) from None


def _serve_hint(arguments: list[str]) -> str:
    return f"Did you mean '{shlex.join(['aiohttpd', 'serve', *arguments])}'?"


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="aiohttpd %(version)s")
def main() -> None:
    """http.server, grown up for asyncio.

    \b
      aiohttpd serve                  this folder, at http://127.0.0.1:8000/
      aiohttpd serve hello.py:Hello   a handler class, or another App
      aiohttpd serve --help           all options, by topic
    """
    open_standard_streams()
    leave_pid1()


def _refuse_cgi(context: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        raise click.UsageError("CGI programs are not supported; http.server has dropped them in Python 3.15", context)


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

_APPLICATION_OPTIONS = ("interface", "wsgi", "factory", "app_dir", "lifespan")
_OF_ANY_APP = ("headers", "cors", "compress")  # the file options that make sense for handlers, too
_FILE_OPTIONS = [field.name for field in fields(FolderOptions) if field.name != "auth"]


@main.command(cls=_GroupedCommand, short_help="Serve a folder, a handler class, or another App.")
@click.argument("target", required=False)
@_LISTENING
@_TLS
@_APPLICATIONS
@_FILES
@_UPLOADS
@_config_options
def serve(
    target: str | None, binds: tuple[str, ...], port: int | None, directory: str | None, auth: str | None,
    opens: bool, workers: int | Literal["auto"] | None, reloads: bool, **given: Any,
) -> None:  # fmt: skip
    """Serve a folder, by default the current one, or what TARGET names: a handler class, App or ASGI application.

    \b
      aiohttpd serve
      aiohttpd serve site --port 8080
      aiohttpd serve --bind 0.0.0.0 --auth guest:secret
      aiohttpd serve hello.py:Hello
      aiohttpd serve shop.main:app --workers auto

    TARGET is a folder, module:Handler, or path/to/file.py:Handler; handlers of http.server are run in threads.
    """
    click.get_current_context().with_resource(hang_up_awaited())
    tls = {name: given.pop(name) for name in ("tls_cert", "tls_key", "tls_password_file", "tls_ca")}
    loading, lifespan = _loading(**{name: given.pop(name) for name in _APPLICATION_OPTIONS})
    files = {name: value for name in _FILE_OPTIONS if (value := given.pop(name)) not in (None, ())}
    target = _give_back(target, files)
    if target is not None and target.isascii() and target.isdigit() and not os.path.exists(target):
        port, target = Port().convert(target, None, None), None  # as in http.server
    with _errors_shown(port):
        config = _config({name: value for name, value in given.items() if value is not None})
        click.get_current_context().with_resource(own_stderr(config.access_log_format))
        make_app, folder = _app(target, directory, auth, files, loading)
        certificates = _certificates(**tls)
        addresses = _addresses(binds, port)
        if config.debug and not all(map(is_loopback, addresses)):
            raise ValueError("--debug shows tracebacks: every --bind has to be on loopback, 127.0.0.1 for example")
        app = surrounding = None
        if workers is None and not reloads:
            app = make_app()
            surrounding = lifespan and lifespan.load()
    flags = [flag for param in serve.params if param.envvar is None for flag in param.opts if flag.startswith("--")]
    for text in misspelt_variables(os.environ, flags):
        say(text)

    def started(server: Listening) -> None:
        announce(server, folder)
        for text in warnings(folder, files, auth, tls, local=all(map(is_local, addresses))):
            say(text)
        if opens:
            _open(server)

    # The server handles Ctrl-C. Here it comes after the server has ended, or in the moment before it is started.
    with _errors_shown(port), contextlib.suppress(KeyboardInterrupt):
        if app is not None:
            serve_app(app, addresses, config, lifespan=surrounding, ssl=certificates, started=started)
        else:
            serve_many(
                make_app, addresses, config, workers=workers, reload=reloads, folders=_folders(target),
                lifespan=lifespan, ssl=certificates, started=started,
            )  # fmt: skip


def _config(given: dict[str, Any]) -> Config:
    """The options of the server.

    Raises:
        ValueError: one is out of its range; the text names it as the user has given it, by its flag or its variable.
    """
    try:
        config = Config.from_options(given, os.environ)
        check_log_and_metrics(config)
    except ValueError as error:
        raise ValueError(_as_given(str(error), given)) from None
    return config


def _as_given(text: str, given: dict[str, Any]) -> str:
    """Name options in a text by their flags, or by their variables if the environment has set them."""
    for option in options():
        name = option.variable if option.name not in given and os.environ.get(option.variable) else option.flag
        start = "(^|(?<= ))" if "_" in option.name else "^"  # some names are words of the language, too
        text = re.sub(rf"{start}{option.name}\b", name, text)
    return text


@contextlib.contextmanager
def _errors_shown(port: int | None) -> Iterator[None]:
    """Show errors in one line and exit: status 2 for what is wrong on the command line, 1 for all else.

    Args:
        port: that of ``--port``.
    """
    try:
        yield
    except TargetFailed as failed:
        _show(failed.error)
    except TLSError as error:
        text = str(error).replace(" with password_file", " with --tls-password-file")
        fail(text.replace(" to key", " to --tls-key"), 2)
    except BindError as error:
        taken = error.errno == errno.EADDRINUSE and f":{port}: " in str(error)
        fail(f"{error} Choose another with --port" if taken else error, 1)
    except (TargetError, NoLifespan, ValueError) as error:
        fail(error, 2)
    except Exception as error:
        frames = frames_of_user(error.__traceback__)
        if frames is None:  # it is not of the application
            raise
        _show(error.with_traceback(frames))


def _show(error: Exception) -> NoReturn:
    """Show the traceback of an exception of the application, and exit."""
    say(traceback_text(error))
    sys.exit(1)


def _addresses(binds: tuple[str, ...], port: int | None) -> list[ServerAddress]:
    """The addresses to listen on; a path without a slash is a unix socket, too."""
    addresses = read_addresses(binds, 8000 if port is None else port, os.environ)
    return [UnixAddress(path) if isinstance(path, str) else path for path in addresses]


@main.command(short_help="Print the routes of a Router.")
@click.argument("target")
def routes(target: str) -> None:
    """Print the table of a Router: methods, path, name, and the App that each route leads to.

    \b
      aiohttpd routes notes:site
      aiohttpd routes notes.py:site
    """
    from ..handlers.routing import Router
    from .routes import route_table

    try:
        app: object = innermost(load_target(target))
    except TargetError as error:
        fail(error, 2)
    except TargetFailed as failed:
        _show(failed.error)
    if isinstance(app, Router):
        click.echo(route_table(app))
    else:
        fail(f"{target} is no Router: it has no table of routes", 2)


@main.command(short_help="Print the completion script of a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that completes commands and options of aiohttpd in a shell.

    \b
      eval "$(aiohttpd completion bash)"    # in ~/.bashrc
      eval "$(aiohttpd completion zsh)"     # in ~/.zshrc
      aiohttpd completion fish | source     # in ~/.config/fish/config.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None  # SHELL is one of those that click knows
    click.echo(kind(main, {}, "aiohttpd", "_AIOHTTPD_COMPLETE").source())


for _command in COMMANDS:
    main.add_command(_command)


def _folders(target: str | None) -> tuple[str, ...]:
    """The folder of a target that is a file, to be watched for changes."""
    path = (target or "").rpartition(":")[0]
    return (os.path.dirname(os.path.abspath(path)),) if path.endswith(".py") else ()


def _give_back(target: str | None, files: dict[str, Any]) -> str | None:
    """Take the target out of ``--spa DIR`` and ``--cors DIR``: the value of these options is optional."""
    for name, usual in (("spa", "index.html"), ("cors", "*")):
        value = files.get(name)
        if target is None and value is not None and value != usual and _is_target(value):
            target, files[name] = value, usual
    return target


def _is_target(text: str) -> bool:
    return os.path.isdir(text) or bool(re.search(r"^[^/:]+:[A-Za-z_][\w.]*$|\.py:", text))


def _loading(
    interface: Any, wsgi: bool, factory: bool, app_dir: str, lifespan: str
) -> tuple[Loading, NamedLifespan | None]:
    """How the App is made, and the lifespan that has a name."""
    if wsgi:
        interface = "wsgi"
    mode: Any = lifespan if lifespan in ("auto", "on", "off") else "auto"
    named = None if lifespan in ("auto", "on", "off") else NamedLifespan(lifespan, app_dir)
    return Loading(interface, factory, app_dir, mode), named


def _app(
    target: str | None, directory: str | None, auth: str | None, files: dict[str, Any], how: Loading
) -> tuple[Callable[[], App], str | None]:
    """A function that makes the App, here or in a worker; and the folder, if a folder is served."""
    if (how.interface != "auto" or how.factory) and (target is None or os.path.isdir(target)):
        option = "--factory" if how.factory else f"--interface {how.interface}"
        raise ValueError(f"{option} needs an application as TARGET: module:app or path/to/file.py:app")
    if target is None or os.path.isdir(target):
        if target is not None and directory is not None:
            raise ValueError(f"two folders: {target} and --directory {directory}")
        folder = target or directory or "."
        if not os.path.isdir(folder):
            raise ValueError(f"no such folder: {folder}")
        try:
            path = os.path.abspath(folder)  # fails if the current folder has been removed
            os.listdir(folder)
        except OSError as error:
            raise ValueError(f"cannot read {folder}: {error.strerror}") from None
        return partial(folder_app, path, FolderOptions(auth=auth, **files)), folder
    only = [name for name in files if name not in _OF_ANY_APP]
    if (only or directory is not None) and _is_target(target):
        name = "directory" if directory is not None else only[0]
        cure = "; a handler that serves files has the class attribute 'directory'" if name == "directory" else ""
        raise ValueError(f"--{name.replace('_', '-')} is for folders, and {target} is a handler{cure}")
    around = {name: files[name] for name in _OF_ANY_APP if name in files}
    return partial(target_app, target, auth, how, **around), None


def _certificates(
    tls_cert: str | None, tls_key: str | None, tls_password_file: str | None, tls_ca: str | None
) -> Certificates | None:
    given = {"cert": tls_cert, "key": tls_key, "password-file": tls_password_file, "ca": tls_ca}
    for name, value in given.items():
        if value == "":  # of a variable of the shell that is not set
            raise ValueError(f"--tls-{name} is empty: write the name of a file")
        if value is not None and tls_cert is None:
            raise ValueError(f"--tls-{name} has no effect without --tls-cert")
    if tls_cert is None:
        return None
    return Certificates(tls_cert, tls_key, tls_password_file, tls_ca)


def _open(server: Listening) -> None:
    """Open the browser, in a thread, since some systems wait until it is closed."""
    import threading
    import webbrowser

    url = local_url(server)
    if url is not None:
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
