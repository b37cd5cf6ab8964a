"""The examples of docs/testing.md run, and what it lists is there."""

import re
from pathlib import Path

from aiohttpd.testing import Expectation, Faults, TestServer, WebSocketFaults
from aiohttpd.testing.fault_site import FAULTS, TLS_FAULTS, WEBSOCKET_FAULTS

from ..support.places import ROOT
from ..support.suites import ASYNCIO, pytest_run

PAGE = (ROOT / "docs" / "testing.md").read_text()


def test_examples(tmp_path: Path) -> None:
    text = "\n\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    done = pytest_run(tmp_path, text, *ASYNCIO)
    assert f"{text.count('def test_')} passed" in done.stdout, done.stdout


def test_each_verb_is_on_the_page() -> None:
    verbs = {
        name
        for name in vars(Faults) | vars(Expectation)
        if not name.startswith("_") and callable(getattr(Expectation, name))
    }
    assert not [
        name for name in verbs - {"around", "answer", "serve"} if f"`{name}(" not in PAGE and f".{name}(" not in PAGE
    ]


def test_each_verb_of_websockets_is_on_the_page() -> None:
    verbs = [name for name in vars(WebSocketFaults) if not name.startswith("_")]
    assert not [name for name in verbs if f"`{name}(" not in PAGE]


def test_each_public_name_of_the_server_is_on_the_page() -> None:
    names = {name for name in vars(TestServer) if not name.startswith("_")} - {"clear", "host", "server", "verify"}
    assert not [name for name in names if not re.search(rf"\b{name}\b", PAGE)]


def test_the_table_has_each_fault() -> None:
    for name in [fault.path for fault in (*FAULTS, *WEBSOCKET_FAULTS)] + [f"tls/{name}" for name in TLS_FAULTS]:
        assert f"| `{name}` | " in PAGE, f"{name}: python benchmarks/faults.py --write"
