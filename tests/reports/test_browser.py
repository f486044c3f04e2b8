"""The page in headless Chromium, from file://, in one session."""

import base64
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import axe_core_python
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from reports.build import SECTIONS, build
from reports.index import StudyRow, build_index
from reports.input import ReportInput
from reports.sections import decodes
from tests.reports.hostile import poisoned

MakeInput = Callable[..., ReportInput]
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver (apt: chromium-driver)"
)
PATIENCE_SECONDS = 120
"""On a busy machine a browser takes its time."""
WIDTHS = {"phone": 390, "desktop": 1280}
THEMES = [("light", WIDTHS["desktop"]), ("dark", WIDTHS["phone"])]


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    """Chromium, one for all tests: it costs seconds to start."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "enable-unsafe-swiftshader"):
        options.add_argument(f"--{flag}")
    options.add_argument("--disable-background-networking")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        driver.set_script_timeout(PATIENCE_SECONDS)
        yield driver
    finally:
        driver.quit()


@pytest.fixture(scope="module")
def report(study: ReportInput, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a report."""
    return build(study, tmp_path_factory.mktemp("browser") / "report.html").as_uri()


@pytest.fixture
def browser(driver: Any, report: str) -> Any:
    """Chromium with the report just opened and its charts drawn: light, on a desktop."""
    show_in(driver, "light", WIDTHS["desktop"])
    driver.get(report)
    return driver


