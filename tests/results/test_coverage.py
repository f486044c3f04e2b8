"""What the intervals and verdicts of the two-way bootstrap are worth, where the truth is known.

Word errors are drawn from a model: in variant v, seed s and speaker c a word is wrong with
probability ``rate_v (1 + speaker_c + taste_vc + luck_vs + mood_vsc)``, all four normal with mean
zero. The interval should hold the true difference in 95 of 100 experiments (93 to 97 are asked),
and where no two variants differ, no more than 5 of 100 experiments should separate any pair. With
two variants there is one pair, so both say the same and 5 is the level aimed at; with six, Holm over
pairs that are not independent stays well below it. Figures are judged with two standard errors.

    pytest -m slow tests/results/test_coverage.py -s
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest

from bench.results.significance import ALPHA
from bench.results.two_way import all_differences, resample_recipes

RATE, SPEAKER, TASTE, MOOD = 0.25, 0.3, 0.1, 0.1
WORDS_PER_SPEAKER = 150
BATCH, REPLICATES = 100, 1000

LUCK = {"none": 0.0, "some": 0.05, "much": 0.15}
"""The standard deviation of `luck`, relative to the rate; "uneven" is little for all but the last
third of the variants, and much for those."""


@dataclass(frozen=True)
class Setting:
    num_seeds: int
    num_speakers: int
    num_variants: int
    luck: str
    gap: float = 0.0
    """The true difference between one variant and the next."""

    def luck_V(self) -> np.ndarray:  # noqa: N802
        if self.luck != "uneven":
            return np.full(self.num_variants, LUCK[self.luck])
        return np.where(np.arange(self.num_variants) < 2 * self.num_variants / 3, 0.03, 0.2)


@dataclass(frozen=True)
class Found:
    coverage: float
    """Share of intervals that hold the truth."""
    coverage_error: float
    """Its standard error over experiments, whose pairs are not independent."""
    separated: float
    """Share of experiments with a pair called separated."""


def draw(setting: Setting, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Errors [E, V, S, C] of a batch of experiments, and the words [C] that they share."""
    shape = (BATCH, setting.num_variants, setting.num_seeds, setting.num_speakers)
    words = WORDS_PER_SPEAKER * rng.lognormal(-0.125, 0.5, setting.num_speakers)
    words = np.maximum(10, words.astype(int))
    effects = 1 + (
        rng.normal(0, SPEAKER, (BATCH, 1, 1, setting.num_speakers))
        + rng.normal(0, TASTE, (BATCH, setting.num_variants, 1, setting.num_speakers))
        + rng.normal(0, 1, (*shape[:3], 1)) * setting.luck_V()[:, None, None]
        + rng.normal(0, MOOD, shape)
    )
    rates_V = RATE + setting.gap * np.arange(setting.num_variants)
    chances = np.clip(rates_V[:, None, None] * effects, 0, 1)
    return rng.binomial(words, chances).astype(float), words.astype(float)


def simulate(setting: Setting, num_experiments: int, rng: np.random.Generator) -> Found:
    covered, separated = [], []
    for _ in range(num_experiments // BATCH):
        errors, words = draw(setting, rng)
        flat = list(errors.reshape(-1, *errors.shape[2:]))
        recipes = resample_recipes(flat, words, rng, REPLICATES)
        size = setting.num_variants
        for first in range(0, len(recipes), size):
            found = all_differences(recipes[first : first + size])
            covered.append(
                np.mean(
                    [e.low <= (j - i) * setting.gap <= e.high for (i, j), (e, _) in found.items()]
                )
            )
            # Holm calls a pair separated if the smallest p passes Bonferroni's bound.
            separated.append(min(p for _, p in found.values()) * len(found) < ALPHA)
    error = np.std(covered) / np.sqrt(len(covered))
    return Found(float(np.mean(covered)), float(error), float(np.mean(separated)))


def test_coverage_of_a_small_simulation() -> None:
    found = simulate(Setting(3, 9, 3, "some"), 200, np.random.default_rng(0))
    assert 0.92 < found.coverage < 0.985
    assert found.separated < 0.06
    found = simulate(Setting(3, 9, 2, "some", gap=0.2), 100, np.random.default_rng(0))
    assert 0.90 < found.coverage < 1
    assert found.separated > 0.9


@pytest.mark.slow
def test_coverage() -> None:
    rng = np.random.default_rng(0)
    settings = [
        *(Setting(*of) for of in product((3, 5), (9, 20, 40), (2, 6), (*LUCK, "uneven"))),
        *(Setting(*of, "some", 0.03) for of in product((3, 5), (9, 20, 40), (2, 6))),
    ]
    print("\nseeds speakers variants luck    gap | coverage, %  separated, %")
    wrong = []
    for s in settings:
        num_experiments = 1200 if s.num_variants == 2 else 400
        found = simulate(s, num_experiments, rng)
        print(
            f"{s.num_seeds:5} {s.num_speakers:8} {s.num_variants:8} {s.luck:7} {s.gap:.2f} | "
            f"{100 * found.coverage:5.1f} ± {100 * found.coverage_error:.1f}  "
            f"{100 * found.separated:5.1f}"
        )
        within = (
            0.93 - 2 * found.coverage_error <= found.coverage <= 0.97 + 2 * found.coverage_error
        )
        calm = s.gap > 0 or found.separated <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / num_experiments)
        if not (within and calm):
            wrong.append((s, found))
    assert not wrong
