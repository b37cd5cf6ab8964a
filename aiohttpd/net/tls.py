"""TLS: from the files that somebody names to the context that a server needs.

Owns the defaults of TLS, and what is said when a file is not what it should be. It opens no socket.
"""

import ssl
from dataclasses import dataclass

from ..errors import TLSError

__all__ = ["Certificates"]


@dataclass(frozen=True)
class Certificates:
    """The files of TLS. They may change: each `context` is made of what is in them then.

    Attributes:
        certificate: path of the certificate in PEM, with those of the authorities between.
        key: path of its private key, by default in the same file.
        password_file: path of a file with the password of the key, one that ends a line.
        authority: path of the certificates in PEM of which one must have signed the certificate of a client; by
            default clients are not asked for theirs.
    """

    certificate: str
    key: str | None = None
    password_file: str | None = None
    authority: str | None = None

    def context(self) -> ssl.SSLContext:
        """Make the context of a server: TLS 1.2 or later, HTTP/1.1 by ALPN.

        Raises:
            TLSError: one of the files cannot be read or used.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        self._load_certificate(context)
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
            return password  # without this function the terminal would be asked

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
        if self.password_file is not None:  # OpenSSL does not always say why
            return f"{key or certificate} cannot be read with the password in {self.password_file}"
        if key is None:
            return f"{certificate} does not hold a certificate and its key in PEM; a key of its own goes to key"
        return f"{certificate} and {key} are not a certificate and a key in PEM"


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise TLSError(f"cannot read {path}: {error.strerror}") from None
