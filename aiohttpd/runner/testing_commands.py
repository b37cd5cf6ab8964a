"""The commands ``aiohttpd faults``, ``record`` and ``replay``: servers for those who test HTTP clients.

Owns their options. What they serve is `aiohttpd.testing`'s, which is imported when one of them is called.
"""

import os
from collections.abc import Callable
from typing import Any

import click

from ..config import Config
from ..engine.interfaces import App
from ..net.bind import read_addresses
from ..net.sockets import BindError
from .process import fail, open_standard_streams
from .run import serve

__all__ = ["COMMANDS"]

_port = click.option(
    "-p", "--port", type=click.IntRange(0, 65535), metavar="PORT", default=8000, help="0 takes a free port  [8000]"
)
_bind = click.option("-b", "--bind", metavar="ADDRESS", default="127.0.0.1", help="as for serve  [127.0.0.1]")


@click.command(short_help="Serve responses and WebSockets that are wrong, for tests of clients.")
@_port
@_bind
def faults(port: int, bind: str) -> None:
    """Serve all faults of aiohttpd.testing, of HTTP, TLS and WebSockets, each at a path of its own; / lists them.

    \b
      aiohttpd faults
      curl http://127.0.0.1:8000/reset/in-body
    """
    from ..testing.fault_site import fault_site

    _serve(fault_site(), bind, port)


@click.command(short_help="Pass requests on to a server, and write what passes to a folder.")
@click.argument("url")
@click.argument("folder", type=click.Path(file_okay=False))
@click.option("--secret", "secrets", multiple=True, metavar="NAME", help="a header field whose value is not written; "
              "repeatable  [Authorization, Proxy-Authorization, Cookie, Set-Cookie, X-Api-Key]")  # fmt: skip
@_port
@_bind
def record(url: str, folder: str, secrets: tuple[str, ...], port: int, bind: str) -> None:
    """Pass requests on to the server at URL, and write requests and responses to FOLDER.

    \b
      aiohttpd record https://api.example.org tests/tape
    """
    from ..testing.tapes import SECRETS, recording_app

    _serve(_made(recording_app, url, folder, secrets=(*SECRETS, *secrets)), bind, port)


@click.command(short_help="Answer requests from a folder that `record` has written.")
@click.argument("folder", type=click.Path(file_okay=False))
@_port
@_bind
def replay(folder: str, port: int, bind: str) -> None:
    """Answer requests as they have been recorded in FOLDER; 404 to others.

    \b
      aiohttpd replay tests/tape
    """
    from ..testing.tapes import replaying_app

    _serve(_made(replaying_app, folder), bind, port)


COMMANDS = (faults, record, replay)


def _made(make: Callable[..., App], *arguments: Any, **options: Any) -> App:
    try:
        return make(*arguments, **options)
    except (ValueError, OSError) as error:
        fail(error, 2)


def _serve(app: App, bind: str, port: int) -> None:
    open_standard_streams()
    try:
        serve(app, read_addresses([bind], port, os.environ), Config.from_options({}, os.environ))
    except BindError as error:
        fail(error, 1)
    except ValueError as error:
        fail(error, 2)
