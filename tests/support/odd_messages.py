"""Messages that are nearly valid, made of pieces and then damaged a little more, for property tests."""

from hypothesis import strategies as st

# Messages that are nearly valid.

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"

# Each kind of piece: usual ones, and odd ones.
PIECES: dict[str, tuple[list[bytes], list[bytes]]] = {
    "space": ([b" "], [b"", b"  ", b"\t", b"\x0b", b"\xa0", b"\r"]),
    "line end": (
        [b"\r\n"],
        [b"\n", b"\r", b"", b"\r\r\n", b"\n\r", b"\r\n\r\n", b" \r\n", b"\r\n ", b"\0\r\n", b"\r\n\t", b"\r\n:"],
    ),
    "gap": ([b"", b"", b"\r\n"], [b"\n", b"\r", b" ", b"\r\n\r\n", b"\0", b"\r\n\r\n\r\n", b"\r\n "]),
    "margin": (
        [b" ", b"", b"\t ", b"  "],
        [b"\r\n ", b"\n", b"\x0b", b"\x0c", b"\xa0", b"\x85", b"\0", b"\r", b"\x1c"],
    ),
    "colon": ([b":"], [b" :", b"", b"::", b"\t:", b"\0:", b"=", b"\r\n:", b"\x0b:"]),
    "method": (
        [b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS", b"CONNECT", b"DELETE", b"M-SEARCH", b"SOURCE"],
        [b"", b"PRI", b"get", b"GE T", b"G\xc9T", b"GET\0", b"G@T", b"QUERY", b"\r\nGET", b"\nGET", b" GET",
         b"\xef\xbb\xbfGET"],
    ),
    "target": (
        [b"/", b"/a?b=c", b"//h/", b"*", b"http://h/p?q", b"HTTP://h:80", b"h:80", b"[::1]:80"],
        [b"", b"/#f", b"/a b", b"/\xe9", b"/\x7f", b"/\t", b"a", b"http://", b"http://u@h/", b"ws://h/", b"/\0",
         b"/%zz", b"/\r", b"http:/h", b"http://h", b"http://h?q", b"?q", b"/|^`{}<>\"\\", b"h:", b"h:99999"],
    ),
    "version": (
        [b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0"],
        [b"HTTP/1.2", b"HTTP/1.9", b"HTTP/2.0", b"HTTP/0.9", b"http/1.1", b"HTTP/1.10", b"HTTP/1", b"HTTP/01.1", b"",
         b"ICE/1.0", b"RTSP/1.0", b"HTTP/1.\xb9", b"HTTP/11", b"HTTP/1.1 x"],
    ),
    "host": (
        [b"h", b"h:80", b"[::1]:8000", b"a.example"],
        [b"", b"a b", b"a,b", b"h:", b"h:x", b"h:99999", b"u@h", b"h/", b"[::1", b"\xe9", b"h\0", b"%41", b"[]",
         b":80"],
    ),
    "name": (
        [b"A", b"X-Y", b"accept", b"Cookie", b"!#$%&'*+-.^_`|~1"],
        [b"", b"A B", b"A\0", b"\xe9", b"(A)", b'"A"', b"A\t", b" A", b"Content-Length ", b"Transfer-Encoding\x0b",
         b"\tA"],
    ),
    "value": (
        [b"", b"v", b"a, b", b'"q: r"', b"\xe9\xff", b"a\tb", b"\x80\x85\xa0"],
        [b"\0", b"\x01", b"\x7f", b"a\rb", b"a\nb", b"a\r\n b", b"\x0b", b"\r\n\r\n", b"a\r\nHost: z", b"\x1b[0m",
         b"\n\n"],
    ),
    "length": (
        [b"%d", b"%d", b"00%d", b"%019d"],
        [b"+%d", b"-%d", b"%d0", b"%d, %d", b"0x%x", b"%d_0", b"%d;", b"%d\0"],
    ),
    "odd length": (
        [b"0", b"1", b"3", b"5", b"3, 3", b"3,5", b"", b"3 3", b"\xb3", b"3.0", b"-0", b"3\r", b"+3", b"03", b"\x0b3",
         b"9" * 18, b"9" * 19, b"9" * 20, b"18446744073709551619", b"0" * 30 + b"3", b"9223372036854775808"],
        [b"0x"],
    ),
    "coding name": (
        [b"Transfer-Encoding", b"transfer-encoding"],
        [b"Transfer_Encoding", b"Transfer-Encoding ", b"TE"],
    ),
    "coding": (
        [b"chunked", b"Chunked", b"CHUNKED"],
        [b"chunked, chunked", b"gzip, chunked", b"chunked, gzip", b"identity", b"", b"chunked;q=1", b"xchunked",
         b"gzip", b"chunked,", b",chunked", b"\x0bchunked", b'"chunked"', b"chunked\0", b"chun ked", b"chunked\xa0",
         b", chunked"],
    ),
    "content": (
        [b"abc", b"\r\n", b"0\r\n\r\n", b"\0\xff", b"a=b&c", SMUGGLED, b"x" * 17, b"abcde", b"\r", b"\n", b"abc\r\n"],
        [b""],
    ),
    "size": (
        [b"%x", b"%X", b"0%x", b"000000%x"],
        [b"0x%x", b"+%x", b"-%x", b" %x", b"%x ", b"%x\t", b"%xg", b"", b"1%x", b"%x0", b"%x_", b"%064x", b"%017x",
         b"%016x", b"ffffffffffffffff%x", b"%x\0", b"%x,", b"\xb2%x", b"fffffffffffffff%x", b"\r\n%x", b"%x\r"],
    ),
    "chunk end": ([b"\r\n"], [b"xx", b"\n\r", b"\r\r", b"\n\n", b"0\n", b"\n", b"\r", b"", b"\r\n\r\n"]),
    "last size": ([b"0", b"00", b"0" * 16], [b"", b"0x0", b"-0", b"0 ", b"0" * 17, b"1", b"0\t", b"0" * 21]),
    "extension": (
        [b"", b"", b"", b";a", b";a=b", b';a="b c"', b';a="\\"";b=c', b";a;b", b';a="\xe9\t"'],
        [b";", b" ;a", b"; a", b";a =b", b";a= b", b';a="', b';a="\r"', b";a\n", b";a\nb", b';a="\r\n"', b";\0",
         b";a=\xe9", b';a="\x7f"', b";a\r", b";a;", b";=b", b'="x"', b",a", b" ", b'="\xe9"', b';a="\\\r\n"',
         b";a=b=c", b';a="b"c'],
    ),
}  # fmt: skip

DECIDING_NAMES = b"Connection Expect Upgrade Keep-Alive TE Trailer connection Proxy-Connection".split()
DECIDING_VALUES = [b"close", b"keep-alive", b"Upgrade, close", b"upgrade", b"100-continue", b"100-Continue", b"x", b""]


DECIDING_VALUES += [b"close, , x", b"h2c", b"Content-Length", b"clo se", b"CLOSE", b"websocket"]


_SLOTS = 40  # about as many pieces as a request is made of


class _Maker:
    """Makes requests of pieces, at most two of which are odd."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        self._odd = draw(st.sets(st.integers(1, _SLOTS), max_size=2))
        self._slot = 0

    def choose(self, choices: list[bytes]) -> bytes:
        return choices[0] if len(choices) == 1 else self._draw(st.sampled_from(choices))

    def number(self, highest: int) -> int:
        return self._draw(st.integers(0, highest))

    def __call__(self, *kinds: str) -> bytes:
        out = b""
        for kind in kinds:
            self._slot += 1
            out += self.choose(PIECES[kind][self._slot in self._odd])
        return out

    def field(self, name: bytes | None = None, value: bytes | None = None) -> bytes:
        parts = [self("name") if name is None else name, self("colon", "margin")]
        return b"".join([*parts, self("value") if value is None else value, self("margin", "line end")])

    def chunked(self) -> bytes:
        out = b""
        for _ in range(self.number(2)):
            content = self("content")
            out += _fill(self("size"), len(content)) + self("extension", "line end") + content + self("chunk end")
        out += self("last size", "extension", "line end")
        for _ in range(self.number(2)):
            out += self.field() if self.number(3) else self.field(b"Content-Length", b"5")
        return out + self("line end")

    def framing(self) -> tuple[list[bytes], bytes]:
        """Fields that frame, and a body that mostly fits them."""
        kind = self.number(9)
        if kind < 2:
            return [], b""
        if kind < 4:
            content = self("content")
            return [self.field(b"Content-Length", _fill(self("length"), len(content)))], content
        if kind < 8:
            return [self.field(self("coding name"), self("coding"))], self.chunked()
        fields = [
            self.field(b"Content-Length", self("odd length"))
            if self.number(2)
            else self.field(b"Transfer-Encoding", b"chunked")
            for _ in range(1 + self.number(1))
        ]
        return fields, self.chunked() if self.number(1) else self("content")

    def tail(self) -> bytes:
        """All of a request that follows the request line."""
        fields, body = self.framing()
        for _ in range(self.number(2)):
            if self.number(1):
                fields.append(self.field())
            else:
                fields.append(self.field(self.choose(DECIDING_NAMES), self.choose(DECIDING_VALUES)))
        for _ in range({0: 0, 1: 2}.get(self.number(15), 1)):
            fields.insert(self.number(len(fields)), self.field(b"Host", self("host")))
        return b"".join(fields) + self("line end") + body

    def stream(self) -> bytes:
        """One to three requests; some have the fields of the one before."""
        out = b""
        tail = self.tail()
        for number in range(self.choose([b"1", b"1", b"2", b"3"])[0] - ord("0")):
            if number:
                out += self("gap")
                if self.number(1):
                    tail = self.tail()
            if self.number(2):
                out += self.choose([b"GET / HTTP/1.1\r\n", b"POST /a?b HTTP/1.1\r\n", b"PUT http://h/ HTTP/1.1\r\n"])
            else:
                out += self("method", "space", "target", "space", "version", "line end")
            out += tail
        return out


def _fill(pattern: bytes, number: int) -> bytes:
    return pattern % ((number,) * pattern.count(b"%"))


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["insert", "delete", "replace", "repeat"]),
        st.integers(0, 2**10),
        st.sampled_from([bytes([byte]) for byte in b'\0\t\n\v\r "#,:;0a/\\\x7f\x80\x85\xa0\xff'] + [b"\r\n", b"\r\n "]),
    ),
    max_size=2,
)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """One to three requests made of pieces; some are damaged afterwards, or cut short."""
    out = _Maker(draw).stream()
    damage = draw(st.integers(0, 4))
    if damage == 3:
        out = out[: draw(st.integers(0, len(out)))]
    for kind, position, data in draw(EDITS) if damage == 4 else ():
        index = position % (len(out) + 1)
        if kind == "repeat":
            data = out[index : index + 1]
        out = out[:index] + (b"" if kind == "delete" else data) + out[index + (kind in ("delete", "replace")) :]
    return out
