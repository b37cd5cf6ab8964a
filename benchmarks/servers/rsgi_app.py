"""Hello, world! for granian."""

HEADERS = [("content-type", "text/plain; charset=utf-8")]


async def app(scope, protocol):  # type: ignore[no-untyped-def]
    protocol.response_bytes(200, HEADERS, b"Hello, world!\n")
