"""run() and many processes: signals, workers, their sockets and streams."""
