"""Completion of the command in shells, and its manual page: both come from the options themselves."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aiohttpd.config import options

from ..support.commands import command, run
from ..support.places import ROOT


def completed(words: str) -> list[str]:
    """What the command proposes for the last word."""
    environment = {
        **os.environ,
        "_AIOHTTPD_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    code = "import sys; sys.argv[0] = 'aiohttpd'; from aiohttpd.runner.cli import main; main(prog_name='aiohttpd')"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=30, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


def test_proposals() -> None:
    assert completed("aiohttpd se") == ["serve"]
    assert completed("aiohttpd serve --tls-c") == ["--tls-cert", "--tls-ca"]
    assert set(completed("aiohttpd serve --timeout-")) >= {
        option.flag for option in options() if option.name.startswith("timeout_")
    }
    assert completed("aiohttpd serve --cg") == []  # of http.server, and hidden
    assert completed("aiohttpd completion z") == ["zsh"]


@pytest.mark.parametrize(
    ("shell", "check"),
    [("bash", ["bash", "-n"]), ("zsh", ["zsh", "-n"]), ("fish", ["fish", "--no-execute"])],
)
def test_scripts(tmp_path: Path, shell: str, check: list[str]) -> None:
    done = run(tmp_path, "completion", shell)
    assert done.returncode == 0
    assert "_AIOHTTPD_COMPLETE=" + shell in done.stdout
    if shutil.which(shell):
        script = tmp_path / "script"
        script.write_text(done.stdout)
        subprocess.run([*check, str(script)], check=True, timeout=30)


def test_an_unknown_shell(tmp_path: Path) -> None:
    done = run(tmp_path, "completion", "csh")
    assert done.returncode == 2
    assert "'bash', 'zsh', 'fish'" in done.stderr


def test_bash_completes(tmp_path: Path) -> None:
    """In a real bash, with the function that the script defines."""
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    script = tmp_path / "aiohttpd"
    script.write_text(f"#!{sys.executable}\nfrom aiohttpd.runner.cli import main\nmain(prog_name='aiohttpd')\n")
    script.chmod(0o755)
    line = (
        'eval "$(aiohttpd completion bash)"; COMP_WORDS=(aiohttpd serve --tls-k); COMP_CWORD=2; '
        '_aiohttpd_completion aiohttpd; echo "${COMPREPLY[@]}"'
    )
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", line], env=environment, capture_output=True, text=True, timeout=50)
    assert done.stdout == "--tls-key\n", done.stderr


def test_the_manual_page() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "man.py")], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    plain = done.stdout.replace("\\-", "-")
    for option in options():
        assert option.flag in plain
        assert " ".join(option.help.split()) in plain
    assert re.findall(r"^\.SH (.*)$", plain, re.MULTILINE)[:2] == ["NAME", "SYNOPSIS"]
    assert all(re.match(r"\.(TH|SH|SS|PP|TP|B|br|nf|fi)\b", line) for line in plain.splitlines() if line[:1] == ".")


def test_topics_of_the_help(tmp_path: Path) -> None:
    text = subprocess.run(command("serve", "--help"), capture_output=True, text=True, timeout=30, cwd=tmp_path).stdout
    headings = re.findall(r"^([A-Z][\w ]+):$", text, re.MULTILINE)
    assert headings[:5] == ["Listening", "TLS", "Applications", "Files", "Uploads"]
    assert len(headings) == len(set(headings))
    assert text.index("aiohttpd serve site") < text.index("Listening:")
