"""Make the pictures of the admin pages that the documentation shows.

Usage: python -m tools.screenshots [--looks FOLDER]

The demo runs with a small sample, some things happen in it, and Chromium opens each page. With ``--looks`` each page is
also shown by day, at night and on a phone, as PNG files in a folder, to be looked at.
"""

import argparse
import base64
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By

from example_app.visit import expect
from example_app.walk import Walk
from tests.operators import Operator
from tests.servers.accessibility import violations
from tests.servers.browser import ChromeDriver, look, tell
from tests.servers.demo import Demo, enliven

SOURCES = Path(__file__).resolve().parent.parent
SAVED = SOURCES / "docs" / "_static" / "admin"
LOOKS = {"day": {}, "night": {"dark": True}, "phone": {"narrow": True}}
TALLEST = 1100
"""Pixels of a picture in the documentation; of a longer page it shows the beginning."""

ELSEWHERE = """
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  for (const [here, there] of arguments[0]) walker.currentNode.data = walker.currentNode.data.replaceAll(here, there);
}
"""
"""Has a page say that files lie where they do on a server."""


def check_a_snapshot(operator: Operator) -> None:
    """Have there be some long work.

    :param operator: is logged in.
    """
    operator.open("/snapshots")
    operator.window.find_element(By.CSS_SELECTOR, "tbody a").click()
    operator.press(operator.form("/verify"), "Check")
    operator.see("is what was written")


def live(walk: Walk) -> None:
    """Have things happen in the demo: logins, a registration, changes, purchases.

    :param walk: walks through it.
    """
    for step in (
        walk.log_in,
        walk.register,
        walk.suspend,
        walk.mail,
        walk.conflict,
        walk.resume,
        walk.roll_back,
        walk.suspend_for_a_while,
        walk.buy,
        walk.refund,
    ):
        step()
    expect(walk.customer.get("admin/state/"), 403)


def picture(window: webdriver.Remote, kind: str, tallest: int) -> bytes:
    """Return a picture of a page from its top.

    :param window: the browser.
    :param kind: ``png`` or ``webp``.
    :param tallest: how many pixels it may be high.
    """
    width, height = window.execute_script("return [innerWidth, document.documentElement.scrollHeight]")
    # A window of this height shows what stands beside the page as high as the page.
    size = {"width": width, "height": min(height, tallest)}
    tell(window, "Emulation.setDeviceMetricsOverride", **size, deviceScaleFactor=1, mobile=width < 600)
    quality = {"quality": 75} if kind == "webp" else {}
    clip = {"x": 0, "y": 0, **size, "scale": 1}
    return base64.b64decode(tell(window, "Page.captureScreenshot", format=kind, clip=clip, **quality)["data"])


def take(operator: Operator, newcomer: str, looks: Path | None) -> None:
    """Take all pictures.

    :param operator: is logged in.
    :param newcomer: the id of a state with a history.
    :param looks: where to put a picture of each page in each look; None for nowhere.
    """
    window = operator.window
    SAVED.mkdir(parents=True, exist_ok=True)
    places = [(str(operator.demo.instance), "/var/lib/credit"), (str(SOURCES), "/srv/credit")]
    for name, path in operator.pages(newcomer):
        for title, asked in LOOKS.items() if looks is not None else [("day", LOOKS["day"])]:
            look(window, **asked)
            operator.open(path)
            window.execute_script(ELSEWHERE, places)
            if title == "day":
                (SAVED / f"{name}.webp").write_bytes(picture(window, "webp", TALLEST))
            if looks is not None:
                (looks / f"{name}-{title}.png").write_bytes(picture(window, "png", 4000))
                print("\n".join([f"{name}, {title}", *violations(window)]), flush=True)


def main() -> None:
    """Make the pictures."""
    parser = argparse.ArgumentParser(prog="python -m tools.screenshots", description=__doc__)
    parser.add_argument("--looks", metavar="FOLDER", type=Path, help="where to put pictures of every look")
    looks = parser.parse_args().looks
    if looks is not None:
        looks.mkdir(parents=True, exist_ok=True)
    with Demo() as demo, ChromeDriver() as driver, driver.window() as window:
        walk = demo.walk()
        live(walk)
        enliven(demo, walk)
        demo.sign_in(window)
        operator = Operator(window, demo)
        check_a_snapshot(operator)
        take(operator, walk.newcomer, looks)


if __name__ == "__main__":
    main()
