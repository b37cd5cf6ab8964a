"""Session: what a site remembers of a client, as handlers see it.

Owns no cookie: `aiohttpd.middleware.Sessions` reads and writes that.
"""

from typing import Any

from ..errors import ContractError

__all__ = ["Session"]


class Session(dict[str, Any]):
    """The session of a client: a dictionary of what JSON has. Changes are sent with the head of the answer.

    A change after the head has been ended raises `ContractError`, since it would be lost.

    Attributes:
        is_new: there was no valid session.
        response: the answer that tells the client of changes; None for a session that is not sent.
    """

    is_new = True
    response: Any = None

    def renew(self) -> None:
        """Begin another session: forget everything. Call it when a user signs in or out, before anything is set.

        A session that an attacker has made the browser send (session fixation) is gone then.
        """
        self.clear()
        self.is_new = True

    def _before_change(self) -> None:
        if self.response is not None and self.response.status:
            raise ContractError(
                "the head has been ended, and the session is sent with it: change the session before end_headers(), "
                "send_text() and so on"
            )

    # The methods of dict that change it.

    def __setitem__(self, key: str, value: Any) -> None:
        self._before_change()
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        self._before_change()
        super().__delitem__(key)

    def __ior__(self, other: Any) -> "Session":  # type: ignore[override,misc]
        self._before_change()
        self.update(other)
        return self

    def clear(self) -> None:
        self._before_change()
        super().clear()

    def pop(self, key: str, *default: Any) -> Any:
        self._before_change()
        return super().pop(key, *default)

    def popitem(self) -> tuple[str, Any]:
        self._before_change()
        return super().popitem()

    def setdefault(self, key: str, default: Any = None) -> Any:
        if key not in self:
            self._before_change()
        return super().setdefault(key, default)

    def update(self, *others: Any, **values: Any) -> None:
        self._before_change()
        super().update(*others, **values)
