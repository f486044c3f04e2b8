"""The page as a whole: one file, nothing from outside, nothing from the data that runs."""

import html
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from reports.build import SECTIONS, build
from reports.input import ReportInput
from tests.reports.conftest import budget
from tests.reports.hostile import EVIL, poisoned

MakeInput = Callable[..., ReportInput]


class Page(HTMLParser):
    """Tags and attributes of a page; the text of scripts apart."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.inside = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        self.words += "" if self.inside else data


@pytest.fixture(scope="module")
def page(study: ReportInput, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(study, tmp_path_factory.mktemp("page") / "out" / "report.html")


def test_every_section_is_there_and_linked(page: Path) -> None:
    tags = Page(page).tags
    sections = [attributes["id"] for tag, attributes in tags if tag == "section"]
    names = [section.__name__.rpartition(".")[2] for section in SECTIONS]
    assert sections == [name.replace("_", "-") for name in names]
    links = [a["href"] for tag, a in tags if tag == "a" and (a["href"] or "").startswith("#")]
    assert links[: 1 + len(sections)] == ["#verdict", *(f"#{name}" for name in sections)]
    assert {link.removeprefix("#") for link in links} == set(sections)


def test_nothing_is_loaded_from_anywhere(page: Path) -> None:
    assert page.stat().st_size < 6_000_000
    for tag, attributes in Page(page).tags:
        assert tag not in ("link", "iframe", "base", "object", "embed")
        assert (attributes.get("src") or "data:").startswith("data:")
        assert re.match(
            "#|data:(text|application)/(csv|json|markdown|plain);", attributes.get("href") or "#"
        )
    text = page.read_text(encoding="utf-8")
    assert text.count("* plotly.js v") == 1
    style = text.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    assert "default-src 'none'" in text


def test_ids_are_unique(page: Path) -> None:
    ids = [attributes["id"] for _, attributes in Page(page).tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_same_input_same_bytes(page: Path, make_input: MakeInput, tmp_path: Path) -> None:
    again = build(make_input(), tmp_path / "again.html")
    assert again.read_bytes() == page.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["again.html"]


def test_same_bytes_in_every_process(tmp_path: Path) -> None:
    """Text hashes differently in each: no order may come from a set."""
    script = (
        "import sys; from pathlib import Path; from conftest import make_input; "
        "from reports.build import build; names = tuple('ds-' + letter for letter in 'abcdefg'); "
        "build(make_input(systems=names, num_trials=4, num_seeds=2), Path(sys.argv[1]))"
    )
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": paths}
        command = [sys.executable, "-c", script, str(tmp_path / f"{seed}.html")]
        subprocess.run(command, env=environment, check=True)
    assert (tmp_path / "1.html").read_bytes() == (tmp_path / "2.html").read_bytes()


@pytest.fixture(scope="module")
def hostile(make_input: MakeInput, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(poisoned(make_input), tmp_path_factory.mktemp("hostile") / "report.html")


def test_hostile_text_stays_text(hostile: Path) -> None:
    parsed = Page(hostile)
    scripts = [a for tag, a in parsed.tags if tag == "script"]
    assert sum("data-chart" not in attributes for attributes in scripts) == 2
    images = [attributes["src"] for tag, attributes in parsed.tags if tag == "img"]
    assert all((source or "").startswith("data:image/png") for source in images)
    assert not [a for _, a in parsed.tags if any(name.startswith("on") for name in a)]
    assert EVIL in parsed.words
    charts = re.findall(r"data-chart=.*?</script>", hostile.read_text("utf-8"), flags=re.DOTALL)
    assert charts
    for chart in charts:
        assert not re.search("[<\u2028]", chart.partition(">")[2].removesuffix("</script>"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_trials": 0, "num_seeds": 0}, ["the study is empty", "no curve to draw"]),
        ({"num_trials": 1, "num_seeds": 0}, ["No confirm run has been scored"]),
        ({"systems": ("ds-gru",), "num_trials": 1, "num_seeds": 0}, ["a single run so far"]),
        ({"state": "failed", "num_seeds": 0}, ["Every run of the study failed"]),
        ({"state": "diverged", "num_seeds": 0}, ["Every run of the study diverged"]),
        ({"state": "killed", "num_seeds": 0}, ["Every run of the study was killed"]),
        ({"state": "running", "num_seeds": 0}, ["have not ended", "No confirm run has been"]),
        ({"state": "running", "num_seeds": 1}, ["have not ended", "take it as a first look"]),
        ({"budget": budget("quick", 9, 3)}, ["not complete: it was interrupted"]),
        ({"systems": ("ds-gru",)}, ["nothing to compare it with"]),
        ({"systems": (), "spaces": {}}, ["No system is part of the study yet"]),
        ({"environment": {}}, ["python -m bench.sweep"]),
    ],
)
def test_unfinished_studies_give_sentences(
    make_input: MakeInput, tmp_path: Path, options: dict[str, object], words: list[str]
) -> None:
    page = Page(build(make_input(**options), tmp_path / "report.html"))
    assert sum(tag == "section" for tag, _ in page.tags) == len(SECTIONS)
    told = html.unescape(page.words)
    assert all(word in told for word in words)
    assert not re.search(r"\bnan\b|\bNone\b", told)


def test_rates_that_are_not_numbers(make_input: MakeInput, tmp_path: Path) -> None:
    base, nan = make_input(), float("nan")
    broken = replace(
        base,
        systems=base.systems.assign(wer_mean=nan, wer_low=nan, wer_high=nan, cer_mean=nan),
        pairs=base.pairs.assign(delta_wer=nan, low=nan, high=nan, p_adjusted=nan),
        runs=base.runs.assign(valid_wer=nan, test_wer=nan, test_cer=nan, best_epoch=nan),
        curves=base.curves.assign(value=nan),
    )
    told = Page(build(broken, tmp_path / "report.html")).words
    assert not re.search(r"\bnan\b", told)
    assert "not scored" in told


def test_a_full_disk_leaves_the_old_page(
    study: ReportInput, tmp_path: Path, little_room: Callable[[int], AbstractContextManager[None]]
) -> None:
    page = tmp_path / "report.html"
    page.write_text("old")
    with little_room(100_000), pytest.raises(OSError, match=r"File too large: .*report\.html"):
        build(study, page)
    assert page.read_text() == "old"
    assert list(tmp_path.iterdir()) == [page]
