"""MAPSSWE, the matched-pairs sentence-segment word error test (Gillick & Cox, ICASSP 1989).

Legend: U utterances, K slots. Where a recogniser can err in an utterance of W reference words is
2 W + 1 slots: slot 2 w + 1 is word w (1 if it was substituted or deleted), slot 2 w holds the
number of words inserted before it, slot 2 W those after the last. The slots of all utterances
follow one another.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

Ints = NDArray[np.int64]

_WORDS_BETWEEN = 2
"""Consecutive words that both systems recognised separate two segments: NIST's choice."""


@dataclass(frozen=True)
class Mapsswe:
    """The test's outcome, over segments in which at least one of the systems errs."""

    segments: int
    mean: float
    """Errors of the first system minus errors of the second, per segment."""
    sd: float
    z: float
    p: float
    """Two-sided; NaN, like `z`, if there is one segment only, or if all differ by the same amount:
    their variance is unknown (sc_stats prints 1)."""


def mapsswe(errors_a_K: Ints, errors_b_K: Ints, num_ref_words_U: Ints) -> Mapsswe:
    """The test on two systems' errors in the same references, from whatever alignment.

    A segment begins at an error of either system and ends when both have two consecutive
    words right with nothing inserted between them, or with the utterance. As in sc_stats, except
    for words that only the second system inserts after an utterance's last word: sc_stats overlooks
    them unless they are swapped to the first, here they count.
    """
    num_slots_U = 2 * num_ref_words_U + 1
    utterance_K = np.repeat(np.arange(num_slots_U.size), num_slots_U)
    place_K = np.arange(num_slots_U.sum()) - np.repeat(
        np.cumsum(num_slots_U) - num_slots_U, num_slots_U
    )
    wrong = np.flatnonzero(errors_a_K + errors_b_K)
    if wrong.size == 0:
        return Mapsswe(0, 0.0, 0.0, 0.0, 1.0)
    utterance, place = utterance_K[wrong], place_K[wrong]
    # Slots 2 w and 2 w + 1 have w words before them; from the one after it, one more.
    #
    #     slot    0   1 the   2   3 cat   4   5 sat   6      even: insertions, odd: the word itself
    #     between slots 1 and 5 lies one word: 5 // 2 - (1 + 1) // 2
    words_between = place[1:] // 2 - (place[:-1] + 1) // 2
    begins = (utterance[1:] != utterance[:-1]) | (words_between >= _WORDS_BETWEEN)
    starts = np.flatnonzero(np.concatenate([[True], begins]))
    return _z_test(np.add.reduceat((errors_a_K - errors_b_K)[wrong], starts))


def _z_test(differences: Ints) -> Mapsswe:
    size, mean = differences.size, float(differences.mean())
    sd = float(differences.std(ddof=1)) if size > 1 else 0.0
    if sd == 0:
        return Mapsswe(size, mean, sd, *((0.0, 1.0) if mean == 0 else (math.nan, math.nan)))
    z = mean / (sd / np.sqrt(size))
    return Mapsswe(size, mean, sd, float(z), 2 * float(special.ndtr(-abs(z))))
