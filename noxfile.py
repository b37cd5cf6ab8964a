"""Sessions for the things that are too long, or need too much, for the test command.

usage: nox [-s SESSION ...]; nox --list tells what each one does
"""

import shutil
import subprocess
import tempfile
from pathlib import Path

import nox

nox.options.sessions = ["tests", "lint"]
nox.options.error_on_missing_interpreters = False

PYTHONS = ["3.11", "3.12", "3.13", "3.14", "3.15"]


def starts(version: str) -> bool:
    """Whether an interpreter is there that really runs; a shim that only says where it could be is none."""
    command = shutil.which(f"python{version}")
    if command is None:
        return False
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([command, "-c", code], capture_output=True, text=True)
    return done.returncode == 0 and done.stdout.strip() == version


def install(session: nox.Session, *groups: str) -> None:
    """Install the package and dependency groups as the README does."""
    session.install("-q", "-U", "pip")
    session.install("-q", "-e", ".", *(argument for group in groups for argument in ("--group", group)))


@nox.session(python=[version for version in PYTHONS if starts(version)] or False)
def tests(session: nox.Session) -> None:
    """The test suite on each Python that is there."""
    left_out = [version for version in PYTHONS if not starts(version)]
    if left_out:
        session.log(
            f"left out, since no such interpreter starts: {', '.join(left_out)} (PYENV_VERSION can name several)"
        )
    install(session, "tests")
    session.run("python", "-m", "pytest", *session.posargs, env={"HYPOTHESIS_PROFILE": "suite"})


