"""The page that lists studies, in the reports' style."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from reports.markup import FOLDER, render, write_page


@dataclass(frozen=True, kw_only=True)
class StudyRow:
    """One study of the list."""

    name: str
    asked: str
    """The question, or the systems that are compared."""
    corpus: str
    budget: str
    state: str
    """How many of the planned runs have ended, in words."""
    changed: str
    """When a run last began or ended, "" if none has: as recorded, not when the list is written."""
    verdict: str
    report: str
    """Relative to the list; empty if it is not written."""
    compared: tuple[str, ...] = ()
    """Variants, by which the page can be filtered."""


@dataclass(frozen=True, kw_only=True)
class SavedRow:
    """One saved comparison of the list."""

    file: str
    """Its name."""
    saved: str
    """When the file was written, UTC."""
    systems: str
    """With their WERs, in words."""
    verdicts: str
    """In words, or why the file cannot be read."""
    compared: tuple[str, ...] = ()
    """Systems, by which the page can be filtered."""


@dataclass(frozen=True, kw_only=True)
class SavedGroup:
    """Saved comparisons under the same conditions, whose systems are comparable."""

    conditions: str
    """In words."""
    rows: tuple[SavedRow, ...]


def build_index(rows: Sequence[StudyRow], path: Path, saved: Sequence[SavedGroup] = ()) -> Path:
    """Write the list of studies and saved comparisons to `path`; the same rows give the same
    bytes."""
    css = Markup((FOLDER / "page.css").read_text(encoding="utf-8"))
    listed: list[StudyRow | SavedRow] = [*rows, *(row for group in saved for row in group.rows)]
    names = sorted({name for row in listed for name in row.compared})
    # Names of any form, which a class or a rule of CSS could not hold, so numbers stand for them.
    places = {name: f"s{place}" for place, name in enumerate(names)}

    def classes(found: Sequence[StudyRow | SavedRow]) -> str:
        """The names that any of the rows compares, as the classes by which rows are hidden."""
        return " ".join(dict.fromkeys(places[name] for row in found for name in row.compared))

    page = render("index.html", rows=rows, saved=saved, css=css, places=places, classes=classes)
    return write_page(page, path)
