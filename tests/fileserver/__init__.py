"""Folders that are served: SimpleHTTPRequestHandler, listings, uploads, the options of a site."""
