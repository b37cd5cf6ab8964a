"""Variables of the environment: a misspelt one is told, an empty one is as if unset."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aiohttpd.config.fields import _OF_COMMAND, Config, misspelt_variables, options


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "AIOHTTPD_TIMEOUT_HAED",
            "AIOHTTPD_TIMEOUT_HAED is not an option of aiohttpd; did you mean AIOHTTPD_TIMEOUT_HEAD?",
        ),
        ("AIOHTTPD_LIMITBODY", "did you mean AIOHTTPD_LIMIT_BODY?"),
        ("aiohttpd_limit_body", "did you mean AIOHTTPD_LIMIT_BODY?"),
        ("AIOHTTPD_BINDS", "did you mean AIOHTTPD_BIND?"),
        ("AIOHTTPD_WORKER", "did you mean AIOHTTPD_WORKERS?"),
        ("AIOHTTPD_WHATEVER_ELSE", "AIOHTTPD_WHATEVER_ELSE is not an option of aiohttpd, and is ignored"),
    ],
)
def test_a_misspelt_one(name: str, told: str) -> None:
    (text,) = misspelt_variables({"PATH": "/bin", "AIOHTTPD_TIMEOUT_IDLE": "5", name: "1"})
    assert text.endswith(told)
    assert misspelt_variables({name: ""}) == []


def test_an_option_that_has_no_variable() -> None:
    environment = {**os.environ, "AIOHTTPD_TLS_CERT": "cert.pem", "AIOHTTPD_DIRECTORY": "site", "AIOHTTPD_LISTING": "0"}
    command = [sys.executable, "-m", "aiohttpd", "serve", "--bind", "192.0.2.77:0"]
    told = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60).stderr
    for name in ("tls-cert", "directory", "listing"):
        variable = f"AIOHTTPD_{name.upper().replace('-', '_')}"
        assert f"{variable} is ignored: --{name} can be given on the command line only\n" in told


def test_those_that_there_are() -> None:
    """The command has some more than `Config`, and no others."""
    from aiohttpd.runner.cli import serve

    of_command = {param.envvar for param in serve.params if param.envvar}
    known = {option.variable for option in options()} | of_command
    assert misspelt_variables(dict.fromkeys(known, "1")) == []
    assert {f"AIOHTTPD_{name}" for name in _OF_COMMAND} == of_command


@pytest.mark.parametrize("text", ["", " "])
def test_an_empty_one(text: str) -> None:
    empty = {option.variable: text for option in options()}
    assert Config.from_options({}, empty) == Config.from_options({}, {})


@pytest.mark.parametrize("text", ["nan", "inf", "-inf"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="timeout_head must be a finite number"):
        Config.from_options({}, {"AIOHTTPD_TIMEOUT_HEAD": text})


PROGRAM = """
import aiohttpd, os, signal, threading

class Handler(aiohttpd.BaseHTTPRequestHandler):
    pass

if __name__ == "__main__":
    try:
        aiohttpd.run(Handler, "no host of this name", port=0)
    except OSError:
        pass
"""


def test_it_is_told_once_by_program_and_command(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    environment = {**os.environ, "AIOHTTPD_TIMEOUT_IDEL": "5", "AIOHTTPD_TIMEOUT_HEAD": ""}
    environment |= {f"AIOHTTPD_{name}": "" for name in ("PORT", "BIND", "WORKERS", "RELOAD", "AUTH", "UPLOAD_AUTH")}
    for command in (
        [sys.executable, "program.py"],
        [sys.executable, "-m", "aiohttpd", "serve", "--bind", "192.0.2.77:0"],
        [sys.executable, "-m", "aiohttpd", "serve", "--bind", "192.0.2.77:0", "--workers", "2"],
    ):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=60)
        told = "AIOHTTPD_TIMEOUT_IDEL is not an option of aiohttpd; did you mean AIOHTTPD_TIMEOUT_IDLE?\n"
        assert done.stderr.count(told) == 1, done.stderr
        assert "Traceback" not in done.stderr
