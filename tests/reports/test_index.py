from dataclasses import replace
from pathlib import Path

from reports.index import SavedGroup, SavedRow, StudyRow, build_index

ROW = StudyRow(
    name="cells.an4.quick.1a2b",
    asked="Which cell?",
    corpus="an4",
    budget="quick",
    state="2 of 6 confirm runs scored",
    changed="2026-11-23 09:38",
    verdict="Not separated.",
    report="cells.an4.quick.1a2b/report.html",
)


def test_every_study_has_a_line_and_a_link(tmp_path: Path) -> None:
    page = build_index([ROW], tmp_path / "out" / "index.html").read_text("utf-8")
    assert '<a href="cells.an4.quick.1a2b/report.html">cells.an4.quick.1a2b</a>' in page
    for said in (ROW.asked, ROW.state, ROW.changed, ROW.verdict):
        assert said in page
    assert build_index([ROW], tmp_path / "again.html").read_text("utf-8") == page


def test_without_differences_there_is_a_sentence_and_names_are_text(tmp_path: Path) -> None:
    assert "No study" in build_index([], tmp_path / "index.html").read_text("utf-8")
    evil = StudyRow(**dict.fromkeys(vars(ROW), "<script>x</script>"))
    assert "<script" not in build_index([evil], tmp_path / "index.html").read_text("utf-8")


def test_rows_are_filtered_by_what_they_compare(tmp_path: Path) -> None:
    """By rules of the page's style: it runs no script."""
    rows = [
        replace(ROW, name="first", compared=("ds-gru", "ds-lstm")),
        replace(ROW, name="other", compared=("ds-gru",)),
    ]
    saved = SavedRow(file="k.jsonl", saved="", systems="", verdicts="", compared=("ds-rnn",))
    groups = [SavedGroup(conditions="Data: d1", rows=(saved,))]
    page = build_index(rows, tmp_path / "index.html", groups).read_text("utf-8")
    assert '<input type="radio" name="compared" id="s1"> ds-lstm' in page
    assert '<tr class="s0 s1">' in page
    assert '<section class="s2">' in page
    assert "main:has(#s1:checked) :is(tbody tr, section):not(.s1) { display: none; }" in page
    assert "<script" not in page
    alone = build_index([rows[1]], tmp_path / "alone.html").read_text("utf-8")
    assert "fieldset" not in alone  # nothing to choose from
