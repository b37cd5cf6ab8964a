"""A small site: each user has notes with attachments, in pages and as a JSON API.

``make_app`` puts it together: the routes, the layers around them, and what begins and ends with the server.
"""

import functools
import os
import secrets
from pathlib import Path

import aiohttpd
from aiohttpd import middleware

from . import api, site
from .store import open_store

HERE = Path(__file__).parent


def make_app(folder: Path, secret: str) -> aiohttpd.App:
    """Make the application.

    Args:
        folder: where the database and the attachments are.
        secret: signs the sessions.
    """
    routes = aiohttpd.Router(
        {
            "/": site.Home,
            "/sign-in": aiohttpd.layers(site.SignIn, middleware.RateLimit(30, per=60)),
            "/sign-out": site.SignOut,
            "/notes/{id:int}": site.NotePage,  # with the routes of its decorated methods
            "/files/{id}": site.File,
            "/api/": aiohttpd.layers(api.routes, middleware.ProblemDetails(pages=False)),
            "/static/": functools.partial(aiohttpd.SimpleHTTPRequestHandler, directory=str(HERE / "static")),
        },
        error_handlers={site.SignInFirst: site.to_sign_in, aiohttpd.HTTPError: site.error_page},
        lifespan=functools.partial(open_store, folder),
    )
    return aiohttpd.layers(
        routes,
        middleware.RequestID(),
        middleware.SecurityHeaders(csp="default-src 'self'"),
        middleware.SameOrigin(),
        middleware.Sessions(secret),
    )


app = make_app(
    Path(os.environ.get("NOTES_FOLDER", "notes-data")),
    os.environ.get("NOTES_SECRET") or secrets.token_urlsafe(32),  # without a secret, a restart signs everybody out
)
