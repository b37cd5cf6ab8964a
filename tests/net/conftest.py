"""Fixtures of TLS: a certificate authority, and contexts of a server and of a client that trusts it."""

import ssl

import pytest
import trustme


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    """A certificate authority, one for each test module."""
    return trustme.CA()


@pytest.fixture
def context(ca: trustme.CA) -> ssl.SSLContext:
    """The context of a server named localhost."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(made)
    return made


@pytest.fixture
def trust(ca: trustme.CA, version: ssl.TLSVersion) -> ssl.SSLContext:
    """The context of a client that speaks one version of TLS; a test gives the version by parametrize."""
    made = ssl.create_default_context()
    ca.configure_trust(made)
    made.maximum_version = version
    return made
