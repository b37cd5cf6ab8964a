"""The command ``aiohttpd``; and ``python -m aiohttpd``, which serves at once, in place of ``python -m http.server``.

``python -m aiohttpd 8000 -d DIR -b ADDRESS`` is what it is there. Imports stand in functions, since Ctrl-C must not
show a traceback while they run.
"""

import gc
import sys
from typing import Any


def command() -> None:
    """Run the command ``aiohttpd``."""
    _run(at_once=False)


def run() -> None:
    """Run ``python -m aiohttpd``: serve at once, unless something else is asked for."""
    _run(at_once=True)


def _run(*, at_once: bool) -> None:
    """Run the command; end with status 130, as a shell reports it, if Ctrl-C comes before a server handles it."""
    try:
        main = _import_main()
        if not at_once:
            main()
        arguments = sys.argv[1:]
        if not arguments or arguments[0] not in {*main.commands, "-h", "--help", "--version"}:
            arguments = ["serve", *arguments]
        main(arguments, prog_name="python -m aiohttpd")
    except KeyboardInterrupt:
        sys.exit(130)  # `runner.process.INTERRUPTED`, which may not have been imported


def _import_main() -> Any:
    """Import the command, without garbage collection, which would look in vain at what stays: a fifth of the time."""
    gc.disable()
    try:
        from .runner.cli import main
    finally:
        gc.freeze()
        gc.enable()
    return main


if __name__ == "__main__":
    run()
