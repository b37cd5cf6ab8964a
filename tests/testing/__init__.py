"""Servers for tests: a server on a port or in memory, expectations, faults, records, the plugin for pytest."""
