"""What has been read of a form: names with text or files, in order, a name more than once.

Owns `FormData`; it reads nothing.
"""

from ...wire.urlencoded import MultiMap
from .uploads import UploadedFile

__all__ = ["FormData", "MultiMap"]


class FormData(MultiMap[str | UploadedFile]):
    """A form: text for fields, `UploadedFile` for files."""

    def text(self, name: str, default: str = "") -> str:
        """The first value of a name if it is text; ``default`` if there is none, or it is a file."""
        value = self.get(name)
        return value if isinstance(value, str) else default

    def file(self, name: str) -> UploadedFile | None:
        """The first value of a name if it is a file that somebody has chosen."""
        value = self.get(name)
        return value if isinstance(value, UploadedFile) and (value.filename or value.size) else None

    def close(self) -> None:
        """Close all files, and with that delete what is on the disk of them."""
        for _, value in self._pairs:
            if isinstance(value, UploadedFile):
                value.close()
