"""The one-way bootstrap against golden numbers and closed forms."""

from itertools import combinations

import numpy as np
import pytest

from bench.results import bootstrap
from bench.results.bootstrap import (
    cluster_sums,
    percentile_interval,
    resampled_rates,
    standard_error,
)
from bench.results.pairs import Outcome

CLUSTERS = ("id", "speaker")
STANDARD_ERRORS = {"id": (0.0101, 0.0107, 0.0152), "speaker": (0.0172, 0.0178, 0.0294)}
LINEARISED = {"id": (0.01017, 0.01062, 0.01523), "speaker": (0.01729, 0.01793, 0.02969)}
INTERVALS = {
    "id": ((0.0157, 0.0684), (0.0785, 0.1387), (0.0359, 0.0968)),
    "speaker": ((0.0150, 0.0658), (0.0723, 0.1453), (0.0382, 0.0920)),
}


def sums(golden: list[Outcome], clusters: str) -> tuple[np.ndarray, np.ndarray]:
    frames = [o.runs[0] for o in golden]
    errors = np.stack([f["substitutions"] + f["deletions"] + f["insertions"] for f in frames])
    words = frames[0]["num_ref_words"].to_numpy(dtype=float)
    of = frames[0][clusters].to_numpy(dtype=str)
    return cluster_sums(errors.astype(float), of), cluster_sums(words[None], of)[0]


def test_golden_rates(golden: list[Outcome]) -> None:
    errors, words = sums(golden, "id")
    assert errors.sum(axis=1).tolist() == [131, 180, 256]
    assert words.sum() == 1150


@pytest.mark.parametrize("clusters", CLUSTERS)
def test_golden_standard_errors(golden: list[Outcome], clusters: str) -> None:
    errors, words = sums(golden, clusters)
    rates = resampled_rates(errors, words, np.random.default_rng(0))
    found = [standard_error(column) for column in rates.T]
    assert found == pytest.approx(STANDARD_ERRORS[clusters], rel=0.025)
    residuals = errors - errors.sum(axis=1, keepdims=True) / words.sum() * words
    linearised = np.sqrt((residuals**2).sum(axis=1)) / words.sum()
    assert linearised == pytest.approx(LINEARISED[clusters], abs=6e-6)
    assert found == pytest.approx(linearised, rel=0.025)


@pytest.mark.parametrize("clusters", CLUSTERS)
def test_golden_intervals_of_differences(golden: list[Outcome], clusters: str) -> None:
    rates = resampled_rates(*sums(golden, clusters), np.random.default_rng(0))
    for (a, b), known in zip(combinations(range(3), 2), INTERVALS[clusters], strict=True):
        found = percentile_interval(rates[:, b] - rates[:, a])
        assert found == pytest.approx(known, abs=0.0012)


def test_cluster_sums_follow_the_names_in_sorted_order() -> None:
    counts = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 5.0]])
    found = cluster_sums(counts, np.array(["t", "s", "t"]))
    assert found.tolist() == [[2, 4], [0, 5]]


def test_a_replicate_is_one_test_set_for_all_rows() -> None:
    errors, words = np.array([[1.0, 5, 2], [1, 5, 2]]), np.array([10.0, 20, 30])
    rates = resampled_rates(errors, words, np.random.default_rng(0), 50)
    assert (rates[:, 0] == rates[:, 1]).all()
    assert len(np.unique(rates[:, 0])) > 5
    # Errors in proportion to words: whoever is drawn, the rate is the same.
    assert resampled_rates(words[None] / 4, words, np.random.default_rng(0), 50) == pytest.approx(
        0.25
    )


def test_replicates_made_in_parts_are_as_many(monkeypatch: pytest.MonkeyPatch) -> None:
    errors, words = np.ones((2, 3)), np.array([10.0, 20, 30])
    whole = resampled_rates(errors, words, np.random.default_rng(0), 10)
    monkeypatch.setattr(bootstrap, "_WEIGHTS_AT_ONCE", 12)
    assert (resampled_rates(errors, words, np.random.default_rng(0), 10) == whole).all()