def show_in(browser: Any, theme: str, width: int) -> None:
    """As a reader has it who likes `theme`, once it is painted."""
    features = [{"name": "prefers-color-scheme", "value": theme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    metrics = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.execute_async_script(
        "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()))"
    )


def requests(browser: Any) -> list[str]:
    events = (json.loads(row["message"])["message"] for row in browser.get_log("performance"))
    return [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]


def shown(browser: Any, selector: str) -> list[Any]:
    return [e for e in browser.find_elements(By.CSS_SELECTOR, selector) if e.is_displayed()]


def test_the_page_works_without_requests(browser: Any) -> None:
    """One test, since its steps share a page, and a browser costs seconds."""
    # 1. Every section is there and every chart is drawn.
    assert len(shown(browser, "main > section")) == len(SECTIONS)
    charts = shown(browser, ".chart")
    assert len(charts) == 14
    assert all(chart.find_elements(By.CSS_SELECTOR, "svg.main-svg") for chart in charts)

    # 2. The filter keeps the decodes that hold the word, and says how many.
    field = browser.find_element(By.ID, "filter")
    field.send_keys("Umbrella")
    assert not shown(browser, ".decode")
    field.send_keys(Keys.CONTROL + "a")
    field.send_keys("Test-003")
    (decode,) = shown(browser, ".decode")
    assert "test-003" in decode.text
    count = browser.find_element(By.ID, "filter-count")
    assert count.text == "1 of 48"
    field.send_keys(Keys.CONTROL + "a", Keys.DELETE)
    assert len(shown(browser, ".decode")) == 10
    browser.execute_script("document.querySelector('.more summary').click()")
    assert len(shown(browser, ".decode")) == 48
    right, wrong = (Select(browser.find_element(By.ID, f"filter-{w}")) for w in ("right", "wrong"))
    right.select_by_visible_text("ds-gru")
    wrong.select_by_visible_text("ds-lstm")
    assert (right.first_selected_option.text, wrong.first_selected_option.text) == (
        "ds-gru",
        "ds-lstm",
    )
    kept = {decode.get_attribute("data-errors") for decode in shown(browser, ".decode")}
    assert kept
    assert all(re.fullmatch("0 [1-9].*", errors or "") for errors in kept), kept
    browser.execute_script("document.getElementById('filter-random').click()")
    assert len(shown(browser, ".decode")) == 1
    for select in (right, wrong):
        select.select_by_index(0)
    assert len(shown(browser, ".decode")) == 10
    order = Select(browser.find_element(By.ID, "filter-order"))
    first = shown(browser, ".decode")[0].get_attribute("data-spread")
    order.select_by_visible_text("largest difference first")
    spreads = [float(d.get_attribute("data-spread") or 0) for d in shown(browser, ".decode")]
    assert spreads == sorted(spreads, reverse=True)
    assert len(spreads) == 10
    assert spreads[0] > float(first or 0)
    order.select_by_index(0)
    assert shown(browser, ".decode")[0].get_attribute("data-spread") == first

    # 2b. The recording is whole, and plays.
    length = "return document.querySelector('.sample audio').duration"
    WebDriverWait(browser, PATIENCE_SECONDS).until(lambda page: page.execute_script(length))
    assert browser.execute_script(length) == pytest.approx(1.5, abs=0.01)
    browser.execute_script(
        "const audio = document.querySelector('.sample audio'); audio.muted = true; audio.play()"
    )
    WebDriverWait(browser, PATIENCE_SECONDS).until(
        lambda page: (
            page.execute_script(
                "return document.querySelector('.sample audio').ended"
                " && document.querySelector('.sample .playhead').style.left"
            )
            == "100%"
        )
    )

    # 3. The slider shows the transcripts of its epoch.
    slider = browser.find_element(By.ID, "epoch")
    heard = browser.find_element(By.CSS_SELECTOR, "[data-shows='0-0']")
    slider.send_keys(Keys.HOME)
    first = heard.text
    assert browser.find_element(By.ID, "epoch-shown").text == "1 of 12"
    cell = browser.find_element(By.CSS_SELECTOR, "[data-heard='0-0'][data-epoch='1']")
    there = browser.execute_script("return arguments[0].textContent", cell)
    assert first == there.replace("\N{NO-BREAK SPACE}", " ")
    slider.send_keys(Keys.END)
    assert heard.text != first

    # 4. No page is wider than its window, and the dark theme reaches the charts.
    colour = "return document.getElementById('chart-valid-wer').layout.template.layout.font.color"
    light = browser.execute_script(colour)
    for width in WIDTHS.values():
        show_in(browser, "dark", width)
        wide = browser.execute_script("return document.documentElement.scrollWidth")
        assert wide <= width
    WebDriverWait(browser, PATIENCE_SECONDS).until(
        lambda page: page.execute_script(colour) != light
    )

    # 5. Nothing complained, and nothing but the file was asked for.
    complaints = [row for row in browser.get_log("browser") if row["level"] == "SEVERE"]
    assert complaints == []
    assert all(url.startswith(("file:", "data:", "blob:")) for url in requests(browser))


def serious(browser: Any, theme: str, width: int) -> list[tuple[str, str, str]]:
    """What axe-core, Deque's accessibility checks, holds against the page that is open; the insides
    of charts are plotly's."""
    axe = Path(axe_core_python.__file__).with_name("axe.min.js").read_text("utf-8")
    show_in(browser, theme, width)
    browser.execute_script(axe)
    found = browser.execute_async_script(
        "const done = arguments[0]; axe.run({exclude: ['.svg-container']})"
        ".then(done, (error) => done(String(error)));"
    )
    return [
        (rule["id"], node["html"][:200], node["failureSummary"])
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"][:3]
    ]


@pytest.mark.parametrize(("theme", "width"), THEMES)
def test_axe_finds_nothing_serious(browser: Any, theme: str, width: int) -> None:
    assert serious(browser, theme, width) == []


def test_what_is_wider_than_its_place_scrolls_from_the_keyboard(browser: Any) -> None:
    show_in(browser, "light", WIDTHS["phone"])
    unreachable = (
        "return [...document.querySelectorAll('.scroll')].filter("
        "(place) => place.checkVisibility({ contentVisibilityAuto: true })"
        " && place.scrollWidth > place.clientWidth && place.tabIndex < 0).length"
    )
    WebDriverWait(browser, 10).until(lambda page: page.execute_script(unreachable) == 0)


def test_the_list_of_studies_leads_to_its_reports(browser: Any, tmp_path: Path) -> None:
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / "report.html").write_text("<title>cells</title>")
    row = StudyRow(
        name="cells", asked="Which cell?", corpus="an4", budget="quick", state="no run ended",
        changed="2026-11-23 09:38", verdict="Nothing can be said yet. " * 9,
        report="cells/report.html",
    )  # fmt: skip
    rows = [
        replace(row, compared=("ds-gru", "ds-lstm")),
        replace(row, name="other", report="", compared=("ds-gru",)),
    ]
    browser.get(build_index(rows, tmp_path / "index.html").as_uri())
    for theme, width in THEMES:
        assert serious(browser, theme, width) == []
        wide = browser.execute_script("return document.documentElement.scrollWidth")
        assert wide <= width
    shown = "return [...document.querySelectorAll('tbody tr')].map(row => row.checkVisibility())"
    assert browser.execute_script(shown) == [True, True]
    browser.find_element(By.ID, "s1").click()  # ds-lstm
    assert browser.execute_script(shown) == [True, False]
    browser.find_element(By.LINK_TEXT, "cells").click()
    assert browser.title == "cells"


def test_curves_are_drawn_against_what_was_chosen(browser: Any) -> None:
    chart = "document.getElementById('chart-valid-wer')"
    end = f"return Math.max(...{chart}.data.filter(t => t.visible !== false).flatMap(t => t.x))"
    hidden = f"return {chart}.data.filter(t => t.visible === false).length"
    axis = Select(browser.find_element(By.ID, "curves-axis"))
    assert [option.text for option in axis.options] == [
        "epoch", "training seconds", "hours of audio trained on",
    ]  # fmt: skip
    ends = {}
    for option in axis.options:
        axis.select_by_visible_text(option.text)
        ends[option.text] = browser.execute_script(end)
        title = browser.execute_script(f"return {chart}.layout.xaxis.title.text")
        assert title == option.text
    assert list(ends.values()) == pytest.approx([12, 12 * 31.7, 12 * 0.75])
    assert browser.execute_script(hidden) == 4, "trials and their crosses, of two systems"
    browser.find_element(By.ID, "curves-trials").send_keys(Keys.SPACE)
    assert browser.execute_script(hidden) == 0


def test_a_large_test_split_is_shown_by_group(
    browser: Any, make_input: MakeInput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decodes, "NUM_SHOWN", 40)
    browser.get(build(make_input(), tmp_path / "report.html").as_uri())
    group = Select(browser.find_element(By.ID, "filter-group"))
    assert [option.text for option in group.options] == [
        "all", "Where systems differ most", "Worst", "Median", "Best",
    ]  # fmt: skip
    group.select_by_visible_text("Worst")
    assert [title.text for title in shown(browser, "#decodes h3")] == ["Worst"]
    assert browser.find_element(By.ID, "filter-count").text == "10 of 40"


def test_hostile_text_runs_nothing_and_widens_no_page(
    browser: Any, make_input: MakeInput, tmp_path: Path
) -> None:
    browser.get(build(poisoned(make_input), tmp_path / "report.html").as_uri())
    for width in WIDTHS.values():
        show_in(browser, "light", width)
        wide = browser.execute_script("return document.documentElement.scrollWidth")
        assert wide <= width
    assert browser.execute_script("return typeof window.caught") == "undefined"
    assert len(shown(browser, "main > section")) == len(SECTIONS)
    complaints = [row for row in browser.get_log("browser") if row["level"] == "SEVERE"]
    assert complaints == []


def test_it_is_used_from_the_keyboard(browser: Any) -> None:
    body = browser.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    skip = browser.switch_to.active_element
    assert skip.text == "Skip to the verdict"
    skip.send_keys(Keys.ENTER)
    assert browser.current_url.endswith("#verdict")
    reached = set()
    for _ in range(200):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        reached.add(browser.switch_to.active_element.get_attribute("id"))
    assert {"filter", "filter-right", "filter-order", "filter-random", "epoch"} <= reached
    assert {"curves-axis", "curves-trials"} <= reached


def test_printed_it_is_whole_and_has_no_tools(browser: Any) -> None:
    browser.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert not shown(browser, "nav, .tool, #stage, audio")
        assert len(shown(browser, ".decode")) == 48
        assert len(shown(browser, "table.heard")) == 3
        paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert paper == "rgb(255, 255, 255)"
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    pages = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert pages.startswith(b"%PDF")


def test_without_javascript_it_reads(browser: Any) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.refresh()
    try:
        assert len(shown(browser, "#verdict .sentence, #verdict table")) == 3
        for section in ("comparability", "differences", "accuracy", "pairwise"):
            assert shown(browser, f"#{section} table"), section
        assert len(browser.find_elements(By.CSS_SELECTOR, ".decode")) == 48
        assert not shown(browser, "#filter, #stage")
        assert len(shown(browser, "details.history")) == 3
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
