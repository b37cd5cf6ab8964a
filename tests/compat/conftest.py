"""Fixtures of the servers of ``aiohttpd.compat``: TLS, and a check that no thread is left."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from aiohttpd.threads import pool

from ..support import old_servers


@pytest.fixture
def no_thread_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail if a thread is left after its server has been closed; idle threads must not wait for a timeout."""
    monkeypatch.setattr(pool, "_IDLE", 3600)
    with old_servers.no_thread_left():
        yield


@pytest.fixture
def client(authority: trustme.CA) -> ssl.SSLContext:
    """A context of a client that trusts the certificates."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def certificate(authority: trustme.CA, tmp_path: Path) -> tuple[str, str]:
    """The paths of certificate and key."""
    made = authority.issue_cert("127.0.0.1")
    made.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    made.private_key_pem.write_to_path(tmp_path / "key.pem")
    return str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
