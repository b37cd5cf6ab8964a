"""Send back what a client has posted in a form.

Run it, or have it served::

    python examples/http_post.py
    aiohttpd serve examples/http_post.py:PostHandler --port 8080

Try, with the file in the form or without::

    curl -v http://127.0.0.1:8080/ -F name=dhellmann -F foo=bar -F datafile=@examples/http_post.py
    curl -v http://127.0.0.1:8080/ -d name=dhellmann -d foo=bar
"""

import aiohttpd


class PostHandler(aiohttpd.BaseHTTPRequestHandler):
    async def do_POST(self) -> None:
        form = await self.form()
        lines = [
            f"Client: {self.client_address}",
            f"User-agent: {self.headers['user-agent']}",
            f"Path: {self.path}",
            "Form data:",
        ]
        for name, value in form.pairs():
            if isinstance(value, aiohttpd.UploadedFile):
                lines.append(f"    Uploaded {name} as {value.filename!r} ({value.size} bytes)")
            else:
                lines.append(f"    {name}={value}")
        self.send_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    aiohttpd.run(PostHandler, port=8080)
