"""The README's picture: `python -m tests.picture out/STUDY/report.html docs/images/report.png`.

The first screen of a report in headless Chromium, 1100 × 760 pixels, light.
"""

import shutil
import sys
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

WIDTH, HEIGHT = 1100, 760
MAX_BYTES = 250_000


def take(page: Path, picture: Path) -> None:
    """Save the first screen of `page` as a PNG of at most MAX_BYTES."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-background-networking"):
        options.add_argument(f"--{flag}")
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        metrics = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        driver.get(page.resolve().as_uri())
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_bytes(driver.get_screenshot_as_png())
    finally:
        driver.quit()
    size = picture.stat().st_size
    assert size <= MAX_BYTES, f"{picture} has {size} bytes, more than {MAX_BYTES}"


if __name__ == "__main__":
    take(Path(sys.argv[1]), Path(sys.argv[2]))
