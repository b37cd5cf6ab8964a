"""The site of ``aiohttpd faults``: every fault at a path of its own, and a page that lists them.

Owns the table of faults. Those of TLS and of ports have servers of their own, which start with the site.
"""

import contextlib
import html
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

from ..engine.interfaces import App, ResponseWriter
from ..wire.request import Request
from .faults import Faults, refused_for_reuse
from .ports import bound_socket
from .server import TestServer
from .websocket_faults import WebSocketFaults

__all__ = ["FAULTS", "TLS_FAULTS", "WEBSOCKET_FAULTS", "Fault", "SocketFault", "fault_site"]

_TEXT = b"0123456789" * 10
_EVENTS = b"event: tick\ndata: one\n\nevent: tick\ndata: two\n\nevent: tick\ndata: three\n\n"


class Fault(NamedTuple):
    """One fault of the site.

    Attributes:
        path: where it is.
        text: what happens there.
        arrange: makes the answer go wrong.
        content: of the answer.
        media_type: of the answer.
    """

    path: str
    text: str
    arrange: Callable[[Faults], Faults]
    content: bytes = _TEXT
    media_type: str = "text/plain; charset=utf-8"


FAULTS = (
    Fault("/ok", "no fault: 100 bytes of text", lambda it: it),
    Fault("/reset/before-head", "RST in place of an answer", lambda it: it.reset()),
    Fault("/reset/in-head", "RST after 20 bytes of the head", lambda it: it.reset(in_head=20)),
    Fault("/reset/in-body", "RST after 50 of 100 bytes of the body", lambda it: it.reset(after=50)),
    Fault("/truncate/in-head", "FIN after 20 bytes of the head", lambda it: it.truncate(in_head=20)),
    Fault("/truncate/in-body", "FIN after 50 of 100 bytes of the body", lambda it: it.truncate(50)),
    Fault("/close/without-answer", "FIN in place of an answer", lambda it: it.close_without_answer()),
    Fault("/close/after-answer", "FIN after an answer that does not say so", lambda it: it.close_after()),
    Fault("/close/on-reuse", "FIN when another request comes on the connection", lambda it: it.close_on_reuse()),
    Fault("/never", "no answer, and the connection stays open", lambda it: it.never_answer()),
    Fault("/stall", "50 of 100 bytes of the body, then nothing", lambda it: it.stall(after=50)),
    Fault("/drip", "100 bytes a second, head included", lambda it: it.drip(100)),
    Fault("/interim", "100, 103 and 103 before the answer", lambda it: it.interim(100, 103, 103)),
    Fault("/length/too-large", "Content-Length 200, 100 bytes, FIN", lambda it: it.wrong_length(200)),
    Fault("/length/too-small", "Content-Length 50, 100 bytes, FIN", lambda it: it.wrong_length(50)),
    Fault("/length/double", "two different Content-Length fields", lambda it: it.double_length()),
    Fault("/length/none", "no Content-Length, no chunks, FIN", lambda it: it.no_length()),
    Fault("/chunk/lies", "a chunk that says one byte more than it has", lambda it: it.lying_chunk()),
    Fault("/chunk/no-end", "a chunk, no last chunk, FIN", lambda it: it.unfinished_chunks()),
    Fault("/chunk/bad-size", "a chunk whose size is no number", lambda it: it.bad_chunk_size()),
    Fault("/head/garbage", "bytes that are no status line", lambda it: it.garbage_status_line()),
    Fault("/head/no-end", "a head without the empty line, FIN", lambda it: it.unfinished_head()),
    Fault("/head/huge", "a header field of 1 MiB", lambda it: it.huge_header()),
    Fault("/head/folded", "a header field in two lines (obs-fold)", lambda it: it.folded_header()),
    Fault("/head/nul", "a NUL in a header field", lambda it: it.nul_in_header()),
    Fault("/gzip/broken", "gzip with wrong bytes in its middle", lambda it: it.broken_gzip()),
    Fault("/gzip/truncated", "the first half of gzip", lambda it: it.truncated_gzip()),
    Fault("/gzip/bomb", "100 KB of gzip that are 100 MiB of zeros", lambda it: it.gzip_bomb()),
    Fault("/gzip/mislabelled", "plain text with Content-Encoding: gzip", lambda it: it.mislabelled_gzip()),
    Fault("/redirect/loop", "a redirect to itself", lambda it: it.redirect_loop()),
    Fault("/redirect/chain", "five redirects, then the text", lambda it: it.redirect_chain(5)),
    Fault("/redirect/long-chain", "a hundred redirects, then the text", lambda it: it.redirect_chain(100)),
    Fault("/events/cut", "FIN in the middle of the last server-sent event", lambda it: it.cut_event(), _EVENTS,
          "text/event-stream"),
)  # fmt: skip


