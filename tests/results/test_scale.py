"""The statistics at the size of a large study: 20 systems, 5 seeds, LibriSpeech's test-clean.

pytest -m slow tests/results/test_scale.py -s
"""

import time

import numpy as np
import pandas as pd
import pytest

from bench.results.pairs import SystemRuns, compare_pairs, summarise

NUM_VARIANTS, NUM_SEEDS, NUM_UTTERANCES, NUM_SPEAKERS = 20, 5, 2620, 40


def run(rate: float, rng: np.random.Generator) -> pd.DataFrame:
    """Utterances of 5 to 35 words, each wrong with probability `rate`."""
    number = np.arange(NUM_UTTERANCES)
    words = 5 + number % 31
    return pd.DataFrame(
        {
            "id": [f"u{n:04}" for n in number],
            "speaker": [f"s{n % NUM_SPEAKERS}" for n in number],
            "num_ref_words": words,
            "substitutions": rng.binomial(words, rate),
            "deletions": 0,
            "insertions": 0,
            "ref": [" ".join(["a"] * count) for count in words],
            "hyp": [" ".join(["a"] * count) for count in words],
        }
    )


@pytest.mark.slow
def test_all_pairs_of_a_large_study() -> None:
    """Prints the seconds."""
    rng = np.random.default_rng(0)
    outcomes = [
        SystemRuns(
            name=f"v{v:02}", runs=tuple(run(0.05 + 0.005 * v, rng) for _ in range(NUM_SEEDS))
        )
        for v in range(NUM_VARIANTS)
    ]
    began = time.perf_counter()
    pairs = compare_pairs(outcomes, rng)
    compared = time.perf_counter()
    systems = summarise(outcomes, rng)
    print(f"\npairs {compared - began:.1f} s, systems {time.perf_counter() - compared:.1f} s")
    assert len(pairs) == NUM_VARIANTS * (NUM_VARIANTS - 1) // 2
    assert systems["wer"].is_monotonic_increasing
    assert (pairs["delta_wer"] > 0).all()
