"""One handler of http.server, unmodified, on the server of the standard library or on ours.

usage: old_handler.py stdlib|compat|serial PORT [HTTP/1.0|HTTP/1.1] [buffered]
"""

import http.server
import sys

import aiohttpd.compat


class Old(http.server.BaseHTTPRequestHandler):
    """Says hello."""

    protocol_version = sys.argv[3] if len(sys.argv) > 3 else "HTTP/1.0"
    wbufsize = -1 if "buffered" in sys.argv else 0

    def do_GET(self) -> None:
        """Answer."""
        content = b"Hello, world!"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


SERVERS = {
    "stdlib": http.server.ThreadingHTTPServer,
    "serial": http.server.HTTPServer,
    "compat": aiohttpd.compat.ThreadingHTTPServer,
}

if __name__ == "__main__":
    SERVERS[sys.argv[1]](("127.0.0.1", int(sys.argv[2])), Old).serve_forever()
