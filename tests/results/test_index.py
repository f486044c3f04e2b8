"""The list of studies, from their folders."""

from pathlib import Path

import pytest

from bench.results import index
from bench.results.comparison import StudyComparison, compare
from bench.results.index import write_index
from bench.runs import Tables
from bench.study.definition import FILE, StudyDefinition, begin_or_return
from tests.studies import record_of, study_of


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of studies, with one that has begun."""
    monkeypatch.chdir(tmp_path)
    study = study_of(["ds-gru", "ds-lstm"], name="cells")
    begin_or_return(Path("out/cells"), study)
    return tmp_path / "out"


def test_a_study_without_runs_is_listed(out: Path) -> None:
    page = write_index().read_text("utf-8")
    assert "ds-gru, ds-lstm" in page
    assert "0 of 4 trials ended, 0 of 4 confirm runs scored" in page
    assert "href" not in page, "no report is written yet"


def test_state_and_last_change_come_from_the_records(out: Path) -> None:
    for slot, state in enumerate(("finished", "failed", "killed")):
        folder = out / "cells" / "runs" / "ds-gru" / f"trial-00{slot}"
        record = record_of(folder, slot=slot)
        record.close(state, {})
        summary = folder / "summary.json"
        now = summary.read_text().partition('"ended_at": "')[2][:16]
        summary.write_text(summary.read_text().replace(now, f"2031-05-0{slot + 1}T10:00"))
    (out / "cells" / "report.html").touch()
    page = write_index().read_text("utf-8")
    assert "2 of 4 trials ended" in page
    assert "<td>2031-05-03 10:00</td>" in page
    assert '<a href="cells/report.html">cells</a>' in page
    assert write_index().read_text("utf-8") == page


def test_a_row_is_read_again_only_when_records_or_code_change(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counted(definition: StudyDefinition, tables: Tables, looks: object) -> StudyComparison:
        read.append(definition.name)
        return compare(definition, tables)

    monkeypatch.setattr(index, "compare", counted)
    page = write_index().read_text("utf-8")
    assert (write_index().read_text("utf-8"), read) == (page, ["cells"])
    (out / "cells" / "report.html").touch()
    assert 'href="cells/report.html"' in write_index().read_text("utf-8"), "links are not kept"
    assert len(read) == 1
    record = record_of(out / "cells" / "runs" / "ds-gru" / "trial-000")
    write_index()
    record.close("finished", {})
    assert "1 of 4 trials ended" in write_index().read_text("utf-8")
    assert len(read) == 3
    monkeypatch.setattr(index, "_code_digest", lambda: "other code")
    write_index()
    assert len(read) == 4
    (out / "cells" / index.CACHED_ROW).write_text("{")
    assert "1 of 4 trials ended" in write_index().read_text("utf-8")
    (out / "cells" / index.CACHED_ROW).write_text('{"key": "x", "row": {}}')
    write_index()
    assert len(read) == 6


def test_a_study_that_cannot_be_read_does_not_hide_the_others(out: Path) -> None:
    (out / "broken").mkdir()
    (out / "broken" / FILE).write_text("{")
    page = write_index().read_text("utf-8")
    assert "cannot be read" in page
    assert "ds-gru, ds-lstm" in page
