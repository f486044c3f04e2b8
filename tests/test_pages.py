"""The tables of results in docs are what the command prints from the saved comparisons."""

import sys

import pytest

from tests.pages import BLOCK, PAGES, ROOT, printed

BLOCKS = [
    pytest.param(match[1], bool(match[2]), match[3], id=f"{page.name}-{match[1]}")
    for page in PAGES
    for match in BLOCK.finditer(page.read_text("utf-8"))
]


def test_every_kept_comparison_has_a_page() -> None:
    shown = {match[1] for page in PAGES[1:] for match in BLOCK.finditer(page.read_text("utf-8"))}
    assert shown == {f"sweeps/results/{p.name}" for p in (ROOT / "sweeps/results").glob("*.jsonl")}


@pytest.mark.parametrize(("path", "only_systems", "table"), BLOCKS)
def test_a_table_is_what_its_command_prints(
    path: str, only_systems: bool, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["compare"])
    assert table.strip() == printed(path, only_systems=only_systems)
