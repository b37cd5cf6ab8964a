"""The matrix of `nox -s bench`: workloads x servers, measured in interleaved rounds.

- ``workloads``: what is asked, and of what kind of application.
- ``servers``: how each server is started for a workload, or why it cannot do it. ``apps/`` has the applications.
- ``process``: a server as a process on one core, and its CPU time.
- ``load``: load by wrk, and by ``client``, which is for WebSockets and for latency at a given rate.
- ``measure``: rounds, and the result as JSON.
- ``report``, ``chart``: the result as tables, as lines of the README, and as pictures.
"""
