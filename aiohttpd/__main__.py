"""``python -m aiohttpd`` is the command ``aiohttpd``."""

from .cli import main

if __name__ == "__main__":
    main(prog_name="python -m aiohttpd")
