"""An ASGI application of asgi.py on fastpysgi, whose command has no option for the size of bodies.

usage: fastpysgi_app.py PORT MODULE:APP [CERTIFICATE KEY]
"""

import importlib
import sys

import fastpysgi

port, app, *tls = sys.argv[1:]
module, _, name = app.partition(":")
fastpysgi.server.max_content_length = 2**30
if tls:
    fastpysgi.server.tls_list = [(tls[0], tls[1], None)]
fastpysgi.run(getattr(importlib.import_module(module), name), host="127.0.0.1", port=int(port))
