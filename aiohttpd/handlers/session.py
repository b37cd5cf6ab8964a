"""Session: what a site remembers of a client, as handlers see it.

Owns no cookie: `aiohttpd.middleware.Sessions` reads and writes that.
"""

from typing import Any

__all__ = ["Session"]


class Session(dict[str, Any]):
    """The session of a client: a dictionary of what JSON has. Changes are sent with the answer.

    Attributes:
        is_new: there was no valid session.
    """

    is_new = True

    def renew(self) -> None:
        """Begin another session: forget everything. Call it when a user signs in or out, before anything is set.

        A session that an attacker has made the browser send (session fixation) is gone then.
        """
        self.clear()
        self.is_new = True
