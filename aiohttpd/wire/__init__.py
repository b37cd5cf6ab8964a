"""The messages of HTTP/1.1 (RFC 9110, RFC 9112): bytes are parsed to objects, and objects are formatted as bytes.

All of it is pure: no I/O, no clock, no logging, no asyncio. It imports only `errors` and `config` of the package.
"""
