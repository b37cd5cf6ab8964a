"""Sockets, addresses, TLS contexts, the output buffer, ``sendfile``, deadlines and rates, systemd. No HTTP."""
