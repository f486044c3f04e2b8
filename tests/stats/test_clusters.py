"""Rates over clusters: golden numbers of other tools, closed forms, and the bootstrap."""

import numpy as np
import pytest

from bench.results.pairs import SystemRuns
from bench.stats import clusters
from bench.stats.clusters import (
    cluster_sums,
    covariance,
    linearised_covariance,
    resampled_rates,
)

CLUSTERS = ("id", "speaker")
LINEARISED = {"id": (0.01017, 0.01062, 0.01523), "speaker": (0.01729, 0.01793, 0.02969)}


def sums(golden: list[SystemRuns], by: str) -> tuple[np.ndarray, np.ndarray]:
    frames = [o.runs[0] for o in golden]
    errors = np.stack([f["substitutions"] + f["deletions"] + f["insertions"] for f in frames])
    words = frames[0]["num_ref_words"].to_numpy(dtype=float)
    of = frames[0][by].to_numpy(dtype=str)
    return cluster_sums(errors.astype(float), of), cluster_sums(words[None], of)[0]


def test_golden_rates(golden: list[SystemRuns]) -> None:
    errors, words = sums(golden, "id")
    assert errors.sum(axis=1).tolist() == [131, 180, 256]
    assert words.sum() == 1150


@pytest.mark.parametrize("by", CLUSTERS)
def test_golden_standard_errors(golden: list[SystemRuns], by: str) -> None:
    errors, words = sums(golden, by)
    shrunk = (words.size - 1) / words.size
    found = np.sqrt(shrunk * np.diagonal(linearised_covariance(errors, words)))
    assert found == pytest.approx(LINEARISED[by], abs=6e-6)


@pytest.mark.parametrize("num_clusters", [10, 30])
def test_the_linearised_covariance_is_the_bootstraps(num_clusters: int) -> None:
    rng = np.random.default_rng(num_clusters)
    words = rng.integers(80, 160, num_clusters).astype(float)
    errors = rng.binomial(words.astype(int), [[0.2], [0.25], [0.4]]).astype(float)
    rates = resampled_rates(errors, words, rng, 40_000)
    bootstrapped = np.cov(rates, rowvar=False) * num_clusters / (num_clusters - 1)
    assert linearised_covariance(errors, words) == pytest.approx(bootstrapped, rel=0.05, abs=4e-6)


def test_ten_clusters_need_no_generator_and_fewer_are_bootstrapped() -> None:
    rng = np.random.default_rng(0)
    words = rng.integers(80, 160, 10).astype(float)
    errors = rng.binomial(words.astype(int), [[0.2], [0.3]]).astype(float)
    first, second = (covariance(errors, words, np.random.default_rng(s)) for s in (1, 2))
    assert (first == second).all()
    first, second = (
        covariance(errors[:, :9], words[:9], np.random.default_rng(s), 2000) for s in (1, 2)
    )
    assert (first != second).any()
    linearised = linearised_covariance(errors[:, :9], words[:9])
    assert first == pytest.approx(linearised, rel=0.15, abs=3e-5)
    several = covariance(np.stack([errors[:, :9]] * 2), words[:9], np.random.default_rng(1), 2000)
    assert several.shape == (2, 2, 2)


def test_one_cluster_gives_no_variance() -> None:
    assert np.isnan(covariance(np.ones((2, 1)), np.array([9.0]), np.random.default_rng(0))).all()


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
    monkeypatch.setattr(clusters, "_WEIGHTS_AT_ONCE", 12)
    assert (resampled_rates(errors, words, np.random.default_rng(0), 10) == whole).all()
