"""TLS contexts: from the files that somebody names to what a server needs.

Owns the defaults of TLS, and what is said when a file is not what it should be. It opens no socket.
"""

import ssl

from .errors import TLSError

__all__ = ["server_context"]


def server_context(certificate: str, key: str | None = None, password_file: str | None = None) -> ssl.SSLContext:
    """Make the context of a server: TLS 1.2 or later, HTTP/1.1 by ALPN.

    Args:
        certificate: path of the certificate in PEM, with those of the authorities between.
        key: path of its private key, by default in the same file.
        password_file: path of a file with the password of the key, one that ends a line.

    Raises:
        TLSError: one of the files cannot be read or used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    password = None if password_file is None else _read(password_file).rstrip(b"\r\n")
    for path in filter(None, (certificate, key)):
        _read(path)  # for an error that names the file

    def ask() -> bytes:
        if password is None:
            raise TLSError(f"{key or certificate} is encrypted: give its password with --tls-password-file")
        return password  # without this function the terminal would be asked

    try:
        context.load_cert_chain(certificate, key, ask)
    except ssl.SSLError as error:
        raise TLSError(_explain(error, certificate, key, password_file)) from None
    except ValueError as error:  # the password is too long
        raise TLSError(f"{password_file}: {error}") from None
    return context


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise TLSError(f"cannot read {path}: {error.strerror}") from None


def _explain(error: ssl.SSLError, certificate: str, key: str | None, password_file: str | None) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"{key or certificate} is not the key of {certificate}"
    if password_file is not None:  # OpenSSL does not always say why
        return f"{key or certificate} cannot be read with the password in {password_file}"
    if key is None:
        return f"{certificate} does not hold a certificate and its key in PEM; a key of its own goes to --tls-key"
    return f"{certificate} and {key} are not a certificate and a key in PEM"
