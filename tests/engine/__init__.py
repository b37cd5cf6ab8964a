"""One HTTP/1.1 connection and any App: its life, bodies, limits, cancellation, overload, proxies in front."""
