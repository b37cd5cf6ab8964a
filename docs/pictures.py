"""Make the pictures of the README and the documentation, in docs/pictures.

usage: python docs/pictures.py

The listing, by chromium (Debian: apt-get install chromium): light, dark, and as a phone shows it. The terminal: the
commands are really run, and what they print becomes an SVG that moves. The pages of the documentation follow light and
dark by themselves.
"""

import html
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

HERE = Path(__file__).resolve().parent
PICTURES = HERE / "pictures"
DATE = 1793448000  # of all files in the listing: 31 October 2026
SCREENS = {  # width, height, factor, and switches of chromium
    "listing-light.png": (900, 485, 1, []),
    "listing-dark.png": (900, 485, 1, ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"]),
    "listing-phone.png": (500, 620, 1, []),
}


def make_site(folder: Path) -> None:
    """Write the folder that is shown."""
    for name in ("holiday", "music"):
        (folder / name).mkdir()
    for name, size in (("map.gpx", 48_211), ("notes.txt", 1_204), ("photo.jpg", 2_481_733), ("report.pdf", 318_470)):
        (folder / name).write_bytes(bytes(size))
    with wave.open(str(folder / "sound.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(80_000))
    for path in folder.iterdir():
        os.utime(path, (DATE, DATE))


def serve(folder: Path, *arguments: str) -> tuple[subprocess.Popen[str], str]:
    """Start a server on a free port; gives its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "aiohttpd", "serve", *arguments, "--port", "0"],
        cwd=folder, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(HERE.parent)},
    )  # fmt: skip
    assert process.stderr is not None
    line = process.stderr.readline()
    match = re.search(r"http://\S+", line)
    if match is None:
        raise SystemExit(f"the server did not start: {line}")
    return process, match[0]


def screenshots(url: str) -> None:
    """Have chromium make pictures of a page."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("chromium is missing (Debian: apt-get install chromium)")
    for name, (width, height, factor, switches) in SCREENS.items():
        with tempfile.TemporaryDirectory() as profile:
            subprocess.run(
                [
                    chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                    f"--user-data-dir={profile}", f"--window-size={width},{height}",
                    f"--force-device-scale-factor={factor}", f"--screenshot={PICTURES / name}", *switches, url,
                ],
                check=True, capture_output=True, timeout=120,
            )  # fmt: skip


def session(folder: Path) -> list[str]:
    """Run what the terminal shows, a server in the background and two clients; typed lines begin with a dollar sign."""
    process, url = serve(folder, "--upload")
    outputs: list[tuple[str, list[str]]] = []
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "plan.md").write_text("# Plan\n")
        for command in (f"curl -T plan.md {url}", f"curl -r 0-5 {url}plan.md"):
            words = command.replace("curl", "curl -sf").split()
            printed = subprocess.run(words, cwd=name, capture_output=True, text=True, check=True).stdout
            outputs.append((f"$ {command}", printed.splitlines()))
    time.sleep(0.3)  # lines of the log are written in groups, after a tenth of a second
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=20)
    log = re.findall(r"^(?:127\.0\.0\.1 - - )\[.*?\] (.*)$", told, re.MULTILINE)
    shown = ["$ aiohttpd serve --upload &", f"Serving . on {url} (Ctrl-C stops)"]
    for (typed, printed_lines), record in zip(outputs, log, strict=True):
        shown += ["", typed, *printed_lines, f"127.0.0.1 - - [31/Oct/2026 12:00:00] {record}"]
    port = url.rsplit(":", 1)[1].strip("/")
    return [line.replace(port, "8000") for line in shown]


def terminal(lines: list[str]) -> str:
    """An SVG of a terminal in which the lines appear one after the other; without animation all are there."""
    height = 22 * len(lines) + 62
    rows = []
    for number, line in enumerate(lines):
        style = "typed" if line.startswith("$ ") else "printed"
        rows.append(
            f'<text class="{style}" x="18" y="{62 + 22 * number}" style="animation-delay:{0.7 * number:.1f}s" '
            f'xml:space="preserve">{html.escape(line)}</text>'
        )
    return f"""<svg xmlns="http://www.w3.org/2000/svg" width="860" height="{height}" viewBox="0 0 860 {height}"
 role="img" aria-label="A terminal: a folder is served, a file is uploaded, a part of it is fetched">
<style>
text {{ font: 14px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; animation: appear .2s backwards }}
.typed {{ fill: #9be9a8 }}
.printed {{ fill: #d0d7de }}
@keyframes appear {{ from {{ opacity: 0 }} to {{ opacity: 1 }} }}
@media (prefers-reduced-motion) {{ text {{ animation: none }} }}
</style>
<rect width="860" height="{height}" rx="10" fill="#161b22"/>
<circle cx="22" cy="20" r="6" fill="#ff5f57"/><circle cx="42" cy="20" r="6" fill="#febc2e"/>
<circle cx="62" cy="20" r="6" fill="#28c840"/>
{chr(10).join(rows)}
</svg>
"""


def main() -> None:
    """Make all pictures."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_site(folder)
        process, url = serve(folder, "--upload")
        try:
            screenshots(url)
        finally:
            process.kill()
            process.communicate()
        (PICTURES / "terminal.svg").write_text(terminal(session(folder)))


if __name__ == "__main__":
    main()
