"""The errors and words of systems on the same utterances, by utterance, by speaker, and
(for MAPSSWE, bench.stats.mapsswe) by position in the reference.

Legend: S runs, U utterances, C clusters (speakers), V systems.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jiwer
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.core.errors import UserError
from bench.stats.clusters import Floats, cluster_sums
from bench.stats.mapsswe import Ints
from bench.stats.variance import SystemEstimates, estimate_systems
from reports.columns import word_errors


@dataclass(frozen=True, kw_only=True)
class SystemRuns:
    """The scored runs of one system on the common utterances."""

    name: str
    runs: tuple[pd.DataFrame, ...]
    """One table per seed with columns `id, speaker, num_ref_words, substitutions, deletions,
    insertions, ref, hyp`; the same ids in the same order in every run of every system."""
    edges: tuple[str, ...] = ()
    """Where its search was too narrow (bench.study.edges), each as "the best trial of … lies at …:
    widen …": until then it is called neither better nor worse."""


@dataclass(frozen=True)
class Counts:
    """Errors and words of the common utterances."""

    errors: tuple[Floats, ...]
    """[S, U] of each system."""
    words_U: Floats
    clusters: NDArray[np.str_]
    """The speaker of each utterance; of a single speaker, the utterance itself."""

    def errors_by_speaker(self) -> tuple[Floats, ...]:
        """[S, C] of each system."""
        return tuple(cluster_sums(errors_SU, self.clusters) for errors_SU in self.errors)

    def mean_by_speaker(self) -> Floats:
        """[V, C]: means over runs."""
        return np.stack([errors_SC.mean(axis=0) for errors_SC in self.errors_by_speaker()])

    def words_by_speaker(self) -> Floats:
        """[C]: reference words."""
        sums: Floats = cluster_sums(self.words_U[None], self.clusters)[0]
        return sums

    def estimates(self, rng: np.random.Generator) -> SystemEstimates:
        """The rates with their variance over seeds and speakers."""
        return estimate_systems(self.errors_by_speaker(), self.words_by_speaker(), rng)


def counts_of(system_runs: Sequence[SystemRuns]) -> Counts:
    """The counts of every system's runs.

    Raises:
        UserError: fewer than two utterances.
    """
    first = system_runs[0].runs[0]
    if len(first) < 2:
        raise UserError(
            f"a comparison needs two utterances or more that all systems read, got {len(first)}; "
            "check that their ids are the same"
        )
    ids = first["id"].tolist()
    for system in system_runs:
        for run in system.runs:
            assert run["id"].tolist() == ids, f"{system.name}: other utterances"
    speakers = first["speaker"].to_numpy(dtype=np.str_)
    # Of one speaker the utterances are the clusters.
    alone = len(set(speakers)) == 1
    return Counts(
        errors=tuple(
            np.stack([np.asarray(word_errors(run), np.float64) for run in system.runs])
            for system in system_runs
        ),
        words_U=first["num_ref_words"].to_numpy(dtype=np.float64),
        clusters=first["id"].to_numpy(dtype=np.str_) if alone else speakers,
    )


def error_slots(refs: Sequence[str], hyps: Sequence[str]) -> Ints:
    """Errors [K] of `hyps` against `refs`, parallel sequences, aligned by jiwer.

    An utterance of n reference words has 2 n + 1 slots: odd ones count the substitution or deletion
    of a word, even ones the insertions before, between and after words.
    """
    #     reference           a     b     c
    #     slot             0  1  2  3  4  5  6
    #     hypothesis          a     x     c  d
    #     errors           0  0  0  1  0  0  1      b -> x, d inserted after c
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
