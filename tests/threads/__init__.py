"""Blocking code beside the loop: the pool, plain methods, WSGI, handlers of http.server."""
