"""The fields of a form: names with text or files, in order; a name can have several values.

Owns `FormData`. It parses nothing.
"""

from ...wire.urlencoded import MultiMap
from .uploads import UploadedFile

__all__ = ["FormData", "MultiMap"]


class FormData(MultiMap[str | UploadedFile]):
    """The fields of a form: ``str`` values, and `UploadedFile` values for files."""

    def text(self, name: str, default: str = "") -> str:
        """The first value of a name, if it is text; otherwise ``default``."""
        value = self.get(name)
        return value if isinstance(value, str) else default

    def file(self, name: str) -> UploadedFile | None:
        """The first value of a name, if it is a file; None otherwise, or if no file was chosen in the form."""
        value = self.get(name)
        return value if isinstance(value, UploadedFile) and (value.filename or value.size) else None

    def close(self) -> None:
        """Close all files. Those on disk are deleted."""
        for _, value in self._pairs:
            if isinstance(value, UploadedFile):
                value.close()
