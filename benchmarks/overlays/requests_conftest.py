"""For the tests of requests: httpbin and a folder on TestServers in place of wsgiref's and http.server's.

Appended to their conftest.py.
"""

import ssl
from http.server import SimpleHTTPRequestHandler

import pytest
from httpbin import app

import aiohttpd
from aiohttpd.testing import TestServer
from tests.conftest import prepare_url


@pytest.fixture(scope="session")
def served_httpbin():
    with TestServer(aiohttpd.wsgi(app)) as server:
        yield server


@pytest.fixture(scope="session")
def served_httpbin_secure():
    with TestServer(aiohttpd.wsgi(app), tls=True) as server:
        yield server


@pytest.fixture
def httpbin(served_httpbin):
    return prepare_url(served_httpbin)


@pytest.fixture
def httpbin_secure(served_httpbin_secure):
    return prepare_url(served_httpbin_secure)


@pytest.fixture
def httpbin_ca_bundle(monkeypatch, served_httpbin_secure):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", served_httpbin_secure.ca_file)


@pytest.fixture
def nosan_server(tmp_path):
    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(common_name="localhost").configure_cert(context)
    with TestServer(SimpleHTTPRequestHandler, tls=context) as server:
        yield "localhost", server.port, str(tmp_path / "ca.pem")
