"""Code that is not asynchronous yet, in worker threads.

Owns nothing itself. ``pool`` has the threads, ``outbox`` and ``incoming`` the way of bytes between a thread and the
loop, ``running`` one call in a thread. Above them are the kinds of code: ``plain`` (a plain ``def do_GET`` of an
aiohttpd handler), ``legacy`` (a handler of ``http.server``, unmodified), ``wsgi``.
"""
