"""A real browser: the listing in light and dark and on a phone, links, and media that is sought in."""

import shutil
import tempfile
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from .test_serve_folder import program

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


def names(browser: webdriver.Chrome) -> list[str]:
    return [link.text for link in browser.find_elements(By.CSS_SELECTOR, "tbody a")]


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
    with program(site, "serve", "-p", "0") as served:
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
    with program(site, "serve", "-p", "0") as served:
        browser.get(served.url + "player.html")
        WebDriverWait(browser, 10).until(
            lambda driver: driver.execute_script("return document.querySelector('audio').readyState") >= 1
        )
        assert round(browser.execute_script("return document.querySelector('audio').duration")) == SECONDS
        browser.find_element(By.TAG_NAME, "button").click()
        WebDriverWait(browser, 10).until(
            lambda driver: driver.execute_script("return document.querySelector('audio').currentTime") > 45.1
        )
        browser.get("about:blank")
        assert '"GET /sound.wav HTTP/1.1" 206' in served.stop()
