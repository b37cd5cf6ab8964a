"""Tables of routes for tests: handlers that tell how they were reached, and strategies for patterns and paths."""

import json
from typing import Any

from hypothesis import strategies as st

from aiohttpd import BaseHTTPRequestHandler, Router

from .asking import fetch

SOME_UUID = "00000000-0000-4000-8000-00000000000a"


def telling(label: str) -> type[BaseHTTPRequestHandler]:
    """A handler class that answers with its label, the parameters, and the path that it sees."""

    async def do_GET(self: BaseHTTPRequestHandler) -> None:
        params = {name: str(value) for name, value in self.params.items()}
        self.send_json({"label": label, "params": params, "path": self.path, "root": self.request.root_path})

    return type("Telling", (BaseHTTPRequestHandler,), {"do_GET": do_GET})


def router_of(*routes: str, **options: Any) -> Router:
    """A router in which each route leads to a handler that tells the route's text."""
    return Router({text: telling(text) for text in routes}, **options)


async def reached(app: Any, target: str, *fields: str) -> Any:
    """What the handler tells that a target leads to; the status and Location if it is none of these."""
    answer = await fetch(app, target, *fields)
    if answer.status != 200:
        return (answer.status, answer["Location"]) if answer["Location"] else answer.status
    return json.loads(answer.body)


_SEGMENTS = st.sampled_from(["a", "b", "1", SOME_UUID, "{p}", "{p:int}", "{p:uuid}"])


@st.composite
def patterns(draw: st.DrawFn) -> str:
    """The text of a route, of few segments, so that several often match a path."""
    segments = draw(st.lists(_SEGMENTS, max_size=3))
    named = [text.replace("{p", f"{{p{number}") for number, text in enumerate(segments)]
    return "/" + "/".join([*named, *draw(st.sampled_from([[], [""], ["{$}"], ["{rest...}"]]))])
