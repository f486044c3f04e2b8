"""MLflow's own pages of our runs, in headless Chromium; the pictures go to $MLFLOW_SCREENSHOTS.

MLFLOW_SCREENSHOTS=shots python -m pytest -m slow tests/runs/mlflow/test_mlflow_ui.py
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from bench.runs import Findings, StudyTracker, flush_unsent

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"),
    # selenium and the server leave their sockets to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
PATIENCE_SECONDS = 40


def fill(lab: Any) -> None:
    """A study of two systems: a trial and a confirm run each, and its end."""
    tracker = StudyTracker.open("s")
    for index, system in enumerate(("gru", "lstm")):
        tracker.parent(system)
        for kind in ("trial", "confirm"):
            folder = lab.study / "runs" / system / f"{kind}-0"
            record = lab.record_in(folder, system=system, kind=kind, slot=0, seed=5000 + index)
            for step in range(1, 30):
                record.append(lab.progress(step))
            record.write_scores("valid", lab.scores())
            ends = {"best/valid/wer": 0.25 + 0.125 * index, "best/epoch": 2, "num_epochs": 3}
            tests = {"test/wer": 0.25, "test/cer": 0.125, "num_parameters": 1.5e6}
            record.close("finished", ends | tests)
    assert flush_unsent(lab.study) == 0
    report = lab.study / "report.html"
    report.write_text("<h1>Report of s</h1>")
    systems = {
        "system": ["gru", "lstm"], "wer_mean": [0.25, 0.375], "wer_low": [0.2, 0.3],
        "wer_high": [0.3, 0.45], "cer_mean": [0.1, 0.15], "num_parameters": [1.5e6, 2e6],
        "num_seeds": [1, 1],
    }  # fmt: skip
    pairs = {
        "a": ["gru"], "b": ["lstm"], "delta_wer": [0.125], "low": [0.05], "high": [0.2],
        "p_adjusted": [0.01],
    }  # fmt: skip
    findings = Findings(
        verdict="gru is better: 25.0 % against 37.5 %.",
        command="python -m bench.sweep --variant gru --variant lstm",
        report=report,
        baseline="gru",
        systems=pd.DataFrame(systems),
        pairs=pd.DataFrame(pairs),
        colors={"gru": "#0072b2", "lstm": "#d55e00"},
    )
    params = {v: {"model.cell": v, "optim.learning_rate": 0.001} for v in ("gru", "lstm")}
    tracker.summarise(findings, params)


@pytest.fixture
def server(lab: Any) -> Iterator[str]:
    """MLflow's UI of the filled lab."""
    fill(lab)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["-m", "mlflow", "ui", "--workers", "1", "--host", "127.0.0.1", "--port", str(port)]
    store = ["--backend-store-uri", f"sqlite:///{lab.project}/mlflow.db"]
    given = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (lab.project / "ui.log").open("w") as log:
        ui = subprocess.Popen(
            [sys.executable, *command, *store], env=given, stdout=log, stderr=log, cwd=lab.project
        )
        try:
            yield wait_until_up(f"http://127.0.0.1:{port}")
        finally:
            ui.terminate()
            ui.wait(30)


def wait_until_up(address: str) -> str:
    deadline = time.monotonic() + 90
    while True:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return address
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.5)


@pytest.fixture
def browser() -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "window-size=1600,1200"):
        options.add_argument(f"--{flag}")
    options.add_argument("--disable-background-networking")
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


