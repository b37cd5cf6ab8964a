"""A real browser: the listing in light and dark and on a phone, links, media that is sought in, uploads."""

import re
import shutil
import tempfile
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from ..support.commands import started
from ..support.places import ROOT

pytestmark = pytest.mark.skipif(
    shutil.which("chromium") is None or shutil.which("chromedriver") is None,
    reason="needs a browser: Debian's packages chromium and chromium-driver",
)

SECONDS = 60
PLAYER = """<!DOCTYPE html>
<audio src=sound.wav preload=metadata></audio>
<button onclick="const audio = document.querySelector('audio'); audio.currentTime = 45; audio.play()">play</button>
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    with tempfile.TemporaryDirectory() as profile:
        for argument in (
            "headless=new",
            "no-sandbox",
            "disable-gpu",
            "disable-dev-shm-usage",
            f"user-data-dir={profile}",
        ):
            options.add_argument(f"--{argument}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
        try:
            yield driver
        finally:
            driver.quit()


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "a & <b>"
    folder.mkdir()
    (folder / "hello.txt").write_text("Hello!")
    (tmp_path / "tiny").write_text("1")
    (tmp_path / "huge").write_bytes(bytes(5_000_000))
    (tmp_path / "player.html").write_text(PLAYER)
    with wave.open(str(tmp_path / "sound.wav"), "wb") as sound:
        sound.setnchannels(2)
        sound.setsampwidth(2)
        sound.setframerate(44100)
        sound.writeframes(bytes(SECONDS * 44100 * 4))
    return tmp_path


# One question, so that the page cannot be loaded again between a list of elements and their texts.
NAMES = "return Array.from(document.querySelectorAll('tbody a'), link => link.innerText.trim())"


def names(browser: webdriver.Chrome) -> Any:
    return browser.execute_script(NAMES)


def colours(browser: webdriver.Chrome) -> Any:
    return browser.execute_script("return getComputedStyle(document.body).backgroundColor")


def emulate(browser: webdriver.Chrome, scheme: str, width: int) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500},
    )


def test_listing(browser: webdriver.Chrome, site: Path) -> None:
    with started(site, "serve", "-p", "0") as served:
        found = {}
        for scheme in ("light", "dark"):
            for width in (1000, 360):
                emulate(browser, scheme, width)
                browser.get(served.url)
                assert names(browser) == ["a & <b>/", "huge", "player.html", "sound.wav", "tiny"]
                found[scheme] = colours(browser)
                # Nothing sticks out to the side.
                assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
        assert found["light"] == "rgb(255, 255, 255)"
        assert found["dark"] != found["light"]
        emulate(browser, "light", 1000)

        browser.find_element(By.LINK_TEXT, "Size").click()
        assert names(browser)[-2:] == ["huge", "sound.wav"]
        browser.find_element(By.PARTIAL_LINK_TEXT, "Size").click()
        assert names(browser)[-2:] == ["player.html", "tiny"]

        browser.find_element(By.LINK_TEXT, "a & <b>/").click()
        assert names(browser) == ["..", "hello.txt"]
        browser.find_element(By.LINK_TEXT, "hello.txt").click()
        assert browser.find_element(By.TAG_NAME, "body").text == "Hello!"
        browser.back()
        browser.find_element(By.LINK_TEXT, "Home").click()
        assert "tiny" in names(browser)
        # What the policy refuses, a missing icon or a broken style would be told there.
        told = [entry["message"] for entry in browser.get_log("browser")]
        assert [message for message in told if "hello.txt" not in message and "favicon" not in message] == []


def test_media(browser: webdriver.Chrome, site: Path) -> None:
    """A sound is played from the middle, by ranges."""
    with started(site, "serve", "-p", "0") as served:
        browser.get(served.url + "player.html")
        shown(browser, lambda driver: driver.execute_script("return document.querySelector('audio').readyState") >= 1)
        assert round(browser.execute_script("return document.querySelector('audio').duration")) == SECONDS
        browser.find_element(By.TAG_NAME, "button").click()
        shown(
            browser, lambda driver: driver.execute_script("return document.querySelector('audio').currentTime") > 45.1
        )
        browser.get("about:blank")
        assert '"GET /sound.wav HTTP/1.1" 206' in served.stop()


# Kept beside the page, which is loaded again when all has been sent.
WATCH = """
sessionStorage.seen = "";
const bar = document.querySelector("progress");
new MutationObserver(() => sessionStorage.seen += bar.hidden ? "" : bar.value / bar.max + " ")
  .observe(bar, {attributes: true});
