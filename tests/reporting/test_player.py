"""The report in a real browser: every figure shows, nothing overflows, and the player steps frame by frame."""

import re
import shutil
import time

import h5py
import numpy as np
import pytest

from brainpred.movies.video import write_video
from brainpred.reporting.group import write_group_report
from brainpred.reporting.page import write_report
from tests.reporting.test_figures import make_result, slab_image
from tests.reporting.test_page import fabricate, fabricate_encoding, make_scores, write_tsv

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
GREYS = [20, 60, 100, 140, 180, 220]
TIMES_S = [0.0, 0.1, 0.3, 0.4, 1.0, 1.1]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM or not DRIVER, reason="needs chromium and chromedriver"),
]

GREY_NOW = """
const done = arguments[arguments.length - 1], video = document.querySelector("video");
function read() {
  const canvas = document.createElement("canvas");
  canvas.width = 1; canvas.height = 1;
  canvas.getContext("2d").drawImage(video, 0, 0, 1, 1);
  done([canvas.getContext("2d").getImageData(0, 0, 1, 1).data[0], document.querySelector("output").textContent]);
}
if (video.seeking) { video.addEventListener("seeked", read, {once: true}); } else { read(); }
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    layers = [make_result(), make_result("pixels", (3, 4, 5), seed=2)]
    folder = fabricate(tmp_path_factory.mktemp("player"), layers, baselines=["pixels"])
    fabricate_encoding(folder)
    write_tsv(make_scores(), folder / "reconstruction.tsv")
    frames = [np.full((32, 64, 3), grey, np.uint8) for grey in GREYS]
    write_video(folder / "reconstruction_R0.mp4", frames, 10, times_s=TIMES_S)
    with h5py.File(folder / "reconstruction_R0.h5", "w") as file:
        file["movie_time_s"], file["scan"] = TIMES_S, [0, 0, 0, 0, 1, 1]
    return write_report(folder)


@pytest.fixture
def driver():
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for option in ("headless", "no-sandbox", "disable-gpu", "disable-background-networking", "disable-component-update",
                   "disable-sync", "disable-quic", "no-first-run",
                   "autoplay-policy=no-user-gesture-required"):  # fmt: skip
        options.add_argument(f"--{option}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_script_timeout(20)
    yield driver
    driver.quit()


@pytest.fixture
def browser(page, driver):
    driver.get(page.as_uri())
    return driver


def set_screen(browser, width, scheme):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)


def check_page(browser, width, scheme):
    """Check that all figures show, nothing overflows, the paper is of the scheme, and nothing went wrong."""
    images = browser.find_elements("css selector", "figure img")
    for image in images:
        assert browser.execute_script("return arguments[0].complete && arguments[0].naturalWidth", image) > 300
        assert len(image.get_attribute("alt")) > 20
    assert not browser.find_elements("css selector", ".problem")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 24, 28)"}[scheme]
    problems = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert not problems, problems
    return len(images)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_every_figure_shows_on_screens_of_all_sizes(browser, width, scheme):
    set_screen(browser, width, scheme)
    assert check_page(browser, width, scheme) == 14
    if width > 1000:  # tables are not cut
        for table in browser.find_elements("css selector", ".scroll"):
            assert browser.execute_script("return arguments[0].scrollWidth - arguments[0].clientWidth", table) <= 0
    else:  # and pictures are not shrunk until nobody can read them
        shown = "return arguments[0].getBoundingClientRect().width"
        assert browser.execute_script(shown, browser.find_element("css selector", "#null img")) > 550


@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (390, "light")])
def test_group_page_shows_on_screens_of_all_sizes(driver, tmp_path, width, scheme):
    folders = {}
    for seed, name in enumerate(("sim01", "sim02", "sim03")):
        folders[name] = tmp_path / name
        folders[name].mkdir()
        fabricate(folders[name], [make_result(seed=seed), make_result("R1", (5, 3, 5), seed=9 + seed)], subject=name)
    set_screen(driver, width, scheme)
    driver.get(write_group_report(folders, tmp_path).as_uri())
    assert check_page(driver, width, scheme) == 1


def test_viewer_goes_where_it_is_sent(browser):
    set_screen(browser, 1280, "light")
    viewer = browser.find_element("css selector", "#viewer")
    browser.execute_script("arguments[0].open = true", viewer)
    place = viewer.find_element("css selector", ".place")
    for _ in range(50):
        if place.text:
            break
        time.sleep(0.1)
    expected = slab_image().get_fdata()  # 7 x 5 x 1 voxels of 1 mm

    def told():
        words = re.fullmatch(r"x, y, z: (\d+), (\d+), (\d+) mm; R0: forward pattern (\S+)\.", place.text)
        return tuple(int(word) for word in words.groups()[:3]), float(words[4])

    canvas = viewer.find_element("css selector", "canvas")
    here, value = told()
    assert value == pytest.approx(expected[here], abs=0.005)
    for key, step in {"ArrowLeft": (-1, 0, 0), "ArrowUp": (0, 1, 0)}.items():
        script = "arguments[0].dispatchEvent(new KeyboardEvent('keydown', {key: arguments[1]}))"
        browser.execute_script(script, canvas, key)
        here = tuple(np.clip(np.add(here, step), 0, np.array(expected.shape) - 1).tolist())
        assert told()[0] == here
        assert told()[1] == pytest.approx(expected[here], abs=0.005)
    colours = "const c = arguments[0]; return Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)"
    before = browser.execute_script(colours, canvas)
    slider = viewer.find_element("css selector", "input")
    browser.execute_script("arguments[0].value = 0; arguments[0].dispatchEvent(new Event('input'))", slider)
    assert browser.execute_script(colours, canvas) != before
    assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def test_player_steps_frame_by_frame(browser):
    play, back, on = browser.find_elements("css selector", ".steps button")
    slider = browser.find_element("css selector", ".steps input")

    def expect(number):
        grey, text = browser.execute_async_script(GREY_NOW)
        assert abs(grey - GREYS[number]) < 8, (number, grey)
        assert text == f"frame {number} of 6, {TIMES_S[number]:.2f} s, scan {int(TIMES_S[number])}"

    def click(button):
        browser.execute_script("arguments[0].click()", button)

    for number in range(1, 6):
        click(on)
        expect(number)
    click(on)
    expect(5)  # there is no frame after the last
    for number in (4, 3):
        click(back)
        expect(number)
    key = "arguments[0].dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowLeft', bubbles: true}))"
    browser.execute_script(key, slider)
    expect(2)
    browser.execute_script("arguments[0].value = 4; arguments[0].dispatchEvent(new Event('input'))", slider)
    expect(4)
    click(play)
    for _ in range(100):
        if browser.execute_script("return document.querySelector('video').ended"):
            break
        time.sleep(0.1)
    expect(5)
    assert play.text == "play"  # it paused at its end
    problems = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert not problems, problems
