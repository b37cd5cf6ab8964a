"""TLS contexts of servers, made of certificate files.

Owns the defaults of TLS, and the errors for files that cannot be used.
"""

import re
import ssl
from dataclasses import dataclass

from ..errors import TLSError

__all__ = ["Certificates", "ServerTLSContext"]


class ServerTLSContext(ssl.SSLContext):
    """A TLS context that knows which certificate it sends.

    Attributes:
        certificate: that of the server, in PEM; None if it is not known.
    """

    certificate: str | None = None


@dataclass(frozen=True)
class Certificates:
    """The files of TLS. Each call of `context` reads them again, so they may be replaced while a server runs.

    ::

        aiohttpd.run(Hello, port=443, ssl=Certificates("cert.pem", "key.pem"))

    Attributes:
        certificate: path of the certificate chain in PEM, the certificate of the server first.
        key: path of its private key; by default the key is in ``certificate``.
        password_file: path of a file with the password of the key; a newline at its end does not count.
        authority: path of CA certificates in PEM. If it is given, a client needs a certificate that one of them has
            signed; by default clients need none.
    """

    certificate: str
    key: str | None = None
    password_file: str | None = None
    authority: str | None = None

    def context(self) -> "ServerTLSContext":
        """Make the TLS context of a server: TLS 1.2 or later, HTTP/1.1 by ALPN.

        Raises:
            TLSError: a file cannot be read or used; the text names it.
        """
        context = ServerTLSContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # A client of TLS 1.2 could have a handshake begun again and again. OpenSSL 3 refuses that by default.
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        self._load_certificate(context)
        context.certificate = _first_certificate(_read(self.certificate))
        if self.authority is not None:
            _read(self.authority)
            try:
                context.load_verify_locations(self.authority)
            except ssl.SSLError:
                raise TLSError(f"{self.authority} does not hold certificates in PEM") from None
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _load_certificate(self, context: ssl.SSLContext) -> None:
        password = None if self.password_file is None else _read(self.password_file).rstrip(b"\r\n")
        key = self.key or self.certificate
        for path in (self.certificate, key):
            _read(path)  # for an error that names the file

        def ask() -> bytes:
            if password is None:
                raise TLSError(f"{key} is encrypted: give its password with password_file")
            return password  # without this function OpenSSL would ask on the terminal

        try:
            context.load_cert_chain(self.certificate, self.key, ask)
        except ssl.SSLError as error:
            raise TLSError(self._explain(error)) from None
        except ValueError as error:  # the password is too long
            raise TLSError(f"{self.password_file}: {error}") from None

    def _explain(self, error: ssl.SSLError) -> str:
        certificate, key = self.certificate, self.key
        if error.reason == "KEY_VALUES_MISMATCH":
            return f"{key or certificate} is not the key of {certificate}"
        if self.password_file is not None:  # OpenSSL does not always tell the reason
            return f"{key or certificate} cannot be read with the password in {self.password_file}"
        if key is None:
            return f"{certificate} does not hold a certificate and its key in PEM; give a separate file to key"
        return f"{certificate} and {key} are not a certificate and a key in PEM"


def _first_certificate(data: bytes) -> str | None:
    """The first certificate in a file, which is that of the server; the others are of authorities."""
    match = re.search(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\r?\n?", data, re.DOTALL)
    return None if match is None else match[0].decode("latin-1")


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise TLSError(f"cannot read {path}: {error.strerror}") from None
