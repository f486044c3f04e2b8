"""The small files of ../shared/cases (where that folder is) that a comparison reads, each with its
right values."""

from pathlib import Path

import pytest

from bench.results.scored import aligned, left_out
from bench.results.systems import read_systems

CASES = Path(__file__).parents[3] / "shared" / "cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="no ../shared/cases")


@pytest.mark.parametrize(
    ("case", "suffix", "errors", "num_words"),
    [
        ("trn-marks", "trn", (1, 2), 18),
        ("silence", "jsonl", (0, 2), 12),
        ("missing", "trn", (0, 1), 6),
        ("invisible", "jsonl", (4, 0), 37),
        ("offset-ids", "jsonl", (0, 1), 11),
    ],
)
def test_a_case(case: str, suffix: str, errors: tuple[int, int], num_words: int) -> None:
    folder = CASES / case
    ref = folder / "ref.trn" if suffix == "trn" else None
    names = [str(folder / f"{name}.{suffix}") for name in "ab"]
    systems = read_systems(names, ref, common=True)
    runs = [outcome.runs[0] for outcome in aligned(systems, common=True)]
    found = [run[["substitutions", "deletions", "insertions"]].to_numpy().sum() for run in runs]
    assert tuple(found) == errors
    assert [run["num_ref_words"].sum() for run in runs] == [num_words] * 2
    told = "--common left out 1 of 3 utterances: a lacks 1" if case == "missing" else ""
    assert left_out(systems) == told
    assert any(system.warnings for system in systems) == (case == "invisible")