@nox.session
def lint(session: nox.Session) -> None:
    """Style and types."""
    install(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")


@nox.session
def pyright(session: nox.Session) -> None:
    """The examples by pyright, in its strict mode, as users of editors see them."""
    install(session, "pyright")
    session.run("pyright", "--pythonpath", f"{session.bin}/python", *session.posargs)


@nox.session
def asgi(session: nox.Session) -> None:
    """Sites by frameworks of others here and on uvicorn, and the table of ASGI's specification for four servers."""
    install(session, "asgi")
    pages = "tests/docs/test_programs.py"
    session.run("python", "-m", "pytest", "tests/asgi", "tests/outside/test_asgi_sites.py", pages, *session.posargs)
    session.run("python", "-m", "tests.asgi.table")


@nox.session
def desktop(session: nox.Session) -> None:
    """The pages about Qt and notebooks: a window of Qt without a screen, and a kernel of Jupyter."""
    install(session, "desktop")
    pages = ["tests/docs/test_programs.py", "-k", "qt.md"]
    session.run("python", "-m", "pytest", "-n", "0", "tests/docs/test_notebook.py", *pages, *session.posargs)


@nox.session
def exported(session: nox.Session) -> None:
    """Apps exported as ASGI: each example and each kind of App under uvicorn, hypercorn (HTTP/2), granian, Mangum."""
    install(session, "exported")
    session.run("python", "-m", "pytest", "-n", "1", "tests/outside/test_exported.py", *session.posargs)


@nox.session
def layers(session: nox.Session) -> None:
    """Layers beside those of Starlette and aiohttp, in cases of advisories: the table in docs/layers.md."""
    install(session, "layers")
    session.run("python", "-m", "pytest", "-n", "0", "tests/outside/test_layers_beside_peers.py", *session.posargs)


@nox.session
def ray(session: nox.Session) -> None:
    """A handler class in two replicas of Ray Serve; one is killed under load, and failures are counted."""
    install(session, "ray")
    session.run("python", "benchmarks/ray_replicas.py", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation, in docs/_build/html: a warning, a dead link inside or a stale part is an error."""
    install(session, "docs")
    session.run("python", "docs/generate.py", "--check")
    session.run(
        "python", "-m", "sphinx", "-q", "-W", "--keep-going", "-E", "-b", "html", "docs", "docs/_build/html",
        *session.posargs,
    )  # fmt: skip
    session.run("python", "docs/check_pages.py", "docs/_build/html")
    with open("docs/_build/aiohttpd.1", "w") as manual:
        session.run("python", "docs/man.py", stdout=manual)


@nox.session
def wire(session: nox.Session) -> None:
    """A long campaign of the differential and grammar tests against h11 and llhttp."""
    install(session, "tests")
    env = {"HYPOTHESIS_PROFILE": "campaign"}
    session.run(
        "python",
        "-m",
        "pytest",
        "--timeout=0",
        "tests/wire/test_differential.py",
        "tests/wire/test_grammar.py",
        *session.posargs,
        env=env,
    )


def need(session: nox.Session, command: str, package: str) -> None:
    """Install a command where Debian's package can be had, else say how."""
    if shutil.which(command) is None and shutil.which("apt-get"):
        session.run("apt-get", "install", "-y", "-qq", package, external=True, success_codes=[0, 100])
    if shutil.which(command) is None:
        session.error(f"{command} is missing: install it with your package manager (Debian: apt-get install {package})")


@nox.session
def autobahn(session: nox.Session) -> None:
    """Autobahn's fuzzing client, all of its cases; it is written for Python 2.7, which pyenv has."""
    if not starts("2.7"):
        session.error("python2.7 is missing: 'pyenv install 2.7.18', and PYENV_VERSION=3.11:2.7.18 or 'pyenv global'")
    install(session, "tests")
    site = session.cache_dir / "autobahn"
    options = ["--quiet", "--upgrade", "--disable-pip-version-check", "--target", str(site)]
    session.run("python2.7", "-m", "pip", "install", *options, "autobahntestsuite", external=True)
    # addsitedir, since the namespace package zope is made by a .pth file
    client = f"import site; site.addsitedir({str(site)!r}); from autobahntestsuite.wstest import run; run()"
    session.run("python", "benchmarks/autobahn.py", *session.posargs, "--", "python2.7", "-c", client)


@nox.session
def bench(session: nox.Session) -> None:
    """Workloads x servers. The Python (nox --force-python 3.13) should be built with PGO, as Debian's.

    Without arguments it is --record, which takes about an hour. For a minute: nox -s bench -- --quick.
    """
    install(session, "benchmarks")
    need(session, "wrk", "wrk")
    need(session, "nginx", "nginx-light")
    need(session, "openssl", "openssl")
    session.run("python", "benchmarks/bench.py", *(session.posargs or ["--record"]))


@nox.session
def services(session: nox.Session) -> None:
    """The same service of notes by aiohttpd, Starlette, FastAPI and aiohttp: checked, then lines, CPU, requests."""
    install(session, "benchmarks")
    session.run("python", "-m", "benchmarks.notes_services.measure", *session.posargs)


@nox.session
def idle(session: nox.Session) -> None:
    """What an idle connection, the import and the first answer cost."""
    install(session)
    session.run("python", "benchmarks/footprint.py", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Slow and bad peers at full size: the default deadlines, 1,000 silent connections, a stalled 100 MiB answer."""
    install(session)
    session.run("python", "benchmarks/soak.py", *session.posargs)


@nox.session
def uploads(session: nox.Session) -> None:
    """Uploads at full size: 2 GiB as a form and raw, 200 of 10 MiB at once, and a client that dies."""
    install(session)
    need(session, "curl", "curl")
    session.run("python", "benchmarks/uploads.py", *session.posargs)


@nox.session
def rolls(session: nox.Session) -> None:
    """Workers are killed, replaced, added and removed under full load; then two of them beside one, and peers."""
    install(session, "tests", "benchmarks")
    need(session, "wrk", "wrk")
    session.run("python", "benchmarks/rolls.py", *session.posargs)
    session.run("python", "benchmarks/workers.py")


@nox.session
def proxied(session: nox.Session) -> None:
    """HAProxy and nginx in front, for a minute each: workers are replaced, connections kept, clients known."""
    install(session, "tests")
    need(session, "haproxy", "haproxy")
    need(session, "nginx", "nginx-light")
    session.run("python", "benchmarks/proxied.py", *session.posargs)


@nox.session
def clients(session: nox.Session) -> None:
    """The test suites of httpx, requests and httpie from PyPI, with their servers and with TestServer."""
    install(session)
    session.run("python", "benchmarks/clients.py", *session.posargs)


@nox.session
def fixtures(session: nox.Session) -> None:
    """500 tests with the fixtures for pytest in four processes, ten times: none fails, and nothing is left behind."""
    install(session, "tests")
    session.run("python", "benchmarks/fixtures.py", *session.posargs)


# What the README shows, by what has been installed: the command serves a folder, and a handler is run by its program.
_INSTALLED = """
import pathlib, re, signal, subprocess, sys, urllib.request
pathlib.Path("note.txt").write_text("a file")
pathlib.Path("hello.py").write_text(pathlib.Path(sys.argv[2]).read_text().split("# hello.py\\n")[1].split("```")[0])
command = [sys.argv[1], "serve", "--port", "0"]
for target, path, expected in ((".", "note.txt", b"a file"), ("hello.py:Hello", "", b"Hello, world!\\n")):
    server = subprocess.Popen([*command, target], stderr=subprocess.PIPE, text=True)
    try:
        url = re.search(r"http://\\S+", server.stderr.readline())[0]
        assert urllib.request.urlopen(url + path).read() == expected, url
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=30)
        assert server.returncode == 0, server.returncode
    finally:
        server.kill()
print("the wheel serves")
"""


@nox.session
def release(session: nox.Session) -> None:
    """Build sdist and wheel, check their metadata, and try the wheel in an empty environment; into dist/.

    ``nox -s release -- URL``, with the URL of the repository, makes the links of the README absolute, for PyPI.
    """
    session.install("-q", "build==1.6.1", "twine==7.0.0")
    shutil.rmtree("dist", ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        session.run("git", "clone", "-q", ".", folder, external=True)
        if session.posargs:
            with open(f"{folder}/README.md", "w", encoding="utf-8") as page:
                session.run("python", "docs/pypi_readme.py", *session.posargs, stdout=page)
        else:
            session.warn("links of the README are dead on PyPI: nox -s release -- URL_OF_THE_REPOSITORY")
        session.run("python", "-m", "build", "--outdir", "dist", folder)
    files = sorted(str(path) for path in Path("dist").iterdir())
    session.run("python", "-m", "twine", "check", "--strict", *files)
    [wheel] = [Path(file).resolve() for file in files if file.endswith(".whl")]
    readme = Path("README.md").resolve()
    with tempfile.TemporaryDirectory() as folder:
        session.run("python", "-m", "venv", f"{folder}/env")
        session.run(f"{folder}/env/bin/pip", "install", "-q", str(wheel), external=True)
        with session.chdir(folder):
            session.run(f"{folder}/env/bin/aiohttpd", "--version", external=True)
            arguments = ["-c", _INSTALLED, f"{folder}/env/bin/aiohttpd", str(readme)]
            session.run(f"{folder}/env/bin/python", *arguments, external=True)
