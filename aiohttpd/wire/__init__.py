"""Bytes to objects and back: HTTP/1.1 as RFC 9110 and RFC 9112 write it.

Pure: no I/O, no clock, no logging, no asyncio; of the package only `errors` and `config` are imported.
"""
