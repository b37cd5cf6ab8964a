"""Blocking code in worker threads, and in processes.

``pool`` has the threads. ``outbox`` and ``body`` move bytes between a thread and the loop, ``spools`` bounds their
files, ``call`` runs one call in a thread. Above them are the kinds of code: ``plain`` (a plain ``def do_GET`` of an
aiohttpd handler) and ``legacy`` (unmodified handlers of ``http.server``); WSGI is in `handlers.wsgi`.
``cpu_pool`` has the processes for work that keeps a core busy.
"""
