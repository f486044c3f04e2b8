"""The pictures of README and docs, in headless Chromium, 1100 × 760 pixels, light.

    python -m tests.picture out/STUDY/report.html docs/images/report.png
    python -m tests.picture 'http://127.0.0.1:5000/#/experiments/1/runs?viewStateShareKey=confirm' docs/images/mlflow-seeds.png

The first screen of a report, or a page of a running MLflow UI.
"""

import shutil
import sys
import time
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

WIDTH, HEIGHT = 1100, 760
MAX_BYTES = 250_000
DRAWING_SECONDS = 12.0
"""MLflow's tables and charts come after its page."""


def take(address: str, picture: Path) -> None:
    """Save what `address`, a file or a page of MLflow, shows first as a PNG of at most MAX_BYTES."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-background-networking"):
        options.add_argument(f"--{flag}")
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        metrics = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        if address.startswith("http"):
            _open_mlflow(driver, address)
        else:
            driver.get(Path(address).resolve().as_uri())
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_bytes(driver.get_screenshot_as_png())
    finally:
        driver.quit()
    size = picture.stat().st_size
    assert size <= MAX_BYTES, f"{picture} has {size} bytes, more than {MAX_BYTES}"


def _open_mlflow(driver: webdriver.Chrome, address: str) -> None:
    """Open a page of MLflow, whose first visit asks for a mode and shows notices."""
    driver.get(address.partition("#")[0] + "#/experiments")
    mode = (By.XPATH, "//*[text()='Model training']")
    WebDriverWait(driver, 60).until(lambda page: page.find_elements(*mode))[0].click()
    for notice in ("Close alert", "Close"):
        for button in driver.find_elements(By.CSS_SELECTOR, f"button[aria-label='{notice}']"):
            button.click()
    driver.get("about:blank")  # a new place in the same page would not be loaded
    driver.get(address)
    time.sleep(DRAWING_SECONDS)
    for button in driver.find_elements(By.CSS_SELECTOR, "button[aria-label='Close']"):
        button.click()


if __name__ == "__main__":
    take(sys.argv[1], Path(sys.argv[2]))
