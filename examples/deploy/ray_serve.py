"""A handler class scaled by Ray Serve: replicas on the machines of a cluster, restarted where one dies.

Needs ``pip install aiohttpd 'ray[serve]'``. On this machine, with two replicas::

    serve run examples.deploy.ray_serve:site           # from the root of the repository

or, with the number of replicas by load::

    python examples/deploy/ray_serve.py --autoscale

Try::

    curl http://127.0.0.1:8000/
    curl http://127.0.0.1:8000/square?n=12

Ray's proxy speaks HTTP/1.1 with clients; the handler class runs in the replicas as an application of ASGI. Access log,
deadlines and keep-alive are Ray's (``serve.HTTPOptions``).
"""

import argparse
import os
import time

from ray import serve

import aiohttpd


class Site(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        if self.url_path == "/":
            self.send_json({"replica": os.getpid()})
        elif self.url_path == "/square":
            self.send_json({"square": int(self.query["n"]) ** 2, "replica": os.getpid()})
        else:
            self.send_error(404)

    async def do_POST(self) -> None:
        size = 0
        async for piece in self.rfile:
            size += len(piece)
        self.send_json({"size": size})


@serve.deployment(
    num_replicas=2,
    max_ongoing_requests=100,
    health_check_period_s=1,  # a replica that has died is replaced soon; Ray's default is 10
    graceful_shutdown_timeout_s=20,
)
@serve.ingress(aiohttpd.asgi.export(Site))
class Replica:
    """Each replica has the whole site; Ray shares requests out."""


site = Replica.bind()

AUTOSCALING = {"min_replicas": 2, "max_replicas": 10, "target_ongoing_requests": 20}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--autoscale", action="store_true", help="2 to 10 replicas, by the requests under way")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    serve.start(http_options={"host": "127.0.0.1", "port": options.port})
    app = Replica.options(num_replicas=None, autoscaling_config=AUTOSCALING).bind() if options.autoscale else site
    serve.run(app)
    print(f"Serving on http://127.0.0.1:{options.port}/ (Ctrl-C stops)", flush=True)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        serve.shutdown()


if __name__ == "__main__":
    main()
