"""One process: the server, its start and shutdown, the order of its layers, access log, metrics, status pages."""
