"""Handlers of http.server: what they are made of, and what they have made the server say."""

import http.client
import http.server
import logging
from typing import Any

import pytest


class Old(http.server.BaseHTTPRequestHandler):
    """As one finds them, but for the version, which keeps the connection."""

    protocol_version = "HTTP/1.1"

    def answer(self, content: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        self.answer(self.path.encode())

    def do_POST(self) -> None:
        self.answer(self.rfile.read(int(self.headers["Content-Length"])))


class QuietOld(Old):
    """Its log says nothing."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


class ByConnection(Old):
    """It sees connections, and not only requests."""

    def handle(self) -> None:
        super().handle()


def writing(*pieces: bytes, base: Any = Old) -> Any:
    """A handler that writes just that, but for ``/next``."""

    class Handler(base):  # type: ignore[misc]
        def do_GET(self) -> None:
            if self.path == "/next":
                self.answer(b"next")
                return
            for piece in pieces:
                self.wfile.write(piece)

        do_HEAD = do_GET

        def do_POST(self) -> None:
            self.do_GET()

    return Handler


def loud(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What has been reported."""
    records = [record for record in caplog.records if record.levelno >= logging.WARNING]
    caplog.clear()
    return [str(record.exc_info[1]) if record.exc_info else record.getMessage() for record in records]


# Whatever a handler writes.

OK = b"HTTP/1.1 200 OK\r\n"
