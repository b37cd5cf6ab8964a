"""Reload: tells when Python files have changed.

Owns what is watched. What is done about it is for `supervisor` to say.
"""

import os
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

__all__ = ["watcher"]


def watcher(*folders: str) -> Callable[[Callable[[str], None]], Coroutine[Any, Any, None]]:
    """Make what watches folders, and all that is in them, for changes of Python files.

    Args:
        folders: the paths; those that do not exist, or are within others, do not count.

    Returns:
        A coroutine function; it calls what it is given with the path that has changed, one of them if there
        are several.

    Raises:
        ValueError: watchfiles is not installed.
    """
    try:
        import watchfiles  # noqa: F401
    except ImportError:
        raise ValueError("reload needs watchfiles: pip install 'aiohttpd[reload]'") from None
    paths = {os.path.abspath(folder) for folder in folders if os.path.isdir(folder)}
    return partial(_watch, [path for path in paths if not any(path.startswith(other + os.sep) for other in paths)])


async def _watch(paths: list[str], changed: Callable[[str], None]) -> None:
    import watchfiles

    async for changes in watchfiles.awatch(*paths, watch_filter=watchfiles.PythonFilter()):
        changed(min(path for _, path in changes).removeprefix(os.getcwd() + os.sep))
