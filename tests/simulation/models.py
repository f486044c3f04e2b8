"""Made-up studies whose truth is known: how word errors come about.

Legend: E studies, V systems, S seeds, C speakers, P pairs.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from bench.stats.variance import SystemEstimates, estimate_systems

Array = np.ndarray
WER, NUM_SPEAKERS, WORDS_PER_SPEAKER = 0.27, 12, 133
SEEDS_SD, HEAVY_SD, LEANING = 0.0215, 0.0197, 0.05
"""Of a run's true rate; with the sampling of words, overdispersed in the heavy model, a run's WER
varies by 2.5 points."""
AT_ONCE = 500
A, B = np.triu_indices(6, 1)
CLAIMS = ((A == 0) & (B == 1)) | ((A == 3) & (B == 4)) | ((A == 1) & (B == 4))
NO_CLAIMS = np.zeros(A.size, dtype=bool)


def staircase(gap: float) -> Array:
    """True differences to WER [V] that put each claim, and some other pairs, `gap` apart."""
    return gap * np.array([1.0, 0.0, 0.0, 0.0, -1.0, -1.0])


@dataclass(frozen=True)
class Model:
    """How word errors come about."""

    title: str
    seeds: Callable[[np.random.Generator, tuple[int, ...]], Array]
    """Deviations [E, V, S] of runs from their system's rate."""
    speakers: Callable[[np.random.Generator, tuple[int, ...]], Array]
    """Relative deviations [E, C] of speakers."""
    overdispersion: float = 1.0
    """Variance of a speaker's errors over their mean."""

    def draw(
        self, rng: np.random.Generator, num_studies: int, shifts_V: Array, num_seeds: int
    ) -> tuple[Array, Array]:
        """Errors [E, V, S, C] of studies on one test set, and its words [C]."""
        shape = (num_studies, shifts_V.size, num_seeds)
        words_C = np.rint(WORDS_PER_SPEAKER * rng.lognormal(-0.125, 0.5, NUM_SPEAKERS)) + 20
        rate = WER * (
            1
            + self.speakers(rng, (num_studies, 1, 1, NUM_SPEAKERS))
            + rng.normal(0, LEANING, (num_studies, shifts_V.size, 1, NUM_SPEAKERS))
            + rng.normal(0, LEANING, (*shape, NUM_SPEAKERS))
        )
        rate = rate + self.seeds(rng, shape)[..., None] + shifts_V[:, None, None]
        mean = np.clip(rate, 0.005, 1.0) * words_C
        if self.overdispersion > 1:
            mean = rng.gamma(mean / (self.overdispersion - 1), self.overdispersion - 1)
        return rng.poisson(mean).astype(np.float64), words_C


def _normal_speakers(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.normal(0, 0.3, shape)


def _skewed_speakers(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return 0.4 * (rng.exponential(1.0, shape) - 1)


def _normal_seeds(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.normal(0, SEEDS_SD, shape)


def _heavy_seeds(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return HEAVY_SD / np.sqrt(3) * rng.standard_t(3, shape)


def _diverging_seeds(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """One run in thirty ends at a WER of 100 %."""
    return np.where(rng.random(shape) < 1 / 30, 1 - WER, _normal_seeds(rng, shape))


def _uneven_seeds(factor: float) -> Callable[[np.random.Generator, tuple[int, ...]], Array]:
    """The last system's scatter `factor` times as much, the pooled variance being the same."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        factors_V = np.where(np.arange(shape[1]) == shape[1] - 1, factor, 1.0)
        factors_V /= np.sqrt((factors_V**2).mean())
        return _normal_seeds(rng, shape) * factors_V[:, None]

    return draw


MODELS = {
    "normal": Model("normal seeds and speakers", _normal_seeds, _normal_speakers),
    "heavy": Model(
        "heavy-tailed seeds (t, 3 df), skewed speakers, overdispersed errors",
        _heavy_seeds, _skewed_speakers, 1.5,
    ),
    "uneven": Model("one system's seeds scatter twice as much", _uneven_seeds(2), _normal_speakers),
    "diverging": Model("one run in thirty diverges (100 %)", _diverging_seeds, _skewed_speakers),
}  # fmt: skip
WILD = Model("one system's seeds scatter four times as much", _uneven_seeds(4), _normal_speakers)


def studies(
    model: Model, num_studies: int, shifts_V: Array, num_seeds: int, seed: int
) -> Iterator[SystemEstimates]:
    """At most AT_ONCE at a time, each lot with a test set of its own."""
    rng = np.random.default_rng(seed)
    for start in range(0, num_studies, AT_ONCE):
        size = min(AT_ONCE, num_studies - start)
        errors, words_C = model.draw(rng, size, shifts_V, num_seeds)
        yield estimate_systems([errors[:, v] for v in range(shifts_V.size)], words_C, rng)