class SocketFault(NamedTuple):
    """One fault of a WebSocket.

    Attributes:
        path: where it is.
        text: what happens there.
        arrange: makes the WebSocket go wrong, after it has sent a message.
    """

    path: str
    text: str
    arrange: Callable[[WebSocketFaults], WebSocketFaults]


WEBSOCKET_FAULTS = (
    SocketFault("/websocket/ok", "no fault: a message, then it waits for Close", lambda it: it),
    SocketFault("/websocket/never", "no answer to the handshake", lambda it: it.never_accept()),
    SocketFault("/websocket/accept/wrong", "the Sec-WebSocket-Accept of another key", lambda it: it.wrong_accept()),
    SocketFault("/websocket/accept/none", "101 without Sec-WebSocket-Accept", lambda it: it.no_accept()),
    SocketFault("/websocket/no-upgrade", "101 without Upgrade", lambda it: it.no_upgrade()),
    SocketFault("/websocket/no-connection", "101 without Connection", lambda it: it.no_connection()),
    SocketFault("/websocket/subprotocol", "a subprotocol nobody has offered", lambda it: it.subprotocol_not_offered()),
    SocketFault("/websocket/extension", "an extension nobody has offered", lambda it: it.extension_not_offered()),
    SocketFault("/websocket/masked", "a masked frame", lambda it: it.masked()),
    SocketFault("/websocket/opcode", "a frame of type 3, which is reserved", lambda it: it.reserved_opcode()),
    SocketFault("/websocket/rsv", "a frame with RSV2", lambda it: it.reserved_bits()),
    SocketFault("/websocket/utf-8", "text that is not UTF-8", lambda it: it.invalid_utf8()),
    SocketFault("/websocket/fragments/no-end", "a first fragment and no other", lambda it: it.unfinished_fragments()),
    SocketFault("/websocket/fragments/interleaved", "a message inside another", lambda it: it.interleaved_messages()),
    SocketFault("/websocket/fragments/no-begin", "a continuation of nothing", lambda it: it.lone_continuation()),
    SocketFault("/websocket/control/long", "a Ping of 126 bytes", lambda it: it.long_control_frame()),
    SocketFault("/websocket/control/fragmented", "a Ping in two fragments", lambda it: it.fragmented_control_frame()),
    SocketFault(
        "/websocket/length/lies", "a frame 10 bytes shorter than it says; Close, FIN", lambda it: it.lying_length()
    ),
    SocketFault("/websocket/length/padded", "a length of 5 in two bytes", lambda it: it.padded_length()),
    SocketFault("/websocket/length/impossible", "a length of 2^63", lambda it: it.impossible_length()),
    SocketFault("/websocket/huge", "a message of 64 MiB", lambda it: it.huge_message()),
    SocketFault("/websocket/bomb", "100 KB of permessage-deflate that are 100 MiB", lambda it: it.deflate_bomb()),
    SocketFault("/websocket/ping-flood", "10,000 Pings, then a message", lambda it: it.ping_flood().send("after")),
    SocketFault("/websocket/drip", "everything at 100 bytes a second", lambda it: it.drip(100)),
    SocketFault("/websocket/close/code", "Close with the code 1005", lambda it: it.invalid_close_code()),
    SocketFault("/websocket/close/short", "Close with one byte", lambda it: it.short_close()),
    SocketFault("/websocket/close/reason", "Close, its reason is not UTF-8", lambda it: it.invalid_close_reason()),
    SocketFault("/websocket/close/not-last", "Close, then a message", lambda it: it.message_after_close()),
    SocketFault("/websocket/close/no-fin", "Close, and the connection stays open", lambda it: it.close_without_fin()),
    SocketFault("/websocket/close/no-frame", "FIN without Close", lambda it: it.close_without_frame()),
    SocketFault("/websocket/close/reset", "RST without Close", lambda it: it.reset()),
    SocketFault("/websocket/stop/in-frame", "5 of 10 bytes of a frame, then nothing", lambda it: it.stop_in_frame()),
    SocketFault("/websocket/stop/in-head", "one byte of a frame, then nothing", lambda it: it.stop_in_frame_head()),
)

