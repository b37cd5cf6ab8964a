"""Hello, world! for uvicorn."""

START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"14")],
}
BODY = {"type": "http.response.body", "body": b"Hello, world!\n"}


async def app(scope, receive, send):  # type: ignore[no-untyped-def]
    await send(START)
    await send(BODY)
