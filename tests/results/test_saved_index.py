"""Saved comparisons in the index: comparable ones in one group."""

import json
import os
from pathlib import Path

import pytest

from bench.results.index import COMPARISONS, saved_groups, write_index

SAVED = (Path(__file__).resolve().parents[2] / "sweeps/results/sanity.an4.jsonl").read_text()
SATURDAY = 1_795_860_000


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    COMPARISONS.mkdir(parents=True)


def save(name: str, **facts: str) -> None:
    head, *rows = SAVED.splitlines()
    changed = json.loads(head)
    for system in changed["systems"]:
        system["facts"] |= facts
    path = COMPARISONS / f"{name}.jsonl"
    path.write_text("\n".join([json.dumps(changed), *rows]) + "\n")
    os.utime(path, (SATURDAY, SATURDAY))


def test_only_what_may_be_compared_shares_a_group() -> None:
    for name, facts in (
        ("a", {}),
        ("b", {"data": "other"}),
        ("c", {}),
        ("d", {"hardware": "H200"}),
    ):
        save(name, **facts)
    groups = saved_groups()
    assert [[row.file for row in group.rows] for group in groups] == [["a.jsonl", "c.jsonl"], ["b.jsonl"], ["d.jsonl"]]  # fmt: skip
    assert "Data digest: other" in groups[1].conditions
    assert "Hardware: H200" in groups[2].conditions
    assert "NOT COMPARABLE" not in groups[0].conditions
    row = groups[0].rows[0]
    assert row.saved == "2026-11-28 10:00"
    names = [system["name"] for system in json.loads(SAVED.splitlines()[0])["systems"]]
    assert all(f"{name} " in row.systems for name in names)
    assert any(verdict in row.verdicts for verdict in ("better", "equivalent", "undecided"))


def test_systems_that_were_forced_together_are_stamped() -> None:
    save("forced")
    head, *rows = (COMPARISONS / "forced.jsonl").read_text().splitlines()
    changed = json.loads(head)
    changed["systems"][0]["facts"]["decoder"] = "beam"
    (COMPARISONS / "forced.jsonl").write_text("\n".join([json.dumps(changed), *rows]) + "\n")
    (group,) = saved_groups()
    assert group.conditions.startswith("NOT COMPARABLE: systems differ in decoder; Data digest: ")


def test_the_index_lists_them_and_marks_unreadable_ones() -> None:
    save("<b>mine")
    (COMPARISONS / "torn.jsonl").write_text('{"format": "deepspeech-bench comp')
    page = write_index().read_text("utf-8")
    assert "Saved comparisons" in page
    assert "&lt;b&gt;mine.jsonl" in page
    assert "Files that cannot be read" in page
    assert "torn.jsonl is a damaged comparison" in page
    for path in COMPARISONS.iterdir():
        path.unlink()
    assert "Saved comparisons" not in write_index().read_text("utf-8")