class Pages:
    """Opens pages of MLflow, waits for what they should show, and keeps a picture of each."""

    def __init__(self, browser: Any, server: str) -> None:
        self.browser, self.server = browser, server
        self.wait = WebDriverWait(browser, PATIENCE_SECONDS)
        browser.get(f"{server}/#/experiments")
        self.click("//*[text()='Model training']")
        for alert in ("Close alert", "Close"):
            for button in browser.find_elements(By.CSS_SELECTOR, f"button[aria-label='{alert}']"):
                button.click()

    def click(self, path: str) -> None:
        self.wait.until(lambda page: page.find_elements(By.XPATH, path))[0].click()

    def open(self, place: str, *texts: str) -> None:
        self.browser.get("about:blank")  # a new place in the same page would not be loaded
        self.browser.get(f"{self.server}/#{place}")
        self.shows(*texts)

    def shows(self, *texts: str) -> None:
        body = r"return document.body.innerText.replace(/\s+/g, ' ')"
        for text in texts:
            self.wait.until(lambda page, text=text: text in page.execute_script(body), text)

    def keep(self, name: str) -> None:
        time.sleep(1.5)  # charts grow into their places
        if folder := os.environ.get("MLFLOW_SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.browser.save_screenshot(str(Path(folder) / f"{name}.png"))


def test_what_people_see(lab: Any, server: str, browser: Any) -> None:
    """One test: a server and a browser cost half a minute."""
    runs = {r.info.run_name: r.info.run_id for k in ("parent", "summary", "confirm") for r in lab.runs(k)}  # fmt: skip
    experiment = lab.runs("parent")[0].info.experiment_id
    here = f"/experiments/{experiment}/runs"
    pages = Pages(browser, server)

    # 1. A parent: verdict, a row a system, links; its report and pictures open.
    pages.open(f"{here}/{runs['gru']}", "gru is better: 25.0 % against 37.5 %.")
    pages.click("//*[text()='Show more']")
    pages.shows("37.5 %", "Reproduce: python -m bench.sweep --variant gru", "Open the report")
    rows = browser.find_elements(By.XPATH, "//table//tr[td]")
    assert [row.text.split()[0] for row in rows[:2]] == ["gru", "lstm"]
    pages.keep("parent")
    (link,) = browser.find_elements(By.XPATH, "//a[text()='Pictures']")
    browser.get(link.get_attribute("href"))  # a click would open another tab
    pages.shows("search.png", "test_wer.png")
    pages.wait.until(lambda page: page.find_elements(By.CSS_SELECTOR, "img[src^='blob:']"))
    pages.keep("picture")
    pages.open(f"{here}/{runs['gru']}/artifacts/report.html", "report.html")
    frame = pages.wait.until(lambda page: page.find_elements(By.TAG_NAME, "iframe"))[0]
    browser.switch_to.frame(frame)
    pages.shows("Report of s")
    browser.switch_to.default_content()

    # 2. The saved views: one row a system, and one a seed.
    pages.open(f"{here}?viewStateShareKey=systems", "One row a system", "lstm summary")
    assert "gru confirm" not in browser.find_element(By.TAG_NAME, "body").text
    pages.keep("systems")

    # 3. Two systems compared, by charts and by table.
    pages.open(f"{here}?viewStateShareKey=systems&compareRunsMode=CHART", "cost (", "run (")
    pages.keep("charts")
    chosen = json.dumps([runs["gru summary"], runs["lstm summary"]])
    pages.open(f'/compare-runs?runs={chosen}&experiments=["{experiment}"]', "Comparing 2 Runs")
    pages.shows("test/wer_mean", "test/wer_delta", "cost/num_parameters")
    metrics = browser.find_element(By.XPATH, "//*[text()='Metrics']")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", metrics)
    pages.keep("compare")

    # 4. Decodes side by side: the same utterances, a column a run.
    pages.open(f"{here}?viewStateShareKey=confirm&compareRunsMode=ARTIFACT", "decodes.json")
    pages.shows("Group by: utterance", "Compare: hyp", "u00: a bad cab")
    heads = browser.find_elements(By.XPATH, "//*[@role='columnheader']")
    names = " ".join(head.text for head in heads)
    assert "gru confirm 0" in names
    assert "lstm confirm 0" in names
    pages.keep("decodes")

    # 5. A confirm run: its description, and six groups of charts.
    pages.open(f"{here}/{runs['gru confirm 0']}", "Confirm run 0 of gru")
    pages.keep("confirm")
    pages.open(f"{here}/{runs['gru confirm 0']}/model-metrics", "best (", "cost (")
    pages.keep("metrics")
