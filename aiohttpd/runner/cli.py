"""The command ``aiohttpd``: what its options mean together, and its messages to the user.

`serve_options` has the options of ``aiohttpd serve``.
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

from ..config import Config, misspelt_variables, options
from ..config.hosts import is_loopback
from ..engine.interfaces import App
from ..errors import TLSError
from ..fileserver.folder import FolderOptions, folder_app
from ..handlers.app import NoLifespan, innermost
from ..net.bind import is_local, read_addresses
from ..net.sockets import BindError, ServerAddress, UnixAddress
from ..net.tls import Certificates
from ..server.status_server import check_log_and_metrics
from ..wire.product import __version__
from .announce import Listening, announce, local_url, warnings
from .loader import Loading, NamedLifespan, TargetError, TargetFailed, frames_of_user, load_target, target_app
from .parameters import Port
from .pid1 import leave_pid1
from .process import INTERRUPTED, fail, open_standard_streams, say, traceback_text
from .run import serve as serve_app
from .run import serve_many
from .serve_options import GroupedCommand, serve_options
from .signals import hang_up_awaited
from .stderr import own_stderr
from .testing_commands import COMMANDS

__all__ = ["main"]

_APPLICATION_OPTIONS = ("interface", "wsgi", "factory", "app_dir", "lifespan")
_OF_ANY_APP = ("headers", "cors", "compress")  # the file options that make sense for handlers, too
_FILE_OPTIONS = [field.name for field in fields(FolderOptions) if field.name != "auth"]


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


@main.command(cls=GroupedCommand, short_help="Serve a folder, a handler class, or another App.")
@click.argument("target", required=False)
@serve_options
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
