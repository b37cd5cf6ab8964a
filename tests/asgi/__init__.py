"""Applications of ASGI hosted: the specification row by row, lifespans, and what a server makes of an application."""
