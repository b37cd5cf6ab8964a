"""Bytes and objects by RFC 9110 and 9112, in memory: the parser, its limits, fields; `aiohttpd.wire`."""
