"""An error page, by its status code alone.

::

    python examples/http_errors.py
    aiohttpd serve examples/http_errors.py:ErrorHandler --port 8080

    curl -i http://127.0.0.1:8080/

The page is the class's ``error_message_format``. ``raise aiohttpd.HTTPError(404)`` answers the same, from
anywhere below a handler.
"""

import aiohttpd


class ErrorHandler(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        self.send_error(404)


if __name__ == "__main__":
    aiohttpd.run(ErrorHandler, port=8080)
