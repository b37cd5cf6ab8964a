"""A file as a response: opening files below a root, cached representations, media types, and the response itself.

There is no handler class here; that is in `aiohttpd.fileserver`.
"""
