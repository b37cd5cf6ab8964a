"""How each server is started for a workload, or why it cannot do it."""

import sys
from dataclasses import dataclass
from pathlib import Path

from .workloads import Workload

APPS = Path(__file__).resolve().parent / "apps"
FRAMEWORKS = ("starlette", "fastapi")  # applications in frameworks.py
ASGI_ONLY = ("asgi", *FRAMEWORKS)  # applications for servers of ASGI only
# The name of the function in asgi.py and rsgi.py; the other modules have routes.
FUNCTIONS = {
    "hello": "hello", "json": "as_json", "echo": "echo", "upload": "upload", "down_64k": "down_64k",
    "down_1m": "down_1m", "chunks": "chunks", "wait": "wait", "websocket": "websocket",
}  # fmt: skip
CLASSES = {
    "hello": "Hello", "json": "JSON", "echo": "Echo", "upload": "Upload", "down_64k": "Down64K", "down_1m": "Down1M",
    "chunks": "Chunks", "wait": "Wait", "websocket": "WebSocket",
}  # fmt: skip


class No(Exception):
    """The server cannot do the workload; the text says why."""


@dataclass(frozen=True)
class Place:
    """What a server needs on the disk.

    Attributes:
        folder: for its own files.
        files: the folder to be served.
        certificate: of the server, in PEM.
        key: of the certificate, in PKCS #8.
    """

    folder: Path
    files: Path
    certificate: Path
    key: Path


def asgi_target(workload: Workload) -> str:
    """The ASGI application of a workload."""
    if workload.app in (*FRAMEWORKS, "files"):
        return f"frameworks:{workload.app}"
    return "asgi:" + FUNCTIONS["hello" if workload.app == "asgi" else workload.app]


def aiohttpd(workload: Workload, place: Place) -> list[str]:
    """A handler class; a folder; an ASGI application."""
    command = [sys.executable, "-m", "aiohttpd", "serve", "--port", "{port}"]
    command += ["--access-log" if workload.log else "--no-access-log"]
    if workload.tls:
        command += ["--tls-cert", str(place.certificate), "--tls-key", str(place.key)]
    if workload.app == "files":
        return [*command, str(place.folder / "site")]  # with a link f to the files
    if workload.app in ASGI_ONLY:
        return [*command, asgi_target(workload)]
    return [*command, "handlers:" + CLASSES[workload.app]]


def uvicorn(workload: Workload, place: Place) -> list[str]:
    """An ASGI application; files by Starlette."""
    return [*uvicorn_command(workload, place), asgi_target(workload)]


def uvicorn_command(workload: Workload, place: Place) -> list[str]:
    """Uvicorn with all that makes it fast."""
    command = ["env", f"FILES={place.files}", sys.executable, "-m", "uvicorn", "--port", "{port}", "--loop", "uvloop"]
    command += ["--http", "httptools", "--log-level", "info" if workload.log else "error"]
    command += [] if workload.log else ["--no-access-log"]
    if workload.tls:
        command += ["--ssl-certfile", str(place.certificate), "--ssl-keyfile", str(place.key)]
    return command


def granian(workload: Workload, place: Place, interface: str, target: str) -> list[str]:
    """Granian with one worker and one thread; files are its own, in Rust."""
    command = [sys.executable, "-m", "granian", "--interface", interface, "--port", "{port}", "--workers", "1"]
    command += ["--runtime-threads", "1", "--loop", "uvloop", "--backlog", "8192"]
    command += ["--log-level", "info" if workload.log else "error"]
    command += ["--access-log" if workload.log else "--no-access-log"]
    if workload.tls:
        command += ["--ssl-certificate", str(place.certificate), "--ssl-keyfile", str(place.key)]
    if workload.app == "files":
        command += ["--static-path-route", "/f", "--static-path-mount", str(place.files)]
    return [*command, target]


def granian_asgi(workload: Workload, place: Place) -> list[str]:
    """ASGI by Rust."""
    if workload.app == "files":
        raise No("the files of granian are the same for ASGI and RSGI")
    return granian(workload, place, "asgi", asgi_target(workload))


def granian_rsgi(workload: Workload, place: Place) -> list[str]:
    """The interface of granian itself."""
    if workload.app in ASGI_ONLY:
        raise No("RSGI is not ASGI")
    function = "hello" if workload.app == "files" else workload.app
    return granian(workload, place, "rsgi", "rsgi:" + FUNCTIONS[function])


