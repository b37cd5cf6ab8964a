"""A file as a response: what may be opened, what is known of it, its media type, and what leaves.

No handler class: that is `aiohttpd.fileserver`.
"""
