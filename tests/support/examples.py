"""How many examples a property test tries, by the environment variable HYPOTHESIS_PROFILE.

========  ==============================================================
short     the default: an eighth, always the same ones
suite     ``nox -s tests``: all that a test names, always the same ones
campaign  ``nox -s wire``: 25 times as many, other ones each time
========  ==============================================================
"""

import os

from hypothesis import HealthCheck, settings

__all__ = ["SHORT", "examples"]

_PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "short")
_TIMES = {"short": 1 / 8, "suite": 1, "campaign": 25}[_PROFILE]

SHORT = _PROFILE == "short"


def examples(count: int) -> settings:
    """The settings of a property test.

    Args:
        count: the number of its examples in the profile "suite".
    """
    common = settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=int(count * _TIMES))
    if _PROFILE == "campaign":
        return settings(common, print_blob=True)
    return settings(common, derandomize=True, database=None)
