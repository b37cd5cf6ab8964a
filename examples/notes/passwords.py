"""Passwords are kept as a salt and a hash by scrypt, which makes guessing expensive: it needs 16 MiB and 0.2 s."""

import asyncio
import hashlib
import hmac
import secrets

COST = 2**14
SALT = 16  # bytes


async def hash_password(password: str) -> bytes:
    salt = secrets.token_bytes(SALT)
    return salt + await asyncio.to_thread(_scrypt, password, salt)


async def is_password(password: str, hashed: bytes | None) -> bool:
    """Whether a password is right. Without a hash it is not, and that takes the same time."""
    known = hashed or bytes(SALT)
    found = await asyncio.to_thread(_scrypt, password, known[:SALT])
    return hmac.compare_digest(found, known[SALT:])


def _scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=COST, r=8, p=5)
