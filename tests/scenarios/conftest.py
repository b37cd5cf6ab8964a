"""A fixture of servers with and without TLS; a test gives ``scheme`` by parametrize."""

import ssl

import pytest
import trustme


@pytest.fixture
def tls(scheme: str, authority: trustme.CA) -> tuple[ssl.SSLContext | None, ssl.SSLContext | None]:
    """The contexts of server and client; None for plain HTTP."""
    if scheme == "http":
        return None, None
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(client)
    return server, client
