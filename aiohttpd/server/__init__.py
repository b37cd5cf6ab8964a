"""One process: the server, the order of its layers, access log, metrics, status pages, and a pool of processes."""
