"""JSON echoed, and bodies read, for granian."""

import json


async def app(scope, protocol):  # type: ignore[no-untyped-def]
    if scope.path == "/json":
        value = json.loads(await protocol())
        content = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
        protocol.response_bytes(200, [("content-type", "application/json")], content)
        return
    size = 0
    async for data in protocol:
        size += len(data)
    protocol.response_str(200, [("content-type", "text/plain")], str(size))
