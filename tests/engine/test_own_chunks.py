"""Handlers that chunk their content themselves (Transfer-Encoding: chunked): what is sent, and what is refused."""

import pytest

from aiohttpd import Request, StreamWriter

from ..support.clients import expect_logged
from ..support.wire import drive, finals

WHOLE = b"3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\n"


def app_of(*pieces: bytes) -> object:
    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200, [("Transfer-Encoding", "chunked")])
        for piece in pieces:
            response.write(piece)

    return app


@pytest.mark.parametrize("pieces", [[WHOLE], [WHOLE[at : at + 1] for at in range(len(WHOLE))]], ids=["one", "bytes"])
async def test_they_are_sent_as_they_are(pieces: list[bytes]) -> None:
    output, _ = await drive(app_of(*pieces), [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"])  # type: ignore[arg-type]
    head, _, content = output.partition(b"\r\n\r\n")
    assert (b"Transfer-Encoding: chunked" in head, content) == (True, WHOLE)
    output, closed = await drive(app_of(*pieces), [b"GET / HTTP/1.0\r\n\r\n"])  # type: ignore[arg-type]
    [answer] = finals(output)
    assert (answer.body, answer["Transfer-Encoding"], closed) == (b"abcde", None, True)


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ([b"xyz\r\n"], "what is written is not"),
        ([b"3\r\nabcd\r\n"], "what is written is not"),
        ([b"0\r\n\r\n", b"0\r\n\r\n"], "content after the last chunk"),
        ([b"1\r\na\r\n0\r\n\r\nx"], "content after the last chunk"),
        ([b"1\r\na\r\n"], "the last chunk is missing"),
        ([b"1\r\na\r\n0\r\n"], "the last chunk is missing"),
        ([], "the last chunk is missing"),
    ],
)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_what_is_no_chunks_is_an_error_page(
    pieces: list[bytes], message: str, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing has been sent by then: the handler has written little, and has not drained it."""
    request = f"GET / HTTP/{version}\r\nHost: a\r\n\r\n".encode()
    output, _ = await drive(app_of(*pieces), [request])  # type: ignore[arg-type]
    [answer] = finals(output)
    assert (answer.status, answer["Transfer-Encoding"]) == (500, None)
    expect_logged(caplog, message)