# Of servers with a port of their own: the argument ``tls`` of `TestServer`, and what happens.
TLS_FAULTS = {
    "good": "no fault: a certificate of the authority in the file named below",
    "expired": "a certificate that has expired",
    "wrong_name": "a certificate of another host",
    "unknown_authority": "a certificate of an authority that nobody knows",
    "slow": "the TLS handshake begins after 5 seconds",
    "reset": "RST in place of a TLS handshake",
    "no_close_notify": "an answer without a length, and FIN without close_notify",
}


class _Site:
    """The App, and the servers beside it."""

    def __init__(self) -> None:
        self._apps = {fault.path: fault.arrange(Faults()).around(_answering(fault)) for fault in FAULTS}
        self._apps |= {fault.path: fault.arrange(WebSocketFaults().send("hello")) for fault in WEBSOCKET_FAULTS}
        self._elsewhere: list[tuple[str, str, str]] = []  # name, text, URL
        self._ca_file = ""

    async def __call__(self, request: Request, response: ResponseWriter) -> None:
        """The App, which has a lifespan; `answer` has none."""
        await self.answer(request, response)

    async def answer(self, request: Request, response: ResponseWriter) -> None:
        """Answer a request, here or on one of the servers beside it."""
        if refused_for_reuse(request, response):
            return
        app = self._apps.get(request.path)
        if app is not None:
            await app(request, response)
        elif request.path == "/":
            self._list(request, response)
        else:
            response.send_head(404, [("Content-Type", "text/plain")])
            response.write(b"there is no such fault: / lists them\n")

    @contextlib.asynccontextmanager
    async def lifespan(self, server: Any) -> AsyncIterator[None]:
        """Start the servers that have a port of their own; TLS only if trustme is installed."""
        async with contextlib.AsyncExitStack() as stack:
            closed = stack.enter_context(bound_socket())
            url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
            self._elsewhere.append(("refused", "connections are refused: nobody listens on the port", url))
            try:
                for name, text in TLS_FAULTS.items():
                    app: App = self.answer
                    kind: Any = name
                    if name == "no_close_notify":
                        app, kind = Faults().no_close_notify().around(self.answer), True
                    beside = await stack.enter_async_context(TestServer(app, tls=kind, tls_delay=5))
                    self._elsewhere.append((f"tls/{name}", text, f"{beside.url}/ok"))
                    self._ca_file = beside.ca_file
            except ImportError as error:
                self._elsewhere.append(("tls", str(error), ""))
            yield

    def _list(self, request: Request, response: ResponseWriter) -> None:
        rows = [(fault.path, fault.text, fault.path) for fault in (*FAULTS, *WEBSOCKET_FAULTS)] + self._elsewhere
        if "json" in (request.headers["Accept"] or ""):
            found = {"faults": [{"name": n, "text": t, "url": u} for n, t, u in rows], "ca_file": self._ca_file}
            response.send_head(200, [("Content-Type", "application/json")])
            response.write(json.dumps(found, indent=1).encode())
            return
        lines = "".join(
            f'<tr><td><a href="{html.escape(url)}">{html.escape(name)}</a></td><td>{html.escape(text)}</td></tr>\n'
            for name, text, url in rows
        )
        response.send_head(200, [("Content-Type", "text/html; charset=utf-8")])
        response.write(_PAGE.format(lines=lines, ca_file=html.escape(self._ca_file)).encode())


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Faults for HTTP clients</title>
<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
<style>body {{ font-family: sans-serif; max-width: 50em; margin: 2em auto; padding: 0 1em }}
td {{ padding: .2em 1em .2em 0; vertical-align: top }}</style></head><body>
<h1>Faults for HTTP clients</h1>
<p>Each path answers wrongly, always in the same way; those below <code>/websocket/</code> are WebSockets.</p>
<p>With <code>Accept: application/json</code> this page is JSON.</p>
<table>{lines}</table>
<p>The authority of the certificates: <code>{ca_file}</code></p>
</body></html>
"""


def fault_site() -> App:
    """The App of the site; its lifespan starts the servers beside it."""
    return _Site()


def _answering(fault: Fault) -> App:
    async def answer(request: Request, response: ResponseWriter) -> None:
        response.send_head(200, [("Content-Type", fault.media_type)])
        response.write(fault.content)

    return answer
