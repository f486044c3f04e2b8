"""Word errors by position in the reference, for MAPSSWE (bench.stats.mapsswe)."""

from collections.abc import Sequence

import jiwer
import numpy as np

from bench.stats.mapsswe import Ints


def error_slots(refs: Sequence[str], hyps: Sequence[str]) -> Ints:
    """Errors [K] of `hyps` against `refs`, parallel sequences, aligned by jiwer.

    An utterance of n reference words has 2 n + 1 slots: odd ones count the substitution or deletion
    of a word, even ones the insertions before, between and after words.
    """
    aligned = jiwer.process_words(list(refs), list(hyps))
    slots_U = []
    for words, chunks in zip(aligned.references, aligned.alignments, strict=True):
        slots = np.zeros(2 * len(words) + 1, dtype=np.int64)
        for chunk in chunks:
            if chunk.type == "insert":
                slots[2 * chunk.ref_start_idx] += chunk.hyp_end_idx - chunk.hyp_start_idx
            elif chunk.type != "equal":
                slots[2 * chunk.ref_start_idx + 1 : 2 * chunk.ref_end_idx : 2] = 1
        slots_U.append(slots)
    return np.concatenate(slots_U)