"""


def send(browser: webdriver.Chrome, *files: Path) -> None:
    browser.find_element(By.NAME, "file").send_keys("\n".join(map(str, files)))
    browser.find_element(By.TAG_NAME, "button").click()


def shown(browser: webdriver.Chrome, condition: Callable[[webdriver.Chrome], bool]) -> None:
    """Wait for the page; while it is loaded again the driver has many words for an element that is gone."""
    WebDriverWait(browser, 20, 0.05, [WebDriverException]).until(condition)


def listed(browser: webdriver.Chrome, *expected: str) -> None:
    shown(browser, lambda driver: names(driver) == list(expected))


def told_text(browser: webdriver.Chrome, text: str) -> None:
    shown(browser, lambda driver: driver.find_element(By.TAG_NAME, "output").text == text)


@pytest.fixture
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    found = {}
    for name in ("one & <b>.txt", "two ü.bin", "three", "four"):
        found[name.split(" ", maxsplit=1)[0]] = folder / name
        (folder / name).write_bytes(name.encode() * (20 if len(name) < 8 else 1_000_000))
    return found


def test_uploads(browser: webdriver.Chrome, tmp_path: Path, files: dict[str, Path]) -> None:
    with started(tmp_path, "serve", "-p", "0", "--upload", "--max-upload", "32M") as served:
        browser.get_log("browser")
        browser.get(served.url)
        browser.execute_script(WATCH)
        # Some 0.6 seconds, in which the bar is moved every 50 ms.
        slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 50_000_000}
        browser.execute_cdp_cmd("Network.enable", {})
        browser.execute_cdp_cmd("Network.emulateNetworkConditions", slow)
        send(browser, files["one"], files["two"])
        listed(browser, "one & <b>.txt", "two ü.bin")
        browser.execute_cdp_cmd("Network.emulateNetworkConditions", slow | {"uploadThroughput": -1})
        seen = [float(text) for text in browser.execute_script("return sessionStorage.seen").split()]
        assert seen == sorted(seen) and len({value for value in seen if 0 < value < 1}) >= 3, seen
        for name in ("one", "two"):
            assert (tmp_path / files[name].name).read_bytes() == files[name].read_bytes()

        # What would be refused is told before anything is sent.
        send(browser, files["three"], files["two"])
        told_text(browser, "“two ü.bin” is there already.")
        (tmp_path.parent / "large").write_bytes(bytes(32 * 1024 * 1024 + 1))
        browser.get(served.url)
        send(browser, tmp_path.parent / "large")
        told_text(browser, "Larger than 33554432 bytes.")

        # What the server finds only then is told as well.
        browser.get(served.url)
        (tmp_path.parent / ".hidden").write_bytes(b"hidden")
        send(browser, tmp_path.parent / ".hidden")
        told_text(browser, "names that begin with a dot are hidden here.")
        messages = [entry["message"] for entry in browser.get_log("browser")]
        assert [message for message in messages if "403 (Forbidden)" not in message] == []

        drop(browser, files["three"])
        listed(browser, "one & <b>.txt", "three", "two ü.bin")
        assert (tmp_path / "three").read_bytes() == files["three"].read_bytes()

        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
        try:
            browser.get(served.url)
            send(browser, files["four"])
            listed(browser, "four", "one & <b>.txt", "three", "two ü.bin")
        finally:
            browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
        assert browser.current_url == served.url
        assert browser.get_log("browser") == []
        browser.get("about:blank")
        assert re.findall(r'"POST \S+ HTTP/1.1" ([0-9]+)', served.stop()) == ["201", "403", "201", "303"]


def drop(browser: webdriver.Chrome, file: Path) -> None:
    """Let a file fall on the page, as from a file manager."""
    data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        browser.execute_cdp_cmd("Input.dispatchDragEvent", {"type": kind, "x": 100, "y": 100, "data": data})


def test_uploads_with_a_password(browser: webdriver.Chrome, tmp_path: Path, files: dict[str, Path]) -> None:
    """The password stands in the address, where fetch would not take it."""
    with started(tmp_path, "serve", "-p", "0", "--upload", "--auth", "me:secret") as served:
        browser.get(served.url.replace("http://", "http://me:secret@"))
        send(browser, files["three"])
        listed(browser, "three")
        browser.get("about:blank")


def test_clock(browser: webdriver.Chrome) -> None:
    """The page of examples/sse_clock.py: the server moves the clock, and the page tells when it has gone."""
    examples = ROOT / "examples"
    with started(examples, "serve", "sse_clock.py:Clock", "-p", "0") as served:
        browser.get(served.first.split()[2])

        def text(name: str) -> str:
            return browser.find_element(By.ID, name).text

        seen: list[str] = []

        def moved(driver: webdriver.Chrome) -> bool:
            if text("clock") not in seen:
                seen.append(text("clock"))
            return len(seen) >= 3

        shown(browser, moved)
        assert text("state") == "connected"
        assert re.fullmatch(r"\d\d:\d\d:\d\d", seen[-1])
        served.stop()  # which the stream learns of, so it takes no time
        shown(browser, lambda driver: "gone" in text("state"))
        browser.get("about:blank")
