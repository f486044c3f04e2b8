from pathlib import Path

from reports import StudyRow, build_index

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
