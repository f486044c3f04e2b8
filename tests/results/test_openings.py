from pathlib import Path

from bench.core.files import write_json
from bench.results.planned import openings_sentence


def opened(results: Path, study: str, run: str, digest: str, times: int) -> None:
    folder = results / study / "runs" / "ds-gru" / run
    write_json(folder / "run.json", {"data_digest": digest})
    (folder / "test-opened.txt").write_text("".join(f"{n + 1}\n" for n in range(times)))


def test_openings_are_counted_over_every_study_with_these_data(tmp_path: Path) -> None:
    assert openings_sentence(tmp_path, "d1") == ""
    opened(tmp_path, "one", "confirm-0", "d1", 1)
    opened(tmp_path, "one", "confirm-1", "d1", 2)
    opened(tmp_path, "two", "confirm-0", "d2", 9)
    assert openings_sentence(tmp_path, "d1").endswith(
        "scored 3 times by the runs of this study alone"
    )
    opened(tmp_path, "two", "confirm-1", "d1", 1)
    expected = f"this test set has been scored 4 times by the runs of 2 studies of {tmp_path.name}"
    assert openings_sentence(tmp_path, "d1") == expected


def test_what_was_joined_for_training_leaves_the_test_set_the_same(tmp_path: Path) -> None:
    opened(tmp_path, "one", "confirm-0", "d1", 1)
    opened(tmp_path, "two", "confirm-0", "d1+d2", 2)
    opened(tmp_path, "three", "confirm-0", "d2+d1", 4)
    for digest in ("d1", "d1+d2", "d1+d3"):
        assert "scored 3 times by the runs of 2 studies" in openings_sentence(tmp_path, digest)


def test_a_run_without_a_record_or_with_a_damaged_one_belongs_to_no_system(tmp_path: Path) -> None:
    opened(tmp_path, "one", "confirm-0", "d1", 1)
    record = tmp_path / "one" / "runs" / "ds-gru" / "confirm-0" / "run.json"
    record.write_text("{")
    assert openings_sentence(tmp_path, "d1") == ""
    record.unlink()
    assert openings_sentence(tmp_path, "d1") == ""
