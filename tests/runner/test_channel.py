"""What passes between the supervisor and a worker: messages, and a log that several processes write."""

import os
import subprocess
import sys
import tempfile

from aiohttpd.runner.channel import Channel, encode
from aiohttpd.runner.shared_stream import SharedStream


class TestChannel:
    async def test_messages_however_they_are_cut(self) -> None:
        messages: list[dict[str, object]] = []
        channel = Channel(messages.append, lambda: None)
        for byte in encode("stop", grace=0.5, text="a\nb") + encode("ready"):
            channel.data_received(bytes([byte]))
        assert messages == [{"tell": "stop", "grace": 0.5, "text": "a\nb"}, {"tell": "ready"}]

    async def test_nobody_at_the_other_end(self) -> None:
        Channel(lambda message: None, lambda: None).send("ready")


def test_batches_of_several_processes_are_whole() -> None:
    """They are longer than what a pipe takes in one piece."""
    code = (
        "import sys; from aiohttpd.runner.shared_stream import SharedStream\n"
        "stream = SharedStream(1, int(sys.argv[1]))\n"
        "print(file=sys.stderr, flush=True); sys.stdin.read()\n"  # all begin at once
        "for _ in range(50): stream.write((sys.argv[2] * 500 + chr(10)) * 60)"
    )
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as lock:
        number = lock.fileno()
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(number), letter],
                stdin=subprocess.PIPE, stdout=writing, stderr=subprocess.PIPE, pass_fds=[number],
            )
            for letter in "abc"
        ]  # fmt: skip
        os.close(writing)
        for writer in writers:
            assert writer.stderr is not None
            writer.stderr.readline()
            writer.stderr.close()
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.close()
        with open(reading) as stream:
            lines = stream.read().splitlines()
        assert [writer.wait() for writer in writers] == [0, 0, 0]
    batches = ["".join(lines[start : start + 60]) for start in range(0, len(lines), 60)]
    assert sorted(batches) == sorted([letter * 500 * 60 for letter in "abc"] * 50)


def test_a_stream_keeps_what_is_no_line_yet() -> None:
    with tempfile.TemporaryFile() as file, tempfile.TemporaryFile() as lock:
        stream = SharedStream(file.fileno(), lock.fileno())

        def written() -> bytes:
            return os.pread(file.fileno(), 1000, 0)

        print("one", "\udc80", end="", file=stream, flush=True)
        assert written() == b""
        print(" two\nthree", file=stream)
        assert written() == b"one \\udc80 two\nthree\n"
        stream.write("a\nb")
        assert written() == b"one \\udc80 two\nthree\na\n"
