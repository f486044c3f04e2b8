import pandas as pd
import pytest

from bench.results.planned import FEW_SEEDS, without_verdict
from reports.sections import verdict

Row = tuple[str, str, str, float]


def table(*rows: Row) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["system", "kind", "state", "test_wer"])


def test_the_report_and_the_console_have_one_idea_of_few_seeds() -> None:
    assert verdict.FEW_SEEDS == FEW_SEEDS


NAN = float("nan")
A_SCORED: tuple[Row, ...] = (("a", "trial", "pruned", NAN), ("a", "confirm", "finished", 0.1))


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ((*A_SCORED, ("b", "confirm", "finished", 0.2), ("b", "confirm", "failed", NAN)), ""),
        (A_SCORED, "no verdict can be given on b: no confirm run was scored (b: no run began)"),
        (
            (*A_SCORED, ("b", "trial", "diverged", NAN), ("b", "trial", "failed", NAN)),
            "no verdict can be given on b: no confirm run was scored (b: 1 of 2 trials diverged, "
            "1 of 2 trials failed)",
        ),
        (
            (("a", "confirm", "failed", NAN), ("b", "trial", "diverged", NAN)),
            "no verdict can be given on a, b: no confirm run was scored (a: 1 of 1 confirm runs "
            "failed; b: 1 of 1 trials diverged)",
        ),
    ],
)
def test_what_has_no_verdict(rows: tuple[Row, ...], sentence: str) -> None:
    assert without_verdict(["a", "b"], table(*rows)) == sentence
