"""The page: sections, style, scripts and plotly in one file that loads nothing from elsewhere."""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from reports.input import ReportInput
from reports.markup import FOLDER, render, write_page
from reports.palette import COLOURS, tones_of
from reports.sections import (
    accuracy,
    audio_samples,
    budget,
    comparability,
    cost,
    curves,
    decodes,
    differences,
    errors,
    groups,
    latency,
    looks,
    method,
    pairwise,
    reproduce,
    robustness,
    runs,
    search,
    second_verdict,
    speakers,
    tradeoffs,
    transcript_progress,
    verdict,
)

SECTIONS: tuple[ModuleType, ...] = (
    verdict, second_verdict, robustness, comparability, differences, accuracy, pairwise, looks,
    curves, budget, search, tradeoffs, latency, errors, decodes, audio_samples,
    transcript_progress, speakers, groups, cost, runs, reproduce, method,
)  # fmt: skip
"""Each has a TITLE, numbers(report_input) and the template sections/<its name>.html, which draws
the numbers; and extras(numbers) where that needs more, such as charts."""


def build(report_input: ReportInput, path: Path) -> Path:
    """Write the report of a study to `path`, folders included; the same input gives the same bytes.

    The page opens from file:// without a network. Its content security policy refuses every request
    and every script but its own two, so that nothing in the data could run or call home even if it
    were not escaped.

    Raises:
        OSError: the disk is full, or the folder cannot be written; the old page stays.
    """
    scripts = [get_plotlyjs(), (FOLDER / "page.js").read_text(encoding="utf-8")]
    page = render(
        "page.html",
        study=report_input.study,
        sections=[_drawn(section, report_input) for section in SECTIONS],
        colours=COLOURS,
        css=Markup((FOLDER / "page.css").read_text(encoding="utf-8")),
        scripts=[Markup(script) for script in scripts],
        script_hashes=[_content_hash(script) for script in scripts],
    )
    return write_page(page, path)


def _drawn(section: ModuleType, report_input: ReportInput) -> dict[str, str]:
    anchor = section.__name__.rpartition(".")[2].replace("_", "-")
    body = markup(section, section.numbers(report_input), tones_of(report_input))
    return {"anchor": anchor, "title": section.TITLE, "body": Markup(body)}


def markup(section: ModuleType, numbers: object, tones: Mapping[str, int]) -> str:
    """The `numbers` of a section as its template draws them; `tones` are those of `tones_of`."""
    template = f"sections/{section.__name__.rpartition('.')[2]}.html"
    extras = section.extras(numbers) if hasattr(section, "extras") else {}
    return render(template, numbers=numbers, tones=tones, **extras)


def _content_hash(script: str) -> str:
    """The name of an inline script in a content security policy (CSP level 2, section 4.2.5)."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
