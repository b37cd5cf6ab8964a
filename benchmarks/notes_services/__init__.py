"""The same service of notes written for aiohttpd, Starlette, FastAPI and aiohttp, each as its documentation shows it.

It has notes by number (list in pages, create, read, replace, delete), typed JSON (422), bearer tokens, CORS, request
ids, errors as problem+json, gzip, a feed of server-sent events, and attachments that are streamed. ``checks`` says what
each has to do, ``measure`` runs the checks and measures. Packages that users of a framework usually add are used:
pydantic, asgi-correlation-id, sse-starlette, aiohttp-cors, aiohttp-sse. What all share, ``store``, is not counted.
"""
