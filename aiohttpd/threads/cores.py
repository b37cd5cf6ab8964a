"""The number of CPU cores that this process may use."""

import contextlib
import os

__all__ = ["cores"]


def cores() -> int:
    """The number of cores that this process may use, by taskset and by the CPU limit of its container."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError), open("/sys/fs/cgroup/cpu.max") as file:
        quota, period = file.read().split()  # microseconds; "max" is a ValueError
        count = min(count, max(1, -(-int(quota) // int(period))))
    return count
