import math

import numpy as np
import pandas as pd
import pytest

from bench.results.search import (
    budget_curves,
    expected_best,
    expected_best_curves,
)
from reports.columns import COLUMNS

VALUES = np.array([0.30, 0.25, 0.42, 0.28, 0.35, 0.31, 0.29, 0.50, 0.27, 0.33])


def test_golden_expected_best() -> None:
    trials = (1, 2, 5, 10)
    unbiased = [expected_best(VALUES, n) for n in trials]
    assert unbiased == pytest.approx([0.33, 0.288, 0.26333, 0.25], abs=5e-6)


def test_expected_best_is_the_mean_over_draws() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.permuted(np.tile(VALUES, (50_000, 1)), axis=1)[:, :3]
    assert expected_best(VALUES, 3) == pytest.approx(drawn.min(axis=1).mean(), abs=5e-4)


def test_a_failed_trial_counts_as_the_worst() -> None:
    values = np.array([0.2, math.nan, 0.4])
    assert expected_best(values, 1) == math.inf
    # Of the three pairs, two hold 0.2 and one is 0.4 and the failure.
    assert expected_best(values, 2) == pytest.approx((0.2 + 0.2 + 0.4) / 3)
    assert expected_best(values, 3) == pytest.approx(0.2)


def trials(*rows: tuple[str, float, float, str], system: str = "v") -> pd.DataFrame:
    """Trials of (state, valid WER, training seconds, when it ended), and a confirm run."""
    columns = ["state", "valid_wer", "train_seconds", "ended_at"]
    table = pd.DataFrame(list(rows), columns=columns)
    table = table.assign(kind="trial", system=system, slot=range(len(rows)))
    confirm = table.iloc[:1].assign(kind="confirm", valid_wer=0.01, slot=1)
    return pd.concat([confirm, table], ignore_index=True)


def test_a_search_in_the_order_its_trials_ended() -> None:
    runs = trials(
        ("finished", 0.5, 10.0, "10:03"),
        ("pruned", 0.1, 4.0, "10:01"),
        ("finished", 0.4, 10.0, "10:04"),
        ("failed", math.nan, math.nan, "10:02"),
        ("killed", 0.2, 3.0, "10:05"),
        ("running", 0.2, math.nan, ""),
    )
    found = budget_curves(runs)
    assert tuple(found.columns) == COLUMNS["budget_curves"]
    assert found["num_trials"].tolist() == [1, 2, 3, 4]
    assert found["train_seconds"].tolist() == [4, 4, 14, 24]
    assert found["best_valid_wer"].isna().tolist() == [True, True, False, False]
    assert found["best_valid_wer"].tolist()[2:] == [0.5, 0.4]


def test_a_trial_without_a_wer_keeps_the_best_before_it() -> None:
    ends = [("finished", wer, 1.0, f"10:0{n}") for n, wer in enumerate((math.nan, 0.5, 0.6))]
    found = budget_curves(trials(*ends, ("failed", math.nan, 1.0, "10:04")))["best_valid_wer"]
    assert math.isnan(found[0])
    assert found[1:].tolist() == [0.5, 0.5, 0.5]


def test_only_random_trials_are_expected_of() -> None:
    ended = [("finished", wer, 1.0, "10:00") for wer in (0.1, 0.4, 0.6, 0.2, 0.1)]
    found = expected_best_curves(trials(*ended), num_random=4)
    assert tuple(found.columns) == COLUMNS["expected_best"]
    assert found["num_trials"].tolist() == [1, 2, 3], "slot 0 has the defaults, slot 4 learned"
    assert found["valid_wer"].tolist() == pytest.approx([0.4, (0.4 + 0.2 + 0.2) / 3, 0.2])


def test_an_expectation_that_a_failure_makes_infinite_is_unknown() -> None:
    runs = trials(*[("finished", 0.3, 1.0, "1")] * 2, ("pruned", 0.1, 1.0, "2"))
    found = expected_best_curves(runs, num_random=3)
    assert found["valid_wer"].isna().tolist() == [True, False]
    assert expected_best_curves(runs, num_random=1).empty
    assert budget_curves(runs[:0]).empty
