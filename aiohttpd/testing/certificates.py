"""Certificates for tests, made by trustme when the first server with TLS is started.

Owns the authority, one for a process, and the certificates that are wrong on purpose.
"""

import datetime
import functools
import os
import ssl
import tempfile
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import trustme

__all__ = ["TLSKind", "server_context", "write_authority"]

TLSKind = Literal["good", "expired", "wrong_name", "unknown_authority", "slow", "reset"]

_NAMES = ("localhost", "127.0.0.1", "::1")


def server_context(kind: TLSKind = "good") -> ssl.SSLContext:
    """The TLS context of a server.

    Args:
        kind: ``expired``, ``wrong_name`` (of the host ``wrong.invalid``), ``unknown_authority`` (whose certificate is
            not in the file of `write_authority`); any other has a certificate that is good.

    Raises:
        ImportError: trustme is not installed; the text says what to install.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    _certificate(kind).configure_cert(context)
    return context


def write_authority() -> str:
    """Write the certificate of the authority to a file in PEM, for clients to trust; returns its path."""
    descriptor, path = tempfile.mkstemp(prefix="aiohttpd-ca-", suffix=".pem")
    with os.fdopen(descriptor, "wb") as file:
        file.write(_authority().cert_pem.bytes())
    return path


@functools.cache
def _authority() -> "trustme.CA":
    return _trustme_authority()


@functools.cache
def _certificate(kind: TLSKind) -> "trustme.LeafCert":
    if kind == "expired":
        yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
        before = yesterday - datetime.timedelta(days=30)
        return _authority().issue_cert(*_NAMES, not_before=before, not_after=yesterday)
    if kind == "wrong_name":
        return _authority().issue_cert("wrong.invalid")
    if kind == "unknown_authority":
        return _trustme_authority().issue_cert(*_NAMES)
    return _authority().issue_cert(*_NAMES)


def _trustme_authority() -> "trustme.CA":
    try:
        import trustme
    except ImportError:
        raise ImportError(
            "a test server with TLS needs certificates, which trustme makes: pip install 'aiohttpd[testing]'"
        ) from None
    return trustme.CA()
