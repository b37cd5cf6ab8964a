"""Watching Python files for changes, for ``--reload``; the supervisor replaces the workers then."""

import os
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

__all__ = ["watcher"]


def watcher(*folders: str) -> Callable[[Callable[[str], None]], Coroutine[Any, Any, None]]:
    """Make a function that watches folders, with all folders in them, for changes of Python files.

    Args:
        folders: their paths. A folder that does not exist is left out, and one that is inside of another.

    Returns:
        A coroutine function. It calls its argument with the path of a changed file, once for each batch of changes.

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
