"""What a handler knows: the client, the request line, the server, the header fields.

::

    python examples/http_get.py
    aiohttpd serve examples/http_get.py:GetHandler --port 8080

    curl -i 'http://127.0.0.1:8080/?foo=bar'
"""

from urllib.parse import urlsplit

import aiohttpd


class GetHandler(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        url = urlsplit(self.path)
        lines = [
            "CLIENT VALUES:",
            f"client_address={self.client_address} ({self.address_string()})",
            f"command={self.command}",
            f"path={self.path}",
            f"real path={url.path}",
            f"query={url.query}",
            f"request_version={self.request_version}",
            "",
            "SERVER VALUES:",
            f"server_version={self.server_version}",
            f"sys_version={self.sys_version}",
            f"protocol_version={self.protocol_version}",
            "",
            "HEADERS RECEIVED:",
            *(f"{name}={value}" for name, value in sorted(self.headers.items())),
            "",
        ]
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.end_headers()
        self.wfile.write("\r\n".join(lines).encode())


if __name__ == "__main__":
    aiohttpd.run(GetHandler, port=8080)
