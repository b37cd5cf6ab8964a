"""Ask an App in memory: each call has a connection of its own, and gives what a client would read."""

import dataclasses
from typing import Any

from aiohttpd import Config
from aiohttpd.testing import exchange

from .clients import head
from .wire import Response, split

QUIET = Config(access_log=False)


async def answer_to(app: Any, *requests: bytes, config: Config = QUIET, **options: Any) -> Response:
    """Send requests on one connection, one after the other; give the last answer.

    Each request has one final answer. There are interim ones only if a request has asked for them.

    Args:
        app: it answers.
        requests: whole ones.
        config: of the server.
        options: single ones that differ from ``config``.
    """
    config = dataclasses.replace(config, **options)
    methods = [request.partition(b" ")[0].decode("latin-1") for request in requests]
    found = split(await exchange(app, requests, config=config), methods)
    if not any(b"100-continue" in request for request in requests):
        assert all(answer.status >= 200 for answer in found)
    final = [answer for answer in found if answer.status >= 200]
    assert len(final) == len(requests)
    return final[-1]


async def fetch(
    app: Any, path: str = "/", *fields: str, method: str = "GET", version: str = "1.1", config: Config = QUIET
) -> Response:
    """Ask for a path, with these lines of fields; give the answer."""
    return await answer_to(app, head(method, path, *fields, version=version), config=config)
