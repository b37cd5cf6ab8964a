"""Sockets, addresses, TLS, deadlines, and what systemd hands on; no HTTP beyond what shows that it works."""
