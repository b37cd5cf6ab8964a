"""Write the manual page of the command to stdout, from the same descriptions as ``--help``.

usage: python docs/man.py > aiohttpd.1
"""

from collections.abc import Iterator
from inspect import cleandoc

import click

from aiohttpd import __version__
from aiohttpd.config import options
from aiohttpd.runner.cli import main as command


def quoted(text: str) -> str:
    """A text for roff: backslashes and hyphens as they are, no line that roff takes for a request."""
    lines = text.replace("\\", "\\e").replace("-", "\\-").splitlines()
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in lines)


def paragraphs(text: str) -> Iterator[str]:
    """The help of a command; examples keep their lines."""
    for part in cleandoc(text).split("\n\n"):
        if part.startswith("\b"):
            yield ".PP\n.nf\n" + quoted(part[1:].strip("\n")) + "\n.fi"
        else:
            yield ".PP\n" + quoted(" ".join(part.split()))


def page() -> Iterator[str]:
    """The lines of the manual page."""
    assert isinstance(command, click.Group)
    names = {option.name: option.group for option in options()}
    yield f'.TH AIOHTTPD 1 "" "aiohttpd {__version__}"'
    yield ".SH NAME\naiohttpd \\- HTTP server for folders, handler classes and other Apps"
    yield ".SH SYNOPSIS"
    with click.Context(command, info_name="aiohttpd") as outer:
        for name, one in command.commands.items():
            with click.Context(one, parent=outer, info_name=name):
                yield f".B aiohttpd {name}\n{quoted(' '.join(one.collect_usage_pieces(outer)))}\n.br"
        for name, one in command.commands.items():
            yield f".SH {name.upper()}"
            yield from paragraphs(one.help or "")
            with click.Context(one, parent=outer, info_name=name) as context:
                group = None
                for param in one.get_params(context):
                    record = param.get_help_record(context)
                    if record is None or isinstance(param, click.Argument):
                        continue
                    topic = names.get(param.name or "") or getattr(param, "group", "Options")
                    if topic != group:
                        yield f".SS {topic}"
                        group = topic
                    yield f".TP\n.B {quoted(record[0])}\n{quoted(' '.join(record[1].split()))}"
    yield (
        ".SH ENVIRONMENT\nEach option of a server can be set by a variable: AIOHTTPD_TIMEOUT_HEAD for "
        "\\-\\-timeout\\-head.\nAn option on the command line wins."
    )
    yield (
        ".SH SIGNALS\nSIGINT and SIGTERM finish the requests in flight and stop; a second one stops at once.\n"
        "SIGHUP reads certificates again, and replaces workers.\nSIGTTIN and SIGTTOU add and remove a worker.\n"
        "SIGUSR1 writes what each connection waits for to stderr."
    )
    yield ".SH EXIT STATUS\n0 after a stop by a signal, 2 for a mistake on the command line, 1 for other errors."


if __name__ == "__main__":
    print("\n".join(page()))
