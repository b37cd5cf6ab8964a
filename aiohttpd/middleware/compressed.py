"""Compression: `aiohttpd.compression.compress` as a layer with options."""

from ..compression import compress
from ..engine.interfaces import App

__all__ = ["Compression"]


class Compression:
    """Compress answers of text, with gzip, and with zstd where Python has it, for clients that accept it.

    Do not compress pages that show a secret beside text of the request (BREACH, CVE-2013-3587).

    Args:
        minimum_size: bytes below which an answer stays as it is, if its size is known in time.
        level: 1 (fast) to 9 (small).

    Raises:
        ValueError: there is no such level.
    """

    def __init__(self, *, minimum_size: int = 1024, level: int = 6) -> None:
        self._options = minimum_size, level
        if not 1 <= level <= 9:
            raise ValueError(f"the level of compression is 1 to 9, not {level}")

    def __call__(self, app: App) -> App:
        minimum_size, level = self._options
        return compress(app, minimum_size=minimum_size, level=level)