def hypercorn(workload: Workload, place: Place) -> list[str]:
    """An ASGI application; files by Starlette."""
    command = ["env", f"FILES={place.files}", sys.executable, "-m", "hypercorn", "--bind", "127.0.0.1:{port}"]
    command += ["--worker-class", "uvloop", "--backlog", "2048"]
    if workload.log:
        command += ["--access-logfile", "-"]
    if workload.tls:
        command += ["--certfile", str(place.certificate), "--keyfile", str(place.key)]
    return [*command, asgi_target(workload)]


def fastpysgi(workload: Workload, place: Place) -> list[str]:
    """An ASGI application on a server in C; files by Starlette."""
    missing = {"websocket": "WebSocket"}.get(workload.app)
    if workload.app == "chunks" or workload.name.startswith("file-1m"):
        missing = "responses of several pieces without a pause: it stops after the first"
    missing = "access log" if workload.log else missing
    if missing:
        raise No(f"fastpysgi has no {missing}")
    command = ["env", f"FILES={place.files}", sys.executable, "fastpysgi_app.py", "{port}", asgi_target(workload)]
    return [*command, str(place.certificate), str(place.key)] if workload.tls else command


def framework(name: str, workload: Workload, place: Place) -> list[str]:
    """A framework with a server of its own."""
    if workload.app in ASGI_ONLY:
        raise No("a framework with its own server, which runs no ASGI")
    files = str(place.files) if workload.app == "files" else ""
    command = [sys.executable, f"{name}_app.py", "{port}", files, "log" if workload.log else "quiet"]
    return [*command, str(place.certificate), str(place.key)] if workload.tls else command


def aiohttp(workload: Workload, place: Place) -> list[str]:
    """The server of aiohttp, with its C parser."""
    return framework("aiohttp", workload, place)


def tornado(workload: Workload, place: Place) -> list[str]:
    """The server of tornado."""
    return framework("tornado", workload, place)


def sanic(workload: Workload, place: Place) -> list[str]:
    """The server of sanic."""
    return framework("sanic", workload, place)


def blacksheep(workload: Workload, place: Place) -> list[str]:
    """A framework on uvicorn."""
    if workload.app in ASGI_ONLY:
        raise No("a framework, which runs on servers of ASGI")
    return [*uvicorn_command(workload, place), "blacksheep_app:app"]


def nginx(workload: Workload, place: Place) -> list[str]:
    """One worker in C, for what needs no program."""
    if workload.app not in ("hello", "json", "files"):
        raise No("nginx runs no programs")
    certificate = f"ssl_certificate {place.certificate}; ssl_certificate_key {place.key};"
    return nginx_command(
        place.folder / "nginx",
        files=str(place.files),
        ssl="ssl" if workload.tls else "",
        certificate=certificate if workload.tls else "",
        log="/dev/null" if workload.log else "off",
    )


def nginx_command(folder: Path, **values: str) -> list[str]:
    """The command of nginx, with nginx.conf in a folder; ``values`` replace what is in braces there."""
    text = (APPS / "nginx.conf").read_text()
    for name, value in {"ssl": "", "certificate": "", "log": "off", "files": "", "more": "", **values}.items():
        text = text.replace(f"{{{name}}}", value)
    script = "mkdir -p {folder} && cat > {folder}/nginx.conf <<'END'\n%s\nEND\nexec nginx -c {folder}/nginx.conf"
    return ["sh", "-c", (script % text).replace("{folder}", str(folder))]


def floor(workload: Workload, place: Place) -> list[str]:
    """A protocol of uvloop that parses nothing and sends one fixed response."""
    if workload.app != "hello" or workload.tls or workload.log or workload.name == "close":
        raise No("floor sends one fixed response, and parses nothing")
    return [sys.executable, "floor.py", "{port}"]


SERVERS = {
    "aiohttpd": aiohttpd,
    "uvicorn": uvicorn,
    "granian ASGI": granian_asgi,
    "granian RSGI": granian_rsgi,
    "hypercorn": hypercorn,
    "fastpysgi": fastpysgi,
    "aiohttp": aiohttp,
    "tornado": tornado,
    "sanic": sanic,
    "blacksheep": blacksheep,
    "nginx": nginx,
    "floor": floor,
}
PEERS = [name for name in SERVERS if name not in ("aiohttpd", "nginx", "floor")]  # asynchronous servers of Python
PACKAGES = ["uvloop", *dict.fromkeys(name.split()[0] for name in PEERS), "starlette", "fastapi", "httptools"]


def command(name: str, workload: Workload, place: Place) -> list[str]:
    """The command of a server for a workload, with {port} for the port.

    Raises:
        No: it cannot do that.
    """
    return SERVERS[name](workload, place)
