"""Arguments of `HTTPServer` and `run` of a wrong kind: they are refused before anything listens."""

import dataclasses
import re
import ssl
from typing import Any, get_type_hints

import pytest

import aiohttpd
from aiohttpd import Certificates
from aiohttpd.config.keywords import Options

from ..support.asking import QUIET

ADDRESS = ("127.0.0.1", 0)


async def app(request: aiohttpd.Request, response: aiohttpd.StreamWriter) -> None: ...


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("config", {"timeout_idle": 3}, "config is {'timeout_idle': 3}: write aiohttpd.Config(...)"),
        ("lifespan", 3, "lifespan is 3: write an asynchronous function that yields once, decorated with"),
        ("ssl", "cert.pem", "ssl is 'cert.pem': write aiohttpd.Certificates('cert.pem', 'key.pem').context()"),
        ("ssl", True, "ssl is True: write aiohttpd.Certificates"),
        ("ssl", Certificates("cert.pem"), "ssl is Certificates, which run() takes: give their context() to an"),
        ("ssl", ssl.create_default_context(), "ssl is a context for clients: write ssl.create_default_context("),
        ("access_log", True, "access_log is True: leave it out for no log; or call logging.getLogger("),
    ],
)
def test_an_argument(name: str, value: Any, text: str) -> None:
    with pytest.raises(TypeError, match=re.escape(text)):
        aiohttpd.HTTPServer(ADDRESS, app, **{"config": QUIET, name: value})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("timeout_idle", "HTTPServer has no argument 'timeout_idle': write config=aiohttpd.Config(timeout_idle=...)"),
        ("port", "HTTPServer has no argument 'port'; options of the server are given as config=aiohttpd.Config(...)"),
    ],
)
def test_an_option_that_is_given_as_an_argument(name: str, text: str) -> None:
    given: Any = {name: 3}
    with pytest.raises(TypeError, match=re.escape(text)):
        aiohttpd.HTTPServer(ADDRESS, app, **given)


@pytest.mark.parametrize("workers", [None, 1])
@pytest.mark.parametrize(("name", "value"), [("ssl", "cert.pem"), ("lifespan", 3)])
def test_of_run(name: str, value: Any, workers: int | None) -> None:
    given: Any = {name: value, "workers": workers}
    with pytest.raises(TypeError, match=f"^{name} is {value!r}: write "):
        aiohttpd.run(app, port=0, **given)


def test_a_config_for_run() -> None:
    with pytest.raises(TypeError, match="^no option 'config': write the options themselves as keywords, such as"):
        aiohttpd.run(app, config=QUIET)


@pytest.mark.parametrize(("name", "text"), [("limit_body", "an int"), ("timeout_idle", "a float or an int")])
def test_an_option_of_another_type(name: str, text: str) -> None:
    options: dict[str, Any] = {name: "1"}
    with pytest.raises(TypeError, match=f"^{name} is {text}, not '1'$"):
        aiohttpd.Config(**options)


def test_type_checkers_know_all_options() -> None:
    of_config = {field.name: field.type for field in dataclasses.fields(aiohttpd.Config)}
    assert list(get_type_hints(Options).items()) == list(of_config.items())


def test_an_option_that_is_like_no_other() -> None:
    """No far-fetched name is proposed."""
    with pytest.raises(TypeError, match="^no option 'prot'$"):
        aiohttpd.run(app, prot=80)
