"""A response with header fields of its own, and a date in the format of HTTP.

::

    python examples/http_send_header.py
    aiohttpd serve examples/http_send_header.py:GetHandler --port 8080

    curl -i http://127.0.0.1:8080/
"""

import time

import aiohttpd


class GetHandler(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Last-Modified", self.date_time_string(time.time()))
        self.end_headers()
        self.wfile.write(b"Response body\n")


if __name__ == "__main__":
    aiohttpd.run(GetHandler, port=8080)
