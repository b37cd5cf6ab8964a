"""``python -m aiohttpd``: the command ``aiohttpd``, or in place of ``python -m http.server``, its ``serve``.

``python -m aiohttpd 8000 -d DIR -b ADDRESS`` is what it is there.
"""

import sys

from .runner.cli import main

_OF_THE_COMMAND = {*main.commands, "-h", "--help", "--version"}


def run() -> None:
    """Serve at once, unless something else is asked for."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] not in _OF_THE_COMMAND:
        arguments = ["serve", *arguments]
    main(arguments, prog_name="python -m aiohttpd")


if __name__ == "__main__":
    run()
