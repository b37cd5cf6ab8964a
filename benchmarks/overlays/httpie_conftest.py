"""For the tests of httpie: httpbin, and their handler of http.server, on TestServers. Appended to their conftest.py."""

import os
import ssl

import pytest
from httpbin import app
from pytest_httpbin.serve import CERT_DIR

import aiohttpd
from aiohttpd.testing import TestServer

from .utils.http_server import TestHandler


class Server:
    """The interface that the tests use: ``httpbin + "/get"``, ``str(httpbin)``, ``httpbin.url``."""

    def __init__(self, server):
        self.url, self.host, self.port = server.url, server.host, server.port

    def __add__(self, path):
        return self.url + path

    def __str__(self):
        return self.url


@pytest.fixture(scope="session")
def httpbin():
    with TestServer(aiohttpd.wsgi(app)) as server:
        yield Server(server)


@pytest.fixture(scope="session")
def httpbin_secure():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # tests name the authority of these files
    context.load_cert_chain(os.path.join(CERT_DIR, "server.pem"), os.path.join(CERT_DIR, "server.key"))
    with TestServer(aiohttpd.wsgi(app), tls=context) as server:
        yield Server(server)


@pytest.fixture(scope="session", params=["http", "https"])
def httpbin_both(request, httpbin, httpbin_secure):
    return httpbin if request.param == "http" else httpbin_secure


@pytest.fixture
def http_server():
    with TestServer(TestHandler) as server:
        yield f"127.0.0.1:{server.port}"


@pytest.fixture
def localhost_http_server():
    with TestServer(TestHandler) as server:
        yield f"localhost:{server.port}"
