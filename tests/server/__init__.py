"""One server in one process: start and stop, logs, metrics, work in other processes."""
