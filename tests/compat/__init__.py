"""aiohttpd.compat: the blocking surface of socketserver and http.server."""
